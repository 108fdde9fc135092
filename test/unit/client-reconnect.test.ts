import { describe, expect, it } from "vitest";
import type { ClientOptions } from "../../src/client/client-options.ts";
import { connect } from "../../src/client/node.ts";
import { ClientStage, watch } from "../support/client-stage.ts";
import { FakeNetwork, type FakePeer, frames, honest, silent } from "../support/fake-server.ts";
import { ManualClock } from "../support/manual-clock.ts";

const refusing = (network: FakeNetwork): void => {
  network.reach = () => "refuse";
};

/** How long the client waits before each attempt, when every attempt fails at once. */
async function waits(count: number, options: ClientOptions, seed: number): Promise<number[]> {
  const clock = new ManualClock();
  const network = new FakeNetwork();
  refusing(network);
  const client = connect("tcp://a:1", options, { clock, seed, dialer: network.dialer });
  const starts: number[] = [];
  client.onState((state) => {
    if (state === "connecting") starts.push(clock.now());
  });
  await clock.settle();
  starts.push(clock.now());
  while (starts.length <= count) await clock.advance(1_000);
  await client.close();
  return starts.slice(1).map((at, index) => at - starts[index]!);
}

describe("a lost connection", () => {
  it("is replaced, and the client tells every state on the way", async () => {
    const stage = await ClientStage.active();
    stage.peer.reset();
    await stage.settle();
    expect([stage.client.connectionId, stage.client.serverInfo]).toEqual([null, null]);
    const ready = watch(stage.client.ready());
    await stage.reconnected();
    expect(ready.outcome).toBe("done");
    expect(stage.states.join(" ")).toBe("handshaking active waiting connecting handshaking active");
    expect(stage.network.openLinks).toBe(1);
  });

  it.each([
    ["a reset", (peer: FakePeer) => peer.reset()],
    ["an orderly close without GoAway", (peer: FakePeer) => peer.end()],
  ])("is replaced after %s", async (_, lose) => {
    const stage = await ClientStage.active();
    lose(stage.peer);
    await stage.reconnected();
    expect([stage.client.state, stage.network.peers.length]).toEqual(["active", 2]);
  });

  it.each([1001, 1005, 1006, 1011, 1012, 1013, 3000, 3003, 3499, 4000, 4499])(
    "is replaced on a WebSocket after close code %i",
    async (code) => {
      const stage = await ClientStage.active({}, honest, "ws://a:1");
      stage.peer.end(code, "why");
      await stage.settle();
      expect(stage.losses[0]!.message).toBe(`ws://a:1: why (code ${code})`);
      await stage.reconnected();
      expect([stage.client.state, stage.network.peers.length]).toEqual(["active", 2]);
    },
  );

  it.each([1000, 3500, 3505, 3999, 4500, 4999])(
    "is not replaced on a WebSocket after close code %i",
    async (code) => {
      const stage = await ClientStage.active({}, silent, "ws://a:1");
      const pending = [watch(stage.client.call("m")), watch(stage.client.subscribe("t"))];
      await stage.settle();
      stage.peer.end(code, "for good");
      await stage.reconnected();
      expect(await stage.client.closed).toEqual({ code, reason: "for good" });
      expect(stage.network.peers.length).toBe(1);
      const [call, subscribe] = pending.map(({ outcome }) => outcome);
      expect(call).toMatchObject({ code: "HOLDFAST_DISCONNECTED" });
      expect((call as { cause: Error }).cause.message).toBe(`ws://a:1: for good (code ${code})`);
      const closed = { message: `the client is closed with code ${code}: for good` };
      expect(subscribe).toMatchObject({ code: "HOLDFAST_CLIENT_CLOSED", ...closed });
      expect(await stage.outcome(stage.client.call("m"))).toMatchObject(closed);
    },
  );

  it("believes GoAway rather than the close frame", async () => {
    const stage = await ClientStage.active({}, honest, "ws://a:1");
    stage.peer.send(frames.goAway(3505, "replaced"));
    stage.peer.end(1011, "?");
    await stage.settle();
    expect(await stage.client.closed).toEqual({ code: 3505, reason: "replaced" });
  });

  it("is not replaced where the user wants none", async () => {
    const stage = await ClientStage.active({ reconnect: false });
    stage.peer.reset();
    await stage.reconnected();
    expect(await stage.client.closed).toEqual({ code: 1006, reason: "reset" });
    expect(stage.network.peers.length).toBe(1);
    expect(stage.clock.pending).toBe(0);
  });

  it("and an attempt that fails at once closes a client that may not reconnect", async () => {
    const stage = new ClientStage({ reconnect: false }, honest, "tcp://a:1", refusing);
    await expect(stage.client.ready()).rejects.toMatchObject({
      code: "HOLDFAST_CONNECT_FAILED",
      message: "the client is closed with code 1006: refused",
      cause: {
        message: "tcp://a:1: refused (code 1006)",
        cause: { message: "connect ECONNREFUSED" },
      },
    });
    expect(stage.client.state).toBe("closed");
  });
});

describe("the waits between attempts", () => {
  it("are drawn below a ceiling that doubles up to its maximum", async () => {
    const options = { reconnect: { baseMs: 1_000, maxMs: 8_000 } };
    const many = await Promise.all(
      Array.from({ length: 60 }, (_, seed) => waits(6, options, seed)),
    );
    for (const [attempt, ceiling] of [1_000, 2_000, 4_000, 8_000, 8_000, 8_000].entries()) {
      const drawn = many.map((row) => row[attempt]!);
      expect(Math.max(...drawn)).toBeLessThanOrEqual(ceiling);
      expect(Math.max(...drawn)).toBeGreaterThan(ceiling * 0.8);
      expect(Math.min(...drawn)).toBeLessThan(ceiling * 0.2);
    }
  });

  it("are the same for the same seed, and others for another", async () => {
    const first = await waits(5, {}, 3);
    expect(await waits(5, {}, 3)).toEqual(first);
    expect(await waits(5, {}, 4)).not.toEqual(first);
  });

  it("grow while connections do not last, so that flapping is no tight loop", async () => {
    const stage = await ClientStage.active({}, (peer, message) => {
      honest(peer, message);
      peer.end();
    });
    await stage.clock.advance(600_000);
    expect(stage.network.peers.length).toBeLessThan(100);
    expect(stage.network.peers.length).toBeGreaterThan(30);
  });

  it("start anew after a connection that was active for ten seconds", async () => {
    const distances = async (aliveMs: number): Promise<number> => {
      const stage = await ClientStage.active();
      for (let round = 0; round < 12; round++) {
        await stage.clock.advance(aliveMs);
        stage.peer.reset();
        await stage.settle();
        while (stage.client.state !== "active") await stage.clock.advance(25);
      }
      return stage.clock.now();
    };
    // Twelve waits below 500 ms each, or growing ones.
    expect(await distances(10_000)).toBeLessThan(5_000 + 12 * 10_550);
    expect(await distances(9_000)).toBeGreaterThan(5_000 + 12 * 9_000 + 30_000);
  });

  it("come on top of what GoAway demands", async () => {
    const stage = await ClientStage.active();
    stage.peer.send(frames.goAway(3000, "shutdown", 40_000));
    stage.peer.end();
    await stage.clock.advance(39_999);
    expect(stage.client.state).toBe("waiting");
    await stage.clock.advance(502);
    expect(stage.client.state).toBe("active");
  });

  it("come on top of what a refusal demands", async () => {
    const stage = await ClientStage.active({}, (peer, { id }) => {
      peer.send(frames.failure(id, 14, "full", true, 70_000));
      peer.end();
    });
    await stage.clock.advance(69_999);
    expect(stage.network.peers.length).toBe(1);
    await stage.clock.advance(502);
    expect(stage.network.peers.length).toBe(2);
  });

  it("are an hour at most, whatever a server demands", async () => {
    const stage = await ClientStage.active();
    stage.peer.send(frames.goAway(3004, "overloaded", 4_294_967_295));
    stage.peer.end();
    await stage.clock.advance(3_599_999);
    expect(stage.client.state).toBe("waiting");
    await stage.clock.advance(502);
    expect(stage.client.state).toBe("active");
  });

  it("end when the client gives up", async () => {
    const options = { reconnect: { baseMs: 10, maxMs: 10, attemptsMax: 3 } };
    const stage = new ClientStage(options, honest, "tcp://a:1", refusing);
    const ready = watch(stage.client.ready());
    await stage.clock.advance(1_000);
    expect(stage.network.dialed.length).toBe(4);
    expect(ready.outcome).toMatchObject({
      code: "HOLDFAST_CONNECT_FAILED",
      message: "the client is closed with code 1006: gave up after 3 attempts: refused",
    });
    expect(stage.clock.pending).toBe(0);
  });

  it("are counted anew after a connection that lasted", async () => {
    const options = { reconnect: { baseMs: 10, maxMs: 10, attemptsMax: 2 } };
    const stage = await ClientStage.active(options);
    for (let round = 0; round < 6; round++) {
      await stage.clock.advance(10_000);
      stage.peer.reset();
      await stage.clock.advance(11);
    }
    expect(stage.client.state).toBe("active");
    refusing(stage.network);
    stage.peer.reset();
    await stage.clock.advance(100);
    expect(stage.client.state).toBe("closed");
  });
});

describe("several endpoints", () => {
  const endpoints = ["tcp://a:1", "tcp://b:1", "tcp://c:1"];

  it("are tried in turn until one answers", async () => {
    const stage = new ClientStage({}, honest, endpoints, (network) => {
      network.reach = (endpoint) => (endpoint === "tcp://c:1" ? "open" : "refuse");
    });
    await stage.reconnected();
    expect(stage.network.dialed).toEqual(endpoints);
    expect(stage.client.state).toBe("active");
  });

  it("begin again after the last, and go on with the next after a loss", async () => {
    const stage = await ClientStage.active({}, honest, endpoints);
    for (let round = 0; round < 4; round++) {
      stage.peer.reset();
      await stage.reconnected();
    }
    expect(stage.network.dialed).toEqual([...endpoints, ...endpoints.slice(0, 2)]);
  });

  it("come after those that the server named", async () => {
    const stage = await ClientStage.active({}, honest, endpoints);
    const hints = ["tcp://x:1", "nonsense", "unix:/run/secret.sock", "ws://y:1/p"];
    stage.network.reach = (endpoint) => (endpoint === "tcp://b:1" ? "open" : "refuse");
    stage.peer.send(frames.goAway(3007, "rebalance", 0, hints));
    stage.peer.end();
    await stage.reconnected();
    expect(stage.network.dialed).toEqual(["tcp://a:1", "tcp://x:1", "ws://y:1/p", "tcp://b:1"]);
    expect(stage.client.state).toBe("active");
  });
});

describe("GoAway while calls are in flight", () => {
  const draining = async (): Promise<{ stage: ClientStage; peer: FakePeer; call: unknown }> => {
    const stage = await ClientStage.active({}, silent);
    const call = watch(stage.client.call("slow"));
    await stage.settle();
    const { peer } = stage;
    peer.send(frames.goAway(3000, "shutdown", 1_000));
    await stage.settle();
    stage.network.script = honest;
    return { stage, peer, call };
  };

  it("lets them finish on that connection and then leaves it", async () => {
    const { stage, peer, call } = await draining();
    expect([stage.client.state, peer.left]).toEqual(["active", null]);
    peer.send(frames.result(peer.last("call").id, "done"));
    await stage.settle();
    expect(String((call as { outcome: unknown }).outcome)).toBe("100,111,110,101");
    expect(peer.left).toBe("closed");
    expect(peer.of("goodbye")).toEqual([]);
    expect(stage.client.state).toBe("waiting");
  });

  it("opens no new ones there: they and ready() wait for the next connection", async () => {
    const { stage, peer, call } = await draining();
    const later = [stage.client.call("echo", "x"), stage.client.publish("t")].map(watch);
    const ready = watch(stage.client.ready());
    await stage.clock.advance(20_000);
    expect([...later, ready].map(({ outcome }) => outcome)).toEqual([
      "pending",
      "pending",
      "pending",
    ]);
    peer.end();
    await stage.settle();
    expect((call as { outcome: unknown }).outcome).toMatchObject({ code: "HOLDFAST_DISCONNECTED" });
    await stage.clock.advance(5_000);
    expect(peer.messages.length).toBe(2);
    expect(later.map(({ outcome }) => String(outcome))).toEqual(["120", "done"]);
    expect(ready.outcome).toBe("done");
  });

  it("leaves when the last of them times out or is aborted", async () => {
    const stage = await ClientStage.active({}, silent);
    const abort = new AbortController();
    const calls = [
      watch(stage.client.call("a", "", { timeoutMs: 500 })),
      watch(stage.client.call("b", "", { signal: abort.signal })),
    ];
    await stage.settle();
    stage.peer.send(frames.goAway(3000));
    await stage.clock.advance(500);
    expect(stage.peer.left).toBeNull();
    abort.abort();
    await stage.settle();
    expect(stage.network.peers[0]!.left).toBe("closed");
    expect(calls.map(({ outcome }) => (outcome as { code: string }).code)).toEqual([
      "HOLDFAST_CALL_TIMEOUT",
      "HOLDFAST_CALL_ABORTED",
    ]);
  });

  it("waits five seconds for the server's side, and no longer", async () => {
    const stage = await ClientStage.active();
    stage.network.isClosingBack = false;
    stage.peer.send(frames.goAway(3000));
    await stage.clock.advance(4_999);
    expect(stage.client.state).toBe("active");
    await stage.clock.advance(1);
    expect(stage.client.state).toBe("waiting");
    expect(stage.losses[0]!.message).toMatch(/code 3000/);
  });

  it("still notices that the server has fallen silent", async () => {
    const stage = await ClientStage.active({ callTimeoutMs: 3_600_000 }, silent);
    const call = watch(stage.client.call("slow"));
    await stage.settle();
    stage.peer.send(frames.goAway(3000));
    await stage.clock.advance(62_500);
    expect(call.outcome).toMatchObject({ code: "HOLDFAST_DISCONNECTED" });
  });

  it("closes in order when the user closes meanwhile", async () => {
    const { stage, peer, call } = await draining();
    await stage.client.close();
    expect((call as { outcome: unknown }).outcome).toMatchObject({
      code: "HOLDFAST_CLIENT_CLOSED",
    });
    expect([peer.left, peer.of("goodbye").length]).toEqual(["closed", 1]);
    expect([stage.client.state, stage.clock.pending]).toEqual(["closed", 0]);
  });

  it("that comes twice is taken at its last word", async () => {
    const { stage, peer } = await draining();
    peer.send(frames.goAway(3505, "replaced"));
    peer.end();
    await stage.settle();
    expect(await stage.client.closed).toEqual({ code: 3505, reason: "replaced" });
  });

  it("still delivers events until the end", async () => {
    const { stage, peer } = await draining();
    const pushes: string[] = [];
    stage.client.onPush(({ topic }) => pushes.push(topic));
    peer.send(frames.event("late", "x", 0));
    await stage.settle();
    expect(pushes).toEqual(["late"]);
  });
});
