// All cases of the micro-benchmarks.
import { PARSER_CASES } from "./parser.mjs";
import { QUEUE_CASES } from "./queues.mjs";
import { timerCases } from "./timers.mjs";
import { WRITER_CASES } from "./writer.mjs";

export const GROUPS = ["parser", "writer", "queue", "pool", "ring", "timers"];

/** @returns {import("./work.mjs").Case[]} */
export function casesWith(deadlines) {
  return [...PARSER_CASES, ...WRITER_CASES, ...QUEUE_CASES, ...timerCases(deadlines)];
}
