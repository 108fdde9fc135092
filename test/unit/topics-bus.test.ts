// Servers that are one: topics and pushes over the bus, as their clients see them.

import { afterEach, describe, expect, it } from "vitest";
import { STATUS } from "../../src/wire/messages.ts";
import { BusStage } from "../support/bus-stage.ts";
import type { MemoryClient, MemoryServer, MemoryServerParts } from "../support/memory-server.ts";
import { hello, publish, subscribe, unsubscribe } from "../support/raw-message.ts";
import type { PairedSocket } from "../support/socket-pair.ts";

type Worker = MemoryServer & { readonly far: PairedSocket };

let stage: BusStage;

async function workers(
  count: number,
  parts: ConstructorParameters<typeof BusStage>[0] = {},
  server: MemoryServerParts = {},
): Promise<Worker[]> {
  stage = new BusStage(parts);
  return Promise.all(Array.from({ length: count }, () => stage.server(server)));
}

afterEach(() => stage.stop());

/** What came since it was last asked: "2 result", "t 1 text", "t gap 3". */
async function heard(client: MemoryClient): Promise<string[]> {
  await stage.clock.settle();
  return client.messages.splice(0).map((message) => {
    if (message.body === "event") {
      const { topic, offset, payload } = message.event;
      return `${topic} ${offset} ${payload.toString()}`;
    }
    if (message.body === "gap") return `${message.gap.topic} gap ${message.gap.missed}`;
    if (message.body === "failure") return `${message.id} failure ${message.failure.code}`;
    return `${message.id} ${message.body}`;
  });
}

async function subscriber(worker: Worker, topic: string = "t"): Promise<MemoryClient> {
  const client = await worker.welcome();
  client.sendBody(subscribe(2, topic));
  expect(await heard(client)).toEqual(["2 result"]);
  return client;
}

describe("an event", () => {
  it("reaches subscribers on every worker, with the same offsets in the same order", async () => {
    const all = await workers(3);
    const clients = await Promise.all(all.map((worker) => subscriber(worker)));
    for (let index = 0; index < 30; index++) {
      clients[index % 3]!.sendBody(publish(0, "t", String(index)));
      if (index % 7 === 0) all[index % 3]!.server.publish("t", "server");
      if (index % 4 === 0) await stage.clock.settle();
    }
    const [first, ...others] = await Promise.all(clients.map(heard));
    expect(first!.length).toBe(35);
    expect(first!.map((line) => Number(line.split(" ")[1]))).toEqual(first!.map((_, at) => at + 1));
    for (const other of others) expect(other).toEqual(first);
  });

  it("may be published where nobody subscribes", async () => {
    const [a, b] = (await workers(2)) as [Worker, Worker];
    const reader = await subscriber(a);
    const writer = await b.welcome();
    writer.sendBody(publish(5, "t", "x"));
    expect(await heard(writer)).toEqual(["5 result"]);
    expect(await heard(reader)).toEqual(["t 1 x"]);
    expect([b.server.topics.count, b.server.topics.published]).toEqual([0, 1]);
  });

  it("that the hub dropped for one worker is announced there with the exact count", async () => {
    const limits = { queueBytesMax: 4_000, pair: { windowBytes: 500 } };
    const [a, b] = (await workers(2, limits)) as [Worker, Worker];
    const [near, far, other] = [await subscriber(a), await subscriber(b), await subscriber(b)];
    b.far.hold();
    for (let index = 1; index <= 100; index++) {
      a.server.publish("t", "x".repeat(200));
      await stage.clock.settle();
    }
    b.far.letGo();
    await stage.clock.settle();
    a.server.publish("t", "last");
    expect((await heard(near)).length).toBe(101);
    const lines = await heard(far);
    const missed = stage.hub.backlogOf(2)!.dropped;
    expect(missed).toBeGreaterThan(50);
    expect(lines.slice(-2)).toEqual([`t gap ${missed}`, "t 101 last"]);
    expect(lines.length).toBe(101 - missed + 1);
    expect(await heard(other)).toEqual(lines);
    expect(b.server.topics.lost).toBe(missed);
    expect(b.server.shared.counters.eventsDropped).toBe(2 * missed);
    expect(a.server.topics.lost).toBe(0);
  });

  it("that was lost before somebody joined is no gap for them", async () => {
    const limits = { queueBytesMax: 2_000, pair: { windowBytes: 100 } };
    const [a, b] = (await workers(2, limits)) as [Worker, Worker];
    const early = await subscriber(b);
    b.far.hold();
    for (let index = 0; index < 50; index++) a.server.publish("t", "x".repeat(100));
    await stage.clock.settle();
    b.far.letGo();
    await stage.clock.settle();
    a.server.publish("t", "shows the loss");
    await stage.clock.settle();
    const late = await subscriber(b);
    a.server.publish("t", "last");
    expect(await heard(late)).toEqual(["t 52 last"]);
    expect((await heard(early)).filter((line) => line.startsWith("t gap")).length).toBe(1);
  });

  it("that comes while too many wait is missed there, and announced before the next", async () => {
    const options = { topic: { backlogEventsMax: 3 } };
    const [a, b] = (await workers(2, {}, { options })) as [Worker, Worker];
    const readers: MemoryClient[] = [];
    // More than a slice: each event takes several turns.
    for (let index = 0; index < 1_500; index++) {
      const client = b.connect();
      client.sendBody(hello(1));
      client.sendBody(subscribe(2, "t"));
      readers.push(client);
    }
    await stage.clock.settle();
    for (const client of readers) client.messages.length = 0;
    for (let index = 1; index <= 20; index++) expect(a.server.publish("t", `${index}`)).toBe(true);
    await stage.clock.settle();
    const { lost } = b.server.topics;
    expect(lost).toBeGreaterThan(5);
    a.server.publish("t", "21");
    const [first, ...others] = await Promise.all(readers.map(heard));
    const events = first!.filter((line) => !line.includes("gap"));
    const missed = first!.filter((line) => line.includes("gap")).map((l) => Number(l.slice(6)));
    expect(events.length).toBe(21 - lost);
    expect(missed.reduce((sum, count) => sum + count, 0)).toBe(lost);
    expect(events.at(-1)).toBe("t 21 21");
    for (const other of others) expect(other).toEqual(first);
  });

  it("is refused as long as the bus takes nothing more", async () => {
    const options = { frame: { bytesMax: 1_048_576 } };
    const [a] = (await workers(1, {}, { options })) as [Worker];
    const client = await a.welcome();
    const near = a.far.peer!;
    near.hold();
    const payload = "x".repeat(1_000_000);
    let taken = 0;
    while (a.server.publish("t", payload)) {
      taken++;
      await stage.clock.settle();
    }
    expect(taken).toBe(17);
    client.sendBody(publish(7, "t", payload));
    expect(await heard(client)).toEqual([`7 failure ${STATUS.RESOURCE_EXHAUSTED}`]);
    near.letGo();
    await stage.clock.settle();
    client.sendBody(publish(8, "t", payload));
    expect(await heard(client)).toEqual(["8 result"]);
  });
});

describe("a Subscribe", () => {
  it("is answered when the bus has confirmed it, so that nothing later is missed", async () => {
    const [a, b] = (await workers(2)) as [Worker, Worker];
    const keeper = await subscriber(a);
    const client = await b.welcome();
    b.far.hold();
    client.sendBody(subscribe(2, "t"));
    client.sendBody(subscribe(3, "t"));
    expect(await heard(client)).toEqual([]);
    a.server.publish("t", "after the join");
    await stage.clock.settle();
    b.far.letGo();
    expect(await heard(client)).toEqual(["2 result", "3 result", "t 1 after the join"]);
    expect(await heard(keeper)).toEqual(["t 1 after the join"]);
  });

  it("of a topic that its worker has joined is answered at once", async () => {
    const [a] = (await workers(1)) as [Worker];
    await subscriber(a);
    a.far.hold();
    const client = await a.welcome();
    client.sendBody(subscribe(2, "t"));
    expect(await heard(client)).toEqual(["2 result"]);
  });

  it("that is taken back before it is confirmed is answered, and leaves nothing", async () => {
    const [a, b] = (await workers(2)) as [Worker, Worker];
    const client = await b.welcome();
    b.far.hold();
    client.sendBody(subscribe(2, "t"));
    client.sendBody(unsubscribe(3, "t"));
    expect(await heard(client)).toEqual(["2 result", "3 result"]);
    a.server.publish("t", "x");
    await stage.clock.settle();
    b.far.letGo();
    expect(await heard(client)).toEqual([]);
    expect([b.server.topics.count, stage.hub.topicCount]).toEqual([0, 0]);
  });

  it("that follows one which was taken back is confirmed by its own join alone", async () => {
    const [a, b] = (await workers(2)) as [Worker, Worker];
    await subscriber(a);
    const client = await b.welcome();
    b.far.hold();
    client.sendBody(subscribe(2, "t"));
    await stage.clock.settle();
    client.sendBody(unsubscribe(3, "t"));
    await stage.clock.settle();
    a.server.publish("t", "between");
    await stage.clock.settle();
    client.sendBody(subscribe(4, "t"));
    await stage.clock.settle();
    a.server.publish("t", "after");
    await stage.clock.settle();
    b.far.letGo();
    expect(await heard(client)).toEqual(["2 result", "3 result", "4 result", "t 2 after"]);
  });

  it("whose client goes before it is confirmed leaves nothing, and others get theirs", async () => {
    const [a, b] = (await workers(2)) as [Worker, Worker];
    const [goes, stays] = [await b.welcome(), await b.welcome()];
    b.far.hold();
    for (const client of [goes, stays]) client.sendBody(subscribe(2, "t"));
    goes.sendBody(subscribe(3, "u"));
    await stage.clock.settle();
    goes.peer.reset();
    await stage.clock.settle();
    b.far.letGo();
    expect(await heard(stays)).toEqual(["2 result"]);
    a.server.publish("t", "x");
    expect(await heard(stays)).toEqual(["t 1 x"]);
    expect([b.server.topics.count, stage.hub.topicCount]).toEqual([1, 1]);
  });

  it("is confirmed by the worker alone when the bus ends before", async () => {
    const [a, b] = (await workers(2)) as [Worker, Worker];
    const [client, old] = [await b.welcome(), await subscriber(b, "old")];
    a.server.publish("old", "1");
    expect(await heard(old)).toEqual(["old 1 1"]);
    b.far.hold();
    client.sendBody(subscribe(2, "t"));
    expect(await heard(client)).toEqual([]);
    stage.hub.close();
    b.far.letGo();
    expect(await heard(client)).toEqual(["2 result"]);
    b.server.publish("t", "x");
    b.server.publish("old", "2");
    client.sendBody(subscribe(3, "new"));
    expect(await heard(client)).toEqual(["t 1 x", "3 result"]);
    expect(await heard(old)).toEqual(["old 2 2"]);
    expect(b.logged).toMatchObject([
      { level: "warn", text: expect.stringContaining("serving alone") as string },
    ]);
  });
});

describe("a push", () => {
  it("by id reaches the connection on whichever worker it is", async () => {
    const [a, b] = (await workers(2)) as [Worker, Worker];
    const [near, far] = [await a.welcome(), await b.welcome()];
    const [nearId, farId] = [a.connectionOf(near).id, b.connectionOf(far).id];
    expect([a.server.send(nearId, "n", "1"), a.server.send(farId, "n", "2")]).toEqual([
      "sent",
      "forwarded",
    ]);
    expect([await heard(near), await heard(far)]).toEqual([["n 0 1"], ["n 0 2"]]);
  });

  it("by id says closed where its own worker has none, and where the id is none", async () => {
    const [a, b] = (await workers(2)) as [Worker, Worker];
    const [near, far] = [await a.welcome(), await b.welcome()];
    const [nearId, farId] = [a.connectionOf(near).id, b.connectionOf(far).id];
    near.peer.reset();
    far.peer.reset();
    await stage.clock.settle();
    expect(a.server.send(nearId, "n", "x")).toBe("closed");
    for (const id of ["", "x", "-", "nobody-0", "1-0", "!-1"]) {
      expect(a.server.send(id, "n", "x")).toBe("closed");
    }
    // Nobody can say from here.
    expect(a.server.send(farId, "n", "x")).toBe("forwarded");
    await stage.clock.settle();
  });

  it("by label and to all reaches all workers, and says how many there were", async () => {
    const all = await workers(3);
    const clients: MemoryClient[] = [];
    for (const [index, worker] of all.entries()) {
      for (let at = 0; at <= index; at++)
        clients.push(await worker.welcome({ room: "a=b", at: `${at}` }));
    }
    const everybody = all[0]!.server.broadcast("n", "all");
    const room = all[1]!.server.sendToLabel("room", "a=b", "n", "room");
    const some = all[2]!.server.sendToLabel("at", "1", "n", "some");
    const none = all[2]!.server.sendToLabel("at", "9", "n", "none");
    await stage.clock.settle();
    expect(await Promise.all([everybody, room, some, none])).toEqual([6, 6, 2, 0]);
    const got = await Promise.all(clients.map(heard));
    expect(got.map((lines) => lines.length)).toEqual([2, 2, 3, 2, 3, 2]);
  });

  it("to all counts what it can when a worker is silent", async () => {
    const [a, b, c] = (await workers(3)) as [Worker, Worker, Worker];
    for (const worker of [a, b, c]) await worker.welcome();
    b.far.hold();
    let reached = -1;
    void a.server.broadcast("n", "x").then((count) => (reached = count));
    await stage.clock.advance(4_900);
    expect(reached).toBe(-1);
    await stage.clock.advance(200);
    expect(reached).toBe(2);
    b.far.letGo();
  });
});
