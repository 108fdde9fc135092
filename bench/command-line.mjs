// What the benchmarks accept on their command line: numbers in ranges, lists of them, and words.
import { parseArgs } from "node:util";

/** Prints to standard error, where progress goes; standard output is for results. */
export function progress(text) {
  process.stderr.write(`${text}\n`);
}

/** Of suites that throw measurements away. */
export const KEEP = {
  isSwitch: true,
  means: "throw nothing away: what others disturbed counts, and a note says so",
};

/** What flags mean that several suites have. */
const MEANS = {
  connections: "clients' connections",
  "in-flight": "messages under way on each connection",
  bytes: "of a payload",
  seconds: "how long each measurement is",
  warmup: "seconds of the same work before each measurement",
  rounds: "measurements of each side, in turns",
  only: "what is measured, and nothing else",
  dist: "the folder of the build that is measured",
  subscribers: "who all get each publish",
  rate: "per second, however long answers take",
};

/** --help: what each flag takes, is without being given, and means. */
function help(flags, positionals) {
  const lines = Object.entries(flags).map(([name, flag]) => {
    const { list = false, range, words, isSwitch = false, means = MEANS[name] } = flag;
    if (isSwitch) return `  --${name.padEnd(12)} ${means}`;
    const taken = words?.join(" | ") ?? (range === undefined ? "text" : range.join(" to "));
    const several = list ? ", several by commas" : "";
    const without = flag.default === "" ? "" : ` (${flag.default})`;
    return `  --${name.padEnd(12)} ${means ? `${means}: ` : ""}${taken}${several}${without}`;
  });
  console.log(
    [
      ...Object.entries(positionals).map(([name, means]) => `${name}: ${means}`),
      "Flags, with what they take and (their defaults):",
      ...lines,
      ...("out" in flags ? [] : ["  --out          a file that the result is written to, as JSON"]),
      "  --json         print the result as JSON",
    ].join("\n"),
  );
  console.log("What is measured, how, and against which targets: bench/README.md");
  process.exit(0);
}

/** Ends this process: what was asked for is wrong. */
export function refuse(text) {
  progress(text);
  process.exit(2);
}

/**
 * @typedef {{default: string, list?: boolean, range?: [number, number], words?: string[],
 *   means?: string} | {isSwitch: true, means: string}} Flag a switch takes no value
 * @param {Record<string, Flag>} flags by name
 * @param {Record<string, string>} positionals what has to be given before flags, and its meaning
 * @returns the values by name: numbers, words, lists of them; `json`, whether it was given; and
 *   `out`, "" where no file was named
 */
export function readFlags(flags, positionals = {}) {
  if (process.argv.includes("--help")) help(flags, positionals);
  const options = {
    json: { type: "boolean", default: false },
    out: { type: "string", default: "" },
  };
  for (const [name, flag] of Object.entries(flags)) {
    options[name] = flag.isSwitch
      ? { type: "boolean", default: false }
      : { type: "string", default: flag.default };
  }
  const needed = Object.keys(positionals);
  let values;
  let given;
  try {
    const allowPositionals = needed.length > 0;
    ({ values, positionals: given } = parseArgs({ options, allowPositionals }));
  } catch (error) {
    refuse(error.message);
  }
  if (given.length !== needed.length) {
    refuse(`give ${needed.join(" and ")}, not ${given.length} arguments; --help says more`);
  }
  const read = { json: values.json, out: values.out };
  for (const [at, name] of needed.entries()) read[name] = given[at];
  for (const [name, flag] of Object.entries(flags)) read[name] = readFlag(name, flag, values[name]);
  return read;
}

function readFlag(name, flag, text) {
  const { list = false, range, words, isSwitch = false } = flag;
  if (isSwitch) return text;
  if (words !== undefined) {
    const given = list ? text.split(",") : [text];
    for (const word of given) {
      if (words.includes(word)) continue;
      refuse(`--${name} is ${list ? "some" : "one"} of ${words.join(", ")}, not ${word}`);
    }
    return list ? given : text;
  }
  return range === undefined ? text : readNumbers(name, flag, text);
}

/** Where the range and the default are whole numbers, others make no sense. */
function readNumbers(name, { list = false, range, default: without }, text) {
  const numbersIn = (given) =>
    (list ? given.split(",") : [given]).map((word) => (word.trim() === "" ? NaN : Number(word)));
  const isWhole = [...range, ...numbersIn(without)].every(Number.isInteger);
  const numbers = numbersIn(text);
  for (const number of numbers) {
    const isWithin = number >= range[0] && number <= range[1];
    if (isWithin && (Number.isInteger(number) || !isWhole)) continue;
    const kind = isWhole ? "a whole number, " : "";
    const several = list ? ", or several by commas" : "";
    refuse(`--${name} is ${kind}${range[0]} to ${range[1]}${several}: not ${text}`);
  }
  return list ? numbers : numbers[0];
}
