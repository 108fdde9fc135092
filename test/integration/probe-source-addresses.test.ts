import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readHost } from "../../src/probe/host.ts";
import {
  planSources,
  SourceAddresses,
  type SourceRange,
} from "../../src/probe/source-addresses.ts";
import { readSourceFacts } from "../../src/probe/source-facts.ts";
import { parseTargets, resolveTargets, type Target } from "../../src/probe/target.ts";

const PORTS = 20;
const FIRST_PORT = 42_000;
/** Addresses of this process alone, so that tests that run at once do not meet. */
const BLOCK = `127.250.${(process.pid >>> 7) & 0xff}`;
const FIRST = `${BLOCK}.${2 * (process.pid & 0x7f)}`;
const SECOND = `${BLOCK}.${2 * (process.pid & 0x7f) + 1}`;

const RANGES: readonly SourceRange[] = [FIRST, SECOND].map((address) => ({
  address,
  firstPort: FIRST_PORT,
  lastPort: FIRST_PORT + PORTS - 1,
}));

interface Held {
  readonly socket: Socket;
  readonly pair: number;
}

const sockets = new Set<Socket>();
let servers: Server[] = [];
/** What each destination saw: address and port of its peers. */
let seen: string[][] = [];

async function listen(address: string, port: number): Promise<Server> {
  const server = createServer();
  server.listen(port, address);
  await once(server, "listening");
  servers.push(server);
  return server;
}

beforeEach(async () => {
  seen = [[], []];
  for (const peers of seen) {
    const server = await listen("127.0.0.1", 0);
    server.on("connection", (socket) => {
      peers.push(`${socket.remoteAddress}:${socket.remotePort}`);
      sockets.add(socket.on("error", () => {}).on("end", () => socket.end()));
      socket.resume();
    });
  }
});

afterEach(async () => {
  for (const socket of sockets) socket.resetAndDestroy();
  sockets.clear();
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  servers = [];
});

function portOf(destination: number): number {
  return (servers[destination]!.address() as AddressInfo).port;
}

/** One connection from the next pair that is free for it, or null where none is. */
async function open(
  sources: SourceAddresses,
  destination: number,
  onSkip: (errno: string) => void = () => {},
): Promise<Held | null> {
  for (let tries = 0; tries < 64; tries++) {
    const pair = sources.take(destination);
    if (pair === -1) return null;
    const socket = connect({
      host: "127.0.0.1",
      port: portOf(destination),
      localAddress: sources.addressOf(pair),
      localPort: sources.portOf(pair),
    });
    sockets.add(socket);
    try {
      await once(socket, "connect");
      socket.on("error", () => {});
      return { socket, pair };
    } catch (error) {
      onSkip((error as NodeJS.ErrnoException).code!);
      sources.skip(destination, pair);
    }
  }
  return null;
}

async function openAll(
  sources: SourceAddresses,
  destination: number,
  onSkip?: (errno: string) => void,
): Promise<Held[]> {
  const held: Held[] = [];
  for (;;) {
    const one = await open(sources, destination, onSkip);
    if (one === null) return held;
    held.push(one);
  }
}

function allPairs(): string[] {
  return [FIRST, SECOND].flatMap((address) =>
    Array.from({ length: PORTS }, (_, index) => `${address}:${FIRST_PORT + index}`),
  );
}

describe("connections from our own choice of address and port", () => {
  it("use every pair once for each of two destinations, without an error", async () => {
    const sources = new SourceAddresses(RANGES, 2);
    const errors: string[] = [];
    for (const destination of [0, 1]) {
      await openAll(sources, destination, (errno) => errors.push(errno));
    }
    expect(errors).toEqual([]);
    await expect.poll(() => seen.flat().length).toBe(2 * 2 * PORTS);
    expect(seen.map((peers) => peers.toSorted())).toEqual([allPairs(), allPairs()]);
  });

  it("go round a port that somebody else listens on", async () => {
    await listen(SECOND, FIRST_PORT + 3);
    const sources = new SourceAddresses(RANGES, 2);
    const errors = new Set<string>();
    const held = await openAll(sources, 0, (errno) => errors.add(errno));
    expect(held).toHaveLength(2 * PORTS - 1);
    expect(errors).toEqual(new Set(["EADDRINUSE"]));
    await expect.poll(() => seen[0]!.length).toBe(2 * PORTS - 1);
    expect(seen[0]).not.toContain(`${SECOND}:${FIRST_PORT + 3}`);
  });

  it("go round the connections of another probe to the same destination", async () => {
    const others = new SourceAddresses(RANGES, 2);
    for (let count = 0; count < 11; count++) await open(others, 0);
    const sources = new SourceAddresses(RANGES, 2);
    const errors = new Set<string>();
    const held = await openAll(sources, 0, (errno) => errors.add(errno));
    expect(held).toHaveLength(2 * PORTS - 11);
    expect([...errors].every((errno) => /^EADDR(NOTAVAIL|INUSE)$/.test(errno))).toBe(true);
    expect(await openAll(sources, 1)).toHaveLength(2 * PORTS);
  });

  it("get a pair again that somebody else has let go", async () => {
    const listener = await listen(FIRST, FIRST_PORT);
    const sources = new SourceAddresses(RANGES, 2);
    expect(await openAll(sources, 0)).toHaveLength(2 * PORTS - 1);
    expect(sources.free(0)).toBe(0);
    await once(listener.close(), "close");
    servers = servers.filter((server) => server !== listener);
    expect(sources.addressOf((await open(sources, 0))!.pair)).toBe(FIRST);
  });

  it("come and go many times over, though what was closed stays in TIME_WAIT", async () => {
    const sources = new SourceAddresses(RANGES, 2);
    for (let round = 0; round < 6 * PORTS; round++) {
      const held = await open(sources, 0);
      expect(held).not.toBeNull();
      // A reset leaves nothing behind; a FIN leaves the pair to the kernel for a while.
      if (round % 4 === 0) held!.socket.end();
      else held!.socket.resetAndDestroy();
      await once(held!.socket, "close");
      sources.release(0, held!.pair);
    }
    await expect.poll(() => seen[0]!.length).toBe(6 * PORTS);
  });
});

describe("a plan of this host", () => {
  async function planned(texts: readonly string[]): Promise<[readonly Target[], SourceAddresses]> {
    const targets = await resolveTargets(parseTargets(texts));
    const facts = await readSourceFacts(targets, readHost(), process.pid);
    const size = { generators: 1, connectionsPerGenerator: 1_000 };
    const plan = planSources({ targets, localIps: [], ports: null, ...size }, facts)!;
    return [targets, new SourceAddresses(plan[0]!, targets.length)];
  }

  it("connects to loopback from 127.0.0.0/8, and not from 127.0.0.1", async () => {
    const [, sources] = await planned([0, 1].map((index) => `tcp://127.0.0.1:${portOf(index)}`));
    await open(sources, 0);
    await open(sources, 1);
    await expect.poll(() => seen.flat().length).toBe(2);
    for (const peer of seen.flat()) expect(peer).toMatch(/^127\.(?!0\.)/);
  });

  it("connects to IPv6's loopback from its one address", async () => {
    const server = createServer((socket) => sockets.add(socket.on("error", () => {})));
    try {
      await once(server.listen(0, "::1"), "listening");
    } catch {
      return; // No IPv6 here.
    }
    servers.push(server);
    const { port } = server.address() as AddressInfo;
    const [, sources] = await planned([`tcp://[::1]:${port}`]);
    const pair = sources.take(0);
    const source = { localAddress: sources.addressOf(pair), localPort: sources.portOf(pair) };
    const socket = connect({ host: "::1", port, ...source });
    sockets.add(socket);
    await once(socket, "connect");
    expect([socket.localAddress, socket.localPort]).toEqual(["::1", source.localPort]);
  });
});
