// What RFC 6455 and we demand of a WebSocket upgrade. uWebSockets.js lets most of it pass.

export interface UpgradeRequest {
  readonly method: string;
  readonly upgrade: string;
  readonly connection: string;
  readonly version: string;
  readonly key: string;
  readonly protocols: string;
  /** "": the client is no browser, or hides it. */
  readonly origin: string;
}

export interface UpgradeRules {
  /** The subprotocol that a client must offer; null: none is asked for. */
  readonly subprotocol: string | null;
  /**
   * Origins that may connect; "*" is any. Requests without Origin come from no browser: they may.
   */
  readonly origins: readonly string[];
}

export interface UpgradeRefusal {
  readonly status: string;
  readonly header: readonly [name: string, value: string] | null;
  readonly cause: string;
}

/** 16 bytes in base64. */
const KEY = /^[A-Za-z0-9+/]{22}==$/;

/** Null: the upgrade may go on. */
export function checkUpgrade(request: UpgradeRequest, rules: UpgradeRules): UpgradeRefusal | null {
  if (request.method !== "get" || !hasToken(request.upgrade, "websocket")) {
    return refuse("426 Upgrade Required", "not_websocket", ["Upgrade", "websocket"]);
  }
  if (!hasToken(request.connection, "upgrade")) return refuse("400 Bad Request", "bad_connection");
  if (request.version !== "13") {
    return refuse("426 Upgrade Required", "bad_version", ["Sec-WebSocket-Version", "13"]);
  }
  if (!KEY.test(request.key)) return refuse("400 Bad Request", "bad_key");
  if (!isAllowed(request.origin, rules.origins)) return refuse("403 Forbidden", "bad_origin");
  if (rules.subprotocol !== null && !hasToken(request.protocols, rules.subprotocol)) {
    return refuse("400 Bad Request", "bad_subprotocol");
  }
  return null;
}

/** Every cause that a refusal can carry: a closed list, for the metric's label. */
export const UPGRADE_REFUSALS = [
  "not_websocket",
  "bad_connection",
  "bad_version",
  "bad_key",
  "bad_origin",
  "bad_subprotocol",
] as const;

function refuse(
  status: string,
  cause: (typeof UPGRADE_REFUSALS)[number],
  header: readonly [string, string] | null = null,
): UpgradeRefusal {
  return { status, header, cause };
}

function hasToken(list: string, token: string): boolean {
  if (list === token) return true;
  return list.split(",").some((item) => item.trim().toLowerCase() === token.toLowerCase());
}

function isAllowed(origin: string, origins: readonly string[]): boolean {
  if (origin === "" || origins.includes("*")) return true;
  return origins.some((allowed) => allowed.toLowerCase() === origin.toLowerCase());
}
