// The end of somebody's patience: a timeout, an AbortSignal, or both.

import type { Clock, Scheduled } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";

/** Fires at most once. Its owner calls {@link dispose} when there is nothing left to cut off. */
export class Cutoff {
  #timer: Scheduled | null;
  #signal: AbortSignal | null;
  readonly #what: string;
  readonly #onCut: (error: HoldfastError) => void;
  readonly #onAbort: (() => void) | null;

  /**
   * @param what names what is cut off in the error's message.
   * @param onCut is given HOLDFAST_CALL_TIMEOUT or HOLDFAST_CALL_ABORTED.
   */
  constructor(
    clock: Clock,
    timeoutMs: number,
    signal: AbortSignal | undefined,
    what: string,
    onCut: (error: HoldfastError) => void,
  ) {
    this.#what = what;
    this.#onCut = onCut;
    this.#signal = signal ?? null;
    this.#onAbort = signal === undefined ? null : () => this.#cut(abortError(what, signal));
    this.#timer = clock.after(timeoutMs, () => this.#expired(timeoutMs));
    if (this.#onAbort !== null) signal!.addEventListener("abort", this.#onAbort);
  }

  /** From now on only the signal counts. */
  stopTimer(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  dispose(): void {
    this.stopTimer();
    if (this.#onAbort !== null) this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#signal = null;
  }

  #expired(timeoutMs: number): void {
    const text = `${this.#what}: no answer within ${timeoutMs} ms`;
    this.#cut(new HoldfastError("HOLDFAST_CALL_TIMEOUT", text));
  }

  #cut(error: HoldfastError): void {
    this.dispose();
    this.#onCut(error);
  }
}

/** HOLDFAST_CALL_ABORTED; its cause is what the signal was given. */
export function abortError(what: string, signal: AbortSignal): HoldfastError {
  const options = { cause: signal.reason as unknown };
  return new HoldfastError("HOLDFAST_CALL_ABORTED", `${what}: aborted by the caller`, options);
}
