import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { STATUS } from "../../src/wire/messages.ts";
import { type MemoryClient, MemoryServer } from "../support/memory-server.ts";
import {
  bytesField,
  call,
  clientMessage,
  entryField,
  frame,
  goodbye,
  HEARTBEAT,
  hello,
  numberField,
  publish,
  subscribe,
  unsubscribe,
} from "../support/raw-message.ts";

let running: MemoryServer;

beforeEach(async () => {
  running = await MemoryServer.start({
    options: {
      node: { name: "node-1" },
      label: { max: 3, bytesMax: 20 },
      connection: { heartbeatMs: 20_000 },
      frame: { bytesMax: 4_096 },
    },
    prepare: (server) => server.method("echo", ({ payload }) => payload),
  });
});

afterEach(async () => {
  await running.stop();
});

async function sent(...bodies: Buffer[]): Promise<MemoryClient> {
  const client = running.connect();
  client.send(Buffer.concat(bodies.map((body) => frame(body))));
  await running.clock.settle();
  return client;
}

/** What a client was told, in short: the body, and its code where it has one. */
function told(client: MemoryClient): string[] {
  return client.messages.map((message) => {
    const id = message.id === 0 ? "" : `${message.id} `;
    if (message.body === "failure") return `${id}failure ${message.failure.code}`;
    if (message.body === "goAway") return `${id}goAway ${message.goAway.code}`;
    return id + message.body;
  });
}

function helloWith(...fields: Buffer[]): Buffer {
  return clientMessage(1, "hello", numberField(1, 1), ...fields);
}

describe("a Hello", () => {
  it("is answered with who the server is and what it holds to", async () => {
    const client = await sent(hello(77));
    const connection = running.connectionOf(client);
    expect(client.messages).toEqual([
      {
        id: 77,
        body: "welcome",
        welcome: {
          connectionId: connection.id,
          heartbeatMs: 20_000,
          maxFrameBytes: 4_096,
          node: "node-1",
          version: 1,
        },
      },
    ]);
    expect(connection.stateName).toBe("active");
  });

  it("may be followed at once by what the client wants", async () => {
    const client = await sent(hello(1), subscribe(2, "t"), publish(3, "t", "x"), call(4, "echo"));
    expect(told(client)).toEqual(["1 welcome", "2 result", "event", "3 result", "4 result"]);
  });

  it("may come after heartbeats", async () => {
    const client = running.connect();
    client.send(Buffer.concat([HEARTBEAT, HEARTBEAT, frame(hello(1)), HEARTBEAT]));
    await running.clock.settle();
    expect([told(client), client.heartbeats]).toEqual([["1 welcome"], 0]);
  });

  it("may carry what is not used yet: token, features, resume, fields nobody knows", async () => {
    const unused = [
      bytesField(2, "token"),
      numberField(4, 2n ** 64n - 1n),
      bytesField(5, "resume"),
    ];
    const client = await sent(helloWith(...unused, bytesField(99, "new")));
    expect(told(client)).toEqual(["1 welcome"]);
  });

  it.each([
    ["as many labels as allowed", { a: "1", b: "2", c: "3" }],
    ["a label as long as allowed", { [`k${"é".repeat(4)}`]: "v".repeat(11) }],
    ["a label without value", { a: "" }],
    ["a label whose value has a =", { a: "b=c" }],
    ["a label that is called __proto__", Object.fromEntries([["__proto__", "x"]])],
  ])("may carry %s", async (_what, labels) => {
    const client = await sent(hello(1, labels));
    expect(told(client)).toEqual(["1 welcome"]);
    expect(Object.fromEntries(running.connectionOf(client).labels!)).toEqual(labels);
  });

  it.each([
    ["more labels than allowed", { a: "", b: "", c: "", d: "" }, "more than 3 labels"],
    ["a label that is too long", { a: "é".repeat(10) }, "a label is longer than 20 bytes"],
    ["a label without a name", { "": "x" }, "a label's key is not empty and has no ="],
    ["a label whose name has a =", { "a=b": "x" }, "a label's key is not empty and has no ="],
  ])("with %s gets a Failure, then GoAway 3500, and is closed", async (_what, labels, reason) => {
    const client = await sent(hello(1, labels));
    expect(told(client)).toEqual([`1 failure ${STATUS.INVALID_ARGUMENT}`, "goAway 3500"]);
    expect(client.messages[0]).toMatchObject({ failure: { reason, retryable: false } });
    expect(client.messages[1]).toMatchObject({ goAway: { reason, reconnectAfterMs: 0 } });
    expect(client.closedWith).toBe(3_500);
    expect(running.server.closedByCause.bad_hello).toBe(1);
    expect(running.server.registry.labelCount).toBe(0);
  });

  it.each([0, 2, 0xffff_ffff])(
    "of version %i gets a Failure, then GoAway 3502",
    async (version) => {
      const client = await sent(clientMessage(5, "hello", numberField(1, version)));
      expect(told(client)).toEqual([`5 failure ${STATUS.FAILED_PRECONDITION}`, "goAway 3502"]);
      expect(client.messages[0]).toMatchObject({
        failure: { reason: "this server speaks version 1" },
      });
      expect(client.closedWith).toBe(3_502);
      expect(running.server.closedByCause.bad_version).toBe(1);
    },
  );

  it.each([
    ["left out", clientMessage(0, "hello", numberField(1, 1))],
    [
      "written as 0",
      Buffer.concat([numberField(1, 0), clientMessage(0, "hello", numberField(1, 1))]),
    ],
  ])("whose id is %s cannot be answered: GoAway 3500 alone", async (_what, body) => {
    const client = await sent(body);
    expect(told(client)).toEqual(["goAway 3500"]);
    expect(running.server.closedByCause.bad_hello).toBe(1);
  });

  it("row 11: that comes a second time ends the connection", async () => {
    const client = await sent(hello(1), hello(2));
    expect(told(client)).toEqual(["1 welcome", "goAway 3500"]);
    expect(running.server.closedByCause.bad_state).toBe(1);
  });

  it("keeps 128 letters of the client's name", async () => {
    const client = await sent(helloWith(bytesField(3, "x".repeat(1_000))));
    expect(running.connectionOf(client).clientName).toBe("x".repeat(128));
  });

  it("whose labels come twice takes the last value", async () => {
    const client = await sent(helloWith(entryField(6, "a", "1"), entryField(6, "a", "2")));
    expect([...running.connectionOf(client).labels!]).toEqual([["a", "2"]]);
  });
});

describe("before a Hello", () => {
  it.each([
    ["a call", call(1, "echo")],
    ["a publish", publish(1, "t", "x")],
    ["a subscribe", subscribe(1, "t")],
    ["an unsubscribe", unsubscribe(1, "t")],
    ["a goodbye", goodbye()],
  ])("row 11: %s ends the connection with 3500 and has no effect", async (_what, body) => {
    const client = await sent(body, hello(1));
    expect(told(client)).toEqual(["goAway 3500"]);
    expect(client.closedWith).toBe(3_500);
    expect(running.server.closedByCause.bad_state).toBe(1);
    expect([running.server.topics.published, running.server.topics.count]).toEqual([0, 0]);
  });
});

describe("after a Hello", () => {
  it.each([
    ["a body that this version does not know", bytesField(8, "x"), "unknown_body"],
    ["an id and nothing else", numberField(1, 5), "unknown_body"],
    ["bytes that are no message", Buffer.from([0xff]), "bad_message"],
  ])("%s ends the connection with 3500; what came before it counts", async (_what, body, cause) => {
    const client = await sent(hello(1), call(2, "echo"), body, call(3, "echo"));
    expect(told(client)).toEqual(["1 welcome", "2 result", "goAway 3500"]);
    expect(running.server.closedByCause[cause as "bad_message"]).toBe(1);
  });

  it("a Goodbye ends it with 1000, and answers that are due come first", async () => {
    const client = await sent(hello(1), call(2, "echo"), goodbye(), call(3, "echo"));
    expect(told(client)).toEqual(["1 welcome", "2 result", "goAway 1000"]);
    expect(client.closedWith).toBe(1_000);
    expect(running.server.closedByCause.goodbye).toBe(1);
  });

  it("an id that is in use is used again: the server keeps no list of them", async () => {
    const client = await sent(hello(1), call(1, "echo", "a"), call(1, "echo", "b"));
    expect(told(client)).toEqual(["1 welcome", "1 result", "1 result"]);
  });

  it("the largest id is answered like any other", async () => {
    const client = await sent(hello(0xffff_ffff), call(0xffff_ffff, "echo"));
    expect(told(client)).toEqual(["4294967295 welcome", "4294967295 result"]);
  });

  it("offset, epoch and recover of a Subscribe are taken and do nothing", async () => {
    const extras = [bytesField(2, "epoch"), numberField(3, 5), numberField(4, 1)];
    const client = await sent(
      hello(1),
      clientMessage(2, "subscribe", bytesField(1, "t"), ...extras),
    );
    running.server.publish("t", "x");
    await running.clock.settle();
    expect(client.messages.at(-1)).toMatchObject({ event: { topic: "t", offset: 1 } });
  });

  it("a push that belongs to no subscription has offset 0", async () => {
    const client = await sent(hello(1));
    expect(running.connectionOf(client).send("news", "x")).toBe("sent");
    await running.clock.settle();
    expect(client.messages.at(-1)).toMatchObject({ id: 0, event: { topic: "news", offset: 0 } });
  });
});

describe("a frame above the limit", () => {
  const large = frame(Buffer.alloc(4_097));

  it("is refused with 3501 on sight of its length", async () => {
    const client = await sent(hello(1));
    client.send(large.subarray(0, 4));
    await running.clock.settle();
    expect(client.closedWith).toBe(3_501);
    expect(running.server.closedByReason.frame_too_large).toBe(1);
  });

  it("is refused with 3501 also where reading was paused before it", async () => {
    const client = await sent(hello(1));
    const many = Array.from({ length: 200 }, () => HEARTBEAT);
    client.send(Buffer.concat([...many, large]));
    await running.clock.settle();
    expect(client.closedWith).toBe(3_501);
  });
});

describe("messages of a transport that has them", () => {
  beforeEach(async () => {
    await running.stop();
    running = await MemoryServer.start({
      memory: { hasMessages: true },
      options: { frame: { bytesMax: 4_096 } },
      prepare: (server) => server.method("echo", ({ payload }) => payload),
    });
  });

  it("may hold many frames, more than one turn handles", async () => {
    const client = await sent(hello(1), ...Array.from({ length: 300 }, () => call(2, "echo")));
    expect(told(client).filter((text) => text === "2 result").length).toBe(300);
    expect(client.closedWith).toBe(null);
  });

  it.each([1, 3, 4, 5, 10])(
    "end the connection where they end %i bytes into a frame",
    async (cut) => {
      const client = await sent(hello(1));
      client.send(frame(call(2, "echo")).subarray(0, cut));
      await running.clock.settle();
      expect(told(client)).toEqual(["1 welcome", "goAway 3500"]);
      expect(running.server.closedByCause.truncated_frame).toBe(1);
    },
  );

  it("end the connection with 3501 where a frame in them is too large", async () => {
    const client = await sent(hello(1));
    client.send(Buffer.concat([HEARTBEAT, frame(Buffer.alloc(4_097))]));
    await running.clock.settle();
    expect(client.closedWith).toBe(3_501);
  });

  it("end it with 3501 also where reading was paused before the frame", async () => {
    const client = await sent(hello(1));
    const many = Array.from({ length: 100 }, () => HEARTBEAT);
    client.send(Buffer.concat([...many, frame(Buffer.alloc(4_097))]));
    await running.clock.settle();
    expect(client.closedWith).toBe(3_501);
  });
});
