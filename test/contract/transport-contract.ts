// What every transport must do, as one suite: a transport joins it with a harness of its own.

import { describe, it } from "vitest";
import { CLOSING } from "./closing.ts";
import { LISTENING } from "./listening.ts";
import { OPENING } from "./opening.ts";
import { RECEIVING } from "./receiving.ts";
import {
  Bench,
  type ContractTest,
  type ContractTests,
  type TransportHarness,
} from "../support/transport-bench.ts";
import { WRITING } from "./writing.ts";

const GROUPS: Readonly<Record<string, ContractTests>> = {
  opening: OPENING,
  receiving: RECEIVING,
  writing: WRITING,
  closing: CLOSING,
  listening: LISTENING,
};

export function describeTransport(harness: TransportHarness): void {
  describe(`the ${harness.name} transport`, () => {
    for (const [group, tests] of Object.entries(GROUPS)) {
      describe(`${group}`, () => {
        for (const [title, { needs, run }] of Object.entries(tests)) {
          it.skipIf(needs?.(harness) === false)(`${title}`, () => expectToHold(harness, run));
        }
      });
    }
  });
}

/** The test's own expectations, and those that hold for every test: see {@link Bench.dispose}. */
async function expectToHold(harness: TransportHarness, run: ContractTest["run"]): Promise<void> {
  const bench = new Bench(harness);
  await bench.open();
  try {
    await run(bench);
  } finally {
    await bench.dispose();
  }
}
