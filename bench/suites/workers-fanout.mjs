// One publish to very many subscribers over WebSocket: how long until the last has it, and how many
// deliveries a second of the servers' CPU time gives. `holdfast serve` with its workers and as many
// processes of bare uWebSockets.js, their connections shared out evenly, publish in turns. The exit
// code is 1 where somebody did not get everything.
//   npm run bench:fanout -- --subscribers 100000 --rounds 5 --publishes 10
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compiled } from "../c-program.mjs";
import { progress, readFlags } from "../command-line.mjs";
import { finish, startHoldfast, stopHoldfast } from "../probe-run.mjs";
import { Answering, ANY_CORE, fileLimit } from "../processes.mjs";
import { spread } from "../spread.mjs";

const here = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(dirname(here), "dist");
const { connect } = await import(join(dist, "client/node.js"));
const { encodeClientMessage } = await import("../load/client-frames.mjs");

/** Files of a process that are no connections. */
const FILES_RESERVED = 500;
/** /proc counts CPU time in hundredths of a second. */
const TICKS_PER_SECOND = 100;
/** Nobody is asked for a sign of life while a publish is measured. */
const QUIET = ["--connection-heartbeat-ms", "3000000", "--connection-idle-timeout-ms", "7000000"];

const flags = readFlags({
  subscribers: { default: "100000", range: [100, 500_000] },
  rounds: { default: "5", range: [1, 100] },
  publishes: { default: "10", range: [1, 1_000] },
  bytes: { default: "64", range: [1, 900] },
});
const perProcess = Math.min(fileLimit(), 20_000) - FILES_RESERVED;
const payload = "x".repeat(flags.bytes);

function requestHex(port, subprotocol) {
  const lines = [
    `GET / HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    ...["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"],
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ...(subprotocol === "" ? [] : [`Sec-WebSocket-Protocol: ${subprotocol}`]),
  ];
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`).toString("hex");
}

/** Subscribers of one server, in as many processes as their files ask for. */
class Subscribers {
  #processes = [];
  #counts = [];

  /** @param ports of the server's processes, or its one port; each has its share. */
  static async connect(ports, { subprotocol = "", greeting = "", answers = 0, base }) {
    const self = new Subscribers();
    const program = compiled(join(here, "load", "subscribers.c"));
    if (program === null) throw new Error("subscribers need a C compiler");
    const clients = Math.max(ports.length, Math.ceil(flags.subscribers / perProcess));
    for (let index = 0; index < clients; index++) {
      const count =
        Math.floor(((index + 1) * flags.subscribers) / clients) -
        Math.floor((index * flags.subscribers) / clients);
      const port = ports[index % ports.length];
      const args = [
        ...["--port", port, "--count", count, "--source-base", base + index],
        ...["--request", requestHex(port, subprotocol), "--greeting", greeting],
        ...["--answers", answers, ...(subprotocol === "" ? [] : ["--framed"])],
      ];
      self.#processes.push(new Answering(ANY_CORE, program, args.map(String), "subscribers"));
      self.#counts.push(count);
      // One after another: accepting is not what is measured.
      await self.#processes[index].next();
    }
    return self;
  }

  /** @returns how many had it, and when the last did, by CLOCK_MONOTONIC. */
  async delivered() {
    const answers = await Promise.all(
      this.#processes.map((process, index) => process.ask(`expect ${this.#counts[index]}`)),
    );
    return {
      received: answers.reduce((total, { received }) => total + received, 0),
      lastNs: Math.max(...answers.map(({ lastNs }) => lastNs)),
    };
  }

  async stop() {
    for (const process of this.#processes) await process.stop();
  }
}

/** CPU seconds of these processes so far. */
function cpuSeconds(pids) {
  return pids
    .map((pid) => {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
    })
    .reduce((total, seconds) => total + seconds, 0);
}

async function startHoldfastFanout() {
  // Workers fill unevenly, and their shares of the maximum follow a moment later.
  const max = String(Math.ceil(flags.subscribers * 1.05) + 1_000);
  const started = await startHoldfast(ANY_CORE, [
    ...["--workers", "auto", "--connection-max", max, ...QUIET],
  ]);
  const { server, endpoints } = started;
  const greeting = [
    { id: 1, hello: { version: 1, client: "subscriber" } },
    { id: 2, subscribe: { topic: "t" } },
  ];
  const subscribers = await Subscribers.connect([new URL(endpoints.websocket).port], {
    subprotocol: "holdfast.v1",
    greeting: Buffer.concat(greeting.map(encodeClientMessage)).toString("hex"),
    answers: greeting.length,
    base: 10,
  });
  const stats = await (await fetch(`${endpoints.admin}/stats`)).json();
  const client = connect(endpoints.tcp);
  await client.publish("nobody", payload);
  return {
    name: "holdfast",
    pids: [stats.supervisor.pid, ...stats.workers.map(({ pid }) => pid)],
    subscribers,
    publish: () => client.publish("t", payload),
    async stop() {
      await client.close();
      await subscribers.stop();
      await stopHoldfast(server);
    },
  };
}

async function startBareFanout(count) {
  const servers = [];
  const ports = [];
  for (let index = 0; index < count; index++) {
    const args = [join(here, "peers", "uws-fanout.mjs"), dist];
    const server = new Answering(ANY_CORE, process.execPath, args, "bare uWebSockets.js");
    ports.push((await server.next()).websocket);
    servers.push(server);
  }
  const subscribers = await Subscribers.connect(ports, { base: 60 });
  return {
    name: "bare uWebSockets.js",
    pids: servers.map(({ pid }) => pid),
    subscribers,
    async publish() {
      for (const server of servers) server.tell(payload);
    },
    async stop() {
      await subscribers.stop();
      for (const server of servers) await server.stop();
    },
  };
}

/** Some publishes, each when the one before has reached everybody. */
async function measure({ name, pids, subscribers, publish }) {
  const lastMs = [];
  let received = 0;
  const before = cpuSeconds(pids);
  for (let count = 0; count < flags.publishes; count++) {
    const fromNs = process.hrtime.bigint();
    const [answer] = await Promise.all([subscribers.delivered(), publish()]);
    received += answer.received;
    lastMs.push((answer.lastNs - Number(fromNs)) / 1e6);
  }
  const cpu = cpuSeconds(pids) - before;
  const result = { received, perCpuSecond: received / cpu, lastMs: spread(lastMs).median };
  progress(`${name}: ${JSON.stringify(result)}`);
  return result;
}

const holdfast = await startHoldfastFanout();
progress(`holdfast: ${holdfast.pids.length - 1} workers, ${flags.subscribers} subscribers`);
const bare = await startBareFanout(holdfast.pids.length - 1);
const runs = { holdfast: [], bare: [] };
// The first of each warms up.
await measure(holdfast);
await measure(bare);
for (let round = 0; round < flags.rounds; round++) {
  runs.holdfast.push(await measure(holdfast));
  runs.bare.push(await measure(bare));
}
await holdfast.stop();
await bare.stop();

const middle = (who, name) => spread(runs[who].map((run) => run[name])).median;
const ratio = (name) =>
  spread(runs.holdfast.map((run, round) => run[name] / runs.bare[round][name])).median;
const each = flags.publishes * flags.subscribers;
finish(
  [
    { what: "deliveries in a round, least", value: least("received"), min: each },
    { what: "holdfast, ms to the last delivery", value: middle("holdfast", "lastMs") },
    { what: "bare, ms to the last delivery", value: middle("bare", "lastMs") },
    { what: "holdfast / bare, time", value: ratio("lastMs") },
    { what: "holdfast, deliveries per CPU second", value: middle("holdfast", "perCpuSecond") },
    { what: "bare, deliveries per CPU second", value: middle("bare", "perCpuSecond") },
    { what: "holdfast / bare, per CPU second", value: ratio("perCpuSecond") },
  ],
  { rounds: runs, sentence: `${flags.rounds} rounds of ${flags.publishes} publishes` },
  flags.json,
);

function least(name) {
  return Math.min(...[...runs.holdfast, ...runs.bare].map((run) => run[name]));
}
