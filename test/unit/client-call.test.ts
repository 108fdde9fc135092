import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import { ClientStage, watch } from "../support/client-stage.ts";
import { frames, honest, silent } from "../support/fake-server.ts";

const text = (payload: unknown): string => new TextDecoder().decode(payload as Uint8Array);

describe("a call", () => {
  it("sends method, payload, metadata and timeout, and gives the answer's bytes", async () => {
    const { client, peer } = await ClientStage.active();
    const metadata = { trace: "1", empty: "" };
    const answer = await client.call("echo", "héllo", { metadata, timeoutMs: 2_000 });
    expect(text(answer)).toBe("héllo");
    expect(peer.last("call")).toMatchObject({
      method: "echo",
      timeoutMs: 2_000,
      entries: metadata,
    });
    expect(peer.last("call").id).toBeGreaterThan(peer.last("hello").id);
  });

  it("tells the server the client's timeout where it has none of its own", async () => {
    const { client, peer } = await ClientStage.active({ callTimeoutMs: 1_234 });
    await client.call("m");
    expect(peer.last("call").timeoutMs).toBe(1_234);
  });

  it("carries bytes as they are, none and many", async () => {
    const { client } = await ClientStage.active();
    const bytes = Uint8Array.from({ length: 60_000 }, (_, index) => index * 7);
    expect(await client.call("echo", bytes)).toEqual(bytes);
    expect(await client.call("echo")).toEqual(new Uint8Array());
    expect(await client.call("echo", bytes.subarray(3, 9))).toEqual(bytes.subarray(3, 9).slice());
  });

  it("carries metadata of any length, in names as in values", async () => {
    const { client, peer } = await ClientStage.active();
    const metadata = Object.fromEntries(
      [1, 63, 64, 127, 128, 300, 5_000].map((length) => ["é".repeat(length), "ü".repeat(length)]),
    );
    await client.call("m", "x", { metadata });
    expect(peer.last("call").entries).toEqual(metadata);
  });

  it("leaves its signal alone once it is over", async () => {
    const { client } = await ClientStage.active();
    const { signal } = new AbortController();
    const calls = Array.from({ length: 20 }, () => client.call("m", "", { signal }));
    expect(getEventListeners(signal, "abort").length).toBe(20);
    await Promise.all(calls);
    expect(getEventListeners(signal, "abort").length).toBe(0);
  });

  it("gives memory of its own, which no later message changes", async () => {
    const { client } = await ClientStage.active();
    const first = await client.call("echo", "first");
    await client.call("echo", "other");
    expect(text(first)).toBe("first");
    expect(first.buffer.byteLength).toBe(5);
  });

  it("is answered by id, whatever the order", async () => {
    const stage = await ClientStage.active({}, silent);
    const calls = ["a", "b", "c"].map((name) => stage.client.call(name));
    await stage.settle();
    for (const { id, method } of stage.peer.of("call").reverse()) {
      stage.peer.send(frames.result(id, method));
    }
    expect((await Promise.all(calls)).map(text)).toEqual(["a", "b", "c"]);
  });

  it("goes out with others of the same turn in one piece", async () => {
    const { client, peer } = await ClientStage.active();
    const before = peer.pieces;
    await Promise.all(Array.from({ length: 50 }, () => client.call("echo", "x")));
    expect(peer.of("call").length).toBe(50);
    expect(peer.pieces).toBe(before + 1);
  });

  it("keeps its order in pieces of a bounded size", async () => {
    const { client, peer } = await ClientStage.active();
    const sizes = [10, 30_000, 20, 9_000, 9_000, 5, 16_384, 1];
    const before = peer.pieces;
    await Promise.all(sizes.map((size) => client.call("echo", new Uint8Array(size))));
    expect(peer.of("call").map(({ payload }) => payload.length)).toEqual(sizes);
    expect(peer.pieces - before).toBeGreaterThan(4);
  });
});

describe("a call that fails", () => {
  it.each([
    [5, "NOT_FOUND"],
    [12, "UNIMPLEMENTED"],
    [16, "UNAUTHENTICATED"],
    [1, "CANCELLED"],
    [99, "UNKNOWN"],
    [0, "UNKNOWN"],
  ])("with status %i says so", async (status, statusName) => {
    const stage = await ClientStage.active({}, (peer, { id, body }) => {
      if (body === "hello") peer.send(frames.welcome(id));
      else peer.send(frames.failure(id, status, "because", true, 250));
    });
    await expect(stage.client.call("method")).rejects.toMatchObject({
      name: "CallError",
      code: "HOLDFAST_CALL_FAILED",
      message: `call "method": ${statusName}: because`,
      status,
      statusName,
      retryable: true,
      retryAfterMs: 250,
    });
    expect(stage.client.state).toBe("active");
  });

  it("by its timeout, at the time that was given, and a late answer harms nobody", async () => {
    const stage = await ClientStage.active({}, silent);
    const call = watch(stage.client.call("slow", "", { timeoutMs: 100 }));
    await stage.clock.advance(99);
    expect(call.outcome).toBe("pending");
    await stage.clock.advance(1);
    expect(call.outcome).toMatchObject({
      code: "HOLDFAST_CALL_TIMEOUT",
      message: 'call "slow": no answer within 100 ms',
    });
    stage.peer.send(frames.result(stage.peer.last("call").id, "late"));
    stage.network.script = honest;
    expect(text(await stage.client.call("echo", "next"))).toBe("next");
  });

  it("by the client's timeout where it has none of its own", async () => {
    const stage = await ClientStage.active({ callTimeoutMs: 40 }, silent);
    const call = watch(stage.client.call("slow"));
    await stage.clock.advance(39);
    expect(call.outcome).toBe("pending");
    await stage.clock.advance(1);
    expect(call.outcome).toMatchObject({
      code: "HOLDFAST_CALL_TIMEOUT",
      message: 'call "slow": no answer within 40 ms',
    });
  });

  it("by its signal, with the signal's reason as cause", async () => {
    const stage = await ClientStage.active({}, silent);
    const abort = new AbortController();
    const call = watch(stage.client.call("slow", "", { signal: abort.signal }));
    await stage.settle();
    abort.abort("user left");
    await stage.settle();
    expect(call.outcome).toMatchObject({
      code: "HOLDFAST_CALL_ABORTED",
      cause: "user left",
    });
    expect(stage.client.state).toBe("active");
  });

  it("by a signal that had fired before, without being sent", async () => {
    const stage = await ClientStage.active();
    const call = stage.client.call("m", "", { signal: AbortSignal.abort() });
    expect(await stage.outcome(call)).toMatchObject({ code: "HOLDFAST_CALL_ABORTED" });
    expect(stage.peer.of("call")).toEqual([]);
  });

  it("because its connection is lost, and is not repeated on the next", async () => {
    const stage = await ClientStage.active({}, silent);
    const call = watch(stage.client.call("pay"));
    await stage.settle();
    stage.peer.reset();
    await stage.settle();
    expect(call.outcome).toMatchObject({
      code: "HOLDFAST_DISCONNECTED",
      cause: { code: "HOLDFAST_DISCONNECTED" },
    });
    await stage.reconnected();
    expect(stage.network.peers.length).toBe(2);
    expect(stage.peer.of("call")).toEqual([]);
  });

  it("because it is larger than the server takes, and was not sent", async () => {
    const stage = await ClientStage.active({}, (peer, message) => {
      if (message.body === "hello") peer.send(frames.welcome(message.id, { maxFrameBytes: 200 }));
      else honest(peer, message);
    });
    await expect(stage.client.call("m", new Uint8Array(200))).rejects.toMatchObject({
      code: "HOLDFAST_FRAME_TOO_LARGE",
      message: expect.stringMatching(/^call "m": 2\d\d bytes, the server takes 200$/) as string,
    });
    await expect(stage.client.publish("t".repeat(300))).rejects.toMatchObject({
      code: "HOLDFAST_FRAME_TOO_LARGE",
    });
    await expect(stage.client.subscribe("t".repeat(300))).rejects.toMatchObject({
      code: "HOLDFAST_FRAME_TOO_LARGE",
    });
    expect(stage.peer.messages.length).toBe(1);
    expect(text(await stage.client.call("m", "x".repeat(150)))).toBe("x".repeat(150));
  });

  it("exactly at the byte: a frame of max_frame_bytes passes, one more does not", async () => {
    const stage = await ClientStage.active({}, (peer, message) => {
      if (message.body === "hello") peer.send(frames.welcome(message.id, { maxFrameBytes: 300 }));
      else honest(peer, message);
    });
    const fits = async (size: number): Promise<boolean> => {
      const call = stage.client.call("m", new Uint8Array(size), { timeoutMs: 1_000 });
      return (await stage.outcome(call)) instanceof Uint8Array;
    };
    let size = 200;
    while (await fits(size)) size++;
    expect(stage.peer.last("call").length).toBe(300);
    expect(stage.client.state).toBe("active");
  });

  it("because the client is closed, before and afterwards", async () => {
    const stage = await ClientStage.active({}, silent);
    const abort = new AbortController();
    const { client } = stage;
    const { signal } = abort;
    const closed = { code: "HOLDFAST_CLIENT_CLOSED", message: "the client was closed" };
    const calls = [watch(client.call("slow")), watch(client.call("slow", "", { signal }))];
    await client.close();
    abort.abort();
    for (const call of calls) expect(call.outcome).toMatchObject(closed);
    const later = await stage.outcomes(
      client.call("m"),
      client.publish("t"),
      client.subscribe("t"),
    );
    for (const outcome of later) expect(outcome).toMatchObject(closed);
    expect(stage.clock.pending).toBe(0);
  });
});

describe("a call without a connection", () => {
  it("waits for one, and tells the server what is left of its timeout", async () => {
    const stage = await ClientStage.active();
    stage.network.reach = () => "refuse";
    stage.peer.reset();
    await stage.settle();
    const call = watch(stage.client.call("echo", "patient", { timeoutMs: 300_000 }));
    await stage.clock.advance(100_000);
    expect(call.outcome).toBe("pending");
    stage.network.reach = () => "open";
    await stage.clock.advance(20_000);
    expect(text(call.outcome)).toBe("patient");
    const { timeoutMs } = stage.peer.last("call");
    expect(timeoutMs).toBeLessThan(200_001);
    expect(timeoutMs).toBeGreaterThan(179_000);
  });

  it("times out while it waits, and is then not sent", async () => {
    const stage = new ClientStage({}, honest, "tcp://a:1", (network) => {
      network.reach = () => "refuse";
    });
    const call = watch(stage.client.call("m", "", { timeoutMs: 1_000 }));
    const abort = new AbortController();
    const aborted = watch(stage.client.call("n", "", { signal: abort.signal }));
    await stage.clock.advance(999);
    abort.abort();
    await stage.settle();
    expect(aborted.outcome).toMatchObject({ code: "HOLDFAST_CALL_ABORTED" });
    expect(call.outcome).toBe("pending");
    await stage.clock.advance(1);
    expect(call.outcome).toMatchObject({ code: "HOLDFAST_CALL_TIMEOUT" });
    stage.network.reach = () => "open";
    await stage.reconnected();
    expect(stage.peer.messages.map(({ body }) => body)).toEqual(["hello"]);
  });

  it("keeps the order in which calls came", async () => {
    const stage = new ClientStage();
    const names = ["a", "b", "c", "d"];
    const calls = names.map((name) => stage.client.call(name));
    await stage.settle();
    await Promise.all(calls);
    expect(stage.peer.of("call").map(({ method }) => method)).toEqual(names);
  });

  it("has taken a copy of its payload, which the caller may overwrite", async () => {
    const stage = new ClientStage();
    const payload = new TextEncoder().encode("mine");
    const call = stage.client.call("echo", payload);
    payload.fill(0);
    await stage.settle();
    expect(text(await call)).toBe("mine");
  });

  it("on a connection too, the payload may be overwritten once call() has returned", async () => {
    const stage = await ClientStage.active();
    const payload = new TextEncoder().encode("mine");
    const call = stage.client.call("echo", payload);
    payload.fill(0);
    expect(text(await call)).toBe("mine");
  });
});

describe("the send buffer", () => {
  const full = {
    name: "CallError",
    code: "HOLDFAST_CALL_FAILED",
    status: 8,
    statusName: "RESOURCE_EXHAUSTED",
    retryable: true,
    message: expect.stringMatching(/more than 2000 bytes wait to be sent/) as string,
  };

  it("refuses calls and publishes above its limit while nobody reads", async () => {
    const stage = await ClientStage.active({ sendBytesMax: 2_000 });
    stage.network.bufferedBytes = 1_500;
    await expect(stage.client.call("m", new Uint8Array(600))).rejects.toMatchObject(full);
    await expect(stage.client.publish("t", new Uint8Array(600))).rejects.toMatchObject(full);
    expect(text(await stage.client.call("m", "small"))).toBe("small");
    stage.network.bufferedBytes = 0;
    expect((await stage.client.call("m", new Uint8Array(600))).length).toBe(600);
  });

  it("counts what waits for a connection, and gives it back when the wait is over", async () => {
    const stage = new ClientStage({ sendBytesMax: 2_000 }, honest, "tcp://a:1", (network) => {
      network.reach = () => "hang";
    });
    const send = (timeoutMs: number): Promise<unknown> =>
      stage.client.call("m", new Uint8Array(800), { timeoutMs });
    const waiting = [watch(send(100)), watch(send(5_000))];
    await expect(send(100)).rejects.toMatchObject(full);
    await stage.clock.advance(100);
    expect(waiting[0]!.outcome).toMatchObject({ code: "HOLDFAST_CALL_TIMEOUT" });
    expect(waiting[1]!.outcome).toBe("pending");
    expect(await stage.outcome(send(100))).toBe("pending");
  });

  it("counts what was handed over in this turn", async () => {
    const stage = await ClientStage.active({ sendBytesMax: 2_000 });
    const calls = Array.from({ length: 4 }, () => stage.client.call("m", new Uint8Array(700)));
    const results = await Promise.allSettled(calls);
    expect(results.map(({ status }) => status)).toEqual([
      "fulfilled",
      "fulfilled",
      "rejected",
      "rejected",
    ]);
  });
});

describe("a publish", () => {
  it("resolves with nothing once the server has taken it", async () => {
    const stage = await ClientStage.active({}, silent);
    const publish = watch(stage.client.publish("news", "x"));
    await stage.settle();
    expect(publish.outcome).toBe("pending");
    const message = stage.peer.last("publish");
    expect(message).toMatchObject({ topic: "news" });
    expect(text(message.payload)).toBe("x");
    expect(message.id).toBeGreaterThan(0);
    stage.peer.send(frames.result(message.id, "ignored"));
    await stage.settle();
    expect(publish.outcome).toBe("done");
  });

  it("rejects as calls do", async () => {
    const stage = await ClientStage.active({}, silent);
    const abort = new AbortController();
    const publishes = [
      stage.client.publish("t", "", { timeoutMs: 10 }),
      stage.client.publish("t", "", { signal: abort.signal }),
      stage.client.publish("t"),
    ].map(watch);
    await stage.settle();
    abort.abort();
    stage.peer.send(frames.failure(stage.peer.last("publish").id, 7, "not you"));
    await stage.clock.advance(10);
    const [late, aborted, refused] = publishes.map(({ outcome }) => outcome);
    expect(late).toMatchObject({
      code: "HOLDFAST_CALL_TIMEOUT",
      message: 'publish "t": no answer within 10 ms',
    });
    expect(aborted).toMatchObject({ code: "HOLDFAST_CALL_ABORTED" });
    expect(refused).toMatchObject({ status: 7, statusName: "PERMISSION_DENIED" });
  });
});
