import { memoryHarness } from "./memory-harness.ts";
import { describeTransport } from "./transport-contract.ts";

describeTransport(memoryHarness(false));
describeTransport(memoryHarness(true));
