// Rows 8, 9, 10, 12 and 61 of the fault catalogue: peers that read too slowly or send too much.

import { describe, expect, test } from "vitest";
import { setTimeout as delay } from "node:timers/promises";
import type { PartialOptions } from "../../src/config/options.ts";
import type { SlowConsumerPolicy } from "../../src/connection/send-queue.ts";
import { Oracle, RAW_TRANSPORTS } from "../support/oracle.ts";
import type { RawClient, RawTransport } from "../support/raw-client.ts";
import { call, frame, HEARTBEAT, subscribe } from "../support/raw-message.ts";
import { binaryMessage, OPCODE, webSocketFrame } from "../support/raw-websocket.ts";

const EVENT_BYTES = 16_384;
/** More than any kernel here buffers for one connection. */
const EVENTS_MAX = 4_000;

/** An event whose bytes tell its number: what is cut or mixed up shows. */
function eventOf(index: number): Buffer {
  return Buffer.alloc(EVENT_BYTES, `${index} `);
}

function isIntact(payload: Buffer): boolean {
  return payload.equals(Buffer.alloc(EVENT_BYTES, `${Number.parseInt(payload.toString(), 10)} `));
}

/** Publishes until `holds`. @returns how many were. */
function publishUntil(oracle: Oracle, topics: readonly string[], holds: () => boolean): number {
  for (let index = 1; index <= EVENTS_MAX; index++) {
    oracle.server.publish(topics[index % topics.length]!, eventOf(index));
    if (holds()) return index;
  }
  throw new Error(`${EVENTS_MAX} events changed nothing`);
}

interface Stuffed {
  readonly client: RawClient;
  readonly connection: NonNullable<ReturnType<Oracle["server"]["connection"]>>;
  readonly published: number;
}

/** A subscriber that has stopped reading, with a queue above its high watermark. */
async function stuffed(oracle: Oracle, transport: RawTransport): Promise<Stuffed> {
  const client = await oracle.client(transport);
  const { connectionId } = await client.hello();
  client.send(subscribe(2, "news"));
  await client.answer(2);
  client.stopReading();
  const connection = oracle.server.connection(connectionId)!;
  const { highBytes } = oracle.server.options.send;
  const published = publishUntil(oracle, ["news"], () => connection.backlogBytes > highBytes);
  return { client, connection, published };
}

describe.each(RAW_TRANSPORTS)("over %s", (transport) => {
  test("row 8: a heartbeat passes queued events and splits no frame", async () => {
    const options: PartialOptions = { connection: { heartbeatMs: 200, idleTimeoutMs: 600 } };
    const oracle = await Oracle.watch(options);
    const client = await oracle.client(transport);
    const { connectionId } = await client.hello();
    client.send(subscribe(2, "news"));
    await client.answer(2);
    client.stopReading();
    const connection = oracle.server.connection(connectionId)!;
    // Some of it is queued by us, and little enough that the connection is still read.
    const inTransport = (): number => connection.backlogBytes - EVENT_BYTES * 8;
    const published = publishUntil(oracle, ["news"], () => inTransport() > 0);
    const { counters } = oracle.server.shared;
    const before = counters.heartbeatsOut;
    await oracle.until(() => counters.heartbeatsOut > before, "a heartbeat for the silent peer");
    client.readOn();
    await client.until(() => client.events.length === published, "all events");
    expect(client.events.map(({ offset }) => offset)).toEqual(
      Array.from({ length: published }, (_, index) => index + 1),
    );
    expect(client.events.every(({ payload }) => isIntact(payload))).toBe(true);
    expect(client.heartbeatsAfter[0], "messages before the heartbeat").toBeLessThan(published + 2);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 9: what is queued when we close is flushed, then GoAway, then the end", async () => {
    const oracle = await Oracle.watch();
    const { client, connection, published } = await stuffed(oracle, transport);
    connection.disconnect({ code: 4_321, text: "enough" });
    client.readOn();
    const { how, closeCode, goAway } = await client.ending();
    expect(goAway).toEqual({ code: 4_321, reason: "enough", reconnectAfterMs: 0 });
    expect({ how, closeCode }).toEqual({
      how: "fin",
      closeCode: transport === "websocket" ? 4_321 : null,
    });
    expect(client.messages.at(-1)!.body).toBe("goAway");
    expect(client.events.map(({ offset }) => offset)).toEqual(
      Array.from({ length: published }, (_, index) => index + 1),
    );
    expect(client.events.every(({ payload }) => isIntact(payload))).toBe(true);
    expect(oracle.server.shared.counters.bytesDiscardedOut).toBe(0);
    await oracle.verdict({ server: 1 });
  });

  test("row 9: a peer that takes nothing of the flush is reset at the deadline", async () => {
    const oracle = await Oracle.watch({ connection: { closeTimeoutMs: 300 } });
    const { client, connection } = await stuffed(oracle, transport);
    connection.disconnect();
    await oracle.until(() => oracle.server.closedByCause.server === 1, "the reset");
    const [closed] = oracle.server.closedRing.list();
    expect(closed!.bytesDiscarded).toBeGreaterThan(oracle.server.options.send.highBytes);
    expect(oracle.server.shared.counters.bytesDiscardedOut).toBe(closed!.bytesDiscarded);
    client.readOn();
    const { goAway } = await client.ending();
    expect(goAway).toBeNull();
    await oracle.verdict({ server: 1 });
  });

  test("row 10: what arrives while we close is read, counted and not answered", async () => {
    let calls = 0;
    const oracle = await Oracle.watch(
      {},
      { methods: (server) => server.method("count", () => void calls++) },
    );
    const { client, connection } = await stuffed(oracle, transport);
    connection.disconnect({ code: 4_000 });
    const late = Array.from({ length: 20 }, (_, index) => call(100 + index, "count"));
    client.send(...late);
    await delay(50);
    client.readOn();
    expect((await client.ending()).goAway?.code).toBe(4_000);
    expect(client.messages.filter(({ id }) => id >= 100)).toEqual([]);
    const bytes = late.reduce((sum, body) => sum + frame(body).length, 0);
    expect(oracle.server.shared.counters.bytesDiscardedIn).toBe(bytes);
    expect(calls).toBe(0);
    await oracle.verdict({ server: 1 });
  });

  test("row 61: policy disconnect cuts a slow reader off with 3003", async () => {
    const oracle = await Oracle.watch();
    const { client, connection } = await stuffed(oracle, transport);
    publishUntil(oracle, ["news"], () => !connection.isOpen);
    client.readOn();
    const { goAway, closeCode } = await client.ending();
    expect(goAway?.code).toBe(3003);
    expect(closeCode).toBe(transport === "websocket" ? 3003 : null);
    await oracle.until(() => oracle.server.closedByCause.queue_full === 1, "it has closed");
    const [closed] = oracle.server.closedRing.list();
    expect(closed!.bytesDiscarded).toBeGreaterThan(oracle.server.options.send.highBytes);
    await oracle.verdict({ queue_full: 1 });
  });

  test("row 61: a reader that takes nothing for too long is cut off with 3003", async () => {
    const oracle = await Oracle.watch({ send: { stallTimeoutMs: 300 } });
    const { client } = await stuffed(oracle, transport);
    const start = performance.now();
    await oracle.until(() => stateCount(oracle, "closing") === 1, "the stall is seen");
    expect(performance.now() - start).toBeGreaterThan(200);
    expect(performance.now() - start).toBeLessThan(1_000);
    client.readOn();
    expect((await client.ending()).goAway?.code).toBe(3003);
    await oracle.verdict({ stalled: 1 });
  });

  test.each<[SlowConsumerPolicy]>([["drop-newest"], ["drop-oldest"], ["conflate"]])(
    "row 61: policy %s tells a slow reader exactly what it missed",
    async (policy) => {
      const topics = policy === "conflate" ? ["a", "b", "c"] : ["a"];
      const oracle = await Oracle.watch({ send: { policy } });
      const client = await oracle.active(transport);
      client.send(...topics.map((topic, index) => subscribe(2 + index, topic)));
      await client.answer(1 + topics.length);
      client.stopReading();
      const { counters } = oracle.server.shared;
      const published = publishUntil(oracle, topics, () => counters.eventsDropped >= 100);
      client.readOn();
      await oracle.until(() => oracle.server.shared.budget.bytes === 0, "the queue is read");
      for (const topic of topics) oracle.server.publish(topic, eventOf(0));
      const last = (topic: string): number =>
        client.events.findLast((e) => e.topic === topic)?.offset ?? 0;
      const expected = oracle.server.topics.published;
      await client.until(
        () => topics.reduce((sum, topic) => sum + last(topic), 0) === expected,
        "the last event of each topic",
      );
      expect(expected).toBe(published + topics.length);
      expect(missedOf(client)).toBe(counters.eventsDropped);
      expect(client.events.length + counters.eventsDropped).toBe(expected);
      expect(client.events.every(({ payload }) => isIntact(payload))).toBe(true);
      await client.leave();
      await oracle.verdict({ peer_closed: 1 });
    },
  );
});

/**
 * Follows what the client was told and throws where an event's offset is not the one after the last
 * and the Gap between. @returns how many events it missed.
 */
function missedOf(client: RawClient): number {
  const next = new Map<string, number>();
  let missed = 0;
  let isGap = false;
  for (const message of client.messages) {
    if (message.body === "gap") {
      const { topic } = message.gap;
      next.set(topic, (next.get(topic) ?? 1) + message.gap.missed);
      missed += message.gap.missed;
      if (isGap) throw new Error("two Gaps, and no event between");
      isGap = true;
    } else if (message.body === "event") {
      const { topic, offset } = message.event;
      if (offset !== (next.get(topic) ?? 1)) throw new Error(`offset ${offset} after a false Gap`);
      next.set(topic, offset + 1);
      isGap = false;
    }
  }
  return missed;
}

function stateCount(oracle: Oracle, name: string): number {
  return [...oracle.server.registry.all()].filter(({ stateName }) => stateName === name).length;
}

const FLOOD = 200_000;

test("row 12: over tcp a flood of tiny frames is read in turns and paused, never cut", async () => {
  const oracle = await Oracle.watch();
  const client = await oracle.active("tcp");
  client.write(Buffer.alloc(4 * FLOOD));
  const { counters } = oracle.server.shared;
  await oracle.until(() => counters.heartbeatsIn === FLOOD, "every frame was read");
  expect(counters.yields).toBeGreaterThan(FLOOD / 64 / 2);
  expect(client.heartbeatsAfter).toEqual([]);
  await client.echo();
  await client.leave();
  await oracle.verdict({ peer_closed: 1 });
});

describe.skipIf(RAW_TRANSPORTS.length < 2)("over websocket", () => {
  test("row 12: where reading cannot be paused, a flood of frames ends with 3006", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active("websocket");
    const message = binaryMessage(Buffer.alloc(4 * 30_000));
    for (let count = 0; count < 10; count++) client.write(message);
    const { goAway, closeCode } = await client.ending();
    expect(goAway?.code).toBe(3006);
    expect(closeCode).toBe(3006);
    await oracle.verdict({ receive_backlog: 1 });
  });

  test("row 12: a message of tiny frames within the backlog is read in turns", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active("websocket");
    client.write(binaryMessage(Buffer.concat(Array.from({ length: 30_000 }, () => HEARTBEAT))));
    const { counters } = oracle.server.shared;
    await oracle.until(() => counters.heartbeatsIn === 30_000, "every frame was read");
    expect(counters.yields).toBeGreaterThan(30_000 / 64 - 2);
    client.write(webSocketFrame({ opcode: OPCODE.CLOSE }));
    await client.ending();
    await oracle.verdict({ peer_closed: 1 });
  });
});
