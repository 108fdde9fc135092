import { memoryHarness } from "./memory-harness.ts";
import { describeTransport } from "./transport-contract.ts";

for (const hasMessages of [false, true]) {
  for (const gathersWrites of [false, true]) {
    describeTransport(memoryHarness(hasMessages, gathersWrites));
  }
}
