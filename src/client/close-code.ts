// What a close code means for a client; the codes themselves are the wire contract's.

import { type Failure, STATUS } from "../wire/messages.ts";

/** It was closed because one side wanted to. */
export const NORMAL = 1000;
/** The connection ended without a code. */
export const CONNECTION_LOST = 1006;

/** Whether reconnecting without changing something makes no sense. */
export function isTerminal(code: number): boolean {
  if (code === NORMAL) return true;
  // The application's codes are split as the protocol's are: the lower half invites back.
  return (code >= 3500 && code <= 3999) || (code >= 4500 && code <= 4999);
}

/** Statuses of a refused Hello after which the same Hello would be refused again. */
const FINAL_REFUSALS: Readonly<Record<number, number>> = {
  [STATUS.INVALID_ARGUMENT]: 3500,
  [STATUS.FAILED_PRECONDITION]: 3502,
  [STATUS.UNIMPLEMENTED]: 3502,
  [STATUS.UNAUTHENTICATED]: 3503,
  [STATUS.PERMISSION_DENIED]: 3504,
};
const INTERNAL_ERROR = 3008;

/** The close code that a refused Hello stands for where the server sent no GoAway. */
export function codeOfRefusal(failure: Failure): number {
  return failure.retryable ? INTERNAL_ERROR : (FINAL_REFUSALS[failure.code] ?? INTERNAL_ERROR);
}
