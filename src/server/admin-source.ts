// Whom the admin listener asks: one server, or a supervisor that asks its workers.

import type { ConnectionQuery } from "./inspect.ts";
import type { ClosedConnections, ClosedQuery, TopConnections } from "./operator.ts";

export interface AdminSource {
  /** Begins to take samples. */
  start(): void;
  stop(): void;
  about(): { readonly version: string; readonly node: string; readonly state: string };
  ready(): Promise<ReadyReport>;
  /** @param worker null: of all. Null where there is no such worker. */
  metrics(worker: number | null): Promise<Scrape | null>;
  stats(worker: number | null): Promise<object | null>;
  connections(query: ConnectionQuery): Promise<TopConnections>;
  closed(query: ClosedQuery): Promise<ClosedConnections>;
  /** Null where there is none, open or lately closed. */
  connection(id: string): Promise<object | null>;
  /** @returns whether such a connection was open. */
  kick(id: string): Promise<boolean>;
}

export interface ReadyReport {
  readonly isReady: boolean;
  /** To match, such as "draining". */
  readonly word: string;
  /** A sentence for people. */
  readonly text: string;
}

export interface Scrape {
  readonly type: string;
  readonly text: string;
}

/** What operators may order. */
export interface Control {
  /** Begins a rolling restart of all workers. */
  reload(): ControlOutcome | Promise<ControlOutcome>;
  reloadState(): ReloadState;
  /** Begins to stop in order; with `hasten`, ends at once what is left. */
  drain(hasten: boolean): ControlOutcome;
}

/** `running`: one is under way; a reload then begins once more when that is over. */
export type ControlOutcome =
  | { readonly outcome: "started" | "running" }
  | { readonly outcome: "refused"; readonly message: string };

/** A rolling restart that is over. */
export interface ReloadOutcome {
  /** Counted since the start, from 1. */
  readonly run: number;
  readonly slotsDone: number;
  /** Why it failed; null: every worker was replaced. */
  readonly problem: string | null;
}

export interface ReloadState {
  readonly state: "idle" | "running";
  /** Rolling restarts that replaced every worker. */
  readonly completed: number;
  /** Ones that stopped at a worker which did not become ready. */
  readonly failed: number;
  /** Of the one that is running, or ran last. */
  readonly slotsDone: number;
  readonly slots: number;
  /** Why the last one failed; null: it did not. */
  readonly problem: string | null;
  /** The last that are over, newest first. */
  readonly past: readonly ReloadOutcome[];
}

/** The worker that would have to answer does not. */
export class WorkerSilent extends Error {
  override readonly name: string = "WorkerSilent";

  constructor(worker: number) {
    super(`worker ${worker} does not answer; /stats lists the workers`);
  }
}
