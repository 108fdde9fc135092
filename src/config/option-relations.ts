// What must hold between options, where each value is allowed by itself.
import { type Machine, sendBudgetBytes } from "./machine.ts";
import type { OptionPath, Options } from "./options.ts";

export interface OptionRelation {
  /** The options concerned; the issue is laid to the first of them that somebody set. */
  readonly keys: readonly [OptionPath, ...OptionPath[]];
  /** The rule and its reason, for the reference. */
  readonly doc: string;
  /** What is wrong, with the numbers; null when the relation holds. */
  readonly fault: (options: Options, machine: Machine) => string | null;
}

export const OPTION_RELATIONS: readonly OptionRelation[] = [
  {
    keys: ["connection.idleTimeoutMs", "connection.heartbeatMs", "connection.heartbeatJitter"],
    doc:
      "connection.idleTimeoutMs is greater than connection.heartbeatMs * (1 + " +
      "connection.heartbeatJitter), or connections would be closed before they were asked for a " +
      "sign of life; and at most 3 * connection.heartbeatMs, or a lost peer would go unnoticed.",
    fault: ({ connection }) => {
      const idle = connection.idleTimeoutMs;
      const longest = connection.heartbeatMs * (1 + connection.heartbeatJitter);
      const most = 3 * connection.heartbeatMs;
      if (idle > longest && idle <= most) return null;
      return (
        `connection.idleTimeoutMs (${idle}) must be greater than connection.heartbeatMs * (1 + ` +
        `connection.heartbeatJitter) = ${round(longest)}, so that a heartbeat comes first, and ` +
        `at most 3 * connection.heartbeatMs = ${most}`
      );
    },
  },
  {
    keys: ["send.lowBytes", "send.highBytes"],
    doc:
      "send.lowBytes is less than send.highBytes, or a connection would be paused and resumed " +
      "with every write.",
    fault: ({ send }) =>
      send.lowBytes < send.highBytes
        ? null
        : `send.lowBytes (${send.lowBytes}) must be less than send.highBytes (${send.highBytes})`,
  },
  {
    keys: ["send.highBytes", "send.queueBytesMax"],
    doc:
      "send.highBytes is at most send.queueBytesMax, or the queue would be full before anybody " +
      "was told to wait.",
    fault: ({ send }) =>
      send.highBytes <= send.queueBytesMax
        ? null
        : `send.highBytes (${send.highBytes}) must be at most send.queueBytesMax ` +
          `(${send.queueBytesMax})`,
  },
  {
    keys: ["send.queueBytesMax", "send.budgetBytes"],
    doc: "send.queueBytesMax is at most send.budgetBytes: one queue may not need more than all.",
    fault: (options, machine) => {
      const budget = sendBudgetBytes(options, machine);
      if (options.send.queueBytesMax <= budget) return null;
      const whence = options.send.budgetBytes === null ? ", a quarter of the memory here" : "";
      return (
        `send.queueBytesMax (${options.send.queueBytesMax}) must be at most send.budgetBytes ` +
        `(${budget}${whence})`
      );
    },
  },
  {
    keys: ["frame.bytesMax", "send.queueBytesMax"],
    doc:
      "frame.bytesMax is at most send.queueBytesMax, or the answer to a large call (or an event " +
      "as large as its publish) could never be sent.",
    fault: ({ frame, send }) =>
      frame.bytesMax <= send.queueBytesMax
        ? null
        : `frame.bytesMax (${frame.bytesMax}) must be at most send.queueBytesMax ` +
          `(${send.queueBytesMax}), or an answer of that size could never be sent`,
  },
  {
    keys: ["call.timeoutMs", "call.timeoutMsMax"],
    doc: "call.timeoutMs is at most call.timeoutMsMax.",
    fault: ({ call }) =>
      call.timeoutMs <= call.timeoutMsMax
        ? null
        : `call.timeoutMs (${call.timeoutMs}) must be at most call.timeoutMsMax ` +
          `(${call.timeoutMsMax})`,
  },
  {
    keys: ["tcp.fd", "tcp.path"],
    doc: "tcp.fd and tcp.path are not both given: each names the socket to listen on.",
    fault: ({ tcp }) =>
      tcp.fd === null || tcp.path === null
        ? null
        : `tcp.fd (${tcp.fd}) and tcp.path (${tcp.path}) must not both be given: each names the ` +
          "socket to listen on",
  },
  {
    keys: ["tcp.userTimeoutMs", "tcp.transport"],
    doc: "tcp.userTimeoutMs is 0 where tcp.transport is tcp-net, which cannot set it.",
    fault: ({ tcp }) =>
      tcp.userTimeoutMs === 0 || tcp.transport !== "tcp-net"
        ? null
        : `tcp.userTimeoutMs (${tcp.userTimeoutMs}) must be 0 where tcp.transport is tcp-net, ` +
          "which cannot set it",
  },
  {
    keys: ["websocket.origins"],
    doc:
      "Each of websocket.origins is *, null, or an origin exactly as browsers send it: lower " +
      "case, no path, no slash at its end, no port that is the scheme's own.",
    fault: ({ websocket }) => {
      const wrong = websocket.origins.find((origin) => !isOrigin(origin));
      if (wrong === undefined) return null;
      return (
        `websocket.origins has ${JSON.stringify(wrong)}, which no browser sends: write ` +
        "https://host, or https://host:port where the port is not the scheme's own"
      );
    },
  },
  portRelation("tcp.port", "websocket.port"),
  portRelation("tcp.port", "admin.port"),
  portRelation("websocket.port", "admin.port"),
];

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function isOrigin(text: string): boolean {
  if (text === "*" || text === "null") return true;
  if (/^https?:/.test(text)) return URL.canParse(text) && new URL(text).origin === text;
  return /^[a-z][a-z0-9+.-]*:\/\/[^\s/?#]+$/.test(text);
}

type PortPath = "tcp.port" | "websocket.port" | "admin.port";

function portRelation(a: PortPath, b: PortPath): OptionRelation {
  return {
    keys: [b, a],
    doc:
      `${a} and ${b} differ where they listen on the same address. The kernel may let two ` +
      "listeners share a port and deal clients out between them.",
    fault: (options) => {
      const first = listener(options, a);
      const second = listener(options, b);
      if (first === null || second === null || first.port !== second.port) return null;
      const shared =
        first.host === second.host || isWildcard(first.host) || isWildcard(second.host);
      if (!shared) return null;
      return `${a} and ${b} (both ${first.port}) must differ: they listen on the same address`;
    },
  };
}

// Null where nothing listens on a port that could clash.
function listener(options: Options, path: PortPath): { host: string; port: number } | null {
  const { tcp, websocket, admin } = options;
  const area = path === "tcp.port" ? tcp : path === "websocket.port" ? websocket : admin;
  const isPortUnused = area === tcp && (tcp.path !== null || tcp.fd !== null);
  return area.enabled && area.port !== 0 && !isPortUnused ? area : null;
}

function isWildcard(host: string): boolean {
  return host === "0.0.0.0" || host === "::";
}
