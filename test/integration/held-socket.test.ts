// Opening listening sockets for others to accept on.

import { spawn, spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  closeHeldSockets,
  type HeldSockets,
  type HeldSocketOptions,
  inheritedAddress,
  openHeldSockets,
  openSharedSocket,
} from "../../src/transport/held-socket.ts";
import { sharedAddress } from "../../src/transport/shared-socket.ts";
import { hasNative } from "../support/native.ts";
import { pass, until } from "../support/transport-bench.ts";

const LOOPBACK = "127.0.0.1";
const hasPython = spawnSync("python3", ["-c", ""]).status === 0;

const servers: Server[] = [];
const clients: Socket[] = [];
let held: HeldSockets[] = [];
let folder: string;
const socketsBefore = sockets().length;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-held-"));
});

afterEach(async () => {
  for (const { files } of held) closeHeldSockets(files);
  held = [];
  for (const server of servers.splice(0)) server.close();
  for (const client of clients.splice(0)) client.destroy();
  rmSync(folder, { recursive: true, force: true });
  await until(() => sockets().length === socketsBefore, "every socket is closed");
});

function sockets(): number[] {
  return readdirSync("/proc/self/fd")
    .map(Number)
    .filter((file) => {
      try {
        return readlinkSync(`/proc/self/fd/${file}`).startsWith("socket:");
      } catch {
        return false;
      }
    });
}

async function hold(options: Partial<HeldSocketOptions> = {}): Promise<HeldSockets> {
  const where = { what: "TCP", host: LOOPBACK, port: 0, path: null, backlog: 16, count: 1 };
  const opened = await openHeldSockets({ ...where, ...options });
  held.push(opened);
  return opened;
}

async function share(options: object = {}): Promise<HeldSockets> {
  const where = { what: "TCP", host: LOOPBACK, port: 0, path: null, backlog: 16 };
  const opened = await openSharedSocket({ ...where, ...options });
  held.push(opened);
  return opened;
}

/** The message; it must have the code, and nothing may be left open. */
async function refused(open: () => Promise<unknown>): Promise<string> {
  const before = sockets().length;
  const error = await open().then(
    () => new Error("it was opened"),
    (rejected: Error) => rejected,
  );
  expect(error).toMatchObject({ code: "HOLDFAST_LISTEN_FAILED" });
  await until(() => sockets().length === before, "nothing is left open");
  return error.message;
}

async function listening(where: object): Promise<Server> {
  const server = createServer().listen(where);
  servers.push(server);
  await once(server, "listening");
  return server;
}

function client(where: { port: number; host?: string } | { path: string }): Socket {
  const socket = connect({ host: LOOPBACK, ...where });
  socket.on("error", () => {});
  clients.push(socket);
  return socket;
}

describe.skipIf(!hasNative)("held sockets", () => {
  it("are as many as asked for, at one port that was free", async () => {
    const { files, address } = await hold({ count: 5 });
    expect(new Set(files).size).toBe(5);
    expect(address).toEqual({ host: LOOPBACK, port: expect.any(Number), path: null });
    expect(address.port).toBeGreaterThan(0);
    for (const file of files) expect(inheritedAddress(file)).toEqual(address);
  });

  it.each([1, 2, 256])("may be %i, each with a queue of its own", async (count) => {
    const { files, address } = await hold({ count });
    expect(files.length).toBe(count);
    const socket = client(address);
    await once(socket, "connect");
  });

  it("take names, IPv6, and IPv4 beside it at the wildcard", async () => {
    expect((await hold({ host: "localhost", count: 2 })).address.host).toMatch(/^(127\.|::1)/);
    expect((await hold({ host: "::1", count: 2 })).address.host).toBe("::1");
    const { address } = await hold({ host: "::", count: 2 });
    await once(client({ port: address.port }), "connect");
    await once(client({ port: address.port, host: "::1" }), "connect");
  });

  it("close on exec but for a child that is given them, and do not block", async () => {
    const { files } = await hold({ count: 2 });
    for (const file of files) {
      const flags = /flags:\s*0?(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${file}`, "utf8"))![1]!;
      expect(Number.parseInt(flags, 8) & 0o2_004_000).toBe(0o2_004_000);
    }
    const list = ["-c", "ls -l /proc/self/fd | grep -c socket:"];
    const without = spawnSync("sh", list, { stdio: ["ignore", "pipe", "ignore"] });
    expect(without.stdout.toString().trim()).toBe("0");
    const child = spawn("sh", list, { stdio: ["ignore", "pipe", "ignore", ...files] });
    let out = "";
    child.stdout!.on("data", (bytes: Buffer) => (out += bytes.toString()));
    await once(child, "close");
    expect(Number(out)).toBeGreaterThanOrEqual(2);
  });

  it("keep who connects, until they are closed", async () => {
    const { files, address } = await hold({ count: 3 });
    const crowd = Array.from({ length: 20 }, () => client(address));
    await Promise.all(crowd.map((socket) => once(socket, "connect")));
    for (const socket of crowd) socket.resume();
    await pass(20);
    expect(crowd.some((socket) => socket.destroyed)).toBe(false);
    held = [];
    closeHeldSockets(files);
    await until(() => crowd.every((socket) => socket.destroyed), "all are cut off");
  });

  it("are refused where another server listens, and it is not disturbed", async () => {
    const other = await listening({ host: LOOPBACK, port: 0 });
    const { port } = other.address() as { port: number };
    for (const count of [1, 4]) {
      expect(await refused(() => hold({ port, count }))).toContain("EADDRINUSE");
    }
    client({ port });
    await once(other, "connection");
  });

  it("are refused where a second one like them is, of the same user", async () => {
    const { address } = await hold({ count: 3 });
    const message = await refused(() => hold({ port: address.port, count: 3 }));
    expect(message).toContain(`cannot listen for TCP on ${LOOPBACK}:${address.port}: EADDRINUSE`);
    expect(await refused(() => hold({ host: "0.0.0.0", port: address.port, count: 3 }))).toContain(
      "EADDRINUSE",
    );
  });

  it("let one of two win that begin at the same time", async () => {
    const { files, address } = await hold({ count: 1 });
    held = [];
    closeHeldSockets(files);
    const both = await Promise.allSettled([
      hold({ port: address.port, count: 4 }),
      hold({ port: address.port, count: 4, host: "localhost" }),
      hold({ port: address.port, count: 4 }),
    ]);
    expect(both.filter(({ status }) => status === "fulfilled").length).toBe(1);
  });

  it.skipIf(!hasPython)("are refused where a program shares the port with anybody", async () => {
    const code = `
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(("${LOOPBACK}", 0))
s.listen()
print(s.getsockname()[1], flush=True)
sys.stdin.read()
`;
    const child = spawn("python3", ["-c", code], { stdio: ["pipe", "pipe", "inherit"] });
    const [bytes] = (await once(child.stdout, "data")) as [Buffer];
    const message = await refused(() => hold({ port: Number(bytes), count: 2 }));
    expect(message).toContain("EADDRINUSE");
    child.stdin.end();
    await once(child, "exit");
  });

  it.each([
    ["an address that is not this machine's", { host: "192.0.2.1" }, "EADDRNOTAVAIL"],
    ["a name that nobody has", { host: "no-such-host.invalid" }, /ENOTFOUND|EAI_AGAIN/],
    ["a port that is none", { port: 65_536 }, "EINVAL"],
    ["a negative port", { port: -1 }, "EINVAL"],
    ["a folder that is missing", { path: "/no/such/folder/s.sock" }, "ENOENT"],
    ["a path that is too long", { path: `/tmp/${"x".repeat(120)}` }, "ENAMETOOLONG"],
    ["an empty path", { path: "" }, "EINVAL"],
    ["a path with a zero", { path: "/tmp/a\0b" }, "EINVAL"],
  ])("are refused at %s", async (_what, where, code) => {
    expect(await refused(() => hold({ ...where, count: 3 }))).toMatch(code);
  });

  it("all go when there is no file for the last", () => {
    const module = new URL("../../dist/transport/held-socket.js", import.meta.url).href;
    const code = `
      const { openHeldSockets } = await import(${JSON.stringify(module)});
      const { readdirSync } = await import("node:fs");
      const where = { what: "TCP", host: "127.0.0.1", port: 0, path: null, backlog: 8 };
      await openHeldSockets({ ...where, count: 1 });
      const before = readdirSync("/proc/self/fd").length;
      try {
        await openHeldSockets({ ...where, count: 200 });
      } catch (error) {
        console.log(error.code, error.message, readdirSync("/proc/self/fd").length - before);
      }
    `;
    const node = [process.execPath, "--input-type=module", "--eval", code];
    const { stdout } = spawnSync("sh", ["-c", `ulimit -n 64; exec "$0" "$@"`, ...node]);
    expect(stdout.toString()).toMatch(/^HOLDFAST_LISTEN_FAILED .*EMFILE.* 0\n$/);
  });
});

describe.skipIf(!hasNative)("a held Unix socket", () => {
  it("is one, however many are asked for, and its file goes when it is closed", async () => {
    const path = join(folder, "hf.sock");
    const { files, address } = await hold({ path, count: 8 });
    expect(files.length).toBe(1);
    expect(address).toEqual({ host: "", port: 0, path });
    expect(inheritedAddress(files[0]!)).toEqual(address);
    await once(client({ path }), "connect");
    held = [];
    closeHeldSockets(files);
    expect(existsSync(path)).toBe(false);
  });

  it("takes over a file whose process is gone", async () => {
    const path = join(folder, "dead.sock");
    const listen = `require("net").createServer().listen(${JSON.stringify(path)}, die)`;
    const die = "const die = () => process.kill(process.pid, 9);";
    spawnSync(process.execPath, ["--eval", `${die} ${listen}`]);
    expect(lstatSync(path).isSocket()).toBe(true);
    await hold({ path });
    await once(client({ path }), "connect");
  });

  it("is refused where somebody listens, and where the file is no socket", async () => {
    const path = join(folder, "live.sock");
    const other = await listening({ path });
    expect(await refused(() => hold({ path }))).toContain("EADDRINUSE");
    expect(existsSync(path)).toBe(true);
    other.close();
    const file = join(folder, "file");
    writeFileSync(file, "precious");
    expect(await refused(() => hold({ path: file }))).toContain("EADDRINUSE");
    expect(readFileSync(file, "utf8")).toBe("precious");
  });
});

describe.skipIf(!hasNative)("the address of an inherited file", () => {
  const codeOf = (file: number): string => {
    try {
      return JSON.stringify(inheritedAddress(file));
    } catch (error) {
      expect(error).toMatchObject({ code: "HOLDFAST_LISTEN_FAILED" });
      expect((error as Error).message).toContain(`the inherited file ${file}`);
      return /: (E[A-Z]+): /.exec((error as Error).message)![1]!;
    }
  };

  it.each([-1, 9_999, 2 ** 31])("is an error for %d, which is not open", (file) => {
    expect(codeOf(file)).toMatch(/^E(BADF|NOTSOCK)$/);
  });

  it("is an error for what does not listen", async () => {
    const file = openSync("/dev/null", "r");
    expect(codeOf(file)).toBe("ENOTSOCK");
    closeSync(file);
    const server = await listening({ host: LOOPBACK, port: 0 });
    const socket = client(server.address() as { port: number });
    await once(socket, "connect");
    expect(codeOf((socket as unknown as { _handle: { fd: number } })._handle.fd)).toBe("EINVAL");
    const udp = createSocket("udp4").bind(0, LOOPBACK);
    await once(udp, "listening");
    const symbols = Object.getOwnPropertySymbols(udp);
    const state = symbols.find((symbol) => symbol.description === "state symbol")!;
    const { handle } = (udp as never as Record<symbol, { handle: { fd: number } }>)[state]!;
    expect(codeOf(handle.fd)).toBe("ESOCKTNOSUPPORT");
    udp.close();
  });
});

describe("a shared socket, bound by Node alone", () => {
  it("has a port that was free, and refuses clients until somebody listens", async () => {
    const { files, address } = await share();
    expect(files.length).toBe(1);
    expect(address).toEqual({ host: LOOPBACK, port: expect.any(Number), path: null });
    const [error] = (await once(client(address), "error")) as [NodeJS.ErrnoException];
    expect(error.code).toBe("ECONNREFUSED");
    expect(sharedAddress(files[0]!)).toBe(`${LOOPBACK}:${address.port}`);
  });

  it("takes names and IPv6", async () => {
    expect((await share({ host: "localhost" })).address.host).toMatch(/^(127\.|::1)/);
    expect((await share({ host: "::1" })).address.host).toBe("::1");
  });

  it("may be a Unix socket, in place of one whose process is gone", async () => {
    const path = join(folder, "shared.sock");
    const first = await share({ path });
    expect(first.address.path).toBe(path);
    expect(existsSync(path)).toBe(true);
    held = [];
    closeHeldSockets(first.files);
    await until(() => !existsSync(path), "its file has gone");
  });

  it.each([
    ["an address that is not this machine's", { host: "192.0.2.1" }, "EADDRNOTAVAIL"],
    ["a folder that is missing", { path: "/no/such/folder/s.sock" }, /EACCES|ENOENT/],
    ["a path with a zero", { path: "/tmp/a\0b" }, "EINVAL"],
  ])("is refused at %s", async (_what, where, code) => {
    expect(await refused(() => share(where))).toMatch(code);
  });

  it("is refused where another server listens", async () => {
    const other = await listening({ host: LOOPBACK, port: 0 });
    const { port } = other.address() as { port: number };
    expect(await refused(() => share({ port }))).toContain("EADDRINUSE");
    const path = join(folder, "live.sock");
    await listening({ path });
    expect(await refused(() => share({ path }))).toContain("EADDRINUSE");
    expect(existsSync(path)).toBe(true);
  });

  it("knows the address of one that was inherited, and of none that is no socket", async () => {
    const code = `
      const [module] = process.argv.slice(1);
      import(module).then(({ inheritedAddress }) => {
        for (const file of [3, 4, 77]) {
          try {
            console.log(JSON.stringify(inheritedAddress(file)));
          } catch (error) {
            console.log(error.code);
          }
        }
        process.exit(0);
      });
    `;
    const { files, address } = await share();
    const module = new URL("../../dist/transport/held-socket.js", import.meta.url).href;
    const file = openSync("/dev/null", "r");
    const { stdout } = spawnSync(process.execPath, ["--eval", code, module], {
      stdio: ["ignore", "pipe", "inherit", files[0]!, file],
      env: { ...process.env, HOLDFAST_NATIVE_ADDON: "/nowhere/holdfast.node" },
    });
    closeSync(file);
    const lines = stdout.toString().trim().split("\n");
    expect(lines).toEqual([
      JSON.stringify(address),
      "HOLDFAST_LISTEN_FAILED",
      "HOLDFAST_LISTEN_FAILED",
    ]);
  });
});
