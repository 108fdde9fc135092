// The flags that `capacity`, `load` and `scenario` have in common: how the probe is a client.
import { type Command, Option } from "commander";
import { PROBE_TRANSPORTS } from "../probe/probe-network.ts";

export function addClientOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--protocol <protocol>", "Holdfast's, or none but length-prefixed payloads")
        .choices(["holdfast", "raw"])
        .default("holdfast"),
    )
    .option("--connect-timeout <time>", "until a connection is ready for use", "5s")
    .option("--echo-timeout <time>", "until an echo or publish is answered", "5s")
    .option("--token <text>", "for Hello; or set HOLDFAST_PROBE_TOKEN")
    .option("--insecure", "do not verify certificates")
    .option("--server-stats <source>", "URL of /stats, or process id; repeatable", collect)
    .option("--local-ips <addresses>", "local addresses: a list, CIDR too")
    .option("--local-ports <first-last>", "local ports")
    .addOption(
      new Option(
        "--transport <name>",
        "what carries TCP, Unix sockets and WebSocket (default: tcp-epoll where it can be used)",
      ).choices(PROBE_TRANSPORTS),
    )
    .option("--generators <count>", "generator processes at least", "1")
    .option("--seed <number>", "the same seed gives the same schedule (default: random)");
}

/** Of a flag that may be given several times. */
export function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}
