import { createServer, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { beforeEach, describe, expect, it } from "vitest";
import { frames } from "../support/fake-server.ts";
import { GeneratorBench } from "../support/generator-bench.ts";
import { type ProbeTarget, startUpgrade, switching } from "../support/probe-target.ts";
import { acceptFor, OPCODE, webSocketFrame } from "../support/raw-websocket.ts";
import { LOADABLE_TRANSPORTS } from "../support/native.ts";

type AtEnd = (stop: () => void) => void;

const server = (opcode: number, payload: Uint8Array, fin: boolean = true): Buffer =>
  webSocketFrame({ opcode, payload, fin, mask: null });

/** The answer to an upgrade, and what follows it. */
function accepted(key: string, ...more: readonly Buffer[]): Buffer {
  const head = switching({
    "Sec-WebSocket-Accept": acceptFor(key),
    "Sec-WebSocket-Protocol": "holdfast.v1",
  });
  return Buffer.concat([Buffer.from(head), ...more]);
}

const WELCOME = server(OPCODE.BINARY, frames.welcome(1));

/** One connection to a WebSocket server that sends these bytes after the upgrade. */
async function meets(
  atEnd: AtEnd,
  ...more: readonly Buffer[]
): Promise<{ bench: GeneratorBench; target: ProbeTarget; received: Buffer[] }> {
  const received: Buffer[] = [];
  const target = await startUpgrade(
    (key) => accepted(key, ...more),
    atEnd,
    {},
    (_socket, bytes) => {
      received.push(Buffer.from(bytes));
      return Buffer.alloc(0);
    },
  );
  const endpoint = `ws://127.0.0.1:${target.port}`;
  const bench = await GeneratorBench.start([endpoint], {}, atEnd);
  bench.schedule("connect", 1, 1);
  return { bench, target, received };
}

describe.each(LOADABLE_TRANSPORTS)("an upgrade, by %s:", (transport) => {
  beforeEach(() => {
    GeneratorBench.transport = transport;
  });

  it("and the Welcome after it may come in two pieces, split at every byte", async ({
    onTestFinished,
  }) => {
    const sockets = new Set<Socket>();
    let split = 0;
    const listener = createServer({ noDelay: true }, (socket) => {
      sockets.add(socket);
      const at = ++split;
      socket.on("error", () => {});
      socket.once("data", (request: Buffer) => {
        const key = /^sec-websocket-key: (.*)$/im.exec(request.toString("latin1"))![1]!;
        const bytes = accepted(key.trim(), WELCOME);
        socket.write(bytes.subarray(0, at));
        setTimeout(() => socket.write(bytes.subarray(at)), 15);
      });
    });
    await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => {
      listener.close();
      for (const socket of sockets) socket.destroy();
    });
    const { port } = listener.address() as { port: number };
    const bench = await GeneratorBench.start([`ws://127.0.0.1:${port}`], {}, onTestFinished);
    const count = accepted("x".repeat(24), WELCOME).length - 1;
    await bench.hold(count);
    expect(bench.total.failures).toEqual({});
  });

  it.each([
    [
      "a close frame with a code",
      server(OPCODE.CLOSE, Buffer.of(0x0b, 0xbc)),
      "hello.refused.3004",
    ],
    ["GoAway", server(OPCODE.BINARY, frames.goAway(3004)), "hello.refused.3004"],
    ["a masked frame", webSocketFrame({ opcode: 2, payload: "x" }), "hello.malformed"],
    ["half a frame of ours in a message", server(2, Buffer.of(0, 0, 0, 9, 1)), "hello.malformed"],
    ["a continuation of nothing", server(OPCODE.CONTINUATION, Buffer.of(1)), "hello.malformed"],
    [
      "a message inside a message",
      Buffer.concat([server(2, Buffer.of(0), false), WELCOME]),
      "hello.malformed",
    ],
    [
      "a length that nobody should believe",
      Buffer.from([0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0]),
      "hello.malformed",
    ],
  ])("followed by %s is no connection", async (_, bytes, failure) => {
    const ends: (() => void)[] = [];
    const { bench } = await meets((end) => ends.push(end), bytes);
    await bench.until(() => bench.total.counts.connect.failed === 1);
    expect(bench.total.failures).toEqual({ [failure]: 1 });
    for (const end of ends) end();
  });
});

describe.each(LOADABLE_TRANSPORTS)("a held WebSocket, by %s:", (transport) => {
  beforeEach(() => {
    GeneratorBench.transport = transport;
  });

  it("takes messages in fragments, with pings between them that it answers", async ({
    onTestFinished,
  }) => {
    const welcome = frames.welcome(1);
    const { bench, received } = await meets(
      onTestFinished,
      server(OPCODE.BINARY, welcome.subarray(0, 3), false),
      server(OPCODE.PING, Buffer.from("are you there?")),
      server(OPCODE.CONTINUATION, welcome.subarray(3, 5), false),
      server(OPCODE.CONTINUATION, welcome.subarray(5)),
    );
    await bench.until(() => bench.report().held === 1);
    await bench.until(() => received.some((bytes) => bytes.includes(0x8a)));
    const all = Buffer.concat(received);
    const at = all.indexOf(0x8a);
    const mask = all.subarray(at + 2, at + 6);
    const payload = all.subarray(at + 6, at + 20).map((byte, index) => byte ^ mask[index & 3]!);
    expect(all[at + 1]).toBe(0x80 | 14);
    expect(Buffer.from(payload).toString()).toBe("are you there?");
  });

  it("that the server closes with a code dies of that code", async ({ onTestFinished }) => {
    const close = server(OPCODE.CLOSE, Buffer.of(0x0b, 0xb8));
    const { bench } = await meets(onTestFinished, WELCOME, close);
    await bench.until(() => bench.total.deathCount === 1);
    expect(Object.keys(bench.total.deaths)).toEqual(["closed.code.3000"]);
  });

  it("that sends a fragment without end is cut off before it takes our memory", async ({
    onTestFinished,
  }) => {
    const piece = server(OPCODE.CONTINUATION, Buffer.alloc(60_000), false);
    const { bench } = await meets(
      ...([onTestFinished, WELCOME, server(OPCODE.BINARY, Buffer.alloc(1), false)] as const),
      ...Array.from({ length: 20 }, () => piece),
    );
    await bench.until(() => bench.total.deathCount === 1);
    expect(Object.keys(bench.total.deaths)).toEqual(["closed.malformed"]);
  });
});

describe.each(LOADABLE_TRANSPORTS)("an end of our own, by %s:", (transport) => {
  beforeEach(() => {
    GeneratorBench.transport = transport;
  });

  it("is no failure and no death, whatever the server still says", async ({ onTestFinished }) => {
    const { bench, target } = await meets(onTestFinished, WELCOME);
    await bench.until(() => bench.report().held === 1);
    bench.generator.stop();
    await bench.until(() => target.open === 0);
    await delay(20);
    expect([bench.total.failures, bench.total.deathCount]).toEqual([{}, 0]);
  });
});
