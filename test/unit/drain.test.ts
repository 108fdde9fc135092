import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type MemoryClient, MemoryServer } from "../support/memory-server.ts";
import { call, goodbye, hello, subscribe } from "../support/raw-message.ts";

const GRACE_MS = 3_000;
const CLOSE_SPREAD_MS = 2_000;
const drain = {
  graceMs: GRACE_MS,
  reconnectSpreadMs: 10_000,
  closeSpreadMs: CLOSE_SPREAD_MS,
};

let running: MemoryServer;
let answers: ((text: string) => void)[];

beforeEach(async () => {
  answers = [];
  running = await MemoryServer.start({
    options: { drain },
    memory: { windowBytes: 10_000 },
    prepare: (server) =>
      server.method("slow", () => new Promise<string>((resolve) => answers.push(resolve))),
  });
});

afterEach(async () => {
  await running.stop();
});

/** The GoAway that a client got; it must be the last message. */
function goAway(client: MemoryClient): { code: number; reconnectAfterMs: number } {
  const last = client.messages.at(-1);
  expect(last?.body).toBe("goAway");
  return last!.body === "goAway" ? last!.goAway : { code: 0, reconnectAfterMs: 0 };
}

function goAways(client: MemoryClient): number {
  return client.messages.filter(({ body }) => body === "goAway").length;
}

/** Stops, and tells whether that has ended. */
function stopping(options: { hasten?: boolean } = {}): { isDone: boolean } {
  const stop = { isDone: false };
  void running.server.stop(options).then(() => (stop.isDone = true));
  return stop;
}

describe("a graceful stop", () => {
  it("tells everybody 3000 and when to come back, spread evenly", async () => {
    const clients = await Promise.all(Array.from({ length: 200 }, () => running.welcome()));
    stopping();
    expect(running.server.state).toBe("draining");
    await running.clock.settle();
    const times = clients.map((client) => {
      expect([goAway(client).code, client.closedWith]).toEqual([3_000, null]);
      return goAway(client).reconnectAfterMs;
    });
    expect(Math.min(...times)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...times)).toBeLessThanOrEqual(10_000);
    for (let fifth = 0; fifth < 5; fifth++) {
      const inFifth = times.filter((time) => Math.floor(time / 2_000) === fifth);
      expect(inFifth.length).toBeGreaterThan(20);
    }
  });

  it("lets those that are told choose their moment, and closes none during the grace", async () => {
    const clients = await Promise.all(Array.from({ length: 20 }, () => running.welcome()));
    const stop = stopping();
    await running.clock.advance(GRACE_MS - 100);
    expect(clients.filter(({ closedWith }) => closedWith !== null)).toEqual([]);
    for (const client of clients) client.peer.end();
    await running.clock.settle();
    expect(clients.map(({ closedWith }) => closedWith)).toEqual(clients.map(() => 3_000));
    expect(clients.map(goAways)).toEqual(clients.map(() => 1));
    expect(stop.isDone).toBe(true);
    expect(running.server.closedByCause.draining).toBe(20);
  });

  it("counts a Goodbye after GoAway as what it is, and does not say GoAway twice", async () => {
    const client = await running.welcome();
    const stop = stopping();
    await running.clock.settle();
    client.sendBody(goodbye());
    await running.clock.settle();
    expect([goAways(client), stop.isDone]).toEqual([1, true]);
    expect(running.server.closedByCause.goodbye).toBe(1);
  });

  it("closes those that stay in order, spread evenly after the grace", async () => {
    const clients = await Promise.all(Array.from({ length: 100 }, () => running.welcome()));
    const stop = stopping();
    await running.clock.advance(GRACE_MS);
    const closed = (): number => clients.filter(({ closedWith }) => closedWith === 3_000).length;
    const each = 10;
    for (let tenth = 0; tenth < 10; tenth++) {
      expect(closed()).toBeGreaterThanOrEqual(each * tenth - 4);
      expect(closed()).toBeLessThanOrEqual(each * tenth + 4);
      await running.clock.advance(CLOSE_SPREAD_MS / 10);
    }
    expect([closed(), stop.isDone, running.server.state]).toEqual([100, true, "stopped"]);
    expect(clients.map(goAways)).toEqual(clients.map(() => 1));
    expect(running.server.closedByCause.draining).toBe(100);
  });

  it.each([0, 1])(
    "with a spread of %i ms closes all of them when the grace is over",
    async (ms) => {
      running.server.reconfigure({
        ...running.server.options,
        drain: { ...drain, closeSpreadMs: ms },
      });
      const clients = await Promise.all(Array.from({ length: 2_500 }, () => running.welcome()));
      const stop = stopping();
      await running.clock.advance(GRACE_MS - 10);
      expect(clients.filter(({ closedWith }) => closedWith !== null)).toEqual([]);
      await running.clock.advance(70);
      expect(clients.filter(({ closedWith }) => closedWith === 3_000).length).toBe(2_500);
      expect(stop.isDone).toBe(true);
    },
  );

  it("without grace begins to close at once, and tells everybody before", async () => {
    const options = { ...running.server.options, drain: { ...drain, graceMs: 0 } };
    running.server.reconfigure(options);
    const clients = await Promise.all(Array.from({ length: 10 }, () => running.welcome()));
    const stop = stopping();
    await running.clock.advance(CLOSE_SPREAD_MS / 2);
    const closed = clients.filter(({ closedWith }) => closedWith === 3_000).length;
    expect(closed).toBeGreaterThan(3);
    expect(closed).toBeLessThan(8);
    await running.clock.advance(CLOSE_SPREAD_MS / 2);
    expect([clients.map(goAways), stop.isDone]).toEqual([clients.map(() => 1), true]);
  });

  it("takes nobody new", async () => {
    await running.welcome();
    stopping();
    expect(() => running.connect()).toThrow("does not accept");
  });

  it("serves those whose connecting had begun: Welcome, then GoAway", async () => {
    const client = running.connect();
    const stop = stopping();
    await running.clock.advance(500);
    expect(client.messages).toEqual([]);
    client.sendBody(hello(1));
    await running.clock.settle();
    expect(client.messages.map(({ body }) => body)).toEqual(["welcome", "goAway"]);
    expect([client.closedWith, stop.isDone]).toEqual([null, false]);
    client.peer.end();
    await running.clock.settle();
    expect(stop.isDone).toBe(true);
  });

  it("closes those that never say Hello in their turn, and tells them", async () => {
    const clients = Array.from({ length: 2_500 }, () => running.connect());
    const stop = stopping();
    await running.clock.advance(GRACE_MS + CLOSE_SPREAD_MS);
    expect(clients.filter(({ closedWith }) => closedWith === 3_000).length).toBe(2_500);
    expect(clients.map((client) => goAway(client).code)).toEqual(clients.map(() => 3_000));
    expect(stop.isDone).toBe(true);
  });

  it("lets calls end: GoAway comes at once, the answer after it", async () => {
    const client = await running.welcome();
    client.sendBody(call(5, "slow"));
    await running.clock.settle();
    const stop = stopping();
    await running.clock.advance(1_000);
    expect(goAway(client).code).toBe(3_000);
    answers[0]!("done");
    await running.clock.settle();
    expect(client.messages.map(({ body }) => body)).toEqual(["goAway", "result"]);
    expect([client.closedWith, stop.isDone]).toEqual([null, false]);
    client.peer.end();
    await running.clock.settle();
    expect([client.closedWith, stop.isDone]).toEqual([3_000, true]);
  });

  it("answers what a client that has ended its side still waits for, then closes", async () => {
    const client = await running.welcome();
    client.sendBody(call(5, "slow"));
    await running.clock.settle();
    const stop = stopping();
    await running.clock.settle();
    client.peer.end();
    await running.clock.settle();
    expect([client.closedWith, stop.isDone]).toEqual([null, false]);
    answers[0]!("done");
    await running.clock.settle();
    expect(client.messages.map(({ body }) => body)).toEqual(["goAway", "result"]);
    expect([client.closedWith, stop.isDone]).toEqual([3_000, true]);
  });

  it("answers calls that cross the GoAway", async () => {
    const client = await running.welcome();
    client.sendBody(call(5, "slow"));
    await running.clock.settle();
    stopping();
    client.sendBody(call(6, "slow"));
    await running.clock.settle();
    expect(answers.length).toBe(2);
    for (const answer of answers) answer("done");
    await running.clock.settle();
    expect(client.messages.map(({ body, id }) => [body, id])).toEqual([
      ["goAway", 0],
      ["result", 5],
      ["result", 6],
    ]);
    expect(client.closedWith).toBe(null);
  });

  it("flushes what is queued before it closes", async () => {
    const client = await running.welcome();
    client.sendBody(subscribe(0, "t"));
    await running.clock.settle();
    client.peer.setReading(false);
    for (let count = 0; count < 20; count++) running.server.publish("t", "x".repeat(5_000));
    await running.clock.settle();
    const stop = stopping();
    await running.clock.advance(GRACE_MS + CLOSE_SPREAD_MS);
    expect([client.closedWith, stop.isDone]).toEqual([null, false]);
    client.peer.setReading(true);
    await running.clock.settle();
    const events = client.messages.filter(({ body }) => body === "event");
    expect([events.length, goAway(client).code, stop.isDone]).toEqual([20, 3_000, true]);
  });

  it.each(["disconnect", "drop-newest", "drop-oldest", "conflate"] as const)(
    "tells a client whose queue is full (%s) as well",
    async (policy) => {
      const options = running.server.options;
      const send = { ...options.send, policy, highBytes: 20_000, lowBytes: 5_000 };
      running.server.reconfigure({ ...options, send });
      const client = await running.welcome();
      client.sendBody(subscribe(0, "t"));
      await running.clock.settle();
      client.peer.setReading(false);
      const connection = running.connectionOf(client);
      const room = options.send.queueBytesMax - 5;
      while (connection.backlogBytes + 5_100 < room) running.server.publish("t", "x".repeat(5_000));
      running.server.publish("t", "x".repeat(room - connection.backlogBytes - 12));
      const full = options.send.queueBytesMax - connection.backlogBytes;
      expect([connection.isOpen, full < 30]).toEqual([true, true]);
      stopping();
      await running.clock.settle();
      client.peer.setReading(true);
      await running.clock.settle();
      expect([goAways(client), client.closedWith]).toEqual([1, null]);
    },
  );

  it("resets what is left a second after the last was closed: peers that do not read", async () => {
    const [stuck, deaf] = [await running.welcome(), await running.welcome()];
    stuck.sendBody(call(5, "slow"));
    deaf.sendBody(subscribe(0, "t"));
    await running.clock.settle();
    deaf.peer.setReading(false);
    for (let count = 0; count < 20; count++) running.server.publish("t", "x".repeat(5_000));
    await running.clock.settle();
    const stop = stopping();
    await running.clock.advance(GRACE_MS);
    expect([stuck.closedWith, deaf.closedWith, stop.isDone]).toEqual([null, null, false]);
    await running.clock.advance(CLOSE_SPREAD_MS);
    expect([stuck.closedWith, deaf.closedWith, stop.isDone]).toEqual([3_000, null, false]);
    await running.clock.advance(1_100);
    expect([deaf.closedWith, stop.isDone]).toEqual([-1, true]);
    running.expectNothingHeld();
  });

  it("is hastened by a second call, and both calls end", async () => {
    const client = await running.welcome();
    client.sendBody(call(5, "slow"));
    await running.clock.settle();
    const first = stopping();
    await running.clock.advance(100);
    const second = stopping({ hasten: true });
    await running.clock.settle();
    expect([client.closedWith, first.isDone, second.isDone]).toEqual([-1, true, true]);
  });

  it("is hastened in the middle of the closing, too", async () => {
    const clients = await Promise.all(Array.from({ length: 10 }, () => running.welcome()));
    const first = stopping();
    await running.clock.advance(GRACE_MS + CLOSE_SPREAD_MS / 2);
    const second = stopping({ hasten: true });
    await running.clock.settle();
    expect([first.isDone, second.isDone]).toEqual([true, true]);
    expect(new Set(clients.map(({ closedWith }) => closedWith))).toEqual(new Set([3_000, -1]));
    expect(running.clock.pending).toBe(0);
  });

  it("ends at once where nobody is connected, and leaves no timer behind", async () => {
    const stop = stopping();
    await running.clock.settle();
    expect([stop.isDone, running.server.state, running.clock.pending]).toEqual([
      true,
      "stopped",
      0,
    ]);
  });

  it("ends by itself where the last peer resets", async () => {
    const client = await running.welcome();
    client.sendBody(call(5, "slow"));
    await running.clock.settle();
    const stop = stopping();
    client.peer.reset();
    await running.clock.settle();
    expect([stop.isDone, running.clock.pending]).toEqual([true, 0]);
  });
});

describe("a graceful stop of a raw listener", () => {
  it("says nothing, and closes in the same spread", async () => {
    const raw = await MemoryServer.start({
      options: { drain },
      listener: { raw: { onFrame: () => {} } },
    });
    const clients = Array.from({ length: 10 }, () => raw.connect());
    await raw.clock.settle();
    let isDone = false;
    void raw.server.stop().then(() => (isDone = true));
    await raw.clock.advance(GRACE_MS);
    expect(clients.filter(({ closedWith }) => closedWith !== null)).toEqual([]);
    clients[0]!.peer.end();
    await raw.clock.settle();
    expect(raw.server.closedByCause.peer_closed).toBe(1);
    await raw.clock.advance(CLOSE_SPREAD_MS / 2);
    const closed = clients.filter(({ closedWith }) => closedWith !== null).length;
    expect([closed > 3, closed < 8]).toEqual([true, true]);
    await raw.clock.advance(CLOSE_SPREAD_MS / 2);
    expect([isDone, clients.flatMap(({ bytes }) => bytes)]).toEqual([true, []]);
    await raw.stop();
  });
});

describe("stopping", () => {
  it("a server that has stopped does nothing, and it cannot start again", async () => {
    await running.server.stop();
    await running.server.stop({ hasten: true });
    await expect(running.server.start()).rejects.toMatchObject({ code: "HOLDFAST_SERVER_STATE" });
  });

  it("a server that never started is enough for it to be stopped", async () => {
    const other = await MemoryServer.start();
    await other.stop();
    expect(other.server.state).toBe("stopped");
  });

  it("twice while clients are still told waits for the same end", async () => {
    const client = await running.welcome();
    client.sendBody(call(5, "slow"));
    await running.clock.settle();
    const [first, second] = [stopping(), stopping()];
    await running.clock.settle();
    expect([first.isDone, second.isDone]).toEqual([false, false]);
    expect(client.messages.filter(({ body }) => body === "goAway").length).toBe(1);
    answers[0]!("done");
    client.peer.end();
    await running.clock.settle();
    expect([first.isDone, second.isDone]).toEqual([true, true]);
  });
});
