import { describe } from "vitest";
import { describeTransport } from "./transport-contract.ts";
import { uwsIfAny, webSocketHarness } from "./websocket-harness.ts";

const loaded = uwsIfAny();

describe.skipIf(loaded === null)("uWebSockets.js", () => {
  if (loaded !== null) describeTransport(webSocketHarness(loaded));
});
