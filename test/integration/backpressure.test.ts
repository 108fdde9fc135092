// Backpressure on real sockets: watermarks, the cap, the stall limit, paused reading, and that a
// slow reader is nobody's business but its own.

import { performance } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { ClientConnection } from "../../src/connection/client-connection.ts";
import type { SendOutcome } from "../../src/connection/outbound.ts";
import type { CallContext } from "../../src/server/router.ts";
import type { MemoryPeer, MemoryTransport } from "../../src/transport/memory.ts";
import { Oracle, RAW_TRANSPORTS } from "../support/oracle.ts";
import type { RawClient } from "../support/raw-client.ts";
import { call, frame, hello, publish, subscribe } from "../support/raw-message.ts";

const EVENT = Buffer.alloc(16_384, 7);
/** More than the kernel takes for one connection, and less than would take long. */
const SENDS_MAX = 4_000;

interface Slow {
  readonly client: RawClient;
  readonly connection: ClientConnection;
}

async function slow(oracle: Oracle, transport: "tcp" | "websocket"): Promise<Slow> {
  const client = await oracle.client(transport);
  const { connectionId } = await client.hello();
  client.stopReading();
  return { client, connection: oracle.server.connection(connectionId)! };
}

/** Sends until it is told `outcome`. @returns what was told before, each once, in order. */
function sendUntil(connection: ClientConnection, outcome: SendOutcome): SendOutcome[] {
  const told: SendOutcome[] = [];
  for (let count = 0; count < SENDS_MAX; count++) {
    const next = connection.send("t", EVENT);
    if (told.at(-1) !== next) told.push(next);
    if (next === outcome) return told;
  }
  throw new Error(`${SENDS_MAX} sends and never ${outcome}`);
}

describe.each(RAW_TRANSPORTS)("over %s", (transport) => {
  test("send() says sent, then queued, then full; drain comes at the low watermark", async () => {
    const drained: number[] = [];
    const oracle = await Oracle.watch(
      {},
      { hooks: { onDrain: (connection) => void drained.push(connection.backlogBytes) } },
    );
    const { client, connection } = await slow(oracle, transport);
    expect(sendUntil(connection, "full")).toEqual(["sent", "queued", "full"]);
    const { highBytes, lowBytes } = oracle.server.options.send;
    expect(connection.backlogBytes).toBeGreaterThan(highBytes);
    expect(connection.backlogBytes).toBeLessThanOrEqual(highBytes + EVENT.length + 100);
    expect(connection.send("t", EVENT)).toBe("full");
    expect(drained).toEqual([]);
    client.readOn();
    await oracle.until(() => connection.backlogBytes === 0, "all is sent");
    expect(drained.length).toBe(1);
    expect(drained[0]).toBeLessThanOrEqual(lowBytes);
    expect(connection.send("t", EVENT)).toBe("sent");
    await client.echo();
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("answers that nobody reads stop the reading of more calls, and none is lost", async () => {
    const oracle = await Oracle.watch(
      { send: { queueBytesMax: 400_000 } },
      { methods: (server) => server.method("large", () => Buffer.alloc(60_000)) },
    );
    const { client } = await slow(oracle, transport);
    // Above the high watermark it is not read any more, so answers never reach the cap.
    client.send(...Array.from({ length: 400 }, (_, index) => call(2 + index, "large")));
    const paused = (): boolean => oracle.server.shared.counters.readPauses > 0;
    await oracle.until(paused, "reading is paused");
    await delay(100);
    expect(oracle.server.shared.budget.bytes).toBeLessThanOrEqual(400_000);
    client.readOn();
    await client.answer(401);
    expect(client.messages.filter(({ body }) => body === "result").length).toBe(400);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("a frame far above the cap arrives whole where nothing waits before it", async () => {
    const oracle = await Oracle.watch();
    const { client, connection } = await slow(oracle, transport);
    const sent = Buffer.alloc(20_000_000, 5);
    connection.send("t", sent);
    await delay(100);
    client.readOn();
    await client.until(() => client.events.length === 1, "the event");
    expect(client.events[0]!.payload.equals(sent)).toBe(true);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 }, { neighbourMs: 2_000 });
  });

  test("what is sent in the turn of a disconnect arrives, though its reader is late", async () => {
    const oracle = await Oracle.watch();
    const { client, connection } = await slow(oracle, transport);
    // The kernel does not take as much at once.
    const sent = Buffer.alloc(2_000_000, 5);
    expect(connection.send("t", sent)).not.toBe("closed");
    connection.disconnect({ code: 4_000 });
    await delay(100);
    client.readOn();
    expect(await client.ending()).toMatchObject({ how: "fin", goAway: { code: 4_000 } });
    expect(client.events.map(({ payload }) => payload.equals(sent))).toEqual([true]);
    await oracle.verdict({ server: 1 });
    expect(oracle.server.shared.counters.bytesDiscardedOut).toBe(0);
  });

  test("a reader that takes a little now and then is never stalled", async () => {
    const oracle = await Oracle.watch({ send: { stallTimeoutMs: 400 } });
    const { client, connection } = await slow(oracle, transport);
    sendUntil(connection, "full");
    const start = performance.now();
    while (connection.backlogBytes > 0 && performance.now() - start < 6_000) {
      client.readOn();
      await delay(1);
      client.stopReading();
      await delay(60);
    }
    expect(connection.isOpen).toBe(true);
    client.readOn();
    await client.echo();
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("a connection above its high watermark is not read until it has drained", async () => {
    let calls = 0;
    const oracle = await Oracle.watch(
      {},
      { methods: (server) => server.method("count", () => void calls++) },
    );
    const { client, connection } = await slow(oracle, transport);
    sendUntil(connection, "full");
    client.send(...Array.from({ length: 50 }, (_, index) => call(2 + index, "count")));
    await delay(100);
    expect(calls).toBe(0);
    expect(oracle.server.shared.counters.readPauses).toBe(1);
    client.readOn();
    await client.answer(51);
    expect(calls).toBe(50);
    const ids = client.messages.filter(({ body }) => body === "result").map(({ id }) => id);
    expect(ids).toEqual(Array.from({ length: 50 }, (_, index) => 2 + index));
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("no more calls of one connection run than allowed; the rest wait unread", async () => {
    let running = 0;
    let most = 0;
    const methods = {
      methods: (server: Oracle["server"]) =>
        server.method("work", async ({ payload }: CallContext) => {
          const text = payload.text();
          most = Math.max(most, ++running);
          await delay(5);
          running--;
          return text;
        }),
    };
    const oracle = await Oracle.watch({ connection: { callsMax: 3 } }, methods);
    const client = await oracle.active(transport);
    client.send(...Array.from({ length: 30 }, (_, index) => call(2 + index, "work", `${index}`)));
    for (let id = 2; id < 32; id++) {
      const answer = await client.answer(id);
      expect(answer.body === "result" && answer.payload.toString()).toBe(`${id - 2}`);
    }
    expect(most).toBe(3);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("a slow subscriber delays no event to another", async () => {
    const oracle = await Oracle.watch({ send: { policy: "drop-oldest" } });
    const fast = await oracle.active(transport);
    fast.send(subscribe(2, "news"));
    await fast.answer(2);
    const { client } = await slow(oracle, transport);
    client.send(subscribe(2, "news"));
    await oracle.until(() => oracle.server.topics.subscribersOf("news") === 2, "both listen");
    const { counters } = oracle.server.shared;
    let slowest = 0;
    let published = 0;
    while (counters.eventsDropped < 50 && published < SENDS_MAX) {
      const start = performance.now();
      for (let count = 0; count < 50; count++) oracle.server.publish("news", EVENT);
      published += 50;
      await fast.until(() => fast.messages.length >= 2 + published, "events at the fast one");
      slowest = Math.max(slowest, performance.now() - start);
    }
    expect(counters.eventsDropped).toBeGreaterThanOrEqual(50);
    expect(fast.events.map(({ offset }) => offset)).toEqual(
      Array.from({ length: published }, (_, index) => index + 1),
    );
    expect(slowest).toBeLessThan(500);
    client.reset();
    await fast.leave();
    await oracle.verdict({ peer_closed: 1, peer_reset: 1 });
  });

  test("a publisher that reads nothing is not read, and its subscribers lose nothing", async () => {
    const oracle = await Oracle.watch();
    const reader = await oracle.active(transport);
    reader.send(subscribe(2, "news"));
    await reader.answer(2);
    const { client, connection } = await slow(oracle, transport);
    sendUntil(connection, "full");
    for (let index = 0; index < 3; index++) {
      client.send(...Array.from({ length: 3 }, () => publish(0, "news", EVENT)));
    }
    await delay(100);
    expect(reader.events.length).toBe(0);
    client.readOn();
    await reader.until(() => reader.events.length === 9, "what was published");
    await client.echo();
    await client.leave();
    await reader.leave();
    await oracle.verdict({ peer_closed: 2 });
  });
});

test("over tcp, what is not read stays with the client", async () => {
  const oracle = await Oracle.watch();
  const { client, connection } = await slow(oracle, "tcp");
  sendUntil(connection, "full");
  const before = oracle.server.shared.counters.bytesIn;
  const flood = Buffer.concat(Array.from({ length: 800 }, () => frame(publish(0, "t", EVENT))));
  client.write(flood);
  await delay(200);
  const echoes = oracle.echoes;
  const read = oracle.server.shared.counters.bytesIn - before;
  // Echoes of the neighbours aside, one read may have been under way.
  expect(read).toBeLessThan(65_536 + echoes * 100);
  expect(client.socket.writableLength).toBeGreaterThan(0);
  client.reset();
  await oracle.verdict({ peer_reset: 1 });
});

describe("the byte budget of the process", () => {
  /** Peers that read nothing, each with one answer of `bytes` in the network's hands. */
  function stuck(oracle: Oracle, count: number): MemoryPeer[] {
    const { transport } = oracle.server.listeners.find(({ name }) => name === "mem")!;
    return Array.from({ length: count }, () => {
      const peer = (transport as MemoryTransport).connect({ onData: () => {}, onClose: () => {} });
      peer.setReading(false);
      peer.send(frame(hello(1)));
      return peer;
    });
  }

  test("sheds no more connections than it takes, though all bytes left our hands", async () => {
    const oracle = await Oracle.watch(
      {
        send: { budgetBytes: 200_000, queueBytesMax: 65_536, highBytes: 40_000, lowBytes: 1_000 },
        connection: { closeTimeoutMs: 300 },
      },
      { listeners: [{ name: "mem", transport: { kind: "memory", windowBytes: 1_000 } }] },
    );
    const peers = stuck(oracle, 8);
    await oracle.until(
      () => oracle.server.admission.served === 8 + oracle.neighbours.length,
      "all",
    );
    await delay(20);
    const memory = [...oracle.server.registry.all()].filter(({ context }) => context.raw === null);
    const stuckOnes = memory.filter(({ context }) => context.transport.kind === "memory");
    // 8 times 30,000 bytes are more than 200,000; without two of them they are not.
    for (const connection of stuckOnes) connection.send("t", Buffer.alloc(30_000));
    await delay(20);
    const open = stuckOnes.filter(({ isOpen }) => isOpen).length;
    expect(open).toBeGreaterThanOrEqual(5);
    expect(open).toBeLessThan(8);
    for (const peer of peers) if (peer.closedWith === null) peer.reset();
    await oracle.verdict({ budget: 8 - open, peer_reset: open });
  });
});
