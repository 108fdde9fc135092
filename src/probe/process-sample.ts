// One of the server's processes at one moment, as a source tells of it: its own /stats, or the
// kernel by its process id.

/** A figure is null where the source does not know it. */
export interface ProcessSample {
  /** As it was asked for: a URL, or `pid 4711`; a worker's has its slot behind it. */
  readonly source: string;
  readonly pid: number | null;
  /** When the source answered, by the watch's clock. */
  readonly atMs: number;
  readonly rssBytes: number | null;
  /** User and system time since the process began. */
  readonly cpuMs: number | null;
  /** Cores in use since the sample before; null where there is none of this process. */
  readonly cpuCores: number | null;
  readonly fds: number | null;
  /** The soft RLIMIT_NOFILE. */
  readonly fdLimit: number | null;
  /** Open connections; those that were turned away and have not gone yet count as well. */
  readonly connections: number | null;
  /** How many the server serves by its own rule. */
  readonly connectionsMax: number | null;
  readonly loopLagP99Ms: number | null;
  /** `serving`, `draining`, ... */
  readonly state: string | null;
  /** False while the server leaves connections unaccepted, because its files are running out. */
  readonly isAccepting: boolean | null;
  /** Connections told to come back later because the server was full, since its start. */
  readonly refused: number | null;
  /** Of these, how many have not gone yet. */
  readonly turnedAway: number | null;
  /** Connections for which something waits to be sent. */
  readonly backlogged: number | null;
  /** Since the start, by the names of the server's close reasons. */
  readonly closedByReason: Readonly<Record<string, number>> | null;
}

/** A sample before it is compared with the one before. */
export interface ProcessReading extends Omit<ProcessSample, "cpuCores"> {
  /** The moment that cpuMs belongs to, by the clock that is nearest to its being read. */
  readonly cpuAtMs: number;
}

export interface SourceReader {
  readonly source: string;
  /**
   * Every process that the source tells of: one, or a supervisor and its workers, each under a name
   * of its own. Rejects with {@link SourceFailure} and nothing else.
   */
  read(): Promise<readonly ProcessReading[]>;
  /** Ends what is under way. */
  close(): void;
}

/**
 * `gone`: the process has ended. `refused`: nothing listens where its figures were. `silent`: no
 * answer came. `answer`: an answer came that is not what was asked for.
 */
export type SourceFailureKind = "gone" | "refused" | "silent" | "answer";

export class SourceFailure extends Error {
  override readonly name: string = "SourceFailure";
  readonly kind: SourceFailureKind;

  /** @param why a clause such as `no answer came within 2 s`. */
  constructor(kind: SourceFailureKind, why: string, options?: ErrorOptions) {
    super(why, options);
    this.kind = kind;
  }
}
