import { Buffer } from "node:buffer";
import { describe, expect, it } from "vitest";
import { ClientStage, watch } from "../support/client-stage.ts";
import { frames, honest, type Script } from "../support/fake-server.ts";
import { bytesField, frame, numberField } from "../support/raw-message.ts";

const hello =
  (answer: (id: number) => Buffer[]): Script =>
  (peer, message) => {
    if (message.body === "hello") peer.send(...answer(message.id));
  };

describe("connecting", () => {
  it("gives a client at once, which is connecting", () => {
    const { client } = new ClientStage();
    expect(client.state).toBe("connecting");
    expect([client.connectionId, client.node, client.serverInfo]).toEqual([null, null, null]);
  });

  it("sends Hello first, with a non-zero id and all that was given", async () => {
    const labels = { device: "7", empty: "" };
    const { peer } = await ClientStage.active({ token: "secret", name: "test/1", labels });
    expect(peer.messages[0]).toMatchObject({
      body: "hello",
      version: 1,
      token: "secret",
      client: "test/1",
      entries: labels,
    });
    expect(peer.messages[0]!.id).toBeGreaterThan(0);
    expect(peer.messages.length).toBe(1);
  });

  it("is active after Welcome, passes through every state, and knows the server", async () => {
    const stage = new ClientStage({}, (peer, { id }) =>
      peer.send(frames.welcome(id, { connectionId: "abc", maxFrameBytes: 100, heartbeatMs: 9 })),
    );
    const ready = stage.client.ready();
    expect(await stage.outcome(ready)).toBe("done");
    expect(stage.states).toEqual(["handshaking", "active"]);
    expect(stage.client.connectionId).toBe("abc");
    expect(stage.client.node).toBe("fake");
    expect(stage.client.serverInfo).toEqual({
      connectionId: "abc",
      node: "fake",
      heartbeatMs: 9,
      maxFrameBytes: 100,
    });
    expect(await stage.outcome(stage.client.ready())).toBe("done");
  });

  it("takes fields that it does not know in a Welcome", async () => {
    const stage = await ClientStage.active(
      {},
      hello((id) => {
        const more = Buffer.concat([numberField(99, 5), bytesField(100, "new")]);
        const welcome = Buffer.concat([numberField(3, 4_096), numberField(6, 1), more]);
        const message = Buffer.concat([
          numberField(1, id),
          bytesField(2, welcome),
          numberField(77, 1),
        ]);
        return [frame(message)];
      }),
    );
    expect(stage.client.state).toBe("active");
    expect(stage.client.serverInfo?.maxFrameBytes).toBe(4_096);
  });

  it("asks a token function before every connection", async () => {
    let count = 0;
    const stage = await ClientStage.active({ token: () => `token ${++count}` });
    stage.peer.reset();
    await stage.reconnected();
    expect(stage.network.peers.map((peer) => peer.last("hello").token)).toEqual([
      "token 1",
      "token 2",
    ]);
  });

  it("waits for a token that is a promise", async () => {
    let give: (token: string) => void = () => {};
    const token = new Promise<string>((resolve) => {
      give = resolve;
    });
    const stage = new ClientStage({ token: () => token });
    await stage.settle();
    expect(stage.network.dialed).toEqual([]);
    give("late");
    await stage.settle();
    expect(stage.client.state).toBe("active");
    expect(stage.peer.last("hello").token).toBe("late");
  });
});

describe("a connection that comes to nothing", () => {
  const cases: [string, Script, string, RegExp][] = [
    [
      "an event before Welcome",
      hello(() => [frames.event("t", "x", 1)]),
      "HOLDFAST_PROTOCOL",
      /event/,
    ],
    ["a gap before Welcome", hello(() => [frames.gap("t", 1)]), "HOLDFAST_PROTOCOL", /gap/],
    ["a result instead", hello((id) => [frames.result(id)]), "HOLDFAST_PROTOCOL", /result/],
    ["another id", hello((id) => [frames.welcome(id + 1)]), "HOLDFAST_PROTOCOL", /welcome with id/],
    ["no id", hello(() => [frames.welcome(0)]), "HOLDFAST_PROTOCOL", /welcome with id 0/],
    [
      "another version",
      hello((id) => [frames.welcome(id, { version: 2 })]),
      "HOLDFAST_PROTOCOL",
      /a Welcome of version 2/,
    ],
    [
      "no frame size",
      hello((id) => [frames.welcome(id, { maxFrameBytes: 0 })]),
      "HOLDFAST_PROTOCOL",
      /without max_frame_bytes/,
    ],
    [
      "a second Welcome",
      hello((id) => [frames.welcome(id), frames.welcome(id)]),
      "HOLDFAST_PROTOCOL",
      /./,
    ],
    [
      "a Welcome that follows a refusal",
      hello((id) => [frames.failure(id, 14, "busy", true), frames.welcome(id)]),
      "HOLDFAST_PROTOCOL",
      /busy/,
    ],
    ["garbage", hello(() => [frames.garbage()]), "HOLDFAST_PROTOCOL", /are no message/],
    ["a close", (peer) => peer.end(), "HOLDFAST_CONNECT_FAILED", /was closed \(code 1006\)/],
    ["a reset", (peer) => peer.reset(), "HOLDFAST_CONNECT_FAILED", /reset \(code 1006\)/],
    [
      "a refusal that may pass",
      (peer, { id }) => {
        peer.send(frames.failure(id, 14, "full", true));
        peer.end();
      },
      "HOLDFAST_CONNECT_FAILED",
      /full \(code 3008\)/,
    ],
    [
      "a refusal that would be final if it were not retryable",
      (peer, { id }) => {
        peer.send(frames.failure(id, 16, "busy", true));
        peer.end();
      },
      "HOLDFAST_CONNECT_FAILED",
      /busy \(code 3008\)/,
    ],
    [
      "GoAway that invites back",
      (peer) => {
        peer.send(frames.goAway(3004, "overloaded"));
        peer.end();
      },
      "HOLDFAST_CONNECT_FAILED",
      /overloaded \(code 3004\)/,
    ],
  ];

  it.each(cases)("after %s is tried again", async (_, script, code, message) => {
    const stage = new ClientStage({}, script);
    await stage.settle();
    expect(stage.client.state).toBe("waiting");
    expect(stage.losses[0]).toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
    expect(stage.losses[0]!.message).toMatch(/^tcp:\/\/a:1: /);
    stage.network.script = honest;
    await stage.reconnected();
    expect(stage.client.state).toBe("active");
    expect(stage.network.openLinks).toBe(1);
  });

  it("is dropped without Goodbye where the server broke the contract", async () => {
    const stage = await ClientStage.active(
      {},
      hello(() => [frames.garbage()]),
    );
    expect(stage.peer.left).toBe("cut");
    expect(stage.peer.of("goodbye")).toEqual([]);
  });

  it.each([
    ["refuses", "refuse", "HOLDFAST_CONNECT_FAILED", /refused/],
    ["does not answer", "hang", "HOLDFAST_CONNECT_FAILED", /no connection within 70 ms/],
  ] as const)("when the host %s", async (_, outcome, code, message) => {
    const stage = new ClientStage({ connectTimeoutMs: 70 }, honest, "tcp://a:1", (network) => {
      network.reach = () => outcome;
    });
    await stage.clock.advance(71);
    expect(stage.losses[0]).toMatchObject({
      code,
      message: expect.stringMatching(message) as string,
    });
    expect(stage.network.openLinks).toBe(0);
  });

  it("when no Welcome comes in time", async () => {
    const stage = new ClientStage({ handshakeTimeoutMs: 50 }, () => {});
    await stage.clock.advance(49);
    expect(stage.client.state).toBe("handshaking");
    await stage.clock.advance(1);
    expect(stage.states).toEqual(["handshaking", "waiting"]);
    expect(stage.losses[0]!.message).toMatch(/no Welcome within 50 ms/);
    expect(stage.peer.left).toBe("cut");
  });

  it("when heartbeats come and no Welcome", async () => {
    const stage = new ClientStage({ handshakeTimeoutMs: 50 }, (peer) =>
      peer.send(frames.heartbeat),
    );
    await stage.clock.advance(50);
    expect(stage.client.state).toBe("waiting");
  });

  it.each([
    [
      "throws",
      (): string => {
        throw new Error("no key");
      },
    ],
    ["rejects", (): Promise<string> => Promise.reject(new Error("no key"))],
    ["gives no text", (): string => 5 as unknown as string],
  ])("when the token function %s", async (_, token) => {
    const stage = await ClientStage.active({ token });
    expect(stage.client.state).toBe("waiting");
    expect(stage.network.dialed).toEqual([]);
    expect(stage.losses[0]).toMatchObject({ code: "HOLDFAST_CONNECT_FAILED" });
  });

  it("when the token function never answers", async () => {
    const stage = new ClientStage({ token: () => new Promise(() => {}), connectTimeoutMs: 80 });
    await stage.clock.advance(80);
    expect(stage.client.state).toBe("waiting");
  });

  it("and a token that comes after the client has given up is not used", async () => {
    let give: (token: string) => void = () => {};
    const token = (): Promise<string> =>
      new Promise((resolve) => {
        give = resolve;
      });
    const stage = await ClientStage.active({ token });
    await stage.client.close();
    give("late");
    await stage.settle();
    expect(stage.network.dialed).toEqual([]);
  });
});

describe("a server that refuses for good", () => {
  const refusals: [string, Script, number][] = [
    [
      "GoAway 3503",
      (peer) => {
        peer.send(frames.goAway(3503, "no"));
        peer.end();
      },
      3503,
    ],
    [
      "GoAway 3500",
      (peer) => {
        peer.send(frames.goAway(3500, "no"));
        peer.end();
      },
      3500,
    ],
    [
      "GoAway 1000",
      (peer) => {
        peer.send(frames.goAway(1000, "no"));
        peer.end();
      },
      1000,
    ],
    [
      "GoAway 4500",
      (peer) => {
        peer.send(frames.goAway(4500, "no"));
        peer.end();
      },
      4500,
    ],
    [
      "UNAUTHENTICATED and a close",
      (peer, { id }) => {
        peer.send(frames.failure(id, 16, "no"));
        peer.end();
      },
      3503,
    ],
    [
      "PERMISSION_DENIED and a close",
      (peer, { id }) => {
        peer.send(frames.failure(id, 7, "no"));
        peer.end();
      },
      3504,
    ],
    [
      "INVALID_ARGUMENT and a close",
      (peer, { id }) => {
        peer.send(frames.failure(id, 3, "no"));
        peer.end();
      },
      3500,
    ],
    [
      "a Failure and GoAway, whose code counts",
      (peer, { id }) => {
        peer.send(frames.failure(id, 9, "?"), frames.goAway(3502, "no"));
        peer.end();
      },
      3502,
    ],
  ];

  it.each(refusals)(
    "by %s closes the client, and everything names the code",
    async (_, script, code) => {
      const stage = new ClientStage({}, script);
      const { client } = stage;
      const waiting = [
        client.ready(),
        client.call("m"),
        client.publish("t"),
        client.subscribe("t"),
      ];
      const outcomes = await Promise.all(waiting.map((promise) => stage.outcome(promise)));
      for (const outcome of outcomes) {
        expect(outcome).toMatchObject({
          code: "HOLDFAST_CONNECT_FAILED",
          message: `the client is closed with code ${code}: no`,
        });
      }
      expect(client.state).toBe("closed");
      expect(await client.closed).toEqual({ code, reason: "no" });
      await expect(client.ready()).rejects.toMatchObject({ code: "HOLDFAST_CONNECT_FAILED" });
      await stage.reconnected();
      expect(stage.network.dialed.length).toBe(1);
      expect(stage.clock.pending).toBe(0);
    },
  );

  it("and never closes its side is left after the handshake timeout", async () => {
    const stage = new ClientStage({}, (peer, { id }) =>
      peer.send(frames.failure(id, 16, "bad token")),
    );
    await stage.settle();
    expect(stage.client.state).toBe("handshaking");
    await stage.clock.advance(5_000);
    expect(await stage.client.closed).toEqual({ code: 3503, reason: "bad token" });
  });

  it("on a WebSocket by a close code alone", async () => {
    const stage = new ClientStage({}, (peer) => peer.end(3503, "who are you"), "ws://a:1");
    await stage.settle();
    expect(await stage.client.closed).toEqual({ code: 3503, reason: "who are you" });
  });
});

describe("closing before it is connected", () => {
  it.each([
    ["connecting", "hang"],
    ["handshaking", "open"],
    ["waiting", "refuse"],
  ] as const)("in state %s lets go of everything", async (state, outcome) => {
    const stage = new ClientStage(
      {},
      () => {},
      "tcp://a:1",
      (network) => {
        network.reach = () => outcome;
      },
    );
    await stage.settle();
    expect(stage.client.state).toBe(state);
    const ready = watch(stage.client.ready());
    const closing = watch(stage.client.close());
    expect(stage.client.state).toBe("closed");
    await stage.settle();
    expect(ready.outcome).toMatchObject({ code: "HOLDFAST_CLIENT_CLOSED" });
    expect(closing.outcome).toBe("done");
    expect(await stage.client.closed).toEqual({ code: 1000, reason: "closed by the user" });
    expect([stage.network.openLinks, stage.clock.pending]).toEqual([0, 0]);
    expect(await stage.outcome(stage.client.close())).toBe("done");
  });

  it("from a state listener works in every state, and listeners hear all in order", async () => {
    for (const when of ["handshaking", "active", "waiting"]) {
      const stage = new ClientStage({}, honest, "tcp://a:1", (network) => {
        if (when === "waiting") network.reach = () => "refuse";
      });
      const heard: string[] = [];
      stage.client.onState((state) => {
        if (state === when) void stage.client.close();
      });
      stage.client.onState((state) => heard.push(state));
      await stage.settle();
      await stage.reconnected();
      expect(stage.client.state).toBe("closed");
      expect(heard).toEqual(stage.states);
      expect(heard.at(-1)).toBe("closed");
      expect([stage.network.openLinks, stage.clock.pending]).toEqual([0, 0]);
    }
  });

  it("works with `await using`", async () => {
    const stage = await ClientStage.active();
    await stage.client[Symbol.asyncDispose]();
    expect(stage.client.state).toBe("closed");
    expect(stage.peer.of("goodbye").length).toBe(1);
  });
});
