// The codes by which a server says no, as far as they name a policy and no defect: of the wire
// contract (GoAway and close codes, statuses of Failure), of WebSocket and of HTTP.

import { detailOf, withoutDetail } from "./limit-evidence.ts";

export interface Refusal {
  /** Such as `GoAway 3004 (overloaded)`. */
  readonly text: string;
  readonly advice: string;
}

const ROOM = "raise the server's connection.max, if its machine has room for more";
const RATE = "the server limits rates: lower --connect-rate, or raise that limit";
const RIGHTS = "ask whether the probe may connect: a token, an address or an Origin may be missing";
const LEAVING = "the server is on its way out: try again when it serves";
const LATER = "the server asks to come back later: its log should say why";
const SILENCE = "connections must not be silent: let the probe answer heartbeats or send echoes";

type Codes = Readonly<Record<number, readonly [name: string, advice: string]>>;

/** GoAway and close codes; up to 999 they are statuses of Failure. */
const CLOSE_CODES: Codes = {
  7: ["PERMISSION_DENIED", RIGHTS],
  8: ["RESOURCE_EXHAUSTED", ROOM],
  14: ["UNAVAILABLE", LATER],
  16: ["UNAUTHENTICATED", RIGHTS],
  1001: ["going away", LEAVING],
  1008: ["policy violation", LATER],
  1012: ["service restart", LEAVING],
  1013: ["try again later", LATER],
  3000: ["shutdown", LEAVING],
  3001: ["idle_timeout", SILENCE],
  3003: ["slow_consumer", "the probe, or the path to it, did not read fast enough"],
  3004: ["overloaded", ROOM],
  3005: ["token_expired", RIGHTS],
  3006: ["rate_limited", RATE],
  3007: ["rebalance", "the server sends clients to other nodes: probe those as well"],
  3503: ["unauthenticated", RIGHTS],
  3504: ["permission_denied", RIGHTS],
  3505: ["replaced", "the server takes each identity once: probe with another --token"],
  3506: ["banned", RIGHTS],
};

const HTTP_STATUSES: Codes = {
  401: ["unauthorized", RIGHTS],
  403: ["forbidden", RIGHTS],
  429: ["too many requests", RATE],
  503: ["service unavailable", ROOM],
};

/** What a failure's code says of the server's policy; null where it says nothing. */
export function refusalOf(code: string): Refusal | null {
  const detail = detailOf(code);
  if (detail === null) return null;
  const name = withoutDetail(code);
  if (name === "upgrade.status") return refusal("HTTP status", detail, HTTP_STATUSES);
  if (name === "closed.code") return refusal("close code", detail, CLOSE_CODES);
  if (name !== "hello.refused") return null;
  return refusal(detail < 1_000 ? "status" : "GoAway", detail, CLOSE_CODES);
}

function refusal(kind: string, code: number, codes: Codes): Refusal | null {
  const known = codes[code];
  if (known === undefined) return null;
  const [name, advice] = known;
  return { text: `${kind} ${code} (${name})`, advice };
}
