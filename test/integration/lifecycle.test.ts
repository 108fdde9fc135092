// The life of a connection on real sockets: its deadlines, its heartbeats and how it is told that
// it ends.

import { performance } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { PartialOptions } from "../../src/config/options.ts";
import type { CloseReason } from "../../src/connection/close-reason.ts";
import type { CallContext } from "../../src/server/router.ts";
import { Oracle, RAW_TRANSPORTS } from "../support/oracle.ts";
import type { RawClient } from "../support/raw-client.ts";
import {
  bytesField,
  call,
  clientMessage,
  goodbye,
  HEARTBEAT,
  numberField,
  publish,
  subscribe,
} from "../support/raw-message.ts";

/** Bounds of one tick and of a busy machine, in milliseconds. */
const EARLY_MS = 60;
const LATE_MS = 400;

async function elapsedUntilEnd(client: RawClient): Promise<number> {
  const start = performance.now();
  await client.ending();
  return performance.now() - start;
}

function expectAbout(elapsedMs: number, wantedMs: number): void {
  expect(elapsedMs).toBeGreaterThan(wantedMs - EARLY_MS);
  expect(elapsedMs).toBeLessThan(wantedMs + LATE_MS);
}

describe.each(RAW_TRANSPORTS)("over %s", (transport) => {
  const handshake: PartialOptions = { connection: { handshakeTimeoutMs: 400 } };

  test("a client that says nothing is cut off with 3002 at the handshake's deadline", async () => {
    const oracle = await Oracle.watch(handshake);
    const client = await oracle.client(transport);
    expectAbout(await elapsedUntilEnd(client), 400);
    expect(client.goAway?.code).toBe(3002);
    expect(client.closeCode).toBe(transport === "websocket" ? 3002 : null);
    expect(client.heartbeatsAfter).toEqual([]);
    await oracle.verdict({ no_hello: 1 });
  });

  test("heartbeats instead of Hello are ignored and move no deadline", async () => {
    const oracle = await Oracle.watch(handshake);
    const client = await oracle.client(transport);
    const start = performance.now();
    while (!client.hasEnded && performance.now() - start < 3_000) {
      client.writeFrames(HEARTBEAT);
      await delay(25);
    }
    expectAbout(performance.now() - start, 400);
    expect(client.goAway?.code).toBe(3002);
    await oracle.verdict({ no_hello: 1 });
  });

  test("a Hello of another version gets a Failure with its id, then 3502", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.client(transport);
    client.send(clientMessage(7, "hello", numberField(1, 2)));
    expect((await client.ending()).goAway).toMatchObject({ code: 3502, reconnectAfterMs: 0 });
    expect(client.messages.map(({ id, body }) => [id, body])).toEqual([
      [7, "failure"],
      [0, "goAway"],
    ]);
    await oracle.verdict({ bad_version: 1 });
  });

  test("Welcome says who, how often and how much", async () => {
    const oracle = await Oracle.watch({
      connection: { heartbeatMs: 7_000, idleTimeoutMs: 14_000 },
      node: { name: "n1" },
    });
    const client = await oracle.client(transport);
    const welcome = await client.hello();
    expect(welcome).toEqual({
      connectionId: expect.any(String),
      heartbeatMs: 7_000,
      maxFrameBytes: 65_536,
      node: "n1",
      version: 1,
    });
    expect(oracle.server.connection(welcome.connectionId)?.id).toBe(welcome.connectionId);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("a silent client is sent heartbeats, and lives for as long as it answers them", async () => {
    const connection = { heartbeatMs: 150, heartbeatJitter: 0, idleTimeoutMs: 300 };
    const oracle = await Oracle.watch({ connection });
    const client = await oracle.active(transport);
    await delay(900);
    expect(client.hasEnded).toBe(false);
    expect(client.heartbeatsAfter.length).toBeGreaterThanOrEqual(4);
    expect(client.heartbeatsAfter.length).toBeLessThanOrEqual(7);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("a client that speaks is sent no heartbeat", async () => {
    const connection = { heartbeatMs: 300, heartbeatJitter: 0, idleTimeoutMs: 600 };
    const oracle = await Oracle.watch({ connection });
    const client = await oracle.active(transport);
    for (let count = 0; count < 12; count++) {
      await client.echo();
      await delay(50);
    }
    expect(client.heartbeatsAfter).toEqual([]);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("a client that answers nothing is cut off with 3001 at the idle timeout", async () => {
    const connection = { heartbeatMs: 300, heartbeatJitter: 0, idleTimeoutMs: 600 };
    const oracle = await Oracle.watch({ connection });
    const client = await oracle.active(transport, { answersHeartbeats: false });
    expectAbout(await elapsedUntilEnd(client), 600);
    expect(client.goAway?.code).toBe(3001);
    expect(client.closeCode).toBe(transport === "websocket" ? 3001 : null);
    await oracle.verdict({ silent: 1 });
  });

  test("Goodbye ends the connection with 1000, after what was asked before it", async () => {
    const oracle = await Oracle.watch();
    const client = await oracle.active(transport);
    client.send(call(2, "echo", "x"), goodbye(), call(3, "echo", "y"));
    expect(await client.ending()).toMatchObject({ how: "fin", goAway: { code: 1000 } });
    expect(client.messages.map(({ id, body }) => [id, body])).toEqual([
      [1, "welcome"],
      [2, "result"],
      [0, "goAway"],
    ]);
    await oracle.verdict({ goodbye: 1 });
  });

  test.each<[number, CloseReason, number]>([
    [1000, "normal", 0],
    [3000, "shutdown", 1_234],
    [3005, "token_expired", 1_234],
    [3007, "rebalance", 1_234],
    [3499, "application", 0],
    [3504, "permission_denied", 0],
    [3506, "banned", 0],
    [4000, "application", 0],
    [4999, "application", 0],
  ])(
    "an end with code %i is told by GoAway before FIN and by the close frame",
    async (code, reason, told) => {
      const oracle = await Oracle.watch();
      const client = await oracle.client(transport);
      const connection = oracle.server.connection((await client.hello()).connectionId)!;
      const options = { code, text: "because", reconnectAfterMs: 1_234 };
      if (code === 3499) {
        expect(() => connection.disconnect(options)).toThrow(/close code 3499/);
        await client.leave();
        await oracle.verdict({ peer_closed: 1 });
        return;
      }
      connection.disconnect(options);
      connection.disconnect({ code: 4_321 });
      const { how, goAway, closeCode } = await client.ending();
      expect(goAway).toEqual({ code, reason: "because", reconnectAfterMs: told });
      expect(how).toBe("fin");
      expect(closeCode).toBe(transport === "websocket" ? code : null);
      await oracle.until(() => oracle.server.closedByReason[reason] === 1, "the reason is counted");
      await oracle.verdict({ server: 1 });
    },
  );

  test("a handler that ends its own connection is the last that the client hears of", async () => {
    const oracle = await Oracle.watch(
      {},
      {
        methods: (server) =>
          server.method("leave", ({ connection }) => {
            connection.disconnect({ code: 4_100 });
            return "too late";
          }),
      },
    );
    const client = await oracle.active(transport);
    client.send(call(2, "echo", "x"), call(3, "leave"), call(4, "echo", "y"));
    expect((await client.ending()).goAway?.code).toBe(4_100);
    expect(client.messages.map(({ id }) => id)).toEqual([1, 2, 0]);
    await oracle.verdict({ server: 1 });
  });

  test("a call's signal fires when its connection closes; late answers are dropped", async () => {
    const reasons: unknown[] = [];
    let finish = (): void => {};
    const oracle = await Oracle.watch(
      {},
      {
        methods: (server) =>
          server.method("wait", ({ signal }: CallContext) => {
            signal.addEventListener("abort", () => reasons.push(signal.reason));
            return new Promise<string>((resolve) => {
              finish = () => resolve("late");
            });
          }),
      },
    );
    const client = await oracle.client(transport);
    const connection = oracle.server.connection((await client.hello()).connectionId)!;
    client.send(call(2, "wait"));
    const isCalled = (): boolean =>
      [...oracle.server.registry.all()].some(({ calls }) => calls === 1);
    await oracle.until(isCalled, "the call");
    connection.disconnect();
    await client.ending();
    expect(reasons).toMatchObject([{ code: "HOLDFAST_DISCONNECTED" }]);
    finish();
    await delay(20);
    expect(client.messages.map(({ body }) => body)).toEqual(["welcome", "goAway"]);
    await oracle.verdict({ server: 1 });
  });

  test("a call that misses its deadline fails with DEADLINE_EXCEEDED, aborted", async () => {
    let aborted = 0;
    const oracle = await Oracle.watch(
      {},
      {
        methods: (server) =>
          server.method("wait", ({ signal }: CallContext) => {
            signal.addEventListener("abort", () => aborted++);
            return new Promise<string>(() => {});
          }),
      },
    );
    const client = await oracle.active(transport);
    const start = performance.now();
    client.send(call(2, "wait", "", 200));
    const answer = await client.answer(2);
    expectAbout(performance.now() - start, 200);
    expect(answer.body === "failure" && answer.failure.code).toBe(4);
    expect(aborted).toBe(1);
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
  });

  test("connecting and disconnecting are each told to the application once", async () => {
    const told: string[] = [];
    const oracle = await Oracle.watch(
      {},
      {
        hooks: {
          onConnect: ({ labels }) => void told.push(`+${labels?.get("who") ?? ""}`),
          onDisconnect: ({ labels }, reason, cause) =>
            void told.push(`-${labels?.get("who") ?? ""} ${reason} ${cause}`),
        },
      },
    );
    const connected = RAW_TRANSPORTS.map(() => "+");
    const silent = await oracle.client(transport);
    const client = await oracle.client(transport);
    await client.hello({ who: "ann" });
    expect(oracle.server.find("who", "ann").size).toBe(1);
    client.send(goodbye());
    await client.ending();
    await silent.leave();
    await oracle.verdict({ goodbye: 1, peer_closed: 1 });
    expect(told.slice(0, connected.length + 2)).toEqual([
      ...connected,
      "+ann",
      "-ann normal goodbye",
    ]);
  });

  test("hooks that throw cost nobody anything", async () => {
    const fail = (): never => {
      throw new Error("a hook that throws");
    };
    const oracle = await Oracle.watch({}, { hooks: { onConnect: fail, onDisconnect: fail } });
    const client = await oracle.active(transport);
    await client.echo();
    await client.leave();
    await oracle.verdict({ peer_closed: 1 });
    expect(oracle.log.of("hook_failed").length).toBeGreaterThanOrEqual(RAW_TRANSPORTS.length + 2);
  });
});

test("heartbeats of clients that came together drift apart by the jitter", async () => {
  const connection = { heartbeatMs: 400, heartbeatJitter: 0.5, idleTimeoutMs: 1_200 };
  const oracle = await Oracle.watch({ connection });
  const clients = await Promise.all(
    Array.from({ length: 40 }, (_, n) => oracle.active(RAW_TRANSPORTS[n % RAW_TRANSPORTS.length]!)),
  );
  const start = performance.now();
  const beats = await Promise.all(
    clients.map(async (client) => {
      await client.until(() => client.heartbeatsAfter.length > 0, "its first heartbeat");
      return performance.now() - start;
    }),
  );
  expect(Math.min(...beats)).toBeGreaterThan(200 - EARLY_MS);
  expect(Math.max(...beats)).toBeLessThan(600 + LATE_MS);
  expect(Math.max(...beats) - Math.min(...beats)).toBeGreaterThan(150);
  await Promise.all(clients.map((client) => client.leave()));
  await oracle.verdict({ peer_closed: 40 });
});

test("what a handler throws is INTERNAL to its caller and nothing to others", async () => {
  const oracle = await Oracle.watch(
    {},
    {
      methods: (server) =>
        server
          .method("throws", () => {
            throw new Error("secret");
          })
          .method("rejects", () => Promise.reject(new Error("secret")))
          .method("expires", async ({ payload }) => {
            await delay(1);
            return payload;
          })
          .method("nonsense", () => 5 as unknown as string),
    },
  );
  const client = await oracle.active("tcp");
  const names = ["throws", "rejects", "expires", "nonsense", "nobody"];
  client.send(...names.map((name, index) => call(2 + index, name, "x")));
  const failures = await Promise.all(names.map((_, index) => client.answer(2 + index)));
  const codes = failures.map((answer) => (answer.body === "failure" ? answer.failure.code : 0));
  expect(codes).toEqual([13, 13, 13, 13, 12]);
  expect(JSON.stringify(failures)).not.toContain("secret");
  expect(oracle.log.of("handler_failed").length).toBe(4);
  await client.leave();
  await oracle.verdict({ peer_closed: 1 });
});

test("messages with id 0 have their effect and no answer", async () => {
  let calls = 0;
  const oracle = await Oracle.watch(
    {},
    { methods: (server) => server.method("count", () => void calls++) },
  );
  const client = await oracle.active("tcp");
  client.send(subscribe(0, "t"), publish(0, "t", "x"), call(0, "count"), call(0, "nobody"));
  client.send(clientMessage(0, "call", bytesField(1, "echo")), subscribe(0, ""));
  await client.echo();
  expect(client.messages.map(({ id, body }) => [id, body])).toEqual([
    [1, "welcome"],
    [0, "event"],
  ]);
  expect(calls).toBe(1);
  await client.leave();
  await oracle.verdict({ peer_closed: 1 });
});
