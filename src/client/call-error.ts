// Why a call, a publish or a subscribe failed, as the server's Failure told it.

import { HoldfastError } from "../base/errors.ts";
import { type Failure, STATUS } from "../wire/messages.ts";

/** A request was refused. `code` is always HOLDFAST_CALL_FAILED; match on `status`. */
export class CallError extends HoldfastError {
  override readonly name: string = "CallError";
  /** gRPC status code, 1-16. */
  readonly status: number;
  /** Its name, such as "NOT_FOUND"; "UNKNOWN" for a number that has none. */
  readonly statusName: string;
  /** Whether the same request may succeed later. */
  readonly retryable: boolean;
  /** Milliseconds to wait before that; 0: nothing was said. */
  readonly retryAfterMs: number;

  constructor(what: string, failure: Failure) {
    const statusName = nameOfStatus(failure.code);
    const reason = failure.reason === "" ? "" : `: ${failure.reason}`;
    super("HOLDFAST_CALL_FAILED", `${what}: ${statusName}${reason}`);
    this.status = failure.code;
    this.statusName = statusName;
    this.retryable = failure.retryable;
    this.retryAfterMs = failure.retryAfterMs;
  }
}

/**
 * The client's own refusal: more than sendBytesMax bytes wait to be sent. As in gRPC it is told by
 * the status that a server would use; nothing was sent, so it may be tried again.
 */
export function sendBufferFull(what: string, sendBytesMax: number): CallError {
  return new CallError(what, {
    code: STATUS.RESOURCE_EXHAUSTED,
    reason: `more than ${sendBytesMax} bytes wait to be sent (option sendBytesMax)`,
    retryable: true,
    retryAfterMs: 0,
  });
}

function nameOfStatus(status: number): string {
  for (const [name, code] of Object.entries(STATUS)) if (code === status) return name;
  return "UNKNOWN";
}
