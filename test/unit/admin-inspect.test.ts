// Picking the few connections that stand out among very many, in slices.
import { afterEach, describe, expect, it } from "vitest";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { Prng } from "../../src/base/prng.ts";
import type { Connection } from "../../src/connection/connection.ts";
import {
  CONNECTION_SORTS,
  type ConnectionSort,
  connectionDetail,
  topConnections,
} from "../../src/server/inspect.ts";
import { Server } from "../../src/server/server.ts";
import type { MemoryTransport } from "../../src/transport/memory.ts";

const servers: Server[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop({ hasten: true });
});

const BY: Readonly<Record<ConnectionSort, (connection: Connection) => number>> = {
  queue: ({ backlogBytes }) => backlogBytes,
  age: ({ ageMs }) => ageMs,
  bytes: ({ bytesIn, bytesOut }) => bytesIn + bytesOut,
};

/** A server with so many connections, whose figures are drawn from few values: many are equal. */
async function crowded(count: number, clock: Clock = systemClock): Promise<Server> {
  const server = new Server(
    {
      tcp: { enabled: false },
      websocket: { enabled: false },
      admin: { enabled: false },
      connection: { max: 20_000 },
    },
    { clock, listeners: [{ name: "mem", transport: { kind: "memory" } }] },
  );
  servers.push(server);
  await server.start();
  const transport = server.listeners[0]!.transport as MemoryTransport;
  for (let index = 0; index < count; index++) {
    transport.connect({ onData: () => {}, onClose: () => {} });
  }
  return server;
}

function draw(server: Server, seed: number): void {
  const prng = new Prng(seed);
  for (const connection of server.registry.all()) {
    connection.bytesIn = prng.int(0, 40);
    connection.bytesOut = prng.int(0, 40);
    Object.assign(connection, { openedTick: -prng.int(0, 30) });
    const backlog = { value: prng.int(0, 25), configurable: true };
    Object.defineProperty(connection, "backlogBytes", backlog);
  }
}

const ANY = { state: null, transport: null } as const;

describe("the connections that stand out", () => {
  it("are those that sorting all of them would put first, in any order and number", async () => {
    const server = await crowded(300);
    for (let seed = 1; seed <= 20; seed++) {
      draw(server, seed);
      for (const sort of CONNECTION_SORTS) {
        const all = [...server.registry.all()].sort(
          (a, b) => BY[sort](b) - BY[sort](a) || a.serial - b.serial,
        );
        for (const limit of [1, 2, 7, 299, 300, 1_000]) {
          const { matching, connections } = await topConnections(server, { ...ANY, sort, limit });
          expect(matching).toBe(300);
          expect(connections.map(({ id }) => id)).toEqual(all.slice(0, limit).map(({ id }) => id));
        }
      }
    }
  });

  it("are looked for in slices, so that others get their turn", async () => {
    let turns = 0;
    const clock: Clock = {
      ...systemClock,
      afterPoll: (run) => {
        turns++;
        return systemClock.afterPoll(run);
      },
    };
    const server = await crowded(9_000, clock);
    await topConnections(server, { ...ANY, sort: "age", limit: 10 });
    const before = turns;
    const found = await topConnections(server, { ...ANY, sort: "age", limit: 1_000 });
    expect(found.matching).toBe(9_000);
    expect(found.connections).toHaveLength(1_000);
    // The ticker takes turns of its own, a few at most in this time.
    expect(turns - before).toBeGreaterThanOrEqual(4);
  });

  it("do not include those that close while others are looked at", async () => {
    const server = await crowded(9_000);
    const [first] = server.registry.all();
    const looking = topConnections(server, { ...ANY, sort: "age", limit: 3 });
    const { id, channel } = first!;
    server.listeners[0]!.transport.reset(channel);
    const { connections } = await looking;
    expect(server.registry.byId(id)).toBeNull();
    expect(connections.map((connection) => connection.id)).not.toContain(id);
  });

  it("can be those of one state or transport only", async () => {
    const server = await crowded(50);
    const states = async (state: string): Promise<number> =>
      (await topConnections(server, { sort: "age", limit: 10, state, transport: null })).matching;
    expect(await states("handshaking")).toBe(50);
    expect(await states("active")).toBe(0);
    const webSocket = { sort: "age", limit: 10, state: null, transport: "websocket" } as const;
    expect(await topConnections(server, webSocket)).toEqual({ matching: 0, connections: [] });
  });
});

describe("one connection", () => {
  it("is found by its id only as long as it is the same one", async () => {
    const server = await crowded(2);
    const [first] = server.registry.all();
    const { id, channel } = first!;
    expect(connectionDetail(server, id)).toMatchObject({ closed: false, id, transport: "memory" });
    server.listeners[0]!.transport.reset(channel);
    await new Promise((resolve) => systemClock.after(20, () => resolve(null)));
    expect(connectionDetail(server, id)).toMatchObject({ closed: true, id });
    const impostor = `${(99).toString(36)}-${channel.toString(36)}`;
    expect(connectionDetail(server, impostor)).toBeNull();
  });
});
