import { describe } from "vitest";
import { describeTransport } from "./transport-contract.ts";
import { ACCEPTED_BY, uwsIfAny, webSocketHarness } from "./websocket-harness.ts";

const loaded = uwsIfAny();

describe.skipIf(loaded === null)("uWebSockets.js", () => {
  if (loaded === null) return;
  for (const by of ACCEPTED_BY) describeTransport(webSocketHarness(loaded, by));
});
