// Options are swapped in a running server on real sockets, under live connections.

import { request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Options, PartialOptions } from "../../src/config/options.ts";
import { Server } from "../../src/server/server.ts";
import { SUBPROTOCOL } from "../../src/wire/messages.ts";
import { hasWebSocket, RAW_TRANSPORTS } from "../support/oracle.ts";
import { RawClient, type RawTransport } from "../support/raw-client.ts";

async function serve(options: PartialOptions = {}): Promise<Server> {
  const server = new Server({
    ...options,
    tcp: { host: "127.0.0.1", port: 0 },
    websocket: { host: "127.0.0.1", port: 0, enabled: hasWebSocket() },
    admin: { enabled: false },
  });
  server.method("echo", ({ payload }) => payload);
  await server.start();
  onTestFinished(() => server.stop({ hasten: true }));
  return server;
}

async function active(server: Server, transport: RawTransport): Promise<RawClient> {
  const client = await RawClient.active({ transport, port: server.addresses()[transport]!.port });
  onTestFinished(() => void client.socket.destroy());
  return client;
}

/** Values that are as good as those before, each time others. */
function variant({ connection, send, topic, log, ...rest }: Options, step: number): Options {
  const even = step % 2 === 0;
  return {
    ...rest,
    connection: { ...connection, idleTimeoutMs: even ? 60_000 : 50_000, callsMax: even ? 1 : 64 },
    send: { ...send, highBytes: even ? 262_144 : 4_096, lowBytes: even ? 65_536 : 64 },
    topic: { ...topic, max: even ? 10 : 100_000, perConnectionMax: even ? 1 : 128 },
    log: { ...log, samplePerSecond: step },
  };
}

describe.each(RAW_TRANSPORTS)("over %s", (transport) => {
  test("a thousand changes under traffic drop nobody and lose no answer", async () => {
    const server = await serve();
    const clients = await Promise.all(Array.from({ length: 20 }, () => active(server, transport)));
    let isOver = false;
    let answered = 0;
    const traffic = clients.map(async (client) => {
      while (!isOver) {
        await client.echo(`echo ${answered}`);
        answered++;
      }
    });
    for (let step = 0; step < 1_000; step++) {
      server.reconfigure(variant(server.options, step));
      if (step % 20 === 0) await delay(1);
    }
    isOver = true;
    await Promise.all(traffic);
    expect(answered).toBeGreaterThan(100);
    expect(clients.filter(({ hasEnded, goAway }) => hasEnded || goAway !== null)).toEqual([]);
    expect(server.admission.served).toBe(20);
    expect(server.options.log.samplePerSecond).toBe(999);
  });

  test("a shorter idle timeout ends a silent client that was there before", async () => {
    const lively = { heartbeatMs: 200, heartbeatJitter: 0, idleTimeoutMs: 600 };
    const server = await serve({ connection: lively });
    const silent = await RawClient.active({
      transport,
      port: server.addresses()[transport]!.port,
      answersHeartbeats: false,
    });
    const connection = { ...server.options.connection, idleTimeoutMs: 300 };
    server.reconfigure({ ...server.options, connection });
    const startMs = server.shared.clock.now();
    expect((await silent.ending()).goAway?.code).toBe(3001);
    expect(server.shared.clock.now() - startMs).toBeLessThan(550);
  });
});

test.skipIf(!hasWebSocket())("other origins count from the next upgrade on", async () => {
  const server = await serve();
  const { port } = server.addresses()["websocket"]!;
  const upgrade = (origin: string): Promise<number> =>
    new Promise((resolve, reject) => {
      const headers = {
        origin,
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-protocol": SUBPROTOCOL,
      };
      const asked = request({ host: "127.0.0.1", port, headers });
      asked.on("response", (response) => {
        response.resume();
        resolve(response.statusCode!);
      });
      asked.on("upgrade", (response, socket) => {
        socket.destroy();
        resolve(response.statusCode!);
      });
      asked.on("error", reject);
      asked.end();
    });
  expect(await upgrade("https://a.example")).toBe(101);
  const websocket = { ...server.options.websocket, origins: ["https://b.example"] };
  server.reconfigure({ ...server.options, websocket });
  expect(await upgrade("https://a.example")).toBe(403);
  expect(await upgrade("https://b.example")).toBe(101);
});
