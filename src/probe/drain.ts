// The end of a load: nothing more is due, and what is under way comes in.

import { type Run, TIMEOUT_SLACK_MS } from "./run.ts";

/** Events that are still under way when publishing ends have come after this. */
const DELIVERY_MS = 1_000;

/**
 * Answers and events that are under way come in; what did not come by then is missed.
 * @param within waits until it is done, and ends the stage where it is interrupted
 */
export async function drain(
  run: Run,
  within: (isDone: () => boolean) => Promise<void>,
): Promise<void> {
  for (const kind of ["echo", "publish", "churn"] as const) run.generators.halt(kind);
  const { operationTimeoutMs, connectTimeoutMs, traffic } = run.options;
  const { clock } = run.context;
  const timeoutMs = Math.max(operationTimeoutMs, run.connecting === 0 ? 0 : connectTimeoutMs);
  const waitMs = timeoutMs + TIMEOUT_SLACK_MS;
  let since = clock.now();
  run.phase("draining", operationTimeoutMs);
  await within(() => run.operationsUnderWay + run.connecting === 0 || clock.now() - since > waitMs);
  if (traffic !== "publish") return;
  since = clock.now();
  await within(() => clock.now() - since >= DELIVERY_MS);
  const published = run.generators.states.map((state) => state?.published ?? []);
  run.generators.tellAll({ type: "settle", published });
}
