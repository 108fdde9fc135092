// What the native loop has counted, for people and scrapers.

import { Buckets } from "../observe/buckets.ts";
import { BATCH_SIZE_COUNTER, BATCH_SIZES, COUNTER } from "../transport/epoll-layout.ts";
import type { Server } from "./server.ts";

export type LoopCount = keyof typeof COUNTER;
export type LoopReport = Readonly<Record<LoopCount, number>>;

/** 0 where nothing native runs. */
export function loopCount({ epollLoop }: Server, name: LoopCount): number {
  return epollLoop?.counters[COUNTER[name]] ?? 0;
}

/** Every count; null where nothing native runs. */
export function loopReport(server: Server): LoopReport | null {
  if (server.epollLoop === null) return null;
  const names = Object.keys(COUNTER) as LoopCount[];
  const entries = names.map((name) => [name, loopCount(server, name)] as const);
  return Object.fromEntries(entries) as LoopReport;
}

/** Batches by the events in them. */
export function batchEvents(server: Server): Buckets {
  const buckets = new Buckets(BATCH_SIZES);
  for (const index of BATCH_SIZES.keys()) {
    buckets.counts[index] = server.epollLoop?.counters[BATCH_SIZE_COUNTER + index] ?? 0;
  }
  buckets.count = loopCount(server, "batches");
  buckets.sum = loopCount(server, "events");
  return buckets;
}
