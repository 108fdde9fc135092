// How long garbage collection took, by kind, from start() to stop().

import { constants, PerformanceObserver } from "node:perf_hooks";
import { Buckets } from "./buckets.ts";

export const GC_KINDS = ["minor", "major", "incremental", "weakcb"] as const;
export type GcKind = (typeof GC_KINDS)[number];

/** Milliseconds; a minor collection takes about one. */
export const GC_MS: readonly number[] = [0.1, 0.5, 1, 2, 5, 10, 20, 50, 100, 500, 1_000];

const KINDS: ReadonlyMap<number, GcKind> = new Map([
  [constants.NODE_PERFORMANCE_GC_MINOR, "minor"],
  [constants.NODE_PERFORMANCE_GC_MAJOR, "major"],
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL, "incremental"],
  [constants.NODE_PERFORMANCE_GC_WEAKCB, "weakcb"],
]);

export class GcWatch {
  readonly durationMs: Readonly<Record<GcKind, Buckets>> = {
    minor: new Buckets(GC_MS),
    major: new Buckets(GC_MS),
    incremental: new Buckets(GC_MS),
    weakcb: new Buckets(GC_MS),
  };
  #observer: PerformanceObserver | null = null;

  start(): void {
    this.#observer ??= new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) {
        const { detail } = entry as unknown as { detail: { kind: number } };
        const kind = KINDS.get(detail.kind);
        if (kind !== undefined) this.durationMs[kind].observe(entry.duration);
      }
    });
    this.#observer.observe({ entryTypes: ["gc"] });
  }

  stop(): void {
    this.#observer?.disconnect();
    this.#observer = null;
  }
}
