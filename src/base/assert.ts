// Broken invariants crash the process: state that is known to be wrong must not serve anybody.

export class AssertionError extends Error {
  override readonly name: string = "AssertionError";
  readonly code: string = "HOLDFAST_ASSERTION";
}

/** Throws {@link AssertionError} unless `condition` holds. For invariants, never for input. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}
