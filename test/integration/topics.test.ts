// Topics on real sockets: order, offsets, and that a large fan-out does not hold up the rest.

import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { PartialOptions } from "../../src/config/options.ts";
import type { MemoryPeer, MemoryTransport } from "../../src/transport/memory.ts";
import { Oracle, RAW_TRANSPORTS } from "../support/oracle.ts";
import type { RawClient } from "../support/raw-client.ts";
import {
  FrameCutter,
  frame,
  hello,
  publish,
  readServerMessage,
  subscribe,
  unsubscribe,
} from "../support/raw-message.ts";

function bodies(client: RawClient): (string | number)[][] {
  return client.messages.map((message) =>
    message.body === "event"
      ? [message.event.topic, message.event.offset, message.event.payload.toString()]
      : [message.id, message.body],
  );
}

describe.each(RAW_TRANSPORTS)("over %s", (transport) => {
  test("a subscriber gets all events in order, its own too, offsets rising by one", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active(transport);
    client.send(publish(2, "a", "too early"), subscribe(3, "a"));
    client.send(publish(4, "a", "one"), publish(0, "a", "two"), publish(5, "b", "another topic"));
    await client.answer(5);
    oracle.server.publish("a", "three");
    await client.until(() => client.events.length === 3, "three events");
    expect(bodies(client)).toEqual([
      [1, "welcome"],
      [2, "result"],
      [3, "result"],
      ["a", 1, "one"],
      [4, "result"],
      ["a", 2, "two"],
      [5, "result"],
      ["a", 3, "three"],
    ]);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("Subscribe is answered before the first event, Unsubscribe after the last", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active(transport);
    client.send(subscribe(2, "a"), publish(3, "a", "x"), unsubscribe(4, "a"), publish(5, "a", "y"));
    client.send(subscribe(6, "a"), publish(7, "a", "z"));
    await client.answer(7);
    expect(bodies(client)).toEqual([
      [1, "welcome"],
      [2, "result"],
      ["a", 1, "x"],
      [3, "result"],
      [4, "result"],
      [5, "result"],
      [6, "result"],
      // Nobody was subscribed in between, so the topic has begun anew.
      ["a", 1, "z"],
      [7, "result"],
    ]);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("a second Subscribe is the same as one, and so is a second Unsubscribe", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active(transport);
    client.send(subscribe(2, "a"), subscribe(3, "a"), publish(4, "a", "x"), unsubscribe(5, "a"));
    client.send(unsubscribe(6, "a"), publish(7, "a", "y"));
    await client.answer(7);
    expect(client.events.length).toBe(1);
    expect(oracle.server.topics.count).toBe(0);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("two subscribers see the same events under the same offsets", async () => {
    const oracle = await Oracle.watch();
    const readers = [await oracle.active("tcp"), await oracle.active(transport)];
    const writers = [await oracle.active(transport), await oracle.active("tcp")];
    for (const reader of readers) {
      reader.send(subscribe(2, "a"));
      await reader.answer(2);
    }
    for (let round = 0; round < 50; round++) {
      for (const [index, writer] of writers.entries()) {
        writer.send(publish(0, "a", `${index} ${round}`), publish(0, "a", `${index} ${round}b`));
      }
    }
    for (const reader of readers)
      await reader.until(() => reader.events.length === 200, "200 events");
    expect(bodies(readers[0]!).slice(2)).toEqual(bodies(readers[1]!).slice(2));
    expect(readers[0]!.events.map(({ offset }) => offset)).toEqual(
      Array.from({ length: 200 }, (_, index) => index + 1),
    );
    for (const [index] of writers.entries()) {
      const own = readers[0]!.events.map(({ payload }) => payload.toString());
      const ofWriter = own.filter((text) => text.startsWith(`${index} `));
      expect(ofWriter).toEqual(
        Array.from({ length: 50 }, (_, n) => [`${index} ${n}`, `${index} ${n}b`]).flat(),
      );
    }
    for (const client of [...readers, ...writers]) await client.leave();
    await oracle.verdict({ peer_closed: 4 });
  });

  test("an event larger than the cork arrives whole, between its neighbours", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active(transport);
    client.send(subscribe(2, "a"));
    await client.answer(2);
    for (const length of [10, 200_000, 20, 65_536, 4_097, 4_096]) {
      oracle.server.publish("a", Buffer.alloc(length, length % 251));
    }
    await client.until(() => client.events.length === 6, "six events");
    expect(client.events.map(({ payload }) => payload.length)).toEqual([
      10, 200_000, 20, 65_536, 4_097, 4_096,
    ]);
    expect(
      client.events.every(({ payload }) => payload.every((byte) => byte === payload.length % 251)),
    ).toBe(true);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("where clients may not publish they are told so, and the server still may", async () => {
    const oracle = await Oracle.watch({ topic: { publishFromClients: false } });
    const client = await oracle.active(transport);
    client.send(subscribe(2, "a"), publish(3, "a", "x"));
    const answer = await client.answer(3);
    expect(answer.body === "failure" && answer.failure.code).toBe(7);
    oracle.server.publish("a", "from the server");
    await client.until(() => client.events.length === 1, "the server's event");
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("a broadcast reaches every session and says how many", async () => {
    const oracle = await Oracle.watch();
    const clients = await Promise.all(Array.from({ length: 20 }, () => oracle.active(transport)));
    const reached = await oracle.server.broadcast("all", "hear");
    expect(reached).toBe(20 + oracle.neighbours.length);
    for (const client of clients) {
      await client.until(() => client.events.length === 1, "the broadcast");
      expect(client.events[0]).toEqual({ topic: "all", payload: Buffer.from("hear"), offset: 0 });
      await client.leave();
    }
    await oracle.verdict({ peer_closed: 20 });
  });
});

const MANY = 3_000;

/** What one of many subscribers has received. */
interface Ear {
  readonly peer: MemoryPeer;
  readonly offsets: number[];
  /** Ids that were answered. */
  readonly answered: number[];
}

interface Crowd {
  readonly oracle: Oracle;
  readonly ears: Ear[];
  join(): Ear;
}

async function crowd(options: PartialOptions = {}): Promise<Crowd> {
  const oracle = await Oracle.watch(options, {
    listeners: [{ name: "mem", transport: { kind: "memory" } }],
  });
  const { transport } = oracle.server.listeners.find(({ name }) => name === "mem")!;
  const greeting = Buffer.concat([frame(hello(1)), frame(subscribe(2, "news"))]);
  const join = (): Ear => {
    const cutter = new FrameCutter();
    const ear: Ear = {
      offsets: [],
      answered: [],
      peer: (transport as MemoryTransport).connect({
        onData: (bytes) => {
          for (const body of cutter.push(Buffer.from(bytes))) {
            const message = readServerMessage(body);
            if (message.body === "event") ear.offsets.push(message.event.offset);
            else ear.answered.push(message.id);
          }
        },
        onClose: () => {},
      }),
    };
    ear.peer.send(greeting);
    return ear;
  };
  const ears = Array.from({ length: MANY }, join);
  await oracle.until(() => oracle.server.topics.subscribersOf("news") === MANY, "all listen");
  return { oracle, ears, join };
}

async function disperse({ oracle, ears }: Crowd): Promise<void> {
  for (const [index, { peer }] of ears.entries()) {
    peer.end();
    if (index % 500 === 0) await delay(1);
  }
  await oracle.verdict({ peer_closed: ears.length });
}

describe("a topic with 3,000 subscribers", () => {
  test("is served in slices: publish returns before all have their event", async () => {
    const many = await crowd();
    const { oracle, ears } = many;
    const before = oracle.echoes;
    for (let count = 0; count < 20; count++) oracle.server.publish("news", `event ${count}`);
    expect(oracle.server.topics.backlogCount).toBe(20);
    expect(oracle.server.topics.delivered).toBe(0);
    await oracle.until(() => oracle.server.topics.backlogCount === 0, "the fan-out");
    expect(oracle.server.topics.delivered).toBe(20 * MANY);
    expect(oracle.echoes - before, "echoes meanwhile").toBeGreaterThan(0);
    await oracle.until(() => ears.every(({ offsets }) => offsets.length === 20), "all events");
    const inOrder = JSON.stringify(Array.from({ length: 20 }, (_, index) => index + 1));
    expect(ears.every(({ offsets }) => JSON.stringify(offsets) === inOrder)).toBe(true);
    await disperse(many);
  });

  test("gives who joins during a fan-out only later events, and who leaves none", async () => {
    const many = await crowd();
    const { oracle, ears, join } = many;
    for (let count = 0; count < 3; count++) oracle.server.publish("news", "early");
    const late = Array.from({ length: 10 }, join);
    for (const { peer } of ears.slice(-10)) peer.send(frame(unsubscribe(3, "news")));
    const hasChanged = (): boolean =>
      late.every(({ answered }) => answered.includes(2)) &&
      ears.slice(-10).every(({ answered }) => answered.includes(3));
    await oracle.until(hasChanged, "the change");
    for (let count = 0; count < 2; count++) oracle.server.publish("news", "late");
    await oracle.until(() => oracle.server.topics.backlogCount === 0, "the fan-out");
    await oracle.until(() => late.every(({ offsets }) => offsets.length > 0), "the late events");
    await delay(20);
    expect(late.every(({ offsets }) => offsets.join() === "4,5")).toBe(true);
    expect(ears.slice(0, -10).every(({ offsets }) => offsets.join() === "1,2,3,4,5")).toBe(true);
    expect(ears.slice(-10).every(({ offsets }) => !offsets.includes(4))).toBe(true);
    ears.push(...late);
    await disperse(many);
  });

  test("that is behind refuses more, as something to try again", async () => {
    const many = await crowd({ topic: { backlogEventsMax: 4 } });
    const { oracle } = many;
    const client = await oracle.active("tcp");
    client.send(...Array.from({ length: 30 }, (_, index) => publish(2 + index, "news", "x")));
    await client.answer(31);
    const taken = client.messages.filter(({ body }) => body === "result").length;
    const refused = client.messages.flatMap((message) =>
      message.body === "failure" ? [message.failure] : [],
    );
    expect(taken).toBeGreaterThanOrEqual(4);
    expect(taken + refused.length).toBe(30);
    expect(refused.length).toBeGreaterThan(0);
    expect(refused.every(({ code, retryable }) => code === 8 && retryable)).toBe(true);
    const { ears } = many;
    await oracle.until(() => ears.every(({ offsets }) => offsets.length === taken), "the events");
    client.send(publish(50, "news", "x"));
    expect((await client.answer(50)).body).toBe("result");
    await client.leave();
    for (const { peer } of ears) peer.reset();
    await oracle.verdict({ peer_closed: 1, peer_reset: MANY });
  });
});
