// Counters of a process as plain numbers: counting costs an addition. observe/metrics.ts reads them
// when it is asked. Every label comes from a closed list.

/** Counts by name, from a closed list of names. */
export type CountBy<Name extends string> = Record<Name, number>;

export function countBy<Name extends string>(names: readonly Name[]): CountBy<Name> {
  return Object.fromEntries(names.map((name) => [name, 0])) as CountBy<Name>;
}

export class Counters {
  framesIn: number = 0;
  framesOut: number = 0;
  bytesIn: number = 0;
  bytesOut: number = 0;
  heartbeatsIn: number = 0;
  heartbeatsOut: number = 0;
  /** Received while closing: read and thrown away. */
  bytesDiscardedIn: number = 0;
  /** Queued and never sent, because the connection ended. */
  bytesDiscardedOut: number = 0;
  eventsDropped: number = 0;
  gapsSent: number = 0;
  sendsRefused: number = 0;
  readPauses: number = 0;
  yields: number = 0;
  illegalTransitions: number = 0;
  acceptErrors: number = 0;
  acceptPauses: number = 0;
  opened: number = 0;
  /** Cut off before anything was allocated. */
  notAdmitted: number = 0;
  /** Opened only to be told to come back later. */
  refused: number = 0;
  loopStalls: number = 0;
}
