import { expect, it, describe } from "vitest";
import { BUS_FRAME, busFrameBytes, writeBusFrame } from "../../src/bus/bus-frame.ts";
import type { BusEnd } from "../support/bus-stage.ts";
import { BusStage } from "../support/bus-stage.ts";

/** What it heard of a topic since it was last asked. */
function heard(end: BusEnd): string[] {
  return end.heard.splice(0);
}

describe("events", () => {
  it("go to every member that joined, the publisher too, with rising offsets", async () => {
    const stage = new BusStage();
    const [a, b, c] = stage.ends(3) as [BusEnd, BusEnd, BusEnd];
    for (const end of [a, b]) end.join("t");
    await stage.clock.settle();
    for (const end of [a, c, b]) end.publish("t", "x");
    await stage.clock.settle();
    expect(heard(a)).toEqual(["joined t 0", "t 1 x", "t 2 x", "t 3 x"]);
    expect(heard(b)).toEqual(["joined t 0", "t 1 x", "t 2 x", "t 3 x"]);
    expect(heard(c)).toEqual([]);
  });

  it("come to all in one order, whoever published when", async () => {
    const stage = new BusStage();
    const ends = stage.ends(4);
    for (const end of ends) end.join("t");
    await stage.clock.settle();
    for (let index = 0; index < 400; index++) {
      ends[index % 4]!.publish("t", String(index));
      if (index % 13 === 0) await stage.clock.settle();
    }
    await stage.clock.settle();
    const [first, ...others] = ends.map(heard);
    expect(first!.length).toBe(401);
    for (const other of others) expect(other).toEqual(first);
  });

  it("begin behind the offset that a join was answered with", async () => {
    const stage = new BusStage();
    const [a, b] = stage.ends(2) as [BusEnd, BusEnd];
    a.join("t").publish("t", "early");
    a.publish("u", "to nobody");
    await stage.clock.settle();
    b.join("t").join("u");
    await stage.clock.settle();
    a.publish("t", "late");
    await stage.clock.settle();
    expect(heard(b)).toEqual(["joined t 1", "joined u 0", "t 2 late"]);
  });

  it("end with leave, even those under way, and none come twice after a new join", async () => {
    const stage = new BusStage();
    const [a, b] = stage.ends(2) as [BusEnd, BusEnd];
    a.join("t");
    b.join("t");
    await stage.clock.settle();
    heard(b);
    a.publish("t", "1");
    await stage.clock.settle();
    a.publish("t", "2");
    b.far.hold();
    await stage.clock.settle();
    b.bus.leave("t");
    b.join("t");
    await stage.clock.settle();
    a.publish("t", "3");
    b.far.letGo();
    await stage.clock.settle();
    expect(heard(b)).toEqual(["t 1 1", "joined t 2", "t 3 3"]);
  });

  it("of a topic that everybody left begin anew", async () => {
    const stage = new BusStage();
    const a = stage.end().join("t");
    a.publish("t", "x");
    await stage.clock.settle();
    a.bus.leave("t");
    await stage.clock.settle();
    expect(stage.hub.topicCount).toBe(0);
    a.join("t").publish("t", "y");
    await stage.clock.settle();
    expect(heard(a)).toEqual(["joined t 0", "t 1 x", "joined t 0", "t 1 y"]);
  });

  it("and leaves of topics that were never joined are no mistake", async () => {
    const stage = new BusStage();
    const a = stage.end();
    a.bus.leave("t");
    a.publish("t", "x");
    await stage.clock.settle();
    expect([heard(a), stage.faults, stage.hub.topicCount]).toEqual([[], [], 0]);
  });

  it("leave room for everything else: a flood is handed on over many turns", async () => {
    const stage = new BusStage();
    const a = stage.end().join("t");
    a.work = 1_000;
    for (let index = 0; index < 40; index++) a.publish("t", "x");
    let turns = 0;
    const seen: number[] = [];
    const look = (): void => {
      seen.push(a.heard.length);
      if (++turns < 60) stage.clock.afterPoll(look);
    };
    stage.clock.afterPoll(look);
    await stage.clock.settle();
    expect(heard(a).length).toBe(41);
    const most = Math.max(...seen.map((count, at) => count - (seen[at - 1] ?? 0)));
    expect(most).toBeLessThanOrEqual(6);
  });
});

describe("a member that does not read", () => {
  it("loses events, whose offsets are left out; nobody else loses any", async () => {
    const pair = { windowBytes: 1_000 };
    const stage = new BusStage({ queueBytesMax: 10_000, pair });
    const [a, b] = stage.ends(2) as [BusEnd, BusEnd];
    a.join("t");
    b.join("t");
    await stage.clock.settle();
    b.far.hold();
    for (let index = 1; index <= 500; index++) {
      a.publish("t", "x".repeat(100));
      await stage.clock.settle();
    }
    const { dropped, queuedBytes } = stage.hub.backlogOf(2)!;
    expect(queuedBytes).toBeLessThanOrEqual(10_000);
    expect(dropped).toBeGreaterThan(350);
    expect(stage.hub.counters.dropped).toBe(dropped);
    expect(stage.hub.backlogOf(1)!.dropped).toBe(0);
    b.far.letGo();
    await stage.clock.settle();
    a.publish("t", "last");
    await stage.clock.settle();
    expect(heard(a).length).toBe(502);
    const offsets = heard(b)
      .slice(1)
      .map((line) => Number(line.split(" ")[1]));
    expect(offsets.length).toBe(501 - dropped);
    expect(offsets.at(-1)).toBe(501);
    expect(offsets.slice(0, -1)).toEqual(offsets.slice(0, -1).map((_, at) => at + 1));
  });

  it("still has its joins answered when it reads again", async () => {
    const stage = new BusStage({ queueBytesMax: 3_000, pair: { windowBytes: 500 } });
    const [a, b] = stage.ends(2) as [BusEnd, BusEnd];
    b.join("t");
    await stage.clock.settle();
    b.far.hold();
    for (let index = 0; index < 100; index++) a.publish("t", "x".repeat(100));
    b.join("u");
    await stage.clock.settle();
    b.far.letGo();
    await stage.clock.settle();
    expect(heard(b)).toContain("joined u 0");
  });

  it("and asks all the time is cut off", async () => {
    const stage = new BusStage({ queueBytesMax: 1_000 });
    const a = stage.end();
    a.far.hold();
    const topic = "t".repeat(60_000);
    for (let index = 0; index < 300 && stage.faults.length === 0; index++) {
      a.join(topic + index);
      await stage.clock.settle();
    }
    expect(stage.faults).toEqual(["1 HOLDFAST_BUS_BROKEN"]);
    expect(stage.hub.topicCount).toBe(0);
  });

  it("as a hub: what it cannot take is refused, and nothing waits beyond that", async () => {
    const stage = new BusStage();
    const a = stage.end();
    a.socket.hold();
    const text = "x".repeat(1_000_000);
    let taken = 0;
    while (a.publish("t", text) === "taken") {
      taken++;
      await stage.clock.settle();
    }
    // One is under way, sixteen wait.
    expect([taken, a.bus.queuedBytes < 16 * 1_048_576]).toEqual([17, true]);
    expect(a.bus.send(2, "x", "t", Buffer.from(text))).toBe("full");
    expect(await a.bus.reach(null, "t", Buffer.from(text))).toBe(0);
    a.socket.letGo();
    await stage.clock.settle();
    expect(a.publish("t", text)).toBe("taken");
  });
});

describe("a push", () => {
  it("goes to the member that its number names, and to nobody where there is none", async () => {
    const stage = new BusStage();
    const [a, b, c] = stage.ends(3) as [BusEnd, BusEnd, BusEnd];
    expect(a.bus.send(2, "some-id", "news", Buffer.from("x"))).toBe("taken");
    expect(a.bus.send(77, "some-id", "news", Buffer.from("x"))).toBe("taken");
    await stage.clock.settle();
    expect([a, b, c].map(heard)).toEqual([[], ["send some-id news x"], []]);
  });

  it("to all reaches all others, and is answered with how many they were", async () => {
    const stage = new BusStage();
    const [a, b, c] = stage.ends(3) as [BusEnd, BusEnd, BusEnd];
    b.reached = () => Promise.resolve(4);
    c.reached = () => Promise.resolve(30);
    const all = a.bus.reach(null, "news", Buffer.from("x"));
    const some = a.bus.reach(["room", "a=b"], "news", Buffer.from("y"));
    await stage.clock.settle();
    expect([await all, await some]).toEqual([34, 34]);
    expect([a, b].map(heard)).toEqual([[], ["reach all news x", "reach room=a=b news y"]]);
    expect(stage.clock.pending).toBe(0);
  });

  it("of two members at once is answered to each with its own number", async () => {
    const stage = new BusStage();
    const [a, b] = stage.ends(2) as [BusEnd, BusEnd];
    a.reached = () => Promise.resolve(1);
    b.reached = () => Promise.resolve(2);
    const both = [a, b].map(({ bus }) => bus.reach(null, "n", Buffer.alloc(0)));
    await stage.clock.settle();
    expect(await Promise.all(both)).toEqual([2, 1]);
  });

  it("to all from the only member reaches nobody else", async () => {
    const stage = new BusStage();
    const reached = stage.end().bus.reach(null, "n", Buffer.alloc(0));
    await stage.clock.settle();
    expect([await reached, stage.clock.pending]).toEqual([0, 0]);
  });

  it("counts those who answered within 5 s; a late answer changes nothing", async () => {
    const stage = new BusStage();
    const [a, b, c] = stage.ends(3) as [BusEnd, BusEnd, BusEnd];
    b.reached = () => Promise.resolve(4);
    let answer = (_reached: number): void => undefined;
    c.reached = () => new Promise((resolve) => (answer = resolve));
    let reached = -1;
    void a.bus.reach(null, "n", Buffer.alloc(0)).then((number) => (reached = number));
    await stage.clock.advance(4_999);
    expect(reached).toBe(-1);
    await stage.clock.advance(1);
    expect(reached).toBe(4);
    answer(30);
    await stage.clock.settle();
    expect([reached, stage.faults]).toEqual([4, []]);
  });

  it("does not wait for a member that ends, nor for one that it did not fit", async () => {
    const stage = new BusStage({ queueBytesMax: 2_000, pair: { windowBytes: 100 } });
    const [a, b, c] = stage.ends(3) as [BusEnd, BusEnd, BusEnd];
    b.reached = () => new Promise(() => undefined);
    c.reached = () => Promise.resolve(3);
    let reached = -1;
    void a.bus.reach(null, "n", Buffer.alloc(10)).then((number) => (reached = number));
    await stage.clock.settle();
    expect(reached).toBe(-1);
    b.socket.destroy();
    await stage.clock.settle();
    expect(reached).toBe(3);
    const big = a.bus.reach(null, "n", Buffer.alloc(5_000));
    await stage.clock.settle();
    expect([await big, stage.hub.counters.dropped]).toEqual([0, 1]);
  });

  it("is forgotten with the member that asked", async () => {
    const stage = new BusStage();
    const [a, b] = stage.ends(2) as [BusEnd, BusEnd];
    b.reached = () => new Promise(() => undefined);
    const reached = a.bus.reach(null, "n", Buffer.alloc(0));
    await stage.clock.settle();
    a.socket.destroy();
    await stage.clock.settle();
    expect([await reached, stage.clock.pending]).toEqual([0, 0]);
  });

  it("that is too large is refused where it is made, and the bus goes on", async () => {
    const stage = new BusStage();
    const [a, b] = stage.ends(2) as [BusEnd, BusEnd];
    const huge = Buffer.alloc(8 * 1_048_576);
    const code = { code: "HOLDFAST_FRAME_TOO_LARGE" };
    expect(() => a.bus.publish("t", huge)).toThrow(expect.objectContaining(code));
    expect(() => a.bus.send(2, "id", "t", huge)).toThrow(expect.objectContaining(code));
    a.bus.send(2, "id", "t", Buffer.from("x"));
    await stage.clock.settle();
    expect(heard(b)).toEqual(["send id t x"]);
  });
});

describe("the end", () => {
  it("of the hub is told to all once, and what is asked afterwards does no harm", async () => {
    const stage = new BusStage();
    const [a, b] = stage.ends(2) as [BusEnd, BusEnd];
    a.join("t");
    b.reached = () => new Promise(() => undefined);
    const pending = a.bus.reach(null, "n", Buffer.alloc(0));
    await stage.clock.settle();
    heard(a);
    stage.hub.close();
    await stage.clock.settle();
    expect([heard(a), await pending]).toEqual([["end in order"], 0]);
    a.join("u");
    a.bus.leave("t");
    expect([a.publish("t", "x"), await a.bus.reach(null, "n", Buffer.alloc(0))]).toEqual([
      "taken",
      0,
    ]);
    await stage.clock.settle();
    expect([heard(a), stage.clock.pending]).toEqual([[], 0]);
    await a.bus.close();
  });

  it("of one member is nothing to the others", async () => {
    const stage = new BusStage();
    const [a, b] = stage.ends(2) as [BusEnd, BusEnd];
    for (const end of [a, b]) end.join("t");
    await stage.clock.settle();
    a.publish("t", "1");
    await stage.clock.settle();
    a.socket.destroy();
    await stage.clock.settle();
    b.publish("t", "2");
    await stage.clock.settle();
    expect(heard(b)).toEqual(["joined t 0", "t 1 1", "t 2 2"]);
    expect([stage.hub.backlogOf(1), stage.faults]).toEqual([null, []]);
  });

  it("by close() hands over what was taken, and tells nobody", async () => {
    const stage = new BusStage({ pair: { windowBytes: 1_000, segmentBytes: () => 100 } });
    const [a, b] = stage.ends(2) as [BusEnd, BusEnd];
    b.join("t");
    await stage.clock.settle();
    heard(b);
    for (let index = 0; index < 50; index++) a.publish("t", "x".repeat(99));
    const closed = a.bus.close();
    await stage.clock.advance(900);
    await closed;
    expect([heard(b).length, heard(a), stage.hub.backlogOf(1)]).toEqual([50, [], null]);
    expect(stage.clock.pending).toBe(0);
  });

  it("by close() waits a second for a hub that does not read", async () => {
    const stage = new BusStage();
    const a = stage.end();
    a.socket.hold();
    for (let index = 0; index < 5; index++) a.publish("t", "x".repeat(100_000));
    let isClosed = false;
    void a.bus.close().then(() => (isClosed = true));
    await stage.clock.advance(999);
    expect(isClosed).toBe(false);
    await stage.clock.advance(1);
    expect([isClosed, stage.clock.pending]).toEqual([true, 0]);
  });
});

describe("a member that sends what is no frame", () => {
  function frame(kind: number, topic: string = "t"): Buffer {
    const init = { kind: kind as 1, topic };
    const bytes = Buffer.alloc(busFrameBytes(init));
    writeBusFrame(bytes, 0, bytes.length, init);
    return bytes;
  }
  it.each<[string, Buffer]>([
    ["noise", Buffer.alloc(1_000, 0xa5)],
    ["nothing but zeros", Buffer.alloc(64)],
    ["an answer that only a hub gives", frame(BUS_FRAME.JOINED)],
    ["an event", frame(BUS_FRAME.EVENT)],
    ["a second join", Buffer.concat([frame(BUS_FRAME.JOIN), frame(BUS_FRAME.JOIN)])],
    ["good frames before it", Buffer.concat([frame(BUS_FRAME.PUBLISH), Buffer.alloc(64, 1)])],
  ])("(%s) is cut off and named, and the hub serves the others", async (_what, bytes) => {
    const stage = new BusStage();
    const [a, b, c] = stage.ends(3) as [BusEnd, BusEnd, BusEnd];
    b.join("t");
    await stage.clock.settle();
    a.socket.write(bytes);
    a.socket.write(frame(BUS_FRAME.PUBLISH, "t"));
    await stage.clock.settle();
    expect([stage.faults, stage.hub.counters.faults]).toEqual([["1 HOLDFAST_BUS_BROKEN"], 1]);
    expect(heard(a)).toEqual(["end in order"]);
    heard(b);
    c.publish("t", "x");
    await stage.clock.settle();
    expect(heard(b)).toMatchObject([expect.stringMatching(/^t \d x$/)]);
  });

  it("as a hub is left, and says why", async () => {
    const stage = new BusStage();
    const a = stage.end();
    a.far.write(frame(BUS_FRAME.PUBLISH));
    await stage.clock.settle();
    expect(heard(a)).toEqual([expect.stringContaining("end a frame of kind 3")]);
  });

  it("may be cut in the middle of a frame by its end", async () => {
    const stage = new BusStage();
    const a = stage.end();
    a.socket.write(frame(BUS_FRAME.JOIN).subarray(0, 20));
    await stage.clock.settle();
    a.socket.destroy();
    await stage.clock.settle();
    expect([stage.faults, stage.hub.backlogOf(1)]).toEqual([[], null]);
  });
});
