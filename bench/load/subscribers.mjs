// Subscribers of a server and one that publishes to them: load/subscribers.c, told what to say.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compiled } from "../c-program.mjs";
import { refuse } from "../command-line.mjs";
import { Answering, LOAD_CORE } from "../processes.mjs";
import { scriptFor } from "./client-frames.mjs";

const folder = dirname(fileURLToPath(import.meta.url));
/** Files of a process that are no connections. */
export const FILES_RESERVED = 100;

/**
 * What each command is answered with: `open`, `stalled`, `lost` and `stalledLost` connections, and
 * of what was published since the last answer `publishes`, `expected` and `received` messages,
 * `gaps`, subscribers that had more or fewer of them than there were (`uneven`), messages that
 * were others (`wrong`), `seconds`, CPU time of the server (`cpuMicros`) and of this program
 * (`generatorMicros`, without the turns in which it only looked; null: they cannot be told apart);
 * in milliseconds the delay of all messages (`p50`, `p99`, `max`), of the median publish's last one
 * (`lastMs`), and of publishing itself (`lateMs`).
 * @typedef {Record<string, number>} Answer
 */
export class Subscribers {
  #process;

  /**
   * @param {{transport: string, protocol: string, port: number, bytes: number, pid?: number,
   *   purpose?: "subscribe" | "idle", stalled?: number, base?: number, core?: number}} how
   *   pid: of the server whose CPU time is read; stalled: so many stop reading when they are ready;
   *   base: connections come from 127.BASE.0.x
   */
  constructor({ pid = 0, purpose = "subscribe", stalled = 0, base = 5, core = LOAD_CORE, ...how }) {
    const program = compiled(join(folder, "subscribers.c"));
    if (program === null) refuse("subscribers are written in C: install a compiler (cc)");
    const { port } = how;
    const flags = { port, pid, stalled, "source-base": base, ...scriptFor({ ...how, purpose }) };
    const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
    this.#process = new Answering(core, program, args, "subscribers");
  }

  get pid() {
    return this.#process.pid;
  }

  /** So many more. @returns {Promise<Answer>} when all are ready */
  open(count) {
    return this.#process.ask(`open ${count}`);
  }

  /** For so long and so often at least, each when those who read have the one before. */
  publish(seconds, least) {
    return this.#process.ask(`publish ${seconds} ${least}`);
  }

  /** So often a second, whoever may be late. */
  publishAtRate(perSecond, seconds) {
    return this.#process.ask(`rate ${perSecond} ${seconds}`);
  }

  /** Somebody else publishes. @returns {Promise<Answer>} when so many have come, or no more do */
  expect(count) {
    return this.#process.ask(`expect ${count}`);
  }

  stat() {
    return this.#process.ask("stat");
  }

  close() {
    return this.#process.ask("close");
  }

  stop() {
    return this.#process.stop();
  }
}

/** Throws where a delivery is missing or wrong or a connection lost: then no figure counts. */
export function assertDelivered(name, answer) {
  const { received, expected, publishes, lost, gaps, uneven, wrong } = answer;
  const isRight = lost === 0 && gaps === 0 && uneven === 0 && wrong === 0;
  if (received === expected && publishes > 0 && isRight) return;
  const what = `${received} of ${expected} deliveries of ${publishes} publishes`;
  const others = `${uneven} subscribers with more or fewer, ${wrong} other messages`;
  throw new Error(`${name}: ${what}, ${others}, ${lost} connections lost, ${gaps} gaps`);
}
