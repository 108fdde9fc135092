import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { STATUS } from "../../src/wire/messages.ts";
import { type MemoryClient, MemoryServer } from "../support/memory-server.ts";
import { call, frame, subscribe } from "../support/raw-message.ts";

let running: MemoryServer;
let answers: ((text: string) => void)[];

beforeEach(async () => {
  answers = [];
  running = await MemoryServer.start({
    options: { drain: { graceMs: 3_000, reconnectSpreadMs: 10_000 } },
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

/** Stops, and tells whether that has ended. */
function stopping(options: { hasten?: boolean } = {}): { isDone: boolean } {
  const stop = { isDone: false };
  void running.server.stop(options).then(() => (stop.isDone = true));
  return stop;
}

describe("a graceful stop", () => {
  it("tells everybody 3000 and when to come back, spread evenly, and then closes", async () => {
    const clients = await Promise.all(Array.from({ length: 200 }, () => running.welcome()));
    const stop = stopping();
    expect(running.server.state).toBe("draining");
    await running.clock.settle();
    const times = clients.map((client) => {
      expect([goAway(client).code, client.closedWith]).toEqual([3_000, 3_000]);
      return goAway(client).reconnectAfterMs;
    });
    expect(Math.min(...times)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...times)).toBeLessThanOrEqual(10_000);
    for (let fifth = 0; fifth < 5; fifth++) {
      const inFifth = times.filter((time) => Math.floor(time / 2_000) === fifth);
      expect(inFifth.length).toBeGreaterThan(20);
    }
    expect([stop.isDone, running.server.state]).toEqual([true, "stopped"]);
    expect(running.server.closedByCause.draining).toBe(200);
  });

  it("takes nobody new", async () => {
    await running.welcome();
    stopping();
    expect(() => running.connect()).toThrow("does not accept");
  });

  it("lets calls end: GoAway comes at once, the answer after it, then the close", async () => {
    const client = await running.welcome();
    client.sendBody(call(5, "slow"));
    await running.clock.settle();
    const stop = stopping();
    await running.clock.advance(1_000);
    expect(goAway(client).code).toBe(3_000);
    expect([client.closedWith, stop.isDone]).toEqual([null, false]);
    answers[0]!("done");
    await running.clock.settle();
    expect(client.messages.map(({ body }) => body)).toEqual(["goAway", "result"]);
    expect([client.closedWith, stop.isDone]).toEqual([3_000, true]);
  });

  it("refuses new calls while it waits for those under way, as retryable", async () => {
    const client = await running.welcome();
    client.sendBody(call(5, "slow"));
    await running.clock.settle();
    stopping();
    client.sendBody(call(6, "slow"));
    await running.clock.settle();
    expect(answers.length).toBe(1);
    expect(client.messages.at(-1)).toMatchObject({
      id: 6,
      failure: { code: STATUS.UNAVAILABLE, retryable: true },
    });
    answers[0]!("done");
    await running.clock.settle();
    expect([client.messages.at(-1)!.id, client.closedWith]).toEqual([5, 3_000]);
  });

  it("waits for the last of several calls", async () => {
    const client = await running.welcome();
    client.send(Buffer.concat([frame(call(5, "slow")), frame(call(6, "slow"))]));
    await running.clock.settle();
    const stop = stopping();
    answers[1]!("second");
    await running.clock.settle();
    expect([client.closedWith, stop.isDone]).toEqual([null, false]);
    answers[0]!("first");
    await running.clock.settle();
    expect([client.closedWith, stop.isDone]).toEqual([3_000, true]);
  });

  it("flushes what is queued", async () => {
    const client = await running.welcome();
    client.sendBody(subscribe(0, "t"));
    await running.clock.settle();
    client.peer.setReading(false);
    for (let count = 0; count < 20; count++) running.server.publish("t", "x".repeat(5_000));
    await running.clock.settle();
    const stop = stopping();
    await running.clock.advance(500);
    expect(stop.isDone).toBe(false);
    client.peer.setReading(true);
    await running.clock.settle();
    const events = client.messages.filter(({ body }) => body === "event");
    expect([events.length, goAway(client).code, stop.isDone]).toEqual([20, 3_000, true]);
  });

  it("resets what is left after grace: stuck calls, peers that do not read", async () => {
    const [stuck, deaf] = [await running.welcome(), await running.welcome()];
    stuck.sendBody(call(5, "slow"));
    deaf.sendBody(subscribe(0, "t"));
    await running.clock.settle();
    deaf.peer.setReading(false);
    for (let count = 0; count < 20; count++) running.server.publish("t", "x".repeat(5_000));
    await running.clock.settle();
    const stop = stopping();
    await running.clock.advance(2_900);
    expect([stuck.closedWith, deaf.closedWith, stop.isDone]).toEqual([null, null, false]);
    await running.clock.advance(200);
    expect([stuck.closedWith, deaf.closedWith, stop.isDone]).toEqual([-1, -1, true]);
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

  it("ends at once where nobody is connected, and leaves no timer behind", async () => {
    const stop = stopping();
    await running.clock.settle();
    expect([stop.isDone, running.server.state, running.clock.pending]).toEqual([
      true,
      "stopped",
      0,
    ]);
  });

  it("closes those that have not said Hello", async () => {
    const client = running.connect();
    const stop = stopping();
    await running.clock.settle();
    expect([goAway(client).code, stop.isDone]).toEqual([3_000, true]);
  });

  it("serves more connections than one turn tells", async () => {
    const clients = Array.from({ length: 2_500 }, () => running.connect());
    const stop = stopping();
    await running.clock.settle();
    expect(clients.filter(({ closedWith }) => closedWith === 3_000).length).toBe(2_500);
    expect(stop.isDone).toBe(true);
  });

  it("ends by itself where the last peer resets", async () => {
    const client = await running.welcome();
    client.sendBody(call(5, "slow"));
    await running.clock.settle();
    const stop = stopping();
    client.peer.reset();
    await running.clock.settle();
    expect(stop.isDone).toBe(true);
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
    await running.clock.settle();
    expect([first.isDone, second.isDone]).toEqual([true, true]);
  });
});
