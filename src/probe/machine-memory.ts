// Where the memory of this machine goes, by party: the kernel, the server's processes, the probe's.
// Connections that cost a process little may cost the kernel much, and no process shows that.

import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { MemoryFigures, MemoryLine, MemorySummary, ProcessMemory } from "./report.ts";
import { bytesPerConnection } from "./server-watch.ts";

/** Pages that belong to processes or to files, or to nobody; all others are the kernel's own. */
const NOT_THE_KERNELS = ["MemFree", "Buffers", "Cached", "SwapCached", "AnonPages"] as const;
/** Linux counts TCP's buffers in pages of so many bytes, on every machine with 4 KiB pages. */
const PAGE_BYTES = 4_096;

export interface MemoryParties {
  /** Process ids; null where the server is not on this machine, or its processes are not known. */
  readonly server: readonly number[] | null;
  readonly probe: readonly number[];
}

/**
 * What each party holds now. Reads three files, and one for each process, which costs that process
 * a pause of some milliseconds per 100 MB: not to be asked for while latencies are taken.
 * @param root where `proc` lies.
 * @returns null where this system does not say.
 */
export async function readMachineMemory(
  parties: MemoryParties,
  root: string = "/",
): Promise<MemoryFigures | null> {
  const kernel = readKernelMemory(root);
  if (kernel === null) return null;
  const [server, probe] = await Promise.all([
    parties.server === null ? null : readProcesses(parties.server, root),
    readProcesses(parties.probe, root),
  ]);
  return { kernel, server, probe };
}

function readKernelMemory(root: string): MemoryFigures["kernel"] | null {
  const memory = textOf(root, "proc/meminfo");
  const sockets = textOf(root, "proc/net/sockstat");
  const total = kibibytes(memory, "MemTotal");
  const others = NOT_THE_KERNELS.map((name) => kibibytes(memory, name));
  if (total === null || others.includes(null)) return null;
  const tcpPages = numberIn(sockets, /^TCP:.* mem (\d+)/m);
  return {
    bytes: Math.max(
      0,
      others.reduce<number>((left, bytes) => left - bytes!, total),
    ),
    slabBytes: kibibytes(memory, "Slab"),
    tcpBufferBytes: tcpPages === null ? null : tcpPages * PAGE_BYTES,
    tcpSockets: numberIn(sockets, /^TCP: inuse (\d+)/m),
  };
}

/** What they share is divided among them (PSS); one that has gone counts as nothing. */
async function readProcesses(pids: readonly number[], root: string): Promise<ProcessMemory> {
  const texts = await Promise.all(
    pids.map((pid) => readFile(join(root, `proc/${pid}/smaps_rollup`), "utf8").catch(() => null)),
  );
  const sum = (name: string): number =>
    texts.reduce((total, text) => total + (kibibytes(text, name) ?? 0), 0);
  return {
    processes: texts.filter((text) => text !== null).length,
    rssBytes: sum("Rss"),
    pssBytes: sum("Pss"),
  };
}

/** @param points of stages: what was held, and who had how much memory then. */
export function memorySummary(
  before: MemoryFigures | null,
  points: readonly { readonly held: number; readonly memory: MemoryFigures | null }[],
): MemorySummary | null {
  if (before === null) return null;
  const line = (bytesOf: (memory: MemoryFigures) => number | null): MemoryLine | null =>
    bytesPerConnection(
      points.flatMap(({ held, memory }) => {
        const bytes = memory === null ? null : bytesOf(memory);
        return bytes === null ? [] : [{ held, rssBytes: bytes }];
      }),
    );
  return {
    before,
    kernel: line(({ kernel }) => kernel.bytes),
    server: line(({ server }) => server?.pssBytes ?? null),
    probe: line(({ probe }) => probe.pssBytes),
  };
}

function kibibytes(text: string | null, name: string): number | null {
  const count = numberIn(text, new RegExp(`^${name}:\\s+(\\d+) kB`, "m"));
  return count === null ? null : count * 1_024;
}

function numberIn(text: string | null, pattern: RegExp): number | null {
  const digits = pattern.exec(text ?? "")?.[1];
  return digits === undefined ? null : Number(digits);
}

function textOf(root: string, file: string): string | null {
  try {
    return readFileSync(join(root, file), "utf8");
  } catch {
    return null;
  }
}
