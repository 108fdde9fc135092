// What the benchmarks accept on their command line: numbers in ranges, lists of them, and words.
import { parseArgs } from "node:util";

/** Prints to standard error, where progress goes; standard output is for results. */
export function progress(text) {
  process.stderr.write(`${text}\n`);
}

function refuse(text) {
  progress(text);
  process.exit(2);
}

/**
 * @typedef {{default: string, list?: boolean, range?: [number, number], words?: string[]}} Flag
 * @param {Record<string, Flag>} flags by name
 * @returns the values by name: numbers, lists of numbers, words; and `json`, whether it was given
 */
export function readFlags(flags) {
  const options = { json: { type: "boolean", default: false } };
  for (const [name, flag] of Object.entries(flags)) {
    options[name] = { type: "string", default: flag.default };
  }
  let values;
  try {
    ({ values } = parseArgs({ options }));
  } catch (error) {
    refuse(error.message);
  }
  const read = { json: values.json };
  for (const [name, flag] of Object.entries(flags)) read[name] = readFlag(name, flag, values[name]);
  return read;
}

function readFlag(name, { list = false, range, words }, text) {
  if (words !== undefined) {
    if (!words.includes(text)) refuse(`--${name} is one of ${words.join(", ")}, not ${text}`);
    return text;
  }
  if (range === undefined) return text;
  const numbers = (list ? text.split(",") : [text]).map(Number);
  for (const number of numbers) {
    if (number >= range[0] && number <= range[1]) continue;
    refuse(`--${name} is ${range[0]} to ${range[1]}${list ? ", or several" : ""}: not ${text}`);
  }
  return list ? numbers : numbers[0];
}
