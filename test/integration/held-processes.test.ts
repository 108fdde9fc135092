// Listening sockets that one process holds and others accept on: who connects is served, whoever
// is there to do it and whenever he comes.

import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  closeHeldSockets,
  type HeldSockets,
  openHeldSockets,
  openSharedSocket,
} from "../../src/transport/held-socket.ts";
import { uwsIfAny } from "../contract/websocket-harness.ts";
import {
  type HeldWorker,
  type HeldWorkerOptions,
  startHeldWorker,
} from "../support/held-worker.ts";
import { hasNative } from "../support/native.ts";
import { binaryMessage, upgradeRequest } from "../support/raw-websocket.ts";
import { pass, until } from "../support/transport-bench.ts";

const LOOPBACK = "127.0.0.1";
const WHERE = { what: "TCP", host: LOOPBACK, port: 0, path: null, backlog: 4_096 };
/** A Hello without anything, and its frame. */
const HELLO = Buffer.from([8, 1, 18, 2, 8, 1]);
const HELLO_FRAME = Buffer.concat([Buffer.from([0, 0, 0, HELLO.length]), HELLO]);
const UPGRADE = upgradeRequest();
const WITHOUT_ADDON = { HOLDFAST_NATIVE_ADDON: "/nowhere/holdfast.node" };
const hasUws = uwsIfAny() !== null;

type Kind = "tcp" | "websocket";
const KINDS: readonly Kind[] = hasUws ? ["tcp", "websocket"] : ["tcp"];

const workers: HeldWorker[] = [];
const clients: Client[] = [];
let held: HeldSockets[] = [];

beforeAll(() => {
  const program = fileURLToPath(new URL("../../dist/server/server.js", import.meta.url));
  if (!existsSync(program)) throw new Error("run npm run build");
});

afterEach(() => {
  for (const { child } of workers.splice(0)) child.kill("SIGKILL");
  for (const { socket } of clients.splice(0)) socket.destroy();
  for (const { files } of held) closeHeldSockets(files);
  held = [];
});

async function hold(count: number, where: object = {}): Promise<HeldSockets> {
  const opened = await openHeldSockets({ ...WHERE, ...where, count });
  held.push(opened);
  return opened;
}

/** @param slots of `inherited` that it listens on from the beginning. */
async function work(
  kind: Kind,
  worker: number,
  { files }: HeldSockets,
  slots: readonly number[],
  more: Partial<HeldWorkerOptions> = {},
): Promise<HeldWorker> {
  const isTcp = kind === "tcp";
  const started = await startHeldWorker({
    name: `worker-${worker}`,
    worker,
    inherited: files,
    sockets: { [kind]: slots.map((slot) => slot + 3) },
    options: { tcp: { enabled: isTcp }, websocket: { enabled: !isTcp } },
    ...more,
  });
  workers.push(started);
  return started;
}

interface Client {
  readonly socket: Socket;
  /** All that came. */
  text: string;
  /** How it ended; null while it lasts. */
  end: string | null;
}

/** Connects and says Hello at once. */
function client(kind: Kind, where: { port: number } | { path: string }): Client {
  const socket = connect({ host: LOOPBACK, ...where });
  const made: Client = { socket, text: "", end: null };
  clients.push(made);
  let isUpgraded = kind === "tcp";
  socket.on("data", (bytes: Buffer) => {
    made.text += bytes.toString("latin1");
    if (!isUpgraded && made.text.includes("\r\n\r\n")) {
      isUpgraded = true;
      socket.write(binaryMessage(HELLO_FRAME));
    }
  });
  socket.on("error", (error: NodeJS.ErrnoException) => (made.end = error.code ?? "error"));
  socket.on("close", () => (made.end ??= "closed"));
  socket.write(kind === "tcp" ? HELLO_FRAME : UPGRADE);
  return made;
}

/** Who has answered its Hello; -1: nobody yet. */
function servedBy({ text }: Client): number {
  return Number(/worker-(\d)/.exec(text)?.[1] ?? -1);
}

async function allServed(crowd: readonly Client[]): Promise<number[]> {
  await until(() => crowd.every((each) => servedBy(each) > 0 || each.end !== null), "all know");
  expect(crowd.filter((each) => each.end !== null).map(({ end }) => end)).toEqual([]);
  return crowd.map(servedBy);
}

describe.skipIf(!hasNative).each(KINDS)("held sockets that serve %s", (kind) => {
  it("each bring clients to the process that accepts on it", async () => {
    const { files, address } = await hold(2);
    await work(kind, 1, { files, address }, [0]);
    await work(kind, 2, { files, address }, [1]);
    const by = await allServed(Array.from({ length: 60 }, () => client(kind, address)));
    expect(new Set(by)).toEqual(new Set([1, 2]));
  });

  it("lose nobody when their process is killed: the next one serves who came since", async () => {
    const opened = await hold(1);
    const first = await work(kind, 1, opened, [0]);
    const early = client(kind, opened.address);
    expect(await allServed([early])).toEqual([1]);
    first.child.kill("SIGKILL");
    await first.ended();
    const crowd = Array.from({ length: 40 }, () => client(kind, opened.address));
    await Promise.all(crowd.map(({ socket }) => once(socket, "connect")));
    await pass(50);
    expect(crowd.every(({ end }) => end === null)).toBe(true);
    await work(kind, 2, opened, [0]);
    expect(new Set(await allServed(crowd))).toEqual(new Set([2]));
    expect(early.end, "who was accepted before ends with his process").not.toBeNull();
  });

  it("lose nobody when their process is killed: a sibling that adopts them does", async () => {
    const opened = await hold(2);
    const first = await work(kind, 1, opened, [0]);
    const second = await work(kind, 2, opened, [1]);
    first.child.kill("SIGKILL");
    await first.ended();
    const crowd = Array.from({ length: 60 }, () => client(kind, opened.address));
    await until(() => crowd.some((each) => servedBy(each) === 2), "some are served");
    await pass(100);
    expect(
      crowd.some((each) => servedBy(each) === -1),
      "some wait",
    ).toBe(true);
    expect(await second.adopt({ [kind]: [3] })).toBe("ok");
    expect(new Set(await allServed(crowd))).toEqual(new Set([2]));
  });

  it("change hands as often as wanted, under load, and nobody is lost", async () => {
    const opened = await hold(2);
    const both = [await work(kind, 1, opened, [0]), await work(kind, 2, opened, [1])] as const;
    const crowd: Client[] = [];
    let isOver = false;
    const load = (async () => {
      while (!isOver) {
        for (let count = 0; count < 5; count++) crowd.push(client(kind, opened.address));
        await pass(2);
      }
    })();
    for (let round = 0; round < 15; round++) {
      const [giver, taker] = round % 2 === 0 ? [both[0], both[1]] : [both[1], both[0]];
      const slot = { [kind]: [3 + (round % 2)] };
      expect(await taker.adopt(slot)).toBe("ok");
      expect(await taker.adopt(slot), "what it has makes no difference").toBe("ok");
      expect(await giver.release(slot)).toBe("ok");
      await pass(4);
      expect(await giver.adopt(slot)).toBe("ok");
      expect(await taker.release(slot)).toBe("ok");
      expect(await taker.release(slot), "nor does what it has not").toBe("ok");
    }
    isOver = true;
    await load;
    expect(new Set(await allServed(crowd))).toEqual(new Set([1, 2]));
  }, 20_000);

  it("are handed over by a worker that drains, and nobody is closed by it", async () => {
    const opened = await hold(1);
    const old = await work(kind, 1, opened, [0], {
      options: {
        tcp: { enabled: kind === "tcp" },
        websocket: { enabled: kind === "websocket" },
        drain: { graceMs: 5_000, reconnectSpreadMs: 0 },
      },
    });
    const stays = client(kind, opened.address);
    await allServed([stays]);
    old.drain();
    const told = stays.text.length;
    await until(() => stays.text.length > told, "it is told to go away");
    const late = Array.from({ length: 20 }, () => client(kind, opened.address));
    await pass(100);
    expect(late.map(({ end }) => end)).toEqual(late.map(() => null));
    await work(kind, 2, opened, [0]);
    expect(new Set(await allServed(late))).toEqual(new Set([2]));
    stays.socket.destroy();
    expect(await old.ended()).toBe(0);
  });

  it("that are none are refused, and what was there serves on", async () => {
    const opened = await hold(1);
    const worker = await work(kind, 1, opened, [0]);
    for (const fd of [-1, 0, 1, 999]) {
      expect(await worker.adopt({ [kind]: [fd] }), `${fd}`).toMatch(/^HOLDFAST_LISTEN_FAILED: /);
      expect(await worker.release({ [kind]: [fd] })).toBe("ok");
    }
    expect(await worker.adopt({ nobody: [3] })).toMatch(/^HOLDFAST_SERVER_STATE: .*nobody/);
    expect(await worker.release({ nobody: [3] })).toMatch(/^HOLDFAST_SERVER_STATE: /);
    expect(await allServed([client(kind, opened.address)])).toEqual([1]);
  });

  it("are refused at the start where they are none", async () => {
    const opened = await hold(1);
    await expect(work(kind, 1, opened, [7])).rejects.toThrow(/HOLDFAST_LISTEN_FAILED: .*file 10/);
    await expect(work(kind, 1, opened, [])).rejects.toThrow(/HOLDFAST_SERVER_STATE: .*no socket/);
    const wrong = { sockets: { other: [3] } };
    await expect(work(kind, 1, opened, [0], wrong)).rejects.toThrow(
      /HOLDFAST_SERVER_STATE: .*other/,
    );
  });

  it("may be many, all accepted on by one process", async () => {
    const opened = await hold(80);
    const slots = opened.files.map((_, index) => index);
    await work(kind, 1, opened, slots);
    const by = await allServed(Array.from({ length: 200 }, () => client(kind, opened.address)));
    expect(new Set(by)).toEqual(new Set([1]));
  });
});

describe.skipIf(!hasNative)("a held Unix socket", () => {
  it("is shared by all, and its file stays until it is closed", async () => {
    const folder = mkdtempSync(join(tmpdir(), "holdfast-held-"));
    const path = join(folder, "hf.sock");
    const opened = await hold(2, { path });
    expect(opened.files.length).toBe(1);
    const first = await work("tcp", 1, opened, [0]);
    await allServed([client("tcp", { path })]);
    first.child.kill("SIGTERM");
    await first.ended();
    const waits = client("tcp", { path });
    await once(waits.socket, "connect");
    await work("tcp", 2, opened, [0]);
    expect(await allServed([waits])).toEqual([2]);
    closeHeldSockets(held.pop()!.files);
    expect(existsSync(path)).toBe(false);
    rmSync(folder, { recursive: true });
  });
});

describe("a shared socket without the native addon", () => {
  const net = { env: WITHOUT_ADDON };

  it("is listened on by several, and one that drains closes nobody who comes", async () => {
    const opened = await openSharedSocket(WHERE);
    held.push(opened);
    const drain = { graceMs: 5_000, reconnectSpreadMs: 0 };
    const first = await work("tcp", 1, opened, [0], { ...net, options: { drain } });
    const stays = client("tcp", opened.address);
    expect(await allServed([stays])).toEqual([1]);
    await work("tcp", 2, opened, [0], net);
    const told = stays.text.length;
    first.drain();
    await until(() => stays.text.length > told, "it is told to go away");
    const late = Array.from({ length: 50 }, () => client("tcp", opened.address));
    expect(new Set(await allServed(late))).toEqual(new Set([2]));
    stays.socket.destroy();
    expect(await first.ended()).toBe(0);
  });

  it("keeps who comes while nobody serves, once somebody has", async () => {
    const opened = await openSharedSocket(WHERE);
    held.push(opened);
    const first = await work("tcp", 1, opened, [0], net);
    await allServed([client("tcp", opened.address)]);
    first.child.kill("SIGKILL");
    await first.ended();
    const crowd = Array.from({ length: 20 }, () => client("tcp", opened.address));
    await Promise.all(crowd.map(({ socket }) => once(socket, "connect")));
    await work("tcp", 2, opened, [0], net);
    expect(new Set(await allServed(crowd))).toEqual(new Set([2]));
  });

  it("is the only one that tcp-net takes, and it adopts none", async () => {
    const opened = await openSharedSocket(WHERE);
    held.push(opened);
    const two = { ...net, sockets: { tcp: [3, 4] } };
    await expect(work("tcp", 1, opened, [0], two)).rejects.toThrow(/HOLDFAST_SERVER_STATE: .*one/);
    const worker = await work("tcp", 1, opened, [0], net);
    expect(await worker.adopt({ tcp: [3] })).toMatch(/^HOLDFAST_SERVER_STATE: .*tcp-net/);
    expect(await worker.release({ tcp: [3] })).toMatch(/^HOLDFAST_SERVER_STATE: .*tcp-net/);
    expect(await allServed([client("tcp", opened.address)])).toEqual([1]);
  });
});

describe.skipIf(!hasUws)("uWebSockets.js that listens by itself", () => {
  async function own(worker: number, port: number, sharesPorts: boolean): Promise<HeldWorker> {
    const started = await startHeldWorker({
      ...{ name: `worker-${worker}`, worker, inherited: [], sockets: {}, sharesPorts },
      options: { tcp: { enabled: false }, websocket: { enabled: true, host: LOOPBACK, port } },
      env: WITHOUT_ADDON,
    });
    workers.push(started);
    return started;
  }

  async function freePort(): Promise<number> {
    const { files, address } = await openSharedSocket(WHERE);
    closeHeldSockets(files);
    await pass(5);
    return address.port;
  }

  it("shares its port with its siblings where it is told to", async () => {
    const port = await freePort();
    await own(1, port, true);
    await own(2, port, true);
    const by = await allServed(Array.from({ length: 60 }, () => client("websocket", { port })));
    expect(new Set(by)).toEqual(new Set([1, 2]));
  });

  it("does not where it is not told", async () => {
    const port = await freePort();
    await own(1, port, true);
    await expect(own(2, port, false)).rejects.toThrow(/HOLDFAST_LISTEN_FAILED: .*EADDRINUSE/);
  });

  it("refuses to share any free port: each would get another", async () => {
    await expect(own(1, 0, true)).rejects.toThrow(/HOLDFAST_LISTEN_FAILED: .*choose one/);
  });

  it("refuses sockets that it was handed", async () => {
    const opened = await openSharedSocket(WHERE);
    held.push(opened);
    const given = work("websocket", 1, opened, [0], { env: WITHOUT_ADDON });
    await expect(given).rejects.toThrow(/HOLDFAST_LISTEN_FAILED: .*inherited sockets/);
  });
});
