// Rows 60 and 62 to 68 of the fault catalogue: what peers can use up, and what time can do.

import { get } from "node:http";
import { performance } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { SLICE } from "../../src/server/slices.ts";
import type { MemoryTransport } from "../../src/transport/memory.ts";
import { Oracle, RAW_TRANSPORTS } from "../support/oracle.ts";
import type { RawClient, RawTransport } from "../support/raw-client.ts";
import {
  bytesField,
  call,
  clientMessage,
  frame,
  hello,
  publish,
  subscribe,
  unsubscribe,
} from "../support/raw-message.ts";

/** A client that has stopped reading, with at least `bytes` queued for it in the server. */
async function backlogged(
  oracle: Oracle,
  transport: RawTransport,
  bytes: number,
): Promise<Backlogged> {
  const client = await oracle.client(transport);
  const { connectionId } = await client.hello();
  client.stopReading();
  const connection = oracle.server.connection(connectionId)!;
  const payload = Buffer.alloc(16_384);
  for (let count = 0; connection.backlogBytes < bytes && count < 4_000; count++)
    connection.send("t", payload);
  return { client, connection };
}

interface Backlogged {
  readonly client: RawClient;
  readonly connection: NonNullable<ReturnType<Oracle["server"]["connection"]>>;
}

describe.each(RAW_TRANSPORTS)("over %s", (transport) => {
  test("row 60: above the byte budget the largest queue is shed and no other", async () => {
    const oracle = await Oracle.watch({ send: { budgetBytes: 1_200_000, queueBytesMax: 900_000 } });
    const { budget } = oracle.server.shared;
    const small = await backlogged(oracle, transport, 150_000);
    const large = await backlogged(oracle, transport, 600_000);
    const middle = await backlogged(oracle, transport, 300_000);
    expect(budget.bytes).toBe(
      small.connection.backlogBytes +
        large.connection.backlogBytes +
        middle.connection.backlogBytes,
    );
    expect(budget.bytes).toBeLessThan(budget.bytesMax);
    for (let count = 0; large.connection.isOpen && count < 100; count++) {
      small.connection.send("t", Buffer.alloc(4_096));
    }
    expect([small, middle, large].map(({ connection }) => connection.isOpen)).toEqual([
      true,
      true,
      false,
    ]);
    expect(budget.bytes).toBeLessThanOrEqual(budget.bytesMax);
    // Its bytes are given back at once, so there is nothing left to say goodbye with.
    large.client.readOn();
    expect((await large.client.ending()).goAway).toBeNull();
    expect(oracle.server.closedByReason.slow_consumer).toBe(1);
    for (const { client } of [small, middle]) {
      client.readOn();
      await client.echo();
      await client.leave();
    }
    await oracle.verdict({ budget: 1, peer_closed: 2 });
  });

  test("row 62: the 129th subscription fails, and the end frees the others", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active(transport);
    for (let index = 0; index < 128; index++) client.send(subscribe(10 + index, `topic ${index}`));
    client.send(subscribe(200, "one too many"), subscribe(201, "topic 0"));
    await client.answer(201);
    expect(await statuses(client, 10, 127, 128, 137, 200, 201)).toEqual([
      "ok",
      "ok",
      "ok",
      "ok",
      8,
      "ok",
    ]);
    expect(oracle.server.topics.subscriptionCount).toBe(128);
    client.send(
      unsubscribe(300, "topic 5"),
      subscribe(301, "one too many"),
      publish(302, "one too many", "x"),
    );
    await client.answer(302);
    expect(await statuses(client, 300, 301, 302)).toEqual(["ok", "ok", "ok"]);
    expect(client.events.map(({ topic }) => topic)).toEqual(["one too many"]);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test.each([
    ["empty", ""],
    ["256 bytes long", "x".repeat(256)],
    ["256 bytes long in UTF-8", "é".repeat(128)],
    ["beyond 255 bytes by its last sign", `${"x".repeat(252)}😀`],
    ["60,000 bytes long", "x".repeat(60_000)],
  ])("row 63: a topic whose name is %s is refused and leaves nothing", async (_, name) => {
    const oracle = await Oracle.watch();
    const client = await oracle.active(transport);
    for (const body of [subscribe(2, name), publish(3, name, "x"), unsubscribe(4, name)])
      client.send(body);
    await client.answer(4);
    expect(await statuses(client, 2, 3, 4)).toEqual([3, 3, "ok"]);
    expect(oracle.server.topics.count).toBe(0);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test.each([
    ["255 bytes long", "x".repeat(255)],
    ["255 bytes long in UTF-8", "€".repeat(85)],
    ["made of signs that other systems read something into", "../*/#/+/\u0000\n\r{}[]\\\"'"],
    ["an object's member", "__proto__"],
  ])("row 63: a topic whose name is %s is a topic like any other", async (_, name) => {
    const oracle = await Oracle.watch();
    const client = await oracle.active(transport);
    client.send(subscribe(2, name), publish(3, name, "x"));
    await client.answer(3);
    expect(client.events).toEqual([{ topic: name, payload: Buffer.from("x"), offset: 1 }]);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 63: topics are capped in the process, and empty ones make room", async () => {
    const oracle = await Oracle.watch({ topic: { max: 50 } });
    const client = await oracle.active(transport);
    for (let index = 0; index < 51; index++) client.send(subscribe(10 + index, `topic ${index}`));
    await client.answer(60);
    expect(await statuses(client, 10, 59, 60)).toEqual(["ok", "ok", 8]);
    client.send(unsubscribe(70, "topic 0"), subscribe(71, "topic 50"));
    await client.answer(71);
    expect(await statuses(client, 70, 71)).toEqual(["ok", "ok"]);
    for (let round = 0; round < 1_000; round++) {
      client.send(
        unsubscribe(0, "topic 50"),
        subscribe(0, `round ${round}`),
        unsubscribe(0, `round ${round}`),
        subscribe(0, "topic 50"),
      );
    }
    await client.echo();
    expect(oracle.server.topics.count).toBe(50);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("row 64: no name that a client invents becomes a label of a metric", async () => {
    const oracle = await Oracle.watch({ admin: { enabled: true } });
    const metrics = (): Promise<string[]> => series(oracle.port("admin"));
    const client = await oracle.active(transport);
    client.send(
      call(2, "nobody"),
      call(3, "echo"),
      subscribe(4, "topic"),
      publish(5, "topic", "x"),
    );
    await client.answer(5);
    await client.leave();
    const before = await metrics();
    for (let index = 0; index < 300; index++) {
      const other = await oracle.client(transport);
      const name = `client ${index}`;
      other.send(clientMessage(1, "hello", Buffer.from([0x08, 0x01]), bytesField(3, name)));
      other.send(
        call(2, `method ${index}`),
        subscribe(4, `topic ${index}`),
        publish(5, `topic ${index}`, "x"),
      );
      await other.answer(5);
      other.socket.resetAndDestroy();
    }
    await oracle.until(() => oracle.server.closedByReason.connection_lost === 300, "all have gone");
    const after = await metrics();
    expect(after.length).toBeGreaterThan(50);
    expect(after).toEqual(before);
    expect(after.filter((name) => /client|method \d|topic \d/.test(name))).toEqual([]);
    await oracle.verdict({ peer_closed: 1, peer_reset: 300 });
  });
});

/** "ok" for a Result, else the Failure's code, by id. */
async function statuses(client: RawClient, ...ids: number[]): Promise<(string | number)[]> {
  const answers = await Promise.all(ids.map((id) => client.answer(id)));
  return answers.map((answer) => (answer.body === "failure" ? answer.failure.code : "ok"));
}

/** The names and labels of all samples. */
function series(port: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    get({ port, host: "127.0.0.1", path: "/metrics", agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("end", () => {
        const lines = Buffer.concat(parts).toString().split("\n");
        const samples = lines.filter((line) => line !== "" && !line.startsWith("#"));
        resolve(samples.map((line) => line.slice(0, line.lastIndexOf(" "))).sort());
      });
    }).on("error", reject);
  });
}

/** Nothing in this process runs for so long. */
function stall(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

test("row 66: a wall clock that jumps by an hour, to and fro, moves no deadline", async () => {
  let jump = 0;
  const clock: Clock = { ...systemClock, wall: () => Date.now() + jump };
  const lively = { heartbeatMs: 200, heartbeatJitter: 0, idleTimeoutMs: 500 };
  const oracle = await Oracle.watch(
    { connection: lively },
    { clock, methods: (server) => server.method("never", () => new Promise(() => {})) },
  );
  const clients = await Promise.all(RAW_TRANSPORTS.map((transport) => oracle.active(transport)));
  const start = performance.now();
  clients[0]!.send(call(2, "never", "", 700));
  for (const hours of [1, -1, 24, 0]) {
    jump = hours * 3_600_000;
    await delay(150);
  }
  expect(oracle.server.closedByReason.idle_timeout).toBe(0);
  const answer = await clients[0]!.answer(2);
  expect(answer.body === "failure" && answer.failure.code).toBe(4);
  expect(performance.now() - start).toBeGreaterThan(650);
  expect(performance.now() - start).toBeLessThan(1_200);
  for (const client of clients) {
    expect(client.heartbeatsAfter.length).toBeGreaterThanOrEqual(1);
    expect(client.heartbeatsAfter.length).toBeLessThanOrEqual(8);
    await client.leave();
  }
  await oracle.verdict({ peer_closed: clients.length });
});

test("row 67: a loop that stalls beyond the idle timeout kills nobody who is there", async () => {
  const lively = { heartbeatMs: 600, heartbeatJitter: 0, idleTimeoutMs: 1_300 };
  const oracle = await Oracle.watch({ connection: lively });
  const clients: RawClient[] = [];
  for (let count = 0; count < 20; count++)
    clients.push(await oracle.active(RAW_TRANSPORTS[count % RAW_TRANSPORTS.length]!));
  stall(1_800);
  await delay(300);
  expect(oracle.server.shared.counters.loopStalls).toBeGreaterThanOrEqual(1);
  expect(oracle.server.closedByReason.idle_timeout).toBe(0);
  for (const client of clients) {
    await client.echo();
    await client.leave();
  }
  await oracle.verdict({ peer_closed: 20 }, { neighbourMs: 4_000 });
});

test("row 67: after a stall what waits to be read is read before anybody is expired", async () => {
  const lively = {
    heartbeatMs: 300,
    heartbeatJitter: 0,
    idleTimeoutMs: 700,
    frameTimeoutMs: 300,
    handshakeTimeoutMs: 500,
  };
  const oracle = await Oracle.watch({ connection: lively });
  const clients: RawClient[] = [];
  for (let count = 0; count < 10; count++)
    clients.push(await oracle.active(RAW_TRANSPORTS[count % RAW_TRANSPORTS.length]!));
  const halves = await Promise.all([0, 1, 2].map(() => oracle.active("tcp")));
  const greeters = await Promise.all([0, 1, 2].map(() => oracle.client("tcp")));
  const bytes = frame(call(2, "echo", "after the stall"));
  for (const half of halves) half.write(bytes.subarray(0, 9));
  await delay(20);
  // All of this lies in the kernel while nobody here can read it.
  for (const client of clients) client.send(call(2, "echo", "after the stall"));
  for (const half of halves) half.write(bytes.subarray(9));
  for (const greeter of greeters) greeter.send(hello(2));
  stall(1_500);
  for (const client of [...clients, ...halves, ...greeters]) await client.answer(2);
  await delay(200);
  expect(oracle.server.closedByReason).toMatchObject({
    idle_timeout: 0,
    protocol_error: 0,
    handshake_timeout: 0,
  });
  for (const client of [...clients, ...halves, ...greeters]) await client.leave();
  await oracle.verdict({ peer_closed: 16 }, { neighbourMs: 4_000 });
});

test("row 67: after a stall silence is counted from what was read after it", async () => {
  const lively = { heartbeatMs: 300, heartbeatJitter: 0, idleTimeoutMs: 700 };
  const oracle = await Oracle.watch({ connection: lively });
  const clients: RawClient[] = [];
  for (const transport of RAW_TRANSPORTS) {
    clients.push(await oracle.active(transport, { answersHeartbeats: false }));
  }
  for (const client of clients) client.send(call(2, "echo"));
  stall(1_500);
  for (const client of clients) await client.answer(2);
  const start = performance.now();
  for (const client of clients) {
    expect((await client.ending()).goAway?.code).toBe(3001);
    expect(performance.now() - start).toBeGreaterThan(600);
  }
  await oracle.verdict({ silent: clients.length }, { neighbourMs: 4_000 });
});

test("row 68: 100,000 deadlines in one tick are met, and hold up nobody", async () => {
  const oracle = await Oracle.watch();
  const { wheel } = oracle.server.shared;
  let met = 0;
  const owner = { onDeadline: () => void met++ };
  const timers = Array.from({ length: 100_000 }, () => wheel.create(owner));
  for (const timer of timers) wheel.arm(timer, wheel.nowTick + 4);
  await oracle.until(() => met === 100_000, "all were met");
  for (const timer of timers) wheel.destroy(timer);
  await oracle.verdict({});
});

test("row 68: 5,000 heartbeats in one tick go out, and hold up nobody", async () => {
  const connection = { heartbeatMs: 600, heartbeatJitter: 0, idleTimeoutMs: 1_800 };
  const oracle = await Oracle.watch(
    { connection },
    { listeners: [{ name: "mem", transport: { kind: "memory" } }] },
  );
  const { transport } = oracle.server.listeners.find(({ name }) => name === "mem")!;
  let welcomes = 0;
  let heartbeats = 0;
  const onData = (bytes: Uint8Array): void => {
    if (bytes.length > 4) welcomes++;
    else heartbeats++;
  };
  const peers = Array.from({ length: 5_000 }, () =>
    (transport as MemoryTransport).connect({ onData, onClose: () => {} }),
  );
  const greeting = frame(hello(1));
  for (const peer of peers) peer.send(greeting);
  await oracle.until(() => heartbeats === 5_000, "a heartbeat for each");
  expect(welcomes).toBe(5_000);
  for (const [index, peer] of peers.entries()) {
    if (index % SLICE === 0) await delay(1);
    peer.end();
  }
  await oracle.verdict({ peer_closed: 5_000 });
});
