// How many connections there may be. Two limits: up to `connectionsMax` they are served, beyond it
// they are told to come back later; and accepting stops while the process still has files, because
// running out of them ends in a spinning accept loop or in silent losses, depending on the library.

import { assert } from "../base/assert.ts";

/** Files kept for everything that is no connection: logs, admin requests, DNS. */
export const FILES_RESERVED = 64;
/** Accepting resumes below this share of the limit, so that it does not flap. */
const RESUME_SHARE = 0.98;

export class Admission {
  /** Files that connections may use, those on their way out included; Infinity where unknown. */
  readonly filesMax: number;
  /** Connections that are served. */
  served: number = 0;
  /** Connections that were told to come back and have not gone yet. */
  turnedAway: number = 0;
  #isAccepting: boolean = true;
  /** Files that were open when they were last counted; sockets that have ended may linger in it. */
  #counted: number = 0;
  /** Accepted since then: together the most that can be open. */
  #acceptedSince: number = 0;
  #connectionsMax: number = 0;
  readonly #countFiles: () => number | null;
  readonly #pendingFiles: () => number;
  readonly #setAccepting: (accepting: boolean) => void;

  /**
   * @param countFiles files that the process has open; null where that cannot be told.
   * @param pendingFiles files of sockets that are not connections yet.
   * @param setAccepting closes or opens the listening sockets.
   */
  constructor(
    connectionsMax: number,
    filesMax: number,
    countFiles: () => number | null,
    pendingFiles: () => number,
    setAccepting: (accepting: boolean) => void,
  ) {
    this.setConnectionsMax(connectionsMax);
    this.filesMax = filesMax;
    this.#countFiles = countFiles;
    this.#pendingFiles = pendingFiles;
    this.#setAccepting = setAccepting;
  }

  /** Connections that are served at once. */
  get connectionsMax(): number {
    return this.#connectionsMax;
  }

  /** 0 or more. It may fall below those that are served: they stay, and newcomers are refused. */
  setConnectionsMax(connectionsMax: number): void {
    assert(connectionsMax >= 0, "a server serves nobody or somebody");
    this.#connectionsMax = connectionsMax;
  }

  get isAccepting(): boolean {
    return this.#isAccepting;
  }

  get isFull(): boolean {
    return this.served >= this.#connectionsMax;
  }

  /** Before anything is allocated: is there a file to spare? */
  admit(): boolean {
    this.#acceptedSince++;
    if (this.#counted + this.#acceptedSince >= this.filesMax) this.#count();
    const files = this.#files();
    if (files >= this.filesMax - 1 && this.#isAccepting) {
      this.#isAccepting = false;
      this.#setAccepting(false);
    }
    return files < this.filesMax;
  }

  /** To be called now and then: counts the files, and accepts again where there is room again. */
  look(): void {
    this.#count();
    this.reconsider();
  }

  /** A connection has ended. */
  left(wasServed: boolean): void {
    if (wasServed) this.served--;
    else this.turnedAway--;
    assert(this.served >= 0 && this.turnedAway >= 0, "as many leave as came");
    this.reconsider();
  }

  /** Accepts again where there is room again. */
  reconsider(): void {
    if (this.#isAccepting || this.#files() > this.filesMax * RESUME_SHARE) return;
    this.#isAccepting = true;
    this.#setAccepting(true);
  }

  #count(): void {
    this.#counted = this.#countFiles() ?? 0;
    this.#acceptedSince = 0;
  }

  /**
   * What we know of, or what the system counts: a WebSocket that we closed lingers unknown to us.
   */
  #files(): number {
    return Math.max(this.served + this.turnedAway + this.#pendingFiles(), this.#counted);
  }
}
