// The graceful stop on real sockets.

import { performance } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import type { PartialOptions } from "../../src/config/options.ts";
import { Server } from "../../src/server/server.ts";
import { hasWebSocket, holdings, openFiles, RAW_TRANSPORTS } from "../support/oracle.ts";
import { RawClient, type RawTransport } from "../support/raw-client.ts";
import { call, hello, subscribe } from "../support/raw-message.ts";

interface Serving {
  readonly server: Server;
  /** Ends every call of `hold`. */
  release(): void;
  active(transport: RawTransport): Promise<RawClient>;
}

/** Everybody is told, and what does not go by itself is closed soon. */
const SOON = { graceMs: 300, closeSpreadMs: 0 } as const;

async function serve(options: PartialOptions = {}): Promise<Serving> {
  const held: (() => void)[] = [];
  const server = new Server({
    ...options,
    tcp: { host: "127.0.0.1", port: 0 },
    websocket: { host: "127.0.0.1", port: 0, enabled: hasWebSocket() },
    admin: { enabled: false },
  });
  server.method("echo", ({ payload }) => payload);
  server.method("hold", () => new Promise<string>((resolve) => held.push(() => resolve("held"))));
  await server.start();
  const clients: RawClient[] = [];
  onTestFinished(async () => {
    for (const { socket } of clients) socket.destroy();
    await server.stop({ hasten: true });
  });
  return {
    server,
    release: () => held.splice(0).forEach((resolve) => resolve()),
    async active(transport) {
      const { port } = server.addresses()[transport]!;
      const client = await RawClient.active({ transport, port });
      clients.push(client);
      return client;
    },
  };
}

function expectNothingLeft(server: Server): void {
  const left = { ...holdings(server), states: 0 };
  expect(left).toEqual(Object.fromEntries(Object.keys(left).map((name) => [name, 0])));
}

describe.each(RAW_TRANSPORTS)("over %s", (transport) => {
  test("a stop tells each client another time to come back, and ends them all", async () => {
    const files = openFiles();
    const { server, active } = await serve({ drain: { ...SOON, reconnectSpreadMs: 3_000 } });
    const clients = await Promise.all(Array.from({ length: 50 }, () => active(transport)));
    const stopped = server.stop();
    const endings = await Promise.all(clients.map((client) => client.ending()));
    await stopped;
    const times = endings.map(({ goAway }) => goAway!.reconnectAfterMs);
    expect(endings.every(({ how, goAway }) => how === "fin" && goAway!.code === 3000)).toBe(true);
    expect(
      endings.every(({ closeCode }) => closeCode === (transport === "tcp" ? null : 3000)),
    ).toBe(true);
    expect(Math.min(...times)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...times)).toBeLessThanOrEqual(3_000);
    expect(new Set(times).size).toBeGreaterThan(40);
    expect(server.state).toBe("stopped");
    expect(server.closedByReason.shutdown).toBe(50);
    expectNothingLeft(server);
    await delay(10);
    expect(openFiles()).toBeLessThanOrEqual(files);
  });

  test("clients that stay are closed one after another, each of them told before", async () => {
    const { server, active } = await serve({ drain: { graceMs: 300, closeSpreadMs: 1_000 } });
    const clients = await Promise.all(Array.from({ length: 20 }, () => active(transport)));
    const start = performance.now();
    const stopped = server.stop();
    await Promise.all(
      clients.map((client) => client.until(() => client.goAway !== null, "GoAway")),
    );
    expect(performance.now() - start).toBeLessThan(280);
    const endedAtMs: number[] = [];
    const endings = await Promise.all(
      clients.map(async (client) => {
        const ending = await client.ending();
        endedAtMs.push(performance.now() - start);
        return ending;
      }),
    );
    await stopped;
    expect(endings.map(({ how }) => how)).toEqual(clients.map(() => "fin"));
    const goAways = clients.map(
      ({ messages }) => messages.filter(({ body }) => body === "goAway").length,
    );
    expect(goAways).toEqual(clients.map(() => 1));
    expect(endedAtMs[0]).toBeGreaterThan(290);
    expect(endedAtMs.at(-1)! - endedAtMs[0]!).toBeGreaterThan(700);
    expect(new Set(endedAtMs.map((ms) => Math.floor((ms - 300) / 250))).size).toBeGreaterThan(3);
    expectNothingLeft(server);
  });

  test("a client that goes when it is told ends the stop before its time", async () => {
    const { server, active } = await serve();
    const clients = await Promise.all(Array.from({ length: 5 }, () => active(transport)));
    const start = performance.now();
    const stopped = server.stop();
    for (const client of clients) {
      await client.until(() => client.goAway !== null, "GoAway");
      client.end();
      expect((await client.ending()).how).toBe("fin");
    }
    await stopped;
    expect(performance.now() - start).toBeLessThan(1_000);
    expect(server.closedByReason.shutdown).toBe(5);
    expectNothingLeft(server);
  });

  test("nobody is let in once the stop has begun", async () => {
    const { server, active, release } = await serve({ drain: SOON });
    const client = await active(transport);
    client.send(call(2, "hold"));
    await client.echo();
    const { port } = server.addresses()[transport]!;
    const stopped = server.stop();
    await expect(RawClient.active({ transport, port })).rejects.toBeInstanceOf(Error);
    release();
    await stopped;
    expect(client.goAway?.code).toBe(3000);
  });

  test("after GoAway calls are answered: those under way, and those that cross it", async () => {
    const { server, active, release } = await serve({ drain: SOON });
    const client = await active(transport);
    client.send(call(2, "hold"), call(3, "hold"));
    await client.echo();
    const stopped = server.stop();
    await client.until(() => client.goAway !== null, "GoAway");
    client.send(call(4, "echo"));
    expect(await client.answer(4)).toMatchObject({ body: "result" });
    expect(client.hasEnded).toBe(false);
    release();
    expect((await client.ending()).how).toBe("fin");
    expect(client.messages.map(({ id, body }) => [id, body])).toEqual([
      [1, "welcome"],
      [0, "goAway"],
      [4, "result"],
      [2, "result"],
      [3, "result"],
    ]);
    await stopped;
    expectNothingLeft(server);
  });

  test("a call that never ends holds the stop up for the grace period and no longer", async () => {
    const { server, active } = await serve({ drain: SOON });
    const client = await active(transport);
    client.send(call(2, "hold"));
    await client.echo();
    const start = performance.now();
    await server.stop();
    expect(performance.now() - start).toBeGreaterThan(250);
    expect(performance.now() - start).toBeLessThan(900);
    expect(client.goAway?.code).toBe(3000);
    expectNothingLeft(server);
  });

  test("a second stop that hastens ends what the first was waiting for", async () => {
    const { server, active } = await serve();
    const client = await active(transport);
    client.send(call(2, "hold"));
    await client.echo();
    const first = server.stop();
    await delay(50);
    expect(server.state).toBe("draining");
    const start = performance.now();
    await server.stop({ hasten: true });
    await first;
    expect(performance.now() - start).toBeLessThan(400);
    await client.ending();
    expectNothingLeft(server);
  });

  test("what is queued is flushed to a reader that is slow but there", async () => {
    const { server, active } = await serve({ drain: SOON });
    const client = await active(transport);
    client.send(subscribe(2, "news"));
    await client.answer(2);
    client.stopReading();
    let published = 0;
    while (server.shared.budget.bytes < 300_000 && published < 4_000) {
      server.publish("news", Buffer.alloc(16_384));
      published++;
    }
    const stopped = server.stop();
    await delay(100);
    client.readOn();
    expect((await client.ending()).goAway?.code).toBe(3000);
    expect(client.events.length).toBe(published);
    expect(client.messages.at(-1)!.body).toBe("goAway");
    await stopped;
    expectNothingLeft(server);
  });

  test("a reader that takes nothing is reset a second after it was closed", async () => {
    const { server, active } = await serve({ drain: SOON });
    const client = await active(transport);
    client.stopReading();
    const [connection] = [...server.registry.all()];
    for (let count = 0; connection!.backlogBytes < 300_000 && count < 4_000; count++) {
      connection!.send("t", Buffer.alloc(16_384));
    }
    const start = performance.now();
    await server.stop();
    expect(performance.now() - start).toBeGreaterThan(1_250);
    expect(performance.now() - start).toBeLessThan(1_900);
    expect(server.shared.counters.bytesDiscardedOut).toBeGreaterThan(250_000);
    expectNothingLeft(server);
  });

  test("a client whose Hello comes after the stop began is welcome, and told to go", async () => {
    const { server } = await serve({ drain: SOON });
    const { port } = server.addresses()[transport]!;
    const client = await RawClient.connect({ transport, port });
    await delay(20);
    const stopped = server.stop();
    client.send(hello(1));
    expect((await client.ending()).how).toBe("fin");
    expect(client.messages.map(({ body }) => body)).toEqual(["welcome", "goAway"]);
    await stopped;
    expectNothingLeft(server);
  });

  test("clients that have not said Hello are told as well", async () => {
    const { server } = await serve({ drain: SOON });
    const { port } = server.addresses()[transport]!;
    const client = await RawClient.connect({ transport, port });
    await delay(20);
    const stopped = server.stop();
    expect((await client.ending()).goAway?.code).toBe(3000);
    await stopped;
    expectNothingLeft(server);
  });
});

test("a server without connections stops at once, and only once", async () => {
  const { server } = await serve();
  const start = performance.now();
  await Promise.all([server.stop(), server.stop()]);
  await server.stop();
  expect(performance.now() - start).toBeLessThan(300);
  await expect(server.start()).rejects.toMatchObject({ code: "HOLDFAST_SERVER_STATE" });
});

test("an idle and a silent connection are ended by a stop like any other", async () => {
  const lively = { heartbeatMs: 200, heartbeatJitter: 0, idleTimeoutMs: 600 };
  const { server } = await serve({ connection: lively, drain: { graceMs: 0, closeSpreadMs: 0 } });
  const clients = await Promise.all(
    RAW_TRANSPORTS.map((transport) =>
      RawClient.active({
        transport,
        port: server.addresses()[transport]!.port,
        answersHeartbeats: false,
      }),
    ),
  );
  await delay(350);
  expect([...server.registry.all()].map(({ stateName }) => stateName)).toEqual(
    clients.map(() => "idle"),
  );
  const stopped = server.stop();
  for (const client of clients) expect((await client.ending()).goAway?.code).toBe(3000);
  await stopped;
  expectNothingLeft(server);
});
