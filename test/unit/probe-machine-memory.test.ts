import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { memorySummary, readMachineMemory } from "../../src/probe/machine-memory.ts";
import type { MemoryFigures } from "../../src/probe/report.ts";

const KIB = 1_024;
const MEMINFO = [
  "MemTotal:       10000 kB",
  "MemFree:         4000 kB",
  "MemAvailable:    5000 kB",
  "Buffers:          100 kB",
  "Cached:          1000 kB",
  "SwapCached:         0 kB",
  "AnonPages:       2000 kB",
  "Slab:            1500 kB",
].join("\n");
const SOCKSTAT =
  "sockets: used 90\nTCP: inuse 42 orphan 0 tw 3 alloc 50 mem 7\nUDP: inuse 1 mem 9\n";

let root = "";

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "holdfast-memory-"));
  file("proc/meminfo", MEMINFO);
  file("proc/net/sockstat", SOCKSTAT);
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

function file(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

function process(pid: number, rss: number, pss: number): void {
  const lines = ["00400000-7fff [rollup]", `Rss: ${rss} kB`, `Pss: ${pss} kB`, "Pss_Anon: 1 kB"];
  file(`proc/${pid}/smaps_rollup`, lines.join("\n"));
}

describe("memory by party", () => {
  it("gives the kernel what is neither free nor a process's nor a file's", async () => {
    const { kernel } = (await readMachineMemory({ server: null, probe: [] }, root))!;
    expect(kernel).toEqual({
      bytes: (10_000 - 4_000 - 100 - 1_000 - 2_000) * KIB,
      slabBytes: 1_500 * KIB,
      tcpBufferBytes: 7 * 4_096,
      tcpSockets: 42,
    });
  });

  it("adds up the processes of each, shared pages divided or not", async () => {
    process(11, 100, 60);
    process(12, 200, 90);
    process(21, 50, 40);
    const { server, probe } = (await readMachineMemory({ server: [11, 12], probe: [21] }, root))!;
    expect(server).toEqual({ processes: 2, rssBytes: 300 * KIB, pssBytes: 150 * KIB });
    expect(probe).toEqual({ processes: 1, rssBytes: 50 * KIB, pssBytes: 40 * KIB });
  });

  it("counts a process that has gone, or is somebody else's, as nothing", async () => {
    process(11, 100, 60);
    const { server } = (await readMachineMemory({ server: [11, 99], probe: [] }, root))!;
    expect(server).toEqual({ processes: 1, rssBytes: 100 * KIB, pssBytes: 60 * KIB });
  });

  it("knows nothing of a server that is not watched", async () => {
    expect((await readMachineMemory({ server: null, probe: [] }, root))!.server).toBeNull();
  });

  it.each([
    ["", "empty"],
    [MEMINFO.replace("AnonPages", "AnonPagez"), "without a line"],
    [MEMINFO.replace(/\d+ kB/g, "many kB"), "without numbers"],
  ])("is null where /proc/meminfo is %j (%s)", async (text) => {
    file("proc/meminfo", text);
    expect(await readMachineMemory({ server: null, probe: [] }, root)).toBeNull();
  });

  it("is never below nothing, whatever the system says", async () => {
    file("proc/meminfo", MEMINFO.replace("4000 kB", "40000 kB"));
    const { kernel } = (await readMachineMemory({ server: null, probe: [] }, root))!;
    expect(kernel.bytes).toBe(0);
  });

  it("does without what is told of sockets and slabs", async () => {
    file("proc/meminfo", MEMINFO.replace("Slab", "Slob"));
    rmSync(join(root, "proc/net/sockstat"));
    const { kernel } = (await readMachineMemory({ server: null, probe: [] }, root))!;
    expect(kernel).toMatchObject({ slabBytes: null, tcpBufferBytes: null, tcpSockets: null });
    expect(kernel.bytes).toBeGreaterThan(0);
  });

  it("is that of this machine, for real", async () => {
    const found = await readMachineMemory({ server: null, probe: [globalThis.process.pid] });
    expect(found!.kernel.bytes).toBeGreaterThan(1_000_000);
    expect(found!.probe.processes).toBe(1);
    expect(found!.probe.pssBytes).toBeGreaterThan(5_000_000);
    expect(found!.probe.rssBytes).toBeGreaterThanOrEqual(found!.probe.pssBytes);
  });
});

describe("memory over a run", () => {
  function figures(kernel: number, server: number | null): MemoryFigures {
    const process = (bytes: number) => ({ processes: 2, rssBytes: bytes * 2, pssBytes: bytes });
    return {
      kernel: { bytes: kernel, slabBytes: null, tcpBufferBytes: null, tcpSockets: null },
      server: server === null ? null : process(server),
      probe: process(5_000),
    };
  }
  const at = (held: number, memory: MemoryFigures | null) => ({ held, memory });

  it("is a line per party", () => {
    const before = figures(100, 10);
    const points = [1_000, 2_000, 3_000].map((held) => at(held, figures(100 + held * 6, held * 2)));
    expect(memorySummary(before, points)).toEqual({
      before,
      kernel: { slope: 6, r2: 1 },
      server: { slope: 2, r2: 1 },
      probe: { slope: 0, r2: 1 },
    });
  });

  it("has no line through fewer than three levels, nor through what was not seen", () => {
    const before = figures(100, 10);
    const seen = [at(1_000, figures(1, 1)), at(2_000, figures(2, null)), at(3_000, figures(3, 3))];
    expect(memorySummary(before, seen)).toMatchObject({ server: null });
    expect(memorySummary(before, [...seen.slice(0, 2), at(3_000, null)])!.kernel).toBeNull();
    expect(memorySummary(before, [])).toMatchObject({ kernel: null, server: null, probe: null });
  });

  it("is nothing where nothing was known at the start", () => {
    expect(memorySummary(null, [at(1_000, figures(1, 1))])).toBeNull();
  });
});
