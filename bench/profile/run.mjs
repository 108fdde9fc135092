// One profile: a server under a tool, a scenario's load on it, and an end in order, so that the
// tool writes what it saw.
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { SERVER_CORE, startPinned } from "../processes.mjs";
import { warmedUp } from "./scenarios.mjs";

const program = join(dirname(fileURLToPath(import.meta.url)), "server.mjs");
const START_MS_MAX = 60_000;
/** Analysing what was seen takes clinic tens of seconds. */
const END_MS_MAX = 110_000;
const WARMUP_SECONDS = 1;
/** The load goes on for so long after it is no longer looked at: tools take their time to start. */
const SPARE_SECONDS = 2;

/** The profiled server: it is told what to do over a socket, one question at a time. */
class Profiled {
  #child;
  #folder;
  #listening;
  #socket = null;
  #lines = null;
  /** Questions are asked in turn, whoever asks. */
  #asked = Promise.resolve();
  pid = 0;
  ports = {};

  /** @param {string[]} command what comes before server.mjs: Node, its flags, the tool */
  static async start(command, { dist, tcp }) {
    const self = new Profiled();
    self.#folder = mkdtempSync(join(tmpdir(), "holdfast-profile-"));
    const path = join(self.#folder, "control");
    self.#listening = createServer().listen(path);
    await once(self.#listening, "listening");
    const [file, ...args] = [...command, program, dist, path, tcp];
    // Tools print on standard output, which is for results.
    self.#child = startPinned(SERVER_CORE, file, args, ["ignore", 2, "inherit"]);
    try {
      const ended = once(self.#child, "exit").then(([code]) => {
        throw new Error(`the server ended before it served (exit code ${code})`);
      });
      const late = wait(START_MS_MAX, null, { ref: false }).then(() => {
        throw new Error("the server does not start");
      });
      ended.catch(() => {});
      const connected = once(self.#listening, "connection");
      [self.#socket] = await Promise.race([connected, ended, late]);
      self.#lines = createInterface({ input: self.#socket })[Symbol.asyncIterator]();
      Object.assign(self, await self.#next());
      return self;
    } catch (error) {
      await self.end(0);
      throw error;
    }
  }

  async #next() {
    const { done, value } = await this.#lines.next();
    if (done) throw new Error("the server ended while it was profiled");
    return JSON.parse(value);
  }

  ask(command) {
    const answer = this.#asked.then(() => {
      this.#socket.write(`${command}\n`);
      return this.#next();
    });
    this.#asked = answer.catch(() => {});
    return answer;
  }

  /** Ends it in order; where it takes too long, by force. @returns whether it ended by itself. */
  async end(waitMs = END_MS_MAX) {
    this.#socket?.destroy();
    this.#listening.close();
    const isOver = () => this.#child.exitCode !== null || this.#child.signalCode !== null;
    const ended = isOver() ? Promise.resolve() : once(this.#child, "exit");
    await Promise.race([ended, wait(waitMs, null, { ref: false })]);
    const isInOrder = this.#child.exitCode === 0;
    if (!isOver()) this.#child.kill("SIGKILL");
    rmSync(this.#folder, { recursive: true, force: true });
    return isInOrder;
  }
}

/**
 * @param {import("./scenarios.mjs").Scenario} scenario
 * @param {{command: string[], dist: string, seconds: number,
 *   watch: (server: Profiled, seconds: number) => Promise<object | null>}} how
 *   `watch` is called when the server is warm, and takes `seconds`
 * @returns what `watch` gave
 */
export async function profile(scenario, { command, dist, seconds, watch }) {
  const server = await Profiled.start(command, { dist, tcp: scenario.tcp });
  let seen;
  try {
    const { pid, ports } = server;
    const ask = (question) => server.ask(question);
    const load = { pid, ports, ask, warmup: WARMUP_SECONDS, seconds: seconds + SPARE_SECONDS };
    const stop = await scenario.start(load);
    await warmedUp(scenario, ask, WARMUP_SECONDS);
    seen = await watch(server, seconds);
    await stop();
  } catch (error) {
    await server.end(0);
    throw error;
  }
  if (!(await server.end())) throw new Error("the profiled server did not end in order");
  return seen;
}
