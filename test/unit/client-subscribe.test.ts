import { describe, expect, it } from "vitest";
import type { SubscriptionMessage } from "../../src/client/event-queue.ts";
import type { Subscription } from "../../src/client/topic-reader.ts";
import { ClientStage, Collected, watch } from "../support/client-stage.ts";
import { frames, honest, type Script, silent } from "../support/fake-server.ts";

const events = (topic: string, from: number, to: number): Buffer[] =>
  Array.from({ length: to - from + 1 }, (_, index) => frames.event(topic, "e", from + index));

async function next(subscription: Subscription): Promise<SubscriptionMessage | undefined> {
  const { value } = await subscription[Symbol.asyncIterator]().next();
  return value;
}

/** Answers subscribes on some topics with a Failure. */
const refusing =
  (...topics: string[]): Script =>
  (peer, message) => {
    if (message.body === "subscribe" && topics.includes(message.topic)) {
      peer.send(frames.failure(message.id, 8, "too many topics", true, 500));
    } else {
      honest(peer, message);
    }
  };

describe("a subscription", () => {
  it("begins when the server has accepted it, and gives events in order", async () => {
    const stage = await ClientStage.active({}, silent);
    const joining = watch(stage.client.subscribe("news"));
    await stage.settle();
    expect(joining.outcome).toBe("pending");
    const { id, topic } = stage.peer.last("subscribe");
    expect(topic).toBe("news");
    // In one chunk: nothing that follows the answer is lost.
    stage.peer.send(frames.result(id), frames.event("news", "a", 1), frames.event("news", "b", 2));
    await stage.settle();
    const subscription = joining.outcome as Subscription;
    expect([subscription.topic, subscription.length]).toEqual(["news", 2]);
    const collected = new Collected(subscription);
    stage.peer.send(
      frames.event("news", "c", 3),
      frames.gap("news", 4),
      frames.event("news", "d", 8),
    );
    await stage.settle();
    expect(collected.items).toEqual(["a@1", "b@2", "c@3", "gap 4", "d@8"]);
  });

  it("gives what others publish on other topics to nobody", async () => {
    const stage = await ClientStage.active();
    const collected = new Collected(await stage.client.subscribe("news"));
    stage.peer.send(frames.event("new", "x", 1), frames.event("news/more", "x", 1));
    await stage.settle();
    expect(collected.items).toEqual([]);
  });

  it("takes pushes for what they are, although the topic is subscribed", async () => {
    const stage = await ClientStage.active();
    const pushes: string[] = [];
    stage.client.onPush(({ topic }) => pushes.push(topic));
    const collected = new Collected(await stage.client.subscribe("t"));
    stage.peer.send(frames.event("t", "direct", 0), frames.event("t", "published", 1));
    await stage.settle();
    expect([pushes, collected.items]).toEqual([["t"], ["published@1"]]);
  });

  it("ignores a gap in which nothing is missing", async () => {
    const stage = await ClientStage.active();
    const collected = new Collected(await stage.client.subscribe("t"));
    stage.peer.send(frames.gap("t", 0), frames.event("t", "x", 1));
    await stage.settle();
    expect(collected.items).toEqual(["x@1"]);
  });

  it("waits for a connection, and goes out before calls that came earlier", async () => {
    const stage = new ClientStage();
    const call = stage.client.call("m");
    const subscription = stage.client.subscribe("t");
    await stage.settle();
    await Promise.all([call, subscription]);
    expect(stage.peer.messages.map(({ body }) => body)).toEqual(["hello", "subscribe", "call"]);
  });

  it("serves several readers one after another, each message to one", async () => {
    const stage = await ClientStage.active();
    const subscription = await stage.client.subscribe("t");
    const reads = [next(subscription), next(subscription), next(subscription)];
    stage.peer.send(...events("t", 1, 3));
    const offsets = (await Promise.all(reads)).map((message) =>
      message?.type === "event" ? message.offset : null,
    );
    expect(offsets).toEqual([1, 2, 3]);
  });
});

describe("a subscription that does not begin", () => {
  it("because the server refuses says why, and can be tried again", async () => {
    const stage = await ClientStage.active({}, refusing("t"));
    await expect(stage.client.subscribe("t")).rejects.toMatchObject({
      code: "HOLDFAST_CALL_FAILED",
      message: 'subscribe "t": RESOURCE_EXHAUSTED: too many topics',
      status: 8,
      retryable: true,
      retryAfterMs: 500,
    });
    stage.network.script = honest;
    await expect(stage.client.subscribe("t")).resolves.toMatchObject({ topic: "t" });
    expect(stage.peer.of("subscribe").length).toBe(2);
  });

  it("in time is given up, and the server is told", async () => {
    const stage = await ClientStage.active({}, silent);
    const joining = watch(stage.client.subscribe("t", { timeoutMs: 100 }));
    await stage.clock.advance(100);
    expect(joining.outcome).toMatchObject({
      code: "HOLDFAST_CALL_TIMEOUT",
      message: 'subscribe "t": no answer within 100 ms',
    });
    expect(stage.peer.last("unsubscribe")).toMatchObject({ topic: "t", id: 0 });
    // Only the one that watches the connection.
    expect(stage.clock.pending).toBe(1);
    // The answer comes after all: nobody is subscribed, and nothing breaks.
    stage.peer.send(frames.result(stage.peer.last("subscribe").id), frames.event("t", "x", 1));
    await stage.settle();
    expect(stage.client.state).toBe("active");
  });

  it("by the client's timeout is given up as well, and the server is told once", async () => {
    const stage = await ClientStage.active({ callTimeoutMs: 100 }, silent);
    const joining = watch(stage.client.subscribe("t"));
    await stage.clock.advance(100);
    expect(joining.outcome).toMatchObject({ code: "HOLDFAST_CALL_TIMEOUT" });
    expect(stage.peer.of("unsubscribe").length).toBe(1);
    expect(stage.clock.pending).toBe(1);
  });

  it("because its signal fired is given up, before and while it waits", async () => {
    const stage = await ClientStage.active({}, silent);
    const abort = new AbortController();
    const joining = watch(stage.client.subscribe("t", { signal: abort.signal }));
    await stage.settle();
    abort.abort();
    const again = watch(stage.client.subscribe("u", { signal: abort.signal }));
    await stage.settle();
    for (const { outcome } of [joining, again]) {
      expect(outcome).toMatchObject({ code: "HOLDFAST_CALL_ABORTED" });
    }
    expect(stage.peer.of("subscribe").map(({ topic }) => topic)).toEqual(["t"]);
    expect(stage.peer.of("unsubscribe").map(({ topic }) => topic)).toEqual(["t"]);
  });

  it("on a connection that is lost begins on the next", async () => {
    const stage = await ClientStage.active({}, silent);
    const joining = watch(stage.client.subscribe("t"));
    await stage.settle();
    stage.network.script = honest;
    stage.peer.reset();
    await stage.clock.advance(5_000);
    expect(joining.outcome).toMatchObject({ topic: "t" });
    const collected = new Collected(joining.outcome as Subscription);
    stage.peer.send(frames.event("t", "x", 1));
    await stage.settle();
    // It had not begun before: nothing can be missing.
    expect(collected.items).toEqual(["x@1"]);
  });

  it("leaves the others of its topic alone", async () => {
    const stage = await ClientStage.active({}, silent);
    const short = watch(stage.client.subscribe("t", { timeoutMs: 10 }));
    const long = watch(stage.client.subscribe("t"));
    await stage.clock.advance(10);
    expect(short.outcome).toMatchObject({ code: "HOLDFAST_CALL_TIMEOUT" });
    expect(stage.peer.of("unsubscribe")).toEqual([]);
    stage.peer.send(frames.result(stage.peer.last("subscribe").id));
    await stage.settle();
    expect(long.outcome).toMatchObject({ topic: "t" });
  });
});

describe("several subscriptions of one topic", () => {
  it("share one wire subscription, which ends with the last of them", async () => {
    const stage = await ClientStage.active();
    const first = await stage.client.subscribe("t");
    const second = await stage.client.subscribe("t");
    expect(stage.peer.of("subscribe").length).toBe(1);
    const collected = [new Collected(first), new Collected(second)];
    stage.peer.send(...events("t", 1, 2));
    await stage.settle();
    expect(collected.map(({ items }) => items)).toEqual([
      ["e@1", "e@2"],
      ["e@1", "e@2"],
    ]);
    first.unsubscribe();
    stage.peer.send(...events("t", 3, 3));
    await stage.settle();
    expect(stage.peer.of("unsubscribe")).toEqual([]);
    expect(collected.map(({ items }) => items.length)).toEqual([2, 3]);
    second.unsubscribe();
    second.unsubscribe();
    await stage.settle();
    expect(stage.peer.of("unsubscribe").length).toBe(1);
    expect(collected.map(({ end }) => end)).toEqual(["ended", "ended"]);
  });

  it("that are asked for at once are asked for once, and fail together", async () => {
    const stage = await ClientStage.active({}, refusing("t"));
    const outcomes = await stage.outcomes(stage.client.subscribe("t"), stage.client.subscribe("t"));
    expect(outcomes).toMatchObject([{ status: 8 }, { status: 8 }]);
    expect(stage.peer.of("subscribe").length).toBe(1);
  });

  it("one after another ask again, and events of the time between are nobody's", async () => {
    const stage = await ClientStage.active();
    (await stage.client.subscribe("t")).unsubscribe();
    stage.network.script = silent;
    const joining = watch(stage.client.subscribe("t"));
    await stage.settle();
    const { id } = stage.peer.last("subscribe");
    stage.peer.send(frames.event("t", "old", 7), frames.result(id), frames.event("t", "new", 1));
    await stage.settle();
    const collected = new Collected(joining.outcome as Subscription);
    await stage.settle();
    expect(collected.items).toEqual(["new@1"]);
    expect(stage.peer.messages.slice(1).map(({ body }) => body)).toEqual([
      "subscribe",
      "unsubscribe",
      "subscribe",
    ]);
  });
});

describe("a subscription ends", () => {
  it("when its loop is left", async () => {
    const stage = await ClientStage.active();
    const subscription = await stage.client.subscribe("t");
    stage.peer.send(...events("t", 1, 5));
    let count = 0;
    for await (const message of subscription) {
      expect(message.type).toBe("event");
      if (++count === 2) break;
    }
    await stage.settle();
    expect(stage.peer.of("unsubscribe").length).toBe(1);
    expect(await next(subscription)).toBeUndefined();
  });

  it("when its loop throws", async () => {
    const stage = await ClientStage.active();
    const subscription = await stage.client.subscribe("t");
    stage.peer.send(...events("t", 1, 1));
    const loop = async (): Promise<void> => {
      for await (const message of subscription) throw new Error(message.topic);
    };
    await expect(loop()).rejects.toThrow("t");
    await stage.settle();
    expect(stage.peer.of("unsubscribe").length).toBe(1);
  });

  it("when its signal fires, also long after it began", async () => {
    const stage = await ClientStage.active();
    const abort = new AbortController();
    const options = { signal: abort.signal, timeoutMs: 50 };
    const subscription = await stage.client.subscribe("t", options);
    const collected = new Collected(subscription);
    await stage.clock.advance(10_000);
    stage.peer.send(...events("t", 1, 1));
    await stage.settle();
    abort.abort();
    await stage.settle();
    expect([collected.items, collected.end]).toEqual([["e@1"], "ended"]);
    expect(stage.peer.of("unsubscribe").length).toBe(1);
  });

  it("by unsubscribe(), which drops what was not read", async () => {
    const stage = await ClientStage.active();
    const subscription = await stage.client.subscribe("t");
    stage.peer.send(...events("t", 1, 5));
    await stage.settle();
    expect(subscription.length).toBe(5);
    subscription.unsubscribe();
    expect(subscription.length).toBe(0);
    expect(await next(subscription)).toBeUndefined();
  });

  it("when the user closes the client: what is queued can be read, then it is over", async () => {
    const stage = await ClientStage.active();
    const subscription = await stage.client.subscribe("t");
    stage.peer.send(...events("t", 1, 2));
    await stage.settle();
    await stage.client.close();
    const collected = new Collected(subscription);
    await stage.settle();
    expect([collected.items, collected.end]).toEqual([["e@1", "e@2"], "ended"]);
    expect(stage.peer.of("unsubscribe")).toEqual([]);
  });

  it("with an error when the server closes the client for good, told once", async () => {
    const stage = await ClientStage.active();
    const subscription = await stage.client.subscribe("t");
    const waiting = new Collected(await stage.client.subscribe("t"));
    stage.peer.send(...events("t", 1, 1), frames.goAway(3506, "banned"));
    stage.peer.end();
    await stage.settle();
    const error = {
      code: "HOLDFAST_CLIENT_CLOSED",
      message: "the client is closed with code 3506: banned",
    };
    expect(waiting).toMatchObject({ items: ["e@1"], end: error });
    const collected = new Collected(subscription);
    await stage.settle();
    expect(collected).toMatchObject({ items: ["e@1"], end: error });
    expect(await next(subscription)).toBeUndefined();
  });

  it("with an error when the client gives up reconnecting", async () => {
    const stage = await ClientStage.active({ reconnect: { attemptsMax: 1 } });
    const collected = new Collected(await stage.client.subscribe("t"));
    stage.network.reach = () => "refuse";
    stage.peer.reset();
    await stage.reconnected();
    expect(collected.end).toMatchObject({ message: expect.stringMatching(/gave up/) as string });
  });
});

describe("after a reconnect", () => {
  it("everything is subscribed again, and nobody can say what was missed", async () => {
    const stage = await ClientStage.active();
    const a = new Collected(await stage.client.subscribe("a"));
    const b = new Collected(await stage.client.subscribe("b"));
    stage.peer.send(...events("a", 1, 2));
    await stage.settle();
    stage.peer.reset();
    await stage.settle();
    expect(a.items).toEqual(["e@1", "e@2"]);
    const call = watch(stage.client.call("m"));
    await stage.reconnected();
    expect(stage.peer.messages.map(({ body, topic }) => `${body} ${topic}`.trim())).toEqual([
      "hello",
      "subscribe a",
      "subscribe b",
      "call",
    ]);
    expect(call.outcome).toBeInstanceOf(Uint8Array);
    stage.peer.send(frames.event("a", "new", 1));
    await stage.settle();
    expect(a.items).toEqual(["e@1", "e@2", "gap null", "new@1"]);
    expect(b.items).toEqual(["gap null"]);
  });

  it("a topic that the server refuses ends with its error, the others live on", async () => {
    const stage = await ClientStage.active();
    const a = new Collected(await stage.client.subscribe("a"));
    const b = new Collected(await stage.client.subscribe("b"));
    stage.network.script = refusing("a");
    stage.peer.reset();
    await stage.reconnected();
    expect(a.end).toMatchObject({ code: "HOLDFAST_CALL_FAILED", status: 8 });
    expect([b.end, b.items]).toEqual(["open", ["gap null"]]);
    await stage.client.close();
    expect(b.end).toBe("ended");
  });

  it("a topic for which no answer comes ends with a timeout", async () => {
    const stage = await ClientStage.active({ callTimeoutMs: 1_000 });
    const collected = new Collected(await stage.client.subscribe("a"));
    stage.network.script = silent;
    stage.peer.reset();
    while (stage.network.peers.length === 1) await stage.clock.advance(100);
    await stage.clock.advance(1_000);
    expect(collected.end).toMatchObject({ code: "HOLDFAST_CALL_TIMEOUT" });
    expect(stage.peer.of("unsubscribe").length).toBe(1);
  });

  it("a topic's events count only from the server's answer on", async () => {
    const stage = await ClientStage.active();
    const collected = new Collected(await stage.client.subscribe("a"));
    stage.network.script = silent;
    stage.peer.reset();
    while (stage.network.peers.length === 1) await stage.clock.advance(100);
    const { id } = stage.peer.last("subscribe");
    stage.peer.send(frames.event("a", "early", 9), frames.result(id), frames.event("a", "x", 1));
    await stage.settle();
    expect(collected.items).toEqual(["gap null", "x@1"]);
  });

  it("a subscription that joins others without a connection waits for the next", async () => {
    const stage = await ClientStage.active();
    const first = new Collected(await stage.client.subscribe("a"));
    stage.peer.reset();
    await stage.settle();
    const joining = watch(stage.client.subscribe("a"));
    await stage.settle();
    expect(joining.outcome).toBe("pending");
    await stage.reconnected();
    const second = new Collected(joining.outcome as Subscription);
    stage.peer.send(frames.event("a", "x", 1));
    await stage.settle();
    expect([first.items, second.items]).toEqual([["gap null", "x@1"], ["x@1"]]);
  });

  it("what was given up meanwhile is not subscribed again", async () => {
    const stage = await ClientStage.active();
    const subscription = await stage.client.subscribe("a");
    stage.peer.reset();
    await stage.settle();
    subscription.unsubscribe();
    await stage.reconnected();
    expect(stage.peer.messages.map(({ body }) => body)).toEqual(["hello"]);
  });

  it("many lost connections in a row make one gap", async () => {
    const stage = await ClientStage.active();
    const subscription = await stage.client.subscribe("a");
    for (let round = 0; round < 5; round++) {
      stage.peer.reset();
      await stage.reconnected();
    }
    expect(subscription.length).toBe(1);
  });
});

describe("a reader that is behind", () => {
  it("loses the oldest and is told exactly how many, and where", async () => {
    const stage = await ClientStage.active();
    const subscription = await stage.client.subscribe("t", { eventsMax: 3 });
    stage.peer.send(...events("t", 1, 10));
    await stage.settle();
    const collected = new Collected(subscription);
    await stage.settle();
    expect(collected.items).toEqual(["gap 7", "e@8", "e@9", "e@10"]);
    stage.peer.send(...events("t", 11, 11));
    await stage.settle();
    expect(collected.items.at(-1)).toBe("e@11");
  });

  it("has the client's limit where it has none of its own", async () => {
    const stage = await ClientStage.active({ eventsMax: 2 });
    const slow = await stage.client.subscribe("t");
    const wide = await stage.client.subscribe("t", { eventsMax: 100 });
    stage.peer.send(...events("t", 1, 5));
    await stage.settle();
    const collected = [new Collected(slow), new Collected(wide)];
    await stage.settle();
    expect(collected[0]!.items).toEqual(["gap 3", "e@4", "e@5"]);
    expect(collected[1]!.items.length).toBe(5);
  });
});
