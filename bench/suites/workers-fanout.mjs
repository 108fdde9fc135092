// One publish to very many subscribers over WebSocket: how long until the last has it, and what
// does a delivery cost? `holdfast serve` with its workers, and as many processes of bare
// uWebSockets.js, their connections shared out evenly, publish in turns. A delivery that is missing
// fails the run.
//   npm run bench:workers-fanout -- --subscribers 100000 --rounds 5 --publishes 10
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { KEEP, progress, readFlags } from "../command-line.mjs";
import { PAYLOAD_BYTES_MIN, stamped } from "../load/client-frames.mjs";
import { assertDelivered, FILES_RESERVED, Subscribers } from "../load/subscribers.mjs";
import { cpuSeconds, watchCores } from "../machine.mjs";
import { startHoldfast, stopHoldfast } from "../probe-run.mjs";
import { Answering, ANY_CORE, fileLimit } from "../processes.mjs";
import { Result } from "../result.mjs";
import { runRounds } from "../rounds.mjs";
import { comparePairs } from "../sides.mjs";
import { spread } from "../spread.mjs";

const here = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(dirname(here), "dist");
const { connect } = await import(join(dist, "client/node.js"));

/** A process of subscribers costs little; more connections in each would be no other load. */
const PER_PROCESS_MAX = 19_500;
/** Nobody is asked for a sign of life while a publish is measured. */
const QUIET = ["--connection-heartbeat-ms", "3000000", "--connection-idle-timeout-ms", "7000000"];
const OURS = "holdfast websocket";
const BARE = "uWebSockets.js";

const flags = readFlags({
  subscribers: { default: "100000", range: [100, 500_000] },
  rounds: { default: "5", range: [1, 100] },
  publishes: { default: "10", range: [1, 1_000] },
  bytes: { default: "64", range: [PAYLOAD_BYTES_MIN, 900] },
  keep: KEEP,
});
const perProcess = Math.min(fileLimit() - FILES_RESERVED, PER_PROCESS_MAX);

/** Subscribers of one server, in as many processes as their files ask for. */
class SubscriberProcesses {
  #processes = [];
  #counts = [];

  /** @param ports of the server's processes, or its one port; each has its share. */
  static async connect(ports, { protocol, base }) {
    const self = new SubscriberProcesses();
    const clients = Math.max(ports.length, Math.ceil(flags.subscribers / perProcess));
    for (let index = 0; index < clients; index++) {
      const count =
        Math.floor(((index + 1) * flags.subscribers) / clients) -
        Math.floor((index * flags.subscribers) / clients);
      const subscribers = new Subscribers({
        ...{ transport: "websocket", protocol, port: ports[index % ports.length] },
        ...{ bytes: flags.bytes, base: base + index, core: ANY_CORE },
      });
      self.#processes.push(subscribers);
      self.#counts.push(count);
      // One after another: accepting is not what is measured.
      await subscribers.open(count);
    }
    return self;
  }

  get pids() {
    return this.#processes.map(({ pid }) => pid);
  }

  /** @returns how many had it, when the last did by CLOCK_MONOTONIC, and the worst process's p99 */
  async delivered() {
    const answers = await Promise.all(
      this.#processes.map((process, index) => process.expect(this.#counts[index])),
    );
    const sum = (name) => answers.reduce((total, answer) => total + answer[name], 0);
    return {
      ...{ received: sum("received"), expected: sum("expected"), lost: sum("lost") },
      ...{ gaps: sum("gaps"), uneven: sum("uneven"), wrong: sum("wrong"), publishes: 1 },
      lastNs: Math.max(...answers.map(({ lastNs }) => lastNs)),
      p99: Math.max(...answers.map(({ p99 }) => p99)),
    };
  }

  async stop() {
    for (const process of this.#processes) await process.stop();
  }
}

async function startHoldfastFanout() {
  // Workers fill unevenly, and their shares of the maximum follow a moment later.
  const max = String(Math.ceil(flags.subscribers * 1.05) + 1_000);
  const { server, endpoints } = await startHoldfast(ANY_CORE, [
    ...["--workers", "auto", "--connection-max", max, ...QUIET],
  ]);
  const { port } = new URL(endpoints.websocket);
  const subscribers = await SubscriberProcesses.connect([port], { protocol: "holdfast", base: 10 });
  const stats = await (await fetch(`${endpoints.admin}/stats`)).json();
  const client = connect(endpoints.tcp);
  await client.publish("nobody", "");
  return {
    pids: [stats.supervisor.pid, ...stats.workers.map(({ pid }) => pid)],
    subscribers,
    publish: (payload) => client.publish("t", payload),
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
  const subscribers = await SubscriberProcesses.connect(ports, { protocol: "raw", base: 60 });
  return {
    pids: servers.map(({ pid }) => pid),
    subscribers,
    async publish(payload) {
      for (const server of servers) server.tell(payload);
    },
    async stop() {
      await subscribers.stop();
      for (const server of servers) await server.stop();
    },
  };
}

/** Some publishes, each when the one before has reached everybody. */
async function measure(name, { pids, subscribers, publish }) {
  const [lastMs, p99s] = [[], []];
  const conditions = watchCores([...pids, ...subscribers.pids]);
  const cpuOf = (all) => all.reduce((total, pid) => total + cpuSeconds(pid), 0);
  const [beganMs, before] = [performance.now(), cpuOf(pids)];
  const generatorBefore = cpuOf(subscribers.pids);
  let received = 0;
  for (let count = 0; count < flags.publishes; count++) {
    const fromNs = process.hrtime.bigint();
    const payload = stamped(flags.bytes, fromNs);
    const [answer] = await Promise.all([subscribers.delivered(), publish(payload)]);
    assertDelivered(name, answer);
    received += answer.received;
    lastMs.push((answer.lastNs - Number(fromNs)) / 1e6);
    p99s.push(answer.p99);
  }
  const seconds = (performance.now() - beganMs) / 1_000;
  const figures = {
    cpuPerDelivery: ((cpuOf(pids) - before) * 1e6) / received,
    generatorCpuPerDelivery: ((cpuOf(subscribers.pids) - generatorBefore) * 1e6) / received,
    lastDelivery: spread(lastMs).median,
    p99: spread(p99s).median,
    messagesPerSecond: received / seconds,
  };
  return { figures, conditions: conditions() };
}

const result = new Result("workers-fanout", flags);
const holdfast = await startHoldfastFanout();
const processes = holdfast.pids.length - 1;
progress(`holdfast: ${processes} workers, ${flags.subscribers} subscribers`);
const sides = { [OURS]: holdfast, [BARE]: await startBareFanout(processes) };
const load = { subscribers: flags.subscribers, bytes: flags.bytes, processes };
for (const [name, side] of Object.entries(sides)) await measure(name, side);
await runRounds(result, {
  ...{ rounds: flags.rounds, sides: Object.keys(sides), load },
  measure: (name) => measure(name, sides[name]),
});
for (const figure of ["cpuPerDelivery", "lastDelivery"]) comparePairs(result, load, figure);
for (const side of Object.values(sides)) await side.stop();
progress("");
result.finish();
