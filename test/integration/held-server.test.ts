// A server, in this process, on sockets that somebody else holds.

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { SERIALS_PER_WORKER } from "../../src/server/listener.ts";
import { Server, type ServerParts } from "../../src/server/server.ts";
import { AcceptorSet } from "../../src/transport/acceptor-set.ts";
import { EpollLoop, type LoopMember } from "../../src/transport/epoll-loop.ts";
import {
  closeHeldSockets,
  type HeldSockets,
  openHeldSockets,
} from "../../src/transport/held-socket.ts";
import { loadNative } from "../../src/transport/native.ts";
import { hasNative } from "../support/native.ts";
import { pass, until } from "../support/transport-bench.ts";

const LOOPBACK = "127.0.0.1";
const OPTIONS = {
  tcp: { host: LOOPBACK, port: 0 },
  websocket: { enabled: false },
  admin: { enabled: false },
  drain: { graceMs: 2_000, reconnectSpreadMs: 0 },
};
const HELLO = Buffer.from([0, 0, 0, 6, 8, 1, 18, 2, 8, 1]);

const servers: Server[] = [];
const clients: Socket[] = [];
let held: HeldSockets[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  for (const server of servers.splice(0)) await server.stop({ hasten: true });
  for (const { files } of held) closeHeldSockets(files);
  held = [];
});

async function hold(count: number): Promise<HeldSockets> {
  const where = { what: "TCP", host: LOOPBACK, port: 0, path: null, backlog: 128 };
  const opened = await openHeldSockets({ ...where, count });
  held.push(opened);
  return opened;
}

async function serve(parts: ServerParts): Promise<Server> {
  const server = new Server(OPTIONS, parts);
  await server.start();
  servers.push(server);
  return server;
}

function client({ address }: HeldSockets): Socket {
  const socket = connect(address.port, LOOPBACK);
  socket.on("error", () => {});
  socket.write(HELLO);
  clients.push(socket);
  return socket;
}

const served = (crowd: readonly Socket[]): number =>
  crowd.filter(({ bytesRead }) => bytesRead > 0).length;

describe.skipIf(!hasNative)("a server on held sockets", () => {
  it("listens where they do, whatever its options say", async () => {
    const opened = await hold(2);
    const server = await serve({ sockets: { tcp: opened.files } });
    expect(server.addresses()["tcp"]).toEqual(opened.address);
    const crowd = Array.from({ length: 20 }, () => client(opened));
    await until(() => served(crowd) === 20, "all are served");
  });

  it("leaves them open when it ends, and who comes then waits for the next one", async () => {
    const opened = await hold(1);
    const first = await serve({ sockets: { tcp: opened.files } });
    await first.stop();
    const late = client(opened);
    await once(late, "connect");
    await serve({ sockets: { tcp: opened.files } });
    await until(() => served([late]) === 1, "it is served");
    expect(late.destroyed).toBe(false);
  });

  it.each([0, 1, 7, 2_097_151])(
    "as worker %i begins its ids where they are its own",
    async (worker) => {
      const opened = await hold(1);
      const ids: string[] = [];
      const onConnect = ({ id }: { id: string }): void => void ids.push(id);
      const server = await serve({ sockets: { tcp: opened.files }, worker, hooks: { onConnect } });
      for (const count of [1, 2]) {
        client(opened);
        await until(() => ids.length === count, "it is connected");
      }
      const serials = ids.map((id) => Number.parseInt(id.slice(0, id.indexOf("-")), 36));
      const first = worker * SERIALS_PER_WORKER + 1;
      expect(serials).toEqual([first, first + 1]);
      for (const id of ids) expect(server.connection(id)?.id).toBe(id);
    },
  );

  it("adopts and releases only while it serves", async () => {
    const opened = await hold(2);
    const [own, other] = opened.files as [number, number];
    const server = new Server(OPTIONS, { sockets: { tcp: [own] } });
    const state = { code: "HOLDFAST_SERVER_STATE" };
    const expectRefusal = async (): Promise<void> => {
      await expect(server.adopt({ tcp: [other] })).rejects.toMatchObject(state);
      expect(() => server.release({ tcp: [other] })).toThrow(expect.objectContaining(state));
    };
    await expectRefusal();
    await server.start();
    servers.push(server);
    await server.adopt({ tcp: [other] });
    server.release({ tcp: [other] });
    await server.adopt({ tcp: [other] });
    const stays = client(opened);
    await until(() => served([stays]) === 1, "it is served");
    const stopped = server.stop();
    await expectRefusal();
    const late = Array.from({ length: 10 }, () => client(opened));
    await pass(100);
    expect([served(late), late.filter(({ destroyed }) => destroyed).length]).toEqual([0, 0]);
    stays.destroy();
    await stopped;
    await expectRefusal();
  });

  it("stops accepting on all of them when files run out, and goes on with all", async () => {
    const opened = await hold(3);
    const [own, ...others] = opened.files as [number, number, number];
    const server = await serve({ sockets: { tcp: [own] } });
    await server.adopt({ tcp: [others[0]] });
    const { transport } = server.listeners[0]!;
    transport.stopAccepting();
    await server.adopt({ tcp: [others[1]] });
    const crowd = Array.from({ length: 40 }, () => client(opened));
    await pass(100);
    expect(served(crowd)).toBe(0);
    await transport.resumeAccepting();
    await until(() => served(crowd) === 40, "all are served");
  });

  it.each([
    ["no listener's name", { sockets: { websocket: [3] } }, /websocket.*no such listener/],
    ["none at all", { sockets: { tcp: [] } }, /tcp: there is no socket/],
  ])("refuses sockets of %s", (_what, parts, text) => {
    const refused = expect.objectContaining({ code: "HOLDFAST_SERVER_STATE" });
    expect(() => new Server(OPTIONS, parts)).toThrow(refused);
    expect(() => new Server(OPTIONS, parts)).toThrow(text);
  });

  it("refuses to take up sockets for a listener that has none", async () => {
    const opened = await hold(1);
    const memory = { name: "memory", transport: { kind: "memory" as const } };
    const server = await serve({ sockets: { tcp: opened.files }, listeners: [memory] });
    const refused = { code: "HOLDFAST_SERVER_STATE" };
    await expect(server.adopt({ memory: opened.files })).rejects.toMatchObject(refused);
    expect(() => server.release({ memory: opened.files })).toThrow("memory");
  });
});

describe.skipIf(!hasNative)("a set of acceptors", () => {
  function make(fds: readonly number[]): { set: AcceptorSet; accepted: number[]; end(): void } {
    const loop = new EpollLoop(loadNative());
    const accepted: number[] = [];
    const nothing = (): void => {};
    const member: LoopMember = {
      onAccepted(_acceptor, fd) {
        accepted.push(fd);
        loop.addon.closeFile(fd);
      },
      onAcceptError: nothing,
      ...{ onData: nothing, onEnd: nothing, onDrain: nothing, onQueued: nothing },
      ...{ onClosed: nothing, onConnected: nothing },
    };
    const id = loop.join(member);
    const where = { host: "", port: 0, path: null, fd: null, fds, backlog: 128 };
    const sockets = { noDelay: true, keepAliveMs: 0, userTimeoutMs: 0 };
    const set = new AcceptorSet("TCP", loop, id, { ...where, ...sockets }, systemClock);
    return {
      set,
      accepted,
      end: () => {
        set.destroy();
        loop.leave(id);
      },
    };
  }

  it("listens on all or on none", async () => {
    const opened = await hold(2);
    const { set, accepted, end } = make([opened.files[0]!, 9_999]);
    await expect(set.listen()).rejects.toThrow("the inherited file 9999");
    await once(client(opened), "connect");
    await pass(30);
    expect(accepted).toEqual([]);
    end();
  });

  it("adopts all or none, and keeps what it had", async () => {
    const opened = await hold(1);
    const others = await hold(2);
    const { set, accepted, end } = make(opened.files);
    await set.listen();
    await expect(set.adopt([...others.files, -1])).rejects.toThrow("the inherited file -1");
    await once(client(others), "connect");
    await pass(30);
    expect(accepted).toEqual([]);
    client(opened);
    await until(() => accepted.length === 1, "its own is served");
    end();
  });

  it("takes the same file once, however often it is named", async () => {
    const opened = await hold(1);
    const { set, accepted, end } = make([...opened.files, ...opened.files]);
    await set.listen();
    await set.adopt([...opened.files, ...opened.files]);
    client(opened);
    await until(() => accepted.length === 1, "it is served");
    set.release(opened.files);
    await once(client(opened), "connect");
    await pass(30);
    expect(accepted.length).toBe(1);
    end();
  });

  it("listens never again once it is destroyed", async () => {
    const opened = await hold(2);
    const { set, end } = make([opened.files[0]!]);
    end();
    await expect(set.listen()).rejects.toThrow("ESHUTDOWN");
    await set.adopt([opened.files[1]!]);
    await expect(set.listen()).rejects.toThrow("ESHUTDOWN");
  });
});
