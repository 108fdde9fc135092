// Whether new clients should be sent here, and if not, why not.

import type { Server } from "./server.ts";

export const READINESS = {
  ready: "New connections are served.",
  not_serving: "It has not started yet.",
  draining: "It is stopping, or has stopped.",
  full: "As many connections as allowed are open: one more is told to come back later.",
  no_files: "Files were running out, so that accepting has stopped until some are free.",
  no_worker: "No worker answers.",
  breaker_open:
    "Workers of a slot end too often; the others serve on. One is tried each minute, or by reload.",
  over_budget: "More waits to be sent than the process may hold: the worst queues are shed.",
} as const;
export type Readiness = keyof typeof READINESS;

export function readiness(server: Server): Readiness {
  switch (server.state) {
    case "new":
    case "starting":
      return "not_serving";
    case "draining":
    case "stopped":
      return "draining";
    case "serving":
      if (!server.admission.isAccepting) return "no_files";
      if (server.admission.isFull) return "full";
      return server.shared.budget.isExceeded ? "over_budget" : "ready";
  }
}
