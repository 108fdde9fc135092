// The sides of a comparison: Holdfast by transport, the bare libraries under it, and what people
// would use instead. Each peer is the smallest honest server of its kind with the same work.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { compiled } from "./c-program.mjs";
import { fileLimit, SERVER_CORE, startPinned, startServer } from "./processes.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const START_MS_MAX = 10_000;
/** Holdfast's own default leaves a tenth of its files free; the others take what there are. */
const CONNECTION_MAX = String(Number.isFinite(fileLimit()) ? fileLimit() - 100 : null);

/**
 * `protocol` is what a client speaks over `transport`: raw bytes that come back, Holdfast's frames,
 * Socket.IO's packets, NATS or MQTT. `fanout` is a bare side's server for publishing: what one
 * connection sends goes to all others. Who can publish anyway needs none.
 * @typedef {{transport: "tcp" | "websocket", protocol: string, isOurs?: boolean,
 *   script?: string, args?: string[], program?: string, fanout?: string}} Side
 * @type {Record<string, Side>}
 */
export const SIDES = {
  "C epoll": { transport: "tcp", protocol: "raw", script: "peers/epoll.c" },
  "tcp-epoll bare": { transport: "tcp", protocol: "raw", script: "peers/tcp-epoll.mjs" },
  "node:net": {
    ...{ transport: "tcp", protocol: "raw", script: "peers/net.mjs" },
    fanout: "peers/net-fanout.mjs",
  },
  "holdfast tcp-epoll": {
    ...{ transport: "tcp", protocol: "holdfast", isOurs: true },
    ...{ script: "holdfast-server.mjs", args: [CONNECTION_MAX, "tcp-epoll"] },
  },
  "uWebSockets.js": {
    ...{ transport: "websocket", protocol: "raw", script: "peers/uws.mjs" },
    fanout: "peers/uws-fanout.mjs",
  },
  "holdfast tcp-net": {
    ...{ transport: "tcp", protocol: "holdfast", isOurs: true },
    ...{ script: "holdfast-server.mjs", args: [CONNECTION_MAX, "tcp-net"] },
  },
  "holdfast websocket": {
    ...{ transport: "websocket", protocol: "holdfast", isOurs: true },
    ...{ script: "holdfast-server.mjs", args: [CONNECTION_MAX] },
  },
  ws: {
    ...{ transport: "websocket", protocol: "raw", script: "peers/ws.mjs" },
    fanout: "peers/ws-fanout.mjs",
  },
  "Socket.IO": {
    ...{ transport: "websocket", protocol: "socket.io", script: "peers/socket-io.mjs" },
    fanout: "peers/socket-io-fanout.mjs",
  },
  "nats-server": { transport: "tcp", protocol: "nats", program: "nats-server" },
  mosquitto: { transport: "tcp", protocol: "mqtt", program: "mosquitto" },
};

/** Whether its server is a script of Node's, which takes Node's flags. */
export function isNode(name) {
  return SIDES[name].script?.endsWith(".mjs") ?? false;
}

/** Those that can publish, in the order of a round. */
export const PUBLISHING = Object.keys(SIDES).filter((name) => {
  const { isOurs, program, fanout } = SIDES[name];
  return isOurs || program !== undefined || fanout !== undefined;
});

/**
 * Who is put beside whom, in every suite and table: whoever speaks over the same transport, and
 * over TCP uWebSockets.js, of which more is claimed.
 */
const BESIDE = {
  "tcp-epoll bare": ["C epoll", "node:net", "uWebSockets.js"],
  "holdfast tcp-epoll": ["C epoll", "node:net", "nats-server", "mosquitto", "uWebSockets.js"],
  "holdfast tcp-net": ["C epoll", "node:net", "nats-server", "mosquitto"],
  "holdfast websocket": ["uWebSockets.js", "ws", "Socket.IO"],
};

/** @type {{side: string, against: string}[]} */
export const PAIRS = Object.entries(BESIDE).flatMap(([side, others]) =>
  others.map((against) => ({ side, against })),
);

/**
 * Adds the ratios of all pairs of which both were measured under this load.
 * @param {import("./result.mjs").Result} result
 * @param {{side: string, against: string, max: number}[]} targets of some of the pairs
 * @param {number} roundsMin of which a target is judged
 */
export function comparePairs(result, load, figure, targets = [], roundsMin = 1) {
  for (const pair of PAIRS) {
    const found = targets.find((one) => isSamePair(one, pair));
    const target = found === undefined ? null : { max: found.max };
    result.compare({ ...pair, load, figure, target, roundsMin });
  }
  const stray = targets.find((one) => !PAIRS.some((pair) => isSamePair(one, pair)));
  // It would never be judged.
  if (stray) throw new Error(`${stray.side} is not put beside ${stray.against}`);
}

function isSamePair(one, other) {
  return one.side === other.side && one.against === other.against;
}

/** @returns why a side cannot be measured here, and what would mend it; null: it can. */
export function missing(name) {
  const { script, program } = SIDES[name];
  if (program !== undefined && spawnSync(program, ["-h"]).error !== undefined) {
    return `it is not installed: apt-get install ${program}`;
  }
  if (script?.endsWith(".c") && compiled(join(here, script)) === null) {
    return "there is no C compiler";
  }
  return null;
}

/** @returns those of `names` that can be measured; the result is told of the others. */
export function present(names, result) {
  return names.filter((name) => {
    const why = missing(name);
    if (why !== null) result.skip(name, why);
    return why === null;
  });
}

/**
 * Starts a side's server, alone on the servers' core.
 * @param {{dist: string, nodeFlags?: string[], args?: string[], core?: number,
 *   purpose?: "echo" | "publish"}} how
 *   nodeFlags: for servers in Node; args: more arguments for a script, behind its own
 * @returns {Promise<{server: {pid: number, stop(): Promise<void>}, port: number,
 *   transport: string, protocol: string}>} a script's server answers, see processes.mjs
 */
export async function startSide(
  name,
  { dist, nodeFlags = [], args = [], core = SERVER_CORE, purpose = "echo" },
) {
  const { transport, protocol, script: echoing, args: own = [], program, fanout } = SIDES[name];
  const script = purpose === "publish" ? (fanout ?? echoing) : echoing;
  if (program !== undefined) {
    return { ...(await startProgram(program, core)), transport, protocol };
  }
  const argv = [dist, ...own, ...args];
  const { server, ports } = await startServer(join(here, script), argv, nodeFlags, core);
  return { server, port: ports[transport], transport, protocol };
}

async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

async function isListening(port) {
  return await new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

/** A broker that others wrote: it may hold as many as there are, and is otherwise as it comes. */
async function startProgram(program, core) {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "holdfast-bench-"));
  const forget = () => rmSync(folder, { recursive: true, force: true });
  process.once("exit", forget);
  const config = join(folder, `${program}.conf`);
  const listener = `listener ${port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n`;
  const nats = `listen: "127.0.0.1:${port}"\nmax_connections: 100000\n`;
  writeFileSync(config, program === "mosquitto" ? listener : nats);
  const child = startPinned(core, program, ["-c", config], ["ignore", "ignore", "ignore"]);
  const server = {
    pid: child.pid,
    async stop() {
      process.off("exit", forget);
      forget();
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise((done) => child.once("exit", done));
      child.kill("SIGKILL");
      await ended;
    },
  };
  for (let waited = 0; !(await isListening(port)); waited += 50) {
    if (waited > START_MS_MAX || child.exitCode !== null) {
      await server.stop();
      throw new Error(`${program} does not listen`);
    }
    await wait(50);
  }
  return { server, port };
}
