// The client's links over the native transport: names with several addresses, the addon that is not
// there, and what is left when the last link has gone.

import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import { type AddressInfo, createServer, type Server } from "node:net";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Client } from "../../src/client/client.ts";
import { connect } from "../../src/client/node.ts";
import { FakeServer } from "../support/fake-server.ts";
import { hasNative } from "../support/native.ts";

type Found = readonly { readonly address: string }[];
type Answer = (error: Error | null, found: Found) => void;

/** What names resolve to; a promise is an answer that comes later. */
const names: Map<string, readonly string[] | Promise<void>> = new Map();

vi.mock("node:dns", async (load) => ({
  ...(await load<object>()),
  lookup(name: string, _options: object, answer: Answer): void {
    const found = names.get(name);
    if (found instanceof Promise) void found.then(() => answer(null, [{ address: "127.0.0.1" }]));
    else if (found !== undefined)
      setImmediate(
        answer,
        null,
        found.map((address) => ({ address })),
      );
    else {
      const error = Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), {
        code: "ENOTFOUND",
      });
      setImmediate(answer, error, []);
    }
  },
}));

const { href } = new URL("../../dist/client/node.js", import.meta.url);
/** As a program names it. */
const CLIENT = JSON.stringify(href);

let server: FakeServer;
let port: number;
let clients: Client[];

beforeEach(async () => {
  clients = [];
  server = new FakeServer();
  await server.listenTcp();
  port = Number(/\d+$/.exec(server.endpoint)![0]);
});

afterEach(async () => {
  names.clear();
  await Promise.all(clients.map((client) => client.close()));
  server.close();
});

function open(host: string): Client {
  const options = { reconnect: false, connectTimeoutMs: 2_000 } as const;
  const client = connect(`tcp://${host}:${port}`, options, { transport: "tcp-epoll" });
  clients.push(client);
  return client;
}

const files = (): number => readdirSync("/proc/self/fd").length;

async function until(condition: () => boolean): Promise<void> {
  await vi.waitFor(() => expect(condition()).toBe(true), { timeout: 5_000, interval: 5 });
}

describe.skipIf(!hasNative)("a name", () => {
  it.each([
    ["the first address of a name", ["127.0.0.1", "127.0.0.2"]],
    ["the second, where the first refuses", ["::1", "127.0.0.1"]],
    ["the third, where the others are none of ours", ["224.0.0.1", "nonsense", "127.0.0.1"]],
  ])("leads to %s", async (_, addresses) => {
    names.set("server.example", addresses);
    const client = open("server.example");
    await client.ready();
    expect(await client.call("echo", "x")).toEqual(new TextEncoder().encode("x"));
  });

  it("leads past an address that does not answer", async () => {
    // Its backlog takes no more, and nobody accepts: what is sent to it is lost.
    const script = `
      const { connect, createServer } = require("node:net");
      createServer().listen({ port: ${port}, host: "127.0.0.77", backlog: 1 }, () => {
        for (let index = 0; index < 4; index++) connect(${port}, "127.0.0.77");
        // Connecting goes on in the next ticks, and accepting would come with the next poll.
        process.nextTick(() => {
          require("node:fs").writeSync(1, "full");
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
        });
      });`;
    const child = execFile(process.execPath, ["-e", script]);
    await new Promise((resolve) => child.stdout!.once("data", resolve));
    names.set("server.example", ["127.0.0.77", "127.0.0.1"]);
    const startedMs = performance.now();
    await open("server.example").ready();
    child.kill("SIGKILL");
    expect(performance.now() - startedMs).toBeLessThan(1_500);
    expect(server.peers.length).toBe(1);
  });

  it("of which every address refuses is a failed attempt, with the last one's error", async () => {
    names.set("server.example", ["127.0.0.78", "127.0.0.79"]);
    await expect(open("server.example").ready()).rejects.toThrow(/connect ECONNREFUSED/);
  });

  it("that nobody knows is a failed attempt", async () => {
    await expect(open("nobody.example").ready()).rejects.toThrow(/ENOTFOUND nobody\.example/);
  });

  it("that is found after the client was closed is not connected to", async () => {
    let answer = (): void => {};
    names.set(
      "slow.example",
      new Promise((resolve) => {
        answer = resolve;
      }),
    );
    const client = open("slow.example");
    await until(() => client.state === "connecting");
    await client.close();
    answer();
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect([client.state, server.peers.length]).toEqual(["closed", 0]);
  });
});

describe.skipIf(!hasNative)("the process", () => {
  it("holds no file of the loop's when the last link has gone", async () => {
    const before = files();
    const client = open("127.0.0.1");
    await client.ready();
    expect(files()).toBeGreaterThan(before);
    await client.close();
    await until(() => files() === before);
    await open("127.0.0.1").ready();
  });

  it("ends when its clients are closed, and when its only attempt has failed", async () => {
    const closed = await freePort();
    const script = `
      import { connect } from ${CLIENT};
      const client = connect("tcp://127.0.0.1:${port}", {}, { transport: "tcp-epoll" });
      await client.ready();
      await client.close();
      const options = { reconnect: false };
      const other = connect("tcp://127.0.0.1:${closed}", options, { transport: "tcp-epoll" });
      await other.ready().catch((error) => console.log(error.code));`;
    const args = ["--input-type=module", "-e", script];
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 8_000 });
    expect(stdout.trim()).toBe("HOLDFAST_CONNECT_FAILED");
  });

  it("uses node:net where the addon is not there, and says so where it was asked for", async () => {
    const script = `
      import { connect } from ${CLIENT};
      const endpoint = "tcp://127.0.0.1:${port}";
      try {
        connect(endpoint, {}, { transport: "tcp-epoll" });
      } catch (error) {
        console.log(error.code);
      }
      const client = connect(endpoint);
      await client.ready();
      console.log(String(await client.call("echo", "x")));
      await client.close();`;
    const args = ["--input-type=module", "-e", script];
    const env = { ...process.env, HOLDFAST_NATIVE_ADDON: "/nothing.node" };
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 8_000, env });
    expect(stdout.split("\n")).toEqual(["HOLDFAST_TRANSPORT_UNAVAILABLE", "120", ""]);
  });

  it("is told of a transport that does not exist", () => {
    const parts = { transport: "epoll" as never };
    expect(() => connect("tcp://127.0.0.1:1", {}, parts)).toThrow(/tcp-net, tcp-epoll is needed/);
  });
});

async function freePort(): Promise<number> {
  const listener: Server = createServer();
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const { port: free } = listener.address() as AddressInfo;
  await new Promise((resolve) => listener.close(resolve));
  return free;
}
