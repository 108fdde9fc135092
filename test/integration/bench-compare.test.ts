// `npm run bench:compare` as somebody runs it, on builds of a few lines: it has to find a slowdown
// that was planted, and nothing where there is nothing.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-compare-"));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** A ring as the build has one; `extra` is what each push does besides. */
const ring = (extra: string): string => `
  export class Ring {
    #items = [];
    #next = 0;
    #wasted = 0;
    constructor(capacity) { this.capacity = capacity; }
    push(item) {
      ${extra}
      this.#items[this.#next] = item;
      this.#next = (this.#next + 1) % this.capacity;
    }
    toArray() { return [...this.#items.slice(this.#next), ...this.#items.slice(0, this.#next)]; }
  }`;
const SLOWDOWN = "for (let turn = 0; turn < 300; turn++) this.#wasted += turn;";

/** @returns the folder of a build with these modules. */
function plant(name: string, modules: Record<string, string>): string {
  for (const [path, text] of Object.entries({ "index.js": "", ...modules })) {
    const file = join(folder, name, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
  writeFileSync(join(folder, name, "package.json"), '{"type":"module"}');
  return join(folder, name);
}

interface Ended {
  code: number;
  out: string;
  err: string;
}

function startCompare(...args: string[]): { pid: number; ended: Promise<Ended> } {
  const child = spawn(process.execPath, ["bench/compare.mjs", ...args]);
  let out = "";
  let err = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
  const ended = once(child, "close").then(([code]) => ({ code: code as number, out, err }));
  return { pid: child.pid!, ended };
}

async function compare(...args: string[]): Promise<Ended> {
  return await startCompare(...args).ended;
}

/** As short as it can be: its figures are not what is asked here. */
const SHORT = ["--only", "ring", "--rounds", "3", "--quick", "--margin", "200%"];

describe("bench:compare", { timeout: 100_000 }, () => {
  it("ends with 1 and names what got slower", async () => {
    const base = plant("base", { "base/ring.js": ring("") });
    const head = plant("head", { "base/ring.js": ring(SLOWDOWN) });
    const { code, out, err } = await compare(base, head, ...SHORT);
    expect(err).toContain("slower: pushed items, 256 remembered, CPU time");
    expect(out).toMatch(/CPU time: .*x of base .* <= 3x FAIL/);
    expect(code).toBe(1);
  });

  it("ends with 0 where it got faster, and writes both sides' figures by round", async () => {
    const base = plant("base", { "base/ring.js": ring(SLOWDOWN) });
    const head = plant("head", { "base/ring.js": ring("") });
    const file = join(folder, "compare.json");
    const { code, err } = await compare(base, head, ...SHORT, "--out", file);
    expect([code, err.includes("slower:")]).toEqual([0, false]);
    const document = JSON.parse(readFileSync(file, "utf8")) as {
      suite: string;
      rows: { side: string; figure: string; values: number[]; note: string }[];
    };
    expect(document.suite).toBe("compare");
    const times = document.rows.filter(({ figure }) => figure === "time");
    expect(times.map(({ side }) => side)).toEqual([`base ${base}`, `head ${head}`]);
    for (const { values } of times) expect(values).toHaveLength(3);
    expect(times[1]!.note).toBe("CPU time faster");
  });

  it("skips what an older build does not have, and says so", async () => {
    const base = plant("base", { "base/ring.js": ring("") });
    const { code, out } = await compare(base, base, ...SHORT, "--only", "ring,pool");
    expect(out).toContain("the build has no base/buffer-pool.js");
    expect(code).toBe(0);
  });

  it("shows nothing where there is nothing to compare, which is a failure", async () => {
    const base = plant("base", {});
    const file = join(folder, "missing", "compare.json");
    const { code, out, err } = await compare(base, base, ...SHORT, "--out", file);
    expect(err).toContain("nothing is clear");
    expect(code).toBe(1);
    // What there is to see is seen all the same.
    expect(out).toContain("skipped: ");
    expect(out).toMatch(/\nFAILED in \d+ s: nothing was measured/);
    expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject({ passed: false });
  });

  it("does not measure a build that counts wrong", async () => {
    const wrong = ring("item = 7;");
    const base = plant("base", { "base/ring.js": wrong });
    const { code, err } = await compare(base, base, ...SHORT);
    expect(err).toContain("holdfast: counted 7, expected 768");
    expect(code).toBe(1);
  });

  it.each([
    [["nonsense", "."], "BASE is a revision of this repository, a folder with a build, or ."],
    [["."], "give BASE and HEAD, not 1 arguments"],
    [[".", ".", "--margin", "five"], "--margin is a percentage above 0"],
    [[".", ".", "--rounds", "2"], "--rounds is a whole number, 3 to 50"],
    [[".", ".", "--suite", "gc"], "--suite is one of micro, echo"],
    [[".", ".", "--only", "nonsense"], "--only is some of parser"],
  ])("refuses %j with 2", async (args, text) => {
    const { code, err } = await compare(...args);
    expect(err).toContain(text);
    expect(code).toBe(2);
  });

  it("builds revisions, measures them, and leaves nothing of them behind", async () => {
    const { pid, ended } = startCompare("HEAD", ".", ...SHORT);
    const { code, err } = await ended;
    expect(err).toContain("BASE: building ");
    expect(err).toContain(`round 3/3: head working tree`);
    // How fast two builds are that may be the same is no question here.
    expect([0, 1]).toContain(code);
    expect(existsSync(join(".cache/bench/compare", String(pid)))).toBe(false);
  });
});
