import { describe, expect, it } from "vitest";
import { editDistance } from "../../src/base/edit-distance.ts";
import { nearestKey } from "../../src/config/nearest-key.ts";
import { environmentName, flagName } from "../../src/config/option-names.ts";
import { OPTION_PATHS } from "../../src/config/option-table.ts";

describe("the edit distance", () => {
  it.each([
    ["", "", 0],
    ["abc", "abc", 0],
    ["", "abc", 3],
    ["abc", "", 3],
    ["port", "prot", 1],
    ["port", "por", 1],
    ["port", "porrt", 1],
    ["port", "pert", 1],
    ["ca", "abc", 3],
    ["kitten", "sitting", 3],
    ["abcd", "badc", 2],
  ])("between %j and %j is %d", (a, b, edits) => {
    expect(editDistance(a, b)).toBe(edits);
    expect(editDistance(b, a)).toBe(edits);
  });
});

describe("the nearest key", () => {
  it.each([
    ["tcp.prot", "tcp.port"],
    ["tpc.port", "tcp.port"],
    ["TCP.PORT", "tcp.port"],
    ["tcp_port", "tcp.port"],
    ["conection.heartbeatMs", "connection.heartbeatMs"],
    ["connection.heartbeat", "connection.heartbeatMs"],
    ["connection.heartbeat_ms", "connection.heartbeatMs"],
    ["connection.idleTimeout", "connection.idleTimeoutMs"],
    ["idleTimeoutMs", "connection.idleTimeoutMs"],
    ["maxFrameBytes", "frame.bytesMax"],
    ["send.queueMaxBytes", "send.queueBytesMax"],
    ["port", "tcp.port"],
    ["log.lvl", "log.level"],
    ["connection.hand", "connection.handshakeTimeoutMs"],
    ["topic.maximum", "topic.max"],
    ["kubernetes", null],
    ["connection.foo", null],
    ["x", null],
    ["", null],
    ["...", null],
    ["ключ", null],
    ["__proto__", null],
    ["tcp.port".repeat(50_000), null],
  ])("to %.30j is %j", (key, nearest) => {
    expect(nearestKey(key, OPTION_PATHS)).toBe(nearest);
  });

  it("is found for every key with one letter lost, doubled or swapped with the next", {
    timeout: 30_000,
  }, () => {
    for (const path of OPTION_PATHS) {
      for (let index = 0; index < path.length; index += 1) {
        const [head, letter, tail] = [
          path.slice(0, index),
          path.charAt(index),
          path.slice(index + 1),
        ];
        const swapped = head + tail.charAt(0) + letter + tail.slice(1);
        for (const typo of [head + tail, head + letter + letter + tail, swapped]) {
          const nearest = nearestKey(typo, OPTION_PATHS) ?? "";
          // A lost letter may make one key of another; it is then the one that is as near.
          expect(editDistance(typo.toLowerCase(), nearest.toLowerCase())).toBeLessThanOrEqual(1);
        }
      }
    }
  });

  it("is found among variables and flags as well", () => {
    expect(nearestKey("HOLDFAST_TCP_PROT", OPTION_PATHS.map(environmentName))).toBe(
      "HOLDFAST_TCP_PORT",
    );
    expect(nearestKey("HOLDFAST_PORT", OPTION_PATHS.map(environmentName))).toBe(
      "HOLDFAST_TCP_PORT",
    );
    expect(nearestKey("HOLDFAST_SECRET", OPTION_PATHS.map(environmentName))).toBe(null);
    expect(nearestKey("--tcp-prot", OPTION_PATHS.map(flagName))).toBe("--tcp-port");
    expect(nearestKey("--heartbeat", OPTION_PATHS.map(flagName))).toBe("--connection-heartbeat-ms");
  });
});
