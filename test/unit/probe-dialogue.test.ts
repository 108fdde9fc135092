import { describe, expect, it } from "vitest";
import { Dialogue, type DialogueEvents } from "../../src/probe/dialogue.ts";
import type { GeneratorSetup } from "../../src/probe/generator-messages.ts";
import { type ProbeConnection, STATE, type State } from "../../src/probe/probe-connection.ts";
import { frames, readClientMessage } from "../support/fake-server.ts";
import { generatorSetup } from "../support/generator-bench.ts";
import { bytesField, FrameCutter, frame, numberField } from "../support/raw-message.ts";

/** A connection of which only what is written and how it ends is seen. */
class Wire {
  readonly target: number = 0;
  state: State = STATE.CONNECTING;
  topic: number = -1;
  closeCode: number = 0;
  isSilent: boolean = false;
  readonly writes: Buffer[] = [];
  readonly failures: string[] = [];
  /** The kernel takes nothing: the socket keeps what it was given. */
  isKeeping: boolean = false;

  move(to: State): void {
    this.state = to;
  }

  write(bytes: Buffer): boolean {
    this.writes.push(this.isKeeping ? bytes : Buffer.from(bytes));
    return !this.isKeeping;
  }

  fail(failure: string): void {
    this.failures.push(failure);
    this.state = STATE.CLOSED;
  }

  endedByServer(): void {
    this.fail(`ended ${this.closeCode}`);
  }
}

interface Stand {
  readonly dialogue: Dialogue;
  readonly wire: Wire;
  readonly connection: ProbeConnection;
  readonly seen: string[];
  /** Bytes come; @returns how many of them were consumed. */
  read(bytes: Buffer): number;
}

async function stand(
  changes: Partial<GeneratorSetup> = {},
  endpoint: string = "tcp://127.0.0.1:1",
): Promise<Stand> {
  const seen: string[] = [];
  const events: DialogueEvents = {
    onReady: (one) => {
      seen.push("ready");
      one.state = STATE.HELD;
    },
    onAnswer: (_, id, failure) => void seen.push(`answer ${id} ${failure ?? "ok"}`),
    onEvent: (_, publisher, sequence, atMs) =>
      void seen.push(`event ${publisher} ${sequence} ${atMs}`),
    onGap: (_, missed) => void seen.push(`gap ${missed}`),
    onGoAway: () => false,
  };
  const dialogue = new Dialogue(await generatorSetup([endpoint], changes), events);
  const wire = new Wire();
  const connection = wire as unknown as ProbeConnection;
  const read = (bytes: Buffer): number => dialogue.read(connection, bytes, 0, bytes.length);
  return { dialogue, wire, connection, seen, read };
}

async function held(changes: Partial<GeneratorSetup> = {}): Promise<Stand> {
  const all = await stand(changes);
  all.dialogue.begin(all.connection);
  all.wire.state = STATE.HELD;
  all.wire.writes.length = 0;
  all.seen.length = 0;
  return all;
}

/** Client messages in what was written. */
function messages({ wire }: Stand): ReturnType<typeof readClientMessage>[] {
  const cutter = new FrameCutter();
  return [...cutter.push(Buffer.concat(wire.writes))].map(readClientMessage);
}

describe("greeting", () => {
  it("says Hello with version and token, and is ready when Welcome comes", async () => {
    const one = await stand({ token: "secret" });
    one.dialogue.begin(one.connection);
    expect(messages(one)).toMatchObject([{ body: "hello", id: 1 }]);
    expect(Buffer.concat(one.wire.writes).includes("secret")).toBe(true);
    const welcome = frames.welcome(1);
    expect(one.read(welcome)).toBe(welcome.length);
    expect(one.seen).toEqual(["ready"]);
  });

  it("subscribes before it is ready, where there is a topic", async () => {
    const one = await stand({ traffic: "publish", topics: 3 });
    one.wire.topic = 2;
    one.dialogue.begin(one.connection);
    one.read(frames.welcome(1));
    expect(one.seen).toEqual([]);
    expect(messages(one).at(-1)).toMatchObject({ body: "subscribe", topic: "probe.7.2" });
    one.read(frames.result(2));
    expect(one.seen).toEqual(["ready"]);
  });

  it("says nothing to a raw target, which is ready at once", async () => {
    const one = await stand({ protocol: "raw" });
    one.dialogue.begin(one.connection);
    expect([one.seen, one.wire.writes]).toEqual([["ready"], []]);
  });

  const welcomeOf = (...fields: Buffer[]): Buffer =>
    frame(Buffer.concat([numberField(1, 1), bytesField(2, Buffer.concat(fields))]));

  it.each([
    ["a Welcome to another id", frames.welcome(2), "hello.malformed"],
    ["a Welcome of another version", frames.welcome(1, { version: 2 }), "hello.malformed"],
    ["our own Hello, sent back", welcomeOf(bytesField(3, "holdfast-probe")), "hello.malformed"],
    ["a Result", frames.result(1), "hello.malformed"],
    ["garbage", frames.garbage(), "hello.malformed"],
    ["nothing in a frame of its own", frames.noBody(1), "hello.malformed"],
    ["a Failure", frames.failure(1, 16, "who are you"), "hello.refused.16"],
    ["GoAway", frames.goAway(3004, "full", 5_000), "ended 3004"],
  ])("answered with %s ends it", async (_, bytes, failure) => {
    const one = await stand();
    one.dialogue.begin(one.connection);
    one.read(bytes);
    expect([one.wire.failures, one.seen]).toEqual([[failure], []]);
  });

  it("whose subscription is refused ends with the status", async () => {
    const one = await stand({ traffic: "publish" });
    one.wire.topic = 0;
    one.dialogue.begin(one.connection);
    one.read(Buffer.concat([frames.welcome(1), frames.failure(2, 7, "no")]));
    expect(one.wire.failures).toEqual(["subscribe.failure.7"]);
  });
});

describe("echoes", () => {
  it.each([1, 127, 128, 16_384, 2 ** 31, 2 ** 32 - 1])(
    "carry their number %i as the id and in the payload",
    async (id) => {
      const one = await held();
      one.dialogue.echo(id);
      one.dialogue.flush(one.connection);
      const [call] = messages(one);
      expect(call).toMatchObject({ body: "call", id, method: "echo" });
      expect(call!.payload).toHaveLength(32);
      expect(call!.payload.readUInt32BE(0)).toBe(id);
      one.read(frames.result(id, call!.payload));
      expect(one.seen).toEqual([`answer ${id} ok`]);
    },
  );

  it("are one write however many there are, and fill a buffer that grows", async () => {
    const one = await held({ payloadBytes: 60_000 });
    for (let id = 1; id <= 5; id++) one.dialogue.echo(id);
    expect(one.dialogue.composedBytes).toBeGreaterThan(300_000);
    one.dialogue.flush(one.connection);
    one.dialogue.flush(one.connection);
    expect(one.wire.writes).toHaveLength(1);
    expect(messages(one).map(({ id }) => id)).toEqual([1, 2, 3, 4, 5]);
  });

  it("that a socket keeps are not overwritten by what is said next", async () => {
    const one = await held();
    one.wire.isKeeping = true;
    for (let id = 1; id <= 3; id++) {
      one.dialogue.echo(id);
      one.dialogue.flush(one.connection);
    }
    expect(messages(one).map(({ id }) => id)).toEqual([1, 2, 3]);
  });

  it("that were composed for one that has ended are thrown away", async () => {
    const one = await held();
    one.dialogue.echo(1);
    one.dialogue.discard();
    one.dialogue.flush(one.connection);
    expect([one.wire.writes, one.dialogue.composedBytes]).toEqual([[], 0]);
  });

  it("to a raw target are frames with the number first, whose every byte is compared", async () => {
    const one = await held({ protocol: "raw", payloadBytes: 16 });
    one.dialogue.echo(9);
    one.dialogue.flush(one.connection);
    const [sent] = one.wire.writes as [Buffer];
    expect([sent.length, sent.readUInt32BE(0), sent.readUInt32BE(4)]).toEqual([20, 16, 9]);
    one.read(sent);
    expect(one.seen.splice(0)).toEqual(["answer 9 ok"]);
    for (let at = 8; at < sent.length; at++) {
      const wrong = Buffer.from(sent);
      wrong[at]! ^= 0x40;
      one.read(wrong);
    }
    expect(one.seen).toEqual(Array(12).fill("answer 9 app.mismatch"));
  });

  it("in pieces are consumed as far as they are whole", async () => {
    const one = await held({ protocol: "raw", payloadBytes: 16 });
    for (const id of [1, 2]) one.dialogue.echo(id);
    one.dialogue.flush(one.connection);
    const [sent] = one.wire.writes as [Buffer];
    for (let length = 0; length < sent.length; length++) {
      expect(one.read(sent.subarray(0, length))).toBe(length < 20 ? 0 : 20);
    }
  });
});

describe("what a server says", () => {
  it("of which a raw target without traffic knows nothing is passed over", async () => {
    const one = await held({ protocol: "raw", traffic: "none" });
    const banner = Buffer.from("220 mail.example.org ESMTP ready\r\n");
    expect(one.read(banner)).toBe(banner.length);
    expect(one.wire.failures).toEqual([]);
  });

  it("that is too long or too short for a raw echo is malformed", async () => {
    const one = await held({ protocol: "raw" });
    expect(one.read(Buffer.from("SSH-2.0-OpenSSH\r\n"))).toBe(-1);
    one.read(frame(Buffer.from([1, 2, 3])));
    expect(one.wire.failures).toEqual(["closed.malformed"]);
  });

  it("as a heartbeat is answered by one, unless the connection plays dead", async () => {
    const one = await held();
    one.read(Buffer.concat([frames.heartbeat, frames.heartbeat]));
    expect(Buffer.concat(one.wire.writes)).toEqual(Buffer.alloc(8));
    one.wire.isSilent = true;
    one.read(frames.heartbeat);
    expect(one.wire.writes).toHaveLength(2);
  });

  it("after GoAway is not heard any more", async () => {
    const one = await held();
    one.read(Buffer.concat([frames.goAway(3000), frames.result(5, "late"), frames.garbage()]));
    expect([one.wire.failures, one.seen]).toEqual([["ended 3000"], []]);
  });

  it("that is no message ends a held connection", async () => {
    const one = await held();
    one.read(frames.garbage());
    expect(one.wire.failures).toEqual(["closed.malformed"]);
  });

  it("as events and gaps is handed on; what others publish there is not ours", async () => {
    const one = await held({ traffic: "publish", payloadBytes: 20 });
    one.dialogue.publish(0, 3, 77, 1_234.5);
    one.dialogue.flush(one.connection);
    const [publish] = messages(one);
    expect(publish).toMatchObject({ body: "publish", id: 3, topic: "probe.7.0" });
    one.read(
      Buffer.concat([
        frames.event("probe.7.0", publish!.payload, 1),
        frames.event("probe.7.0", "hello", 2),
        frames.gap("probe.7.0", 4),
        frames.result(3),
      ]),
    );
    expect(one.seen).toEqual(["event 0 77 1234.5", "gap 4", "answer 3 ok"]);
  });
});
