import { describe } from "vitest";
import { hasNative } from "../support/native.ts";
import { epollHarness, epollUnixHarness } from "./socket-harness.ts";
import { describeTransport } from "./transport-contract.ts";

describe.skipIf(!hasNative)("natively", () => {
  describeTransport(epollHarness);
  describeTransport(epollUnixHarness);
});
