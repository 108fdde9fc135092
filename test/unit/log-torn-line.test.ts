// A descriptor that takes half a line and then fails, as a disk does that fills up: scripted,
// because no real one does it on demand.
import { expect, it, vi } from "vitest";
import { LineWriter } from "../../src/observe/line-writer.ts";
import { ManualClock } from "../support/manual-clock.ts";

/** How many bytes the next writes take; a text is the code of the error they fail with. */
const script = vi.hoisted(() => ({ next: [] as (number | string)[], written: "" }));

vi.mock("node:fs", () => ({
  writeSync: () => 0,
  write: (
    _fd: number,
    bytes: Buffer,
    done: (error: NodeJS.ErrnoException | null, written: number) => void,
  ) => {
    const step = script.next.shift() ?? bytes.length;
    queueMicrotask(() => {
      if (typeof step === "string") {
        done(Object.assign(new Error(step), { code: step }), 0);
        return;
      }
      script.written += bytes.subarray(0, step).toString();
      done(null, step);
    });
  },
}));

const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
};

it.each([
  ["a line that was cut off does not spoil the next", [3, "ENOSPC"], "fir\nsecond\nthird\n", 1],
  ["the line break after it is tried until it is there", [3, "EIO", "EIO"], "fir\nthird\n", 2],
  ["a line that failed as a whole leaves no empty one", ["ENOSPC"], "second\nthird\n", 1],
  ["what is taken piece by piece is whole in the end", [1, 1, 2, 1], "first\nsecond\nthird\n", 0],
])("%s", async (_what, steps, expected, lost) => {
  script.next = [...steps];
  script.written = "";
  const writer = new LineWriter(1, new ManualClock());
  for (const line of ["first\n", "second\n", "third\n"]) {
    writer.write(line);
    await turns();
  }
  expect({ written: script.written, lost: writer.lost }).toEqual({ written: expected, lost });
});
