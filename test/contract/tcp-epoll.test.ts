import { epollHarness, epollUnixHarness } from "./socket-harness.ts";
import { describeTransport } from "./transport-contract.ts";

describeTransport(epollHarness);
describeTransport(epollUnixHarness);
