import { tcpHarness, unixHarness } from "./socket-harness.ts";
import { describeTransport } from "./transport-contract.ts";

describeTransport(tcpHarness);
describeTransport(unixHarness);
