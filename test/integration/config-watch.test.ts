// The watch on a real file that another process writes as fast as it can, with fs.watch and the
// machine's own time.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { readConfigText } from "../../src/config/config-text.ts";
import { ConfigWatch } from "../../src/config/config-watch.ts";
import { resolveOptions, type ResolvedOptions } from "../../src/config/resolve.ts";

const START = "tcp:\n  port: 7000\n...\n";

/**
 * Bursts of writes of which a third is broken or cut off, every other one in place and in several
 * steps. The last is whole. Prints the ports that were ever written whole.
 */
const WRITER = `
  const fs = require("node:fs");
  const [file, count] = process.argv.slice(1);
  let seed = 7;
  const below = (n) => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
  const whole = [];
  const sleep = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  for (let i = 1; i <= Number(count); i++) {
    const port = 10000 + i;
    const padding = ("# " + "x".repeat(70) + "\\n").repeat(below(200));
    let text = "tcp:\\n  port: " + port + "\\n" + padding + "log:\\n  level: info\\n...\\n";
    if (i % 3 > 0 || i === Number(count)) whole.push(port);
    else if (below(2) === 0) text = text.slice(0, below(text.length - 1));
    else text = text.replace("port", "prot");
    if (below(2) === 0) {
      fs.writeFileSync(file + ".new", text);
      fs.renameSync(file + ".new", file);
    } else {
      const handle = fs.openSync(file, "w");
      const step = 4096;
      for (let at = 0; at < text.length; at += step) {
        fs.writeSync(handle, text.slice(at, at + step));
      }
      fs.closeSync(handle);
    }
    if (i % 50 === 0) sleep(100 + below(500));
    else sleep(below(5));
  }
  console.log(JSON.stringify(whole));
`;

let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-watch-"));
  file = join(folder, "holdfast.yaml");
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Told {
  readonly watch: ConfigWatch;
  readonly ports: number[];
  readonly refusals: string[];
}

function watching(): Told {
  const read = (text: string): ResolvedOptions => resolveOptions({ file, text });
  const text = readConfigText(file);
  const ports: number[] = [];
  const refusals: string[] = [];
  const watch = new ConfigWatch({
    file,
    text,
    options: read(text).options,
    read,
    clock: systemClock,
    onOptions: ({ options }) => ports.push(options.tcp.port),
    onRefused: ({ message }) => refusals.push(message),
  });
  watch.start();
  return { watch, ports, refusals };
}

async function outputOf(child: ChildProcess): Promise<string> {
  let output = "";
  child.stdout!.on("data", (chunk) => {
    output += String(chunk);
  });
  await new Promise((resolve) => child.once("close", resolve));
  return output;
}

describe("a configuration file that another process writes", () => {
  it("1,000 times, a third broken: only whole texts are told, and the last one is", async () => {
    writeFileSync(file, START);
    const { watch, ports, refusals } = watching();
    const writer = spawn(process.execPath, ["-e", WRITER, file, "1000"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    try {
      const whole = JSON.parse(await outputOf(writer)) as number[];
      await expect.poll(() => ports.at(-1), { timeout: 5_000 }).toBe(11_000);
      expect(ports.filter((port) => !whole.includes(port))).toEqual([]);
      expect(ports.length).toBeGreaterThan(3);
      expect(refusals.every((text) => text.includes(file))).toBe(true);
    } finally {
      watch.stop();
      writer.kill("SIGKILL");
    }
  });

  it("is noticed at once where the kernel tells of it", async () => {
    writeFileSync(file, START);
    const { watch, ports } = watching();
    try {
      await delay(1_200);
      const start = systemClock.now();
      writeFileSync(file, "tcp:\n  port: 7001\n...\n");
      await expect.poll(() => ports, { timeout: 5_000, interval: 10 }).toEqual([7_001]);
      // The poll alone would take two seconds.
      expect(systemClock.now() - start).toBeLessThan(1_500);
    } finally {
      watch.stop();
    }
  });
});

it("after stop() the watch keeps neither a file nor the process", async () => {
  writeFileSync(file, START);
  const files = readdirSync("/proc/self/fd").length;
  const { watch } = watching();
  const checked = watch.check();
  await delay(50);
  watch.stop();
  await expect(checked).resolves.toEqual({ kind: "unchanged" });
  await delay(50);
  expect(readdirSync("/proc/self/fd").length).toBeLessThanOrEqual(files);
});
