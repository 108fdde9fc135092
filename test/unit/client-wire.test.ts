import { Buffer } from "node:buffer";
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { connect as connectBrowser } from "../../src/client/browser.ts";
import { BufferPool } from "../../src/base/buffer-pool.ts";
import { Prng } from "../../src/base/prng.ts";
import { ConnectedClient } from "../../src/client/client.ts";
import { ClientFrameWriter } from "../../src/wire/client-frame.ts";
import { clientSettings } from "../../src/client/client-options.ts";
import { parseEndpoints } from "../../src/transport/endpoint.ts";
import { connect } from "../../src/client/node.ts";
import { ClientStage, Collected, watch } from "../support/client-stage.ts";
import { FakeNetwork, type FakePeer, frames, honest, silent } from "../support/fake-server.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { bytesField, frame, numberField, tag, varint } from "../support/raw-message.ts";

const header = (length: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(length);
  return bytes;
};
const body = (field: number, ...fields: Buffer[]): Buffer =>
  frame(Buffer.concat([numberField(1, 3), bytesField(field, Buffer.concat(fields))]));

describe("a server that breaks the contract", () => {
  const faults: [string, (peer: FakePeer) => Buffer, RegExp][] = [
    ["a length above 2 MiB", () => header(2 * 1_048_576 + 1), /longer than 2097152 bytes/],
    ["the greatest length", () => header(0xffff_ffff), /longer than 2097152 bytes/],
    ["an HTTP answer", () => Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"), /longer than/],
    ["garbage in a frame", () => frames.garbage(), /bytes are no message/],
    ["a truncated varint", () => frame(Buffer.from([0x08, 0x80])), /bytes are no message/],
    ["a varint of eleven bytes", () => frame(Buffer.alloc(11, 0xff)), /bytes are no message/],
    ["a nested length beyond the frame", () => frame(Buffer.from([0x1a, 9, 1])), /are no message/],
    ["field number 0", () => frame(Buffer.from([0x02, 0])), /bytes are no message/],
    ["a group that never ends", () => frame(tag(9, 3)), /bytes are no message/],
    [
      "a topic that is no UTF-8",
      () => body(5, bytesField(1, Buffer.from([0xff]))),
      /are no message/,
    ],
    ["a body that nobody knows", () => frames.unknownBody(), /body is unknown/],
    ["no body at all", () => frames.noBody(5), /body is unknown/],
    ["a body as a number", () => frame(numberField(3, 1)), /body is unknown/],
    ["a second Welcome", () => frames.welcome(1), /an unexpected welcome/],
    ["a Result without an id", () => frames.result(0), /an answer without an id/],
    [
      "a Result whose id is 0 in so many words",
      () => frame(Buffer.concat([numberField(1, 0), bytesField(3, "")])),
      /an answer without an id/,
    ],
    ["a Failure without an id", () => frames.failure(0, 5), /an answer without an id/],
  ];

  it.each(faults)("by %s is dropped without Goodbye and tried again", async (_, fault, message) => {
    const stage = await ClientStage.active({}, silent);
    const call = watch(stage.client.call("m"));
    await stage.settle();
    const { peer } = stage;
    peer.send(fault(peer));
    await stage.settle();
    expect(stage.client.state).toBe("waiting");
    expect(stage.losses).toMatchObject([{ code: "HOLDFAST_PROTOCOL" }]);
    expect(stage.losses[0]!.message).toMatch(message);
    expect(stage.losses[0]!.message).toMatch(/^tcp:\/\/a:1: the server broke the wire contract: /);
    expect(call.outcome).toMatchObject({ code: "HOLDFAST_DISCONNECTED", cause: stage.losses[0]! });
    expect([peer.left, peer.of("goodbye").length]).toEqual(["cut", 0]);
    await stage.reconnected();
    expect(stage.client.state).toBe("active");
    expect(stage.network.openLinks).toBe(1);
  });

  it("is not listened to any more, in the same chunk or later", async () => {
    const stage = await ClientStage.active({}, silent);
    const call = watch(stage.client.call("m"));
    await stage.settle();
    const { id } = stage.peer.last("call");
    stage.peer.send(frames.unknownBody(), frames.result(id, "too late"));
    await stage.settle();
    expect(call.outcome).toMatchObject({ code: "HOLDFAST_DISCONNECTED" });
  });

  const messages: [string, Buffer, RegExp][] = [
    ["a message that ends inside a header", Buffer.from([0, 0]), /ends inside a frame/],
    [
      "a message that ends inside a frame",
      frames.event("t", "x", 1).subarray(0, -1),
      /inside a frame/,
    ],
    [
      "whole frames and then half a one",
      Buffer.concat([frames.heartbeat, frames.event("t", "x", 1).subarray(0, 6)]),
      /inside a frame/,
    ],
    ["an empty message", Buffer.alloc(0), /a message without bytes/],
  ];

  it.each(messages)("on a WebSocket by %s", async (_, bytes, message) => {
    const stage = await ClientStage.active({}, silent, "ws://a:1");
    stage.peer.send(bytes);
    await stage.settle();
    expect(stage.losses).toMatchObject([{ code: "HOLDFAST_PROTOCOL" }]);
    expect(stage.losses[0]!.message).toMatch(message);
  });

  it("leaves no memory leased, wherever the connection ends", async () => {
    const half = frames.event("t", "x".repeat(5_000), 1).subarray(0, 3_000);
    const pool = new BufferPool();
    for (const end of ["reset", "breach", "breach and more", "close", "user"] as const) {
      const [clock, network] = [new ManualClock(), new FakeNetwork(silent)];
      const { dialer } = network;
      const writer = new ClientFrameWriter();
      const parts = { clock, pool, writer, dialer, prng: new Prng(1) };
      const endpoints = parseEndpoints("tcp://a:1", dialer.schemes);
      const client = new ConnectedClient(endpoints, clientSettings({ reconnect: false }), parts);
      await clock.settle();
      network.peer.send(half);
      await clock.settle();
      expect(pool.leased).toBe(1);
      if (end === "reset") network.peer.reset();
      else if (end === "close") network.peer.end();
      else if (end === "user") await client.close();
      else {
        const rest = frames.event("t", "x".repeat(5_000), 1).subarray(3_000);
        const more = end === "breach" ? [] : [frames.heartbeat, half];
        network.peer.send(rest, frames.unknownBody(), ...more);
      }
      await clock.settle();
      expect([client.state, pool.leased], end).toEqual(["closed", 0]);
    }
  });

  it("survives any garbage: the client is never broken, and connects again", async () => {
    const property = fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 60 }), { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      async (bodies, isFramed) => {
        const stage = await ClientStage.active({}, honest);
        const bytes = bodies.map((one) => Buffer.from(one));
        stage.peer.send(...(isFramed ? bytes.map((one) => frame(one)) : bytes));
        await stage.settle();
        expect(["active", "waiting", "closed"]).toContain(stage.client.state);
        await stage.reconnected();
        // Only what happens to be a GoAway can close it for good.
        if (stage.client.state !== "closed") expect(stage.client.state).toBe("active");
        await stage.client.close();
        expect([stage.network.openLinks, stage.clock.pending]).toEqual([0, 0]);
      },
    );
    await fc.assert(property, { numRuns: 150 });
  });
});

describe("what a server may send", () => {
  it.each([
    ["an answer that nobody waits for", frames.result(4_000_000_000, "?")],
    ["a failure that nobody waits for", frames.failure(77, 5, "?")],
    ["an event of a topic that is not subscribed", frames.event("t", "x", 9)],
    ["a push that nobody listens to", frames.event("t", "x", 0)],
    ["a gap of a topic that is not subscribed", frames.gap("t", 3)],
    [
      "fields that nobody knows",
      frame(Buffer.concat([numberField(50, 1), bytesField(5, bytesField(60, "new"))])),
    ],
    [
      "numbers beyond 2^53",
      frame(bytesField(6, Buffer.concat([tag(2, 0), varint(2n ** 64n - 1n)]))),
    ],
  ])("%s changes nothing", async (_, bytes) => {
    const stage = await ClientStage.active();
    stage.peer.send(bytes);
    await stage.settle();
    expect(stage.client.state).toBe("active");
    expect((await stage.client.call("echo", "x")).length).toBe(1);
  });

  it("an answer of 2 MiB in one frame", async () => {
    const stage = await ClientStage.active({}, silent);
    const call = stage.client.call("big");
    await stage.settle();
    const room = frames.result(2, "").length - 4;
    const payload = Buffer.alloc(2 * 1_048_576 - room - 6, 7);
    const whole = frames.result(stage.peer.last("call").id, payload);
    expect(whole.length).toBeGreaterThan(2 * 1_048_576 - 10);
    for (let at = 0; at < whole.length; at += 65_536)
      stage.peer.send(whole.subarray(at, at + 65_536));
    expect(Buffer.from(await call).equals(payload)).toBe(true);
  });

  it("is cut anywhere: every segmentation gives the same events", async () => {
    const stream = (): Buffer[] => [
      frames.event("t", "one", 1),
      frames.heartbeat,
      frames.event("t", "x".repeat(300), 2),
      frames.event("other", "push", 0),
      frames.gap("t", 3),
      frames.result(999, "nobody waits"),
      frames.heartbeat,
      frames.event("t", "", 6),
    ];
    const run = async (cuts: readonly number[]): Promise<unknown> => {
      const clock = new ManualClock();
      const network = new FakeNetwork();
      const client = connect("tcp://a:1", {}, { clock, dialer: network.dialer, seed: 1 });
      const pushes: string[] = [];
      client.onPush(({ topic, payload }) => pushes.push(`${topic}=${String(payload)}`));
      await clock.settle();
      const collected = new Collected(await client.subscribe("t"));
      const bytes = Buffer.concat(stream());
      let from = 0;
      for (const to of [...cuts, bytes.length]) {
        // Reused memory, as a socket's is: what is kept of it has to have been copied.
        const chunk = Buffer.from(bytes.subarray(from, to));
        network.peer.wire.write(chunk);
        await Promise.resolve();
        chunk.fill(0xee);
        from = to;
      }
      await clock.settle();
      const { heartbeats } = network.peer;
      const result = { items: [...collected.items], pushes, heartbeats, state: client.state };
      await client.close();
      return result;
    };
    const { length } = Buffer.concat(stream());
    const whole = await run([]);
    expect(whole).toMatchObject({
      items: ["one@1", `${"x".repeat(300)}@2`, "gap 3", "@6"],
      pushes: ["other=112,117,115,104"],
      heartbeats: 2,
      state: "active",
    });
    for (let cut = 1; cut < length; cut++) expect(await run([cut])).toEqual(whole);
    expect(await run(Array.from({ length: length - 1 }, (_, index) => index + 1))).toEqual(whole);
    const cutsOf = fc.uniqueArray(fc.integer({ min: 1, max: length - 1 }), { maxLength: 20 });
    const property = fc.asyncProperty(cutsOf, async (cuts) => {
      expect(await run(cuts.sort((a, b) => a - b))).toEqual(whole);
    });
    await fc.assert(property, { numRuns: 100 });
  }, 20_000);
});

describe("in a browser", () => {
  it("everything works where there is no Buffer, half frames too", async () => {
    const clock = new ManualClock();
    const network = new FakeNetwork();
    vi.stubGlobal("Buffer", undefined);
    try {
      const client = connectBrowser("tcp://a:1", {}, { clock, dialer: network.dialer });
      await clock.settle();
      expect(String(await client.call("echo", "é"))).toBe("195,169");
      const collected = new Collected(await client.subscribe("t"));
      const bytes = frames.event("t", "x".repeat(2_000), 1);
      network.peer.send(bytes.subarray(0, 700));
      await clock.settle();
      network.peer.send(bytes.subarray(700));
      await clock.settle();
      expect(collected.items).toEqual([`${"x".repeat(2_000)}@1`]);
      await client.close();
    } finally {
      vi.unstubAllGlobals();
    }
  });
});

describe("heartbeats", () => {
  it("are answered one by one, and never sent unasked", async () => {
    const stage = await ClientStage.active();
    stage.peer.send(frames.heartbeat);
    await stage.settle();
    expect(stage.peer.heartbeats).toBe(1);
    stage.peer.send(frames.heartbeat, frames.heartbeat, frames.heartbeat);
    await stage.settle();
    expect(stage.peer.heartbeats).toBe(4);
    await stage.clock.advance(60_000);
    expect(stage.peer.heartbeats).toBe(4);
  });

  it("are not answered without bound while the server takes nothing", async () => {
    const stage = await ClientStage.active({ sendBytesMax: 2_000 });
    stage.network.bufferedBytes = 2_001;
    stage.peer.send(...Array.from({ length: 1_000 }, () => frames.heartbeat));
    await stage.settle();
    expect(stage.peer.heartbeats).toBe(0);
    expect(stage.client.state).toBe("active");
  });

  it("that stay away for two and a half intervals mean that the server is gone", async () => {
    const stage = await ClientStage.active();
    await stage.clock.advance(62_499);
    expect(stage.client.state).toBe("active");
    await stage.clock.advance(1);
    expect(stage.states.slice(2, 3)).toEqual(["waiting"]);
    expect(stage.losses).toMatchObject([{ code: "HOLDFAST_DISCONNECTED" }]);
    expect(stage.losses[0]!.message).toMatch(/nothing was heard for 62500 ms/);
    expect(stage.network.peers[0]!.left).toBe("cut");
  });

  it.each([
    ["a heartbeat", frames.heartbeat],
    ["an event", frames.event("t", "x", 1)],
    ["half a frame", frames.event("t", "x", 1).subarray(0, 3)],
  ])("are as good as %s: any byte is a sign of life", async (_, bytes) => {
    const stage = await ClientStage.active();
    await stage.clock.advance(60_000);
    stage.peer.send(bytes);
    await stage.clock.advance(62_000);
    expect(stage.client.state).toBe("active");
    await stage.clock.advance(1_000);
    expect(stage.losses.length).toBe(1);
  });

  it("cost an idle client one timer", async () => {
    const stage = await ClientStage.active();
    expect(stage.clock.pending).toBe(1);
    for (let count = 0; count < 10; count++) {
      stage.peer.send(frames.heartbeat);
      await stage.clock.advance(20_000);
      expect(stage.clock.pending).toBe(1);
    }
    expect(stage.client.state).toBe("active");
  });

  it("that waited while this process was stalled count", async () => {
    const stage = await ClientStage.active();
    stage.clock.stall(300_000);
    // Timers run before what has come is read, as they do in Node's loop.
    stage.clock.afterPoll(() => stage.peer.send(frames.heartbeat));
    await stage.settle();
    expect(stage.peer.heartbeats).toBe(1);
    expect(stage.losses).toEqual([]);
    expect(stage.client.state).toBe("active");
  });

  it("of a server that sends none are not missed", async () => {
    const stage = await ClientStage.active({}, (peer, { id }) =>
      peer.send(frames.welcome(id, { heartbeatMs: 0 })),
    );
    await stage.clock.advance(86_400_000);
    expect(stage.client.state).toBe("active");
    expect(stage.clock.pending).toBe(0);
  });

  it("of an absurd interval arm no timer that fires at once", async () => {
    const stage = await ClientStage.active({}, (peer, { id }) =>
      peer.send(frames.welcome(id, { heartbeatMs: 4_000_000_000 })),
    );
    await stage.clock.advance(0x7fff_ffff - 1);
    expect(stage.losses).toEqual([]);
    await stage.clock.advance(1);
    expect(stage.losses.length).toBe(1);
  });
});

describe("closing", () => {
  it("sends what was handed over, then Goodbye, then closes with 1000", async () => {
    const stage = await ClientStage.active({}, silent, "ws://a:1");
    const publish = watch(stage.client.publish("t", "last words"));
    await stage.client.close();
    expect(stage.peer.messages.slice(1).map(({ body: name }) => name)).toEqual([
      "publish",
      "goodbye",
    ]);
    expect(stage.peer.last("goodbye")).toMatchObject({ id: 0, code: 1000 });
    expect([stage.peer.left, stage.peer.leftCode]).toEqual(["closed", 1000]);
    expect(publish.outcome).toMatchObject({ code: "HOLDFAST_CLIENT_CLOSED" });
    expect(stage.states.slice(2)).toEqual(["closing", "closed"]);
    expect(stage.clock.pending).toBe(0);
  });

  it("does not wait for ever for a server that does not close its side", async () => {
    const stage = await ClientStage.active();
    stage.network.isClosingBack = false;
    const closing = watch(stage.client.close());
    await stage.clock.advance(4_999);
    expect([closing.outcome, stage.client.state]).toEqual(["pending", "closing"]);
    await stage.clock.advance(1);
    expect([closing.outcome, stage.client.state]).toEqual(["done", "closed"]);
    expect(await stage.client.closed).toEqual({ code: 1000, reason: "closed by the user" });
    expect([stage.network.openLinks, stage.clock.pending]).toEqual([0, 0]);
  });

  it("ignores whatever the server still sends, even nonsense", async () => {
    const stage = await ClientStage.active();
    stage.network.isClosingBack = false;
    const pushes: unknown[] = [];
    stage.client.onPush((push) => pushes.push(push));
    const closing = watch(stage.client.close());
    stage.peer.send(frames.event("t", "x", 0), frames.garbage(), frames.goAway(3000, "later"));
    await stage.settle();
    expect([pushes, closing.outcome]).toEqual([[], "pending"]);
    stage.peer.end();
    await stage.settle();
    expect(closing.outcome).toBe("done");
    expect(await stage.client.closed).toEqual({ code: 1000, reason: "closed by the user" });
  });

  it("from inside a push listener stops at once, whatever else the chunk holds", async () => {
    for (const split of [0, 20]) {
      const stage = await ClientStage.active();
      const pushes: string[] = [];
      stage.client.onPush(({ topic }) => {
        pushes.push(topic);
        void stage.client.close();
      });
      const bytes = Buffer.concat(
        ["a", "b", "c"].map((topic) => frames.event(topic, "payload", 0)),
      );
      if (split > 0) stage.peer.send(bytes.subarray(0, 9));
      await stage.settle();
      stage.peer.send(bytes.subarray(split > 0 ? 9 : 0));
      await stage.settle();
      expect([pushes, stage.client.state]).toEqual([["a"], "closed"]);
    }
  });

  it("twice is closing once", async () => {
    const stage = await ClientStage.active();
    await Promise.all([stage.client.close(), stage.client.close()]);
    await stage.client.close();
    expect(stage.peer.of("goodbye").length).toBe(1);
  });
});

describe("listeners", () => {
  it("hear pushes with memory of their own, until they are removed", async () => {
    const stage = await ClientStage.active();
    const heard: string[] = [];
    const remove = stage.client.onPush(({ topic, payload }) => {
      heard.push(`${topic} ${new TextDecoder().decode(payload)}`);
    });
    stage.peer.send(frames.event("a", "1", 0));
    await stage.settle();
    remove();
    remove();
    stage.peer.send(frames.event("b", "2", 0));
    await stage.settle();
    expect(heard).toEqual(["a 1"]);
  });

  it("that throw harm neither each other nor the connection, and are not swallowed", async () => {
    const stage = await ClientStage.active();
    const heard: string[] = [];
    const uncaught: unknown[] = [];
    const before = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.on("uncaughtException", (error) => uncaught.push(error));
    try {
      stage.client.onPush(() => {
        throw new Error("a user's mistake");
      });
      stage.client.onPush(({ topic }) => heard.push(topic));
      stage.peer.send(frames.event("a", "1", 0), frames.event("b", "2", 0));
      await stage.settle();
    } finally {
      process.removeAllListeners("uncaughtException");
      for (const listener of before) process.on("uncaughtException", listener);
    }
    expect(heard).toEqual(["a", "b"]);
    expect(uncaught).toMatchObject([
      { message: "a user's mistake" },
      { message: "a user's mistake" },
    ]);
    expect(stage.client.state).toBe("active");
  });
});
