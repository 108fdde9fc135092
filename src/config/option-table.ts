// The one table of options: defaults, ranges, units and meanings. The validator, the environment
// names, the flags, the reference and the JSON Schema are all made from it. Text bounds count
// characters, list bounds count entries.
import {
  boolean,
  choice,
  fraction,
  integer,
  list,
  nullable,
  type OptionRowOf,
  rolling,
  supervisor,
  text,
} from "./option-row.ts";
import {
  FRAMING_NAMES,
  LOG_LEVELS,
  type OptionArea,
  type OptionAt,
  type OptionPath,
  type Options,
  type OptionValue,
  SEND_POLICIES,
  TCP_TRANSPORTS,
} from "./options.ts";

export type OptionTable = { readonly [P in OptionPath]: OptionRowOf<OptionAt<P>> };

export const OPTION_AREAS: { readonly [A in OptionArea]: string } = {
  tcp: "The raw TCP listener",
  websocket: "The WebSocket listener",
  admin: "The HTTP listener for operators: health, metrics, statistics",
  connection: "How many connections, and how long each state of one may last",
  frame: "Frames received from clients",
  send: "What waits to be sent, per connection and in the whole process",
  topic: "Topics: publish and subscribe",
  call: "Calls from clients",
  label: "Labels that a client gives in its Hello",
  drain: "The graceful stop",
  overload: "Refusals when the node is full",
  workers: "The processes that serve, and the supervisor above them",
  preflight: "What is looked at before anything is served",
  node: "This process among others",
  log: "The log",
  debug: "What is kept for looking into the past",
};

const HOST_BOUNDS = { min: 1, max: 255 } as const;
const PORT_BOUNDS = { min: 0, max: 65_535, unit: "" } as const;
const MEBIBYTE = 1_048_576;

export const OPTION_TABLE: OptionTable = {
  "tcp.enabled": supervisor(boolean(true, "Whether raw TCP connections are accepted.")),
  "tcp.host": supervisor(
    text(
      { default: "0.0.0.0", ...HOST_BOUNDS },
      "The address to listen on. 0.0.0.0 is every IPv4 address, :: every address.",
    ),
  ),
  "tcp.port": supervisor(
    integer(
      { default: 7_400, ...PORT_BOUNDS },
      "The port to listen on. 0 takes any free port; the start message names it.",
    ),
  ),
  "tcp.path": supervisor(
    nullable(
      text(
        { default: "", min: 1, max: 107 },
        "A Unix socket to listen on instead of tcp.host and tcp.port. The kernel takes 107 bytes.",
      ),
      "host and port are used",
    ),
  ),
  "tcp.fd": supervisor(
    nullable(
      integer(
        { default: 0, min: 3, max: 1_048_575, unit: "" },
        "The number of a listening socket that the parent process left open, instead of " +
          "tcp.host, tcp.port and tcp.path; systemd's socket activation begins with 3. While " +
          "the server stops, who connects waits for whoever has the socket next, and while " +
          "files run out as well; but tcp-net cannot let go of it for a while only, and " +
          "closes them at once then.",
      ),
      "a socket is opened",
    ),
  ),
  "tcp.transport": supervisor(
    choice(
      TCP_TRANSPORTS,
      "auto",
      "What moves the bytes. tcp-epoll is the native one: Linux alone, built when the package is " +
        "installed; where it cannot be loaded, starting fails. tcp-net is Node's own and works " +
        "everywhere. auto takes tcp-epoll where it can be loaded, and says at start which it " +
        "took. The flag --transport means the same.",
    ),
  ),
  "tcp.framing": rolling(
    choice(
      FRAMING_NAMES,
      "uint32",
      "How frames are marked off: uint32 is a big-endian length of four bytes, varint the length " +
        "as protobuf's delimited streams write it. Clients must use the same.",
    ),
  ),
  "tcp.backlog": supervisor(
    integer(
      { default: 4_096, min: 1, max: 65_535, unit: "connections" },
      "How many connections the kernel keeps until they are accepted. When it is full, new ones " +
        "are retried by their kernel after a second or more. net.core.somaxconn caps it.",
    ),
  ),
  "tcp.noDelay": rolling(
    boolean(
      true,
      "Whether small writes leave at once (TCP_NODELAY). false lets the kernel gather them, " +
        "which may delay an answer by 40 ms.",
    ),
  ),
  "tcp.keepAliveMs": rolling(
    integer(
      { default: 0, min: 0, max: 7_200_000, unit: "ms" },
      "After how long a silence the kernel probes the peer (SO_KEEPALIVE), rounded up to " +
        "whole seconds. 0 never does. The protocol's heartbeats find lost peers already; raw " +
        "listeners have none.",
    ),
  ),
  "tcp.userTimeoutMs": rolling(
    integer(
      { default: 0, min: 0, max: 3_600_000, unit: "ms" },
      "How long sent bytes may stay unacknowledged before the kernel gives the connection up " +
        "(TCP_USER_TIMEOUT). 0 leaves it to the kernel, about 15 minutes. It needs tcp-epoll: " +
        "where auto falls back to tcp-net it has no effect, and the log says so.",
    ),
  ),

  "websocket.enabled": supervisor(boolean(true, "Whether WebSocket connections are accepted.")),
  "websocket.required": rolling(
    boolean(
      true,
      "Whether starting fails where uWebSockets.js cannot be loaded. false serves without " +
        "WebSocket and says so.",
    ),
  ),
  "websocket.host": supervisor(
    text(
      { default: "0.0.0.0", ...HOST_BOUNDS },
      "The address to listen on. 0.0.0.0 is every IPv4 address, :: every address.",
    ),
  ),
  "websocket.port": supervisor(
    integer(
      { default: 7_401, ...PORT_BOUNDS },
      "The port to listen on. 0 takes any free port; the start message names it.",
    ),
  ),
  "websocket.origins": list(
    { default: ["*"], min: 1, max: 1_000 },
    "The Origin headers that may connect, each as a browser sends it: scheme://host, with :port " +
      "where it is not the scheme's own. Any other is refused with HTTP 403. * allows any. " +
      "Requests without Origin come from no browser and are not refused.",
  ),

  "admin.enabled": supervisor(
    boolean(
      true,
      "Whether operators are served over HTTP. It asks for no password: keep it off public " +
        "addresses.",
    ),
  ),
  "admin.host": supervisor(
    text(
      { default: "127.0.0.1", ...HOST_BOUNDS },
      "The address to listen on. The default is reachable from this machine only.",
    ),
  ),
  "admin.port": supervisor(
    integer(
      { default: 7_402, ...PORT_BOUNDS },
      "The port to listen on. 0 takes any free port; the start message names it.",
    ),
  ),

  "admin.control": supervisor(
    boolean(
      true,
      "Whether operators may also reload, drain and kick, from this machine alone. false lets " +
        "them only look.",
    ),
  ),

  "connection.max": nullable(
    integer(
      { default: 0, min: 1, max: 10_000_000, unit: "connections" },
      "The most connections at a time, over all listeners. One more is refused with 3004 " +
        "(overloaded) and told when to come back. Accepting stops before files run out, whatever " +
        "this says. Workers share it, four times a second, so that one may refuse a little early.",
    ),
    "90% of the files that the process may open",
  ),
  "connection.acceptTimeoutMs": integer(
    { default: 5_000, min: 100, max: 60_000, unit: "ms" },
    "How long an accepted connection may take until its transport is ready. Then it is closed. " +
      "Plain TCP is ready at once; a WebSocket upgrade has 10 to 12 s, which uWebSockets.js fixes.",
  ),
  "connection.handshakeTimeoutMs": integer(
    { default: 5_000, min: 100, max: 60_000, unit: "ms" },
    "How long a client may take, once its transport is ready, until its Hello is complete and " +
      "accepted. Bytes do not extend it. Then it is closed with 3002 (handshake_timeout).",
  ),
  "connection.heartbeatMs": rolling(
    integer(
      { default: 25_000, min: 50, max: 3_600_000, unit: "ms" },
      "After how long a silence the server sends a heartbeat, which the client answers. Load " +
        "balancers and NAT tables on the way should keep silent connections for longer.",
    ),
  ),
  "connection.heartbeatJitter": fraction(
    { default: 0.1, min: 0, max: 0.5 },
    "By which share of itself connection.heartbeatMs is drawn longer or shorter, so that clients " +
      "which connected together do not stay in step. 0 draws nothing.",
  ),
  "connection.idleTimeoutMs": integer(
    { default: 60_000, min: 100, max: 7_200_000, unit: "ms" },
    "How long a connection may be wholly silent, heartbeats unanswered, before it is closed with " +
      "3001 (idle_timeout). This is how fast a peer that vanished is found.",
  ),
  "connection.frameTimeoutMs": integer(
    { default: 10_000, min: 50, max: 600_000, unit: "ms" },
    "How long one frame may take from its first byte to its last. More bytes do not extend it, " +
      "so a drip cannot hold a connection. Then it is closed with 3500 (protocol_error).",
  ),
  "connection.closeTimeoutMs": integer(
    { default: 30_000, min: 100, max: 600_000, unit: "ms" },
    "How long a closing connection may take to flush what is queued and to close its side. Then " +
      "it is reset and what was still queued is lost.",
  ),
  "connection.callsMax": integer(
    { default: 64, min: 1, max: 10_000, unit: "calls" },
    "How many calls of one connection may run at a time. At the limit the connection is not " +
      "read until one ends.",
  ),

  "frame.bytesMax": rolling(
    integer(
      { default: 65_536, min: 64, max: MEBIBYTE, unit: "bytes" },
      "The largest frame a client may send. A greater length closes the connection with 3501 " +
        "(frame_too_large) before anything is allocated for it.",
    ),
  ),

  "send.highBytes": integer(
    { default: 262_144, min: 64, max: 64 * MEBIBYTE, unit: "bytes" },
    "How much may wait to be sent to one connection before it is not read any more and senders " +
      "are told to wait.",
  ),
  "send.lowBytes": integer(
    { default: 65_536, min: 0, max: 64 * MEBIBYTE, unit: "bytes" },
    "Down to how much the queue must shrink before the connection is read again and senders may " +
      "go on.",
  ),
  "send.queueBytesMax": rolling(
    integer(
      { default: MEBIBYTE, min: 64, max: 64 * MEBIBYTE, unit: "bytes" },
      "The most that may wait to be sent to one connection, in at most one piece for every 128 " +
        "bytes of it (64 there may always be). What would exceed it falls to send.policy.",
    ),
  ),
  "send.stallTimeoutMs": integer(
    { default: 10_000, min: 100, max: 600_000, unit: "ms" },
    "How long nothing of what waits for a connection may leave. Then it is closed with 3003 " +
      "(slow_consumer), whatever send.policy says. A slow reader that takes anything goes on.",
  ),
  "send.policy": choice(
    SEND_POLICIES,
    "disconnect",
    "What happens when a queue is full. disconnect closes with 3003 (slow_consumer); drop-newest " +
      "refuses the new event; drop-oldest drops the events that wait longest; conflate keeps " +
      "the last event of each topic. What was dropped is announced with a Gap.",
  ),
  "send.budgetBytes": nullable(
    integer(
      { default: 0, min: 64, max: 1_099_511_627_776, unit: "bytes" },
      "The most that may wait to be sent in the whole process. Above it the connections with the " +
        "longest queues are closed with 3003 (slow_consumer) until the rest fits.",
    ),
    "a quarter of the memory that the process may use",
  ),

  "topic.perConnectionMax": integer(
    { default: 128, min: 0, max: 100_000, unit: "topics" },
    "How many topics one connection may subscribe to. One more fails with RESOURCE_EXHAUSTED. 0 " +
      "lets no client subscribe.",
  ),
  "topic.nameBytesMax": integer(
    { default: 255, min: 1, max: 4_096, unit: "bytes" },
    "The longest name of a topic, in UTF-8. A longer one fails with INVALID_ARGUMENT.",
  ),
  "topic.max": integer(
    { default: 100_000, min: 1, max: 10_000_000, unit: "topics" },
    "The most topics in the process. What would create one more fails with RESOURCE_EXHAUSTED.",
  ),
  "topic.backlogEventsMax": integer(
    { default: 1_024, min: 1, max: MEBIBYTE, unit: "events" },
    "How many events of one topic may wait while earlier ones are still being handed to its " +
      "subscribers. One more is refused: its publish fails with RESOURCE_EXHAUSTED.",
  ),
  "topic.publishFromClients": boolean(
    true,
    "Whether clients may publish. false answers them with PERMISSION_DENIED; the application " +
      "still may.",
  ),

  "call.timeoutMs": integer(
    { default: 30_000, min: 0, max: 86_400_000, unit: "ms" },
    "The deadline of a call whose client gave none. Then it fails with DEADLINE_EXCEEDED. 0 " +
      "gives such calls no deadline.",
  ),
  "call.timeoutMsMax": integer(
    { default: 300_000, min: 1, max: 86_400_000, unit: "ms" },
    "The longest deadline a client may ask for. A longer one is shortened to it.",
  ),

  "label.max": integer(
    { default: 16, min: 0, max: 1_000, unit: "labels" },
    "How many labels a client may give. A Hello with more is refused. 0 allows none.",
  ),
  "label.bytesMax": integer(
    { default: 256, min: 2, max: 4_096, unit: "bytes" },
    "The longest label, key and value together, in UTF-8. A Hello with a longer one is refused.",
  ),

  "drain.graceMs": integer(
    { default: 10_000, min: 0, max: 600_000, unit: "ms" },
    "How long a graceful stop lets clients leave by themselves and running calls end, once they " +
      "have been told to go. Then what is left is closed. 0 begins to close at once.",
  ),
  "drain.reconnectSpreadMs": integer(
    { default: 5_000, min: 0, max: 600_000, unit: "ms" },
    "Over how long clients of a stopping node spread their return: each is told a time drawn " +
      "evenly from 1 ms to this. 0 tells all of them to return at once.",
  ),
  "drain.closeSpreadMs": integer(
    { default: 5_000, min: 0, max: 600_000, unit: "ms" },
    "Over how long the connections that are left after drain.graceMs are closed, evenly. Each is " +
      "closed in order: what is queued is sent first. A second later whatever has still not " +
      "ended is reset. 0 closes all of them at once.",
  ),

  "overload.retryAfterMs": integer(
    { default: 5_000, min: 1_000, max: 600_000, unit: "ms" },
    "About how long a client refused with 3004 (overloaded) is told to stay away. Each is told " +
      "a different time, so that they do not return together.",
  ),

  "workers.count": supervisor(
    nullable(
      integer(
        { default: 0, min: 0, max: 256, unit: "workers" },
        "How many processes serve, as one server with one set of ports. 0 starts no supervisor: " +
          "the one process serves, as a server made in code does, and clients are refused while " +
          "it is started anew. The flag --workers means the same.",
      ),
      "as many as the cores and connection.max need, within the file limit of each",
      "auto",
    ),
  ),
  "workers.application": rolling(
    nullable(
      text(
        { default: "", min: 1, max: 4_096 },
        "A file with an ES module whose default export, (server) => void or a promise, registers " +
          "methods on each worker's server before it listens. A rolling restart loads it anew. " +
          "The path is relative to the working directory.",
      ),
      "the methods that come with holdfast serve",
    ),
  ),
  "workers.readyTimeoutMs": integer(
    { default: 30_000, min: 100, max: 600_000, unit: "ms" },
    "How long a worker may take from its start until it serves. Then it is ended; in a rolling " +
      "restart the old one serves on.",
  ),
  "workers.unresponsiveMs": integer(
    { default: 10_000, min: 1_000, max: 600_000, unit: "ms" },
    "How long a worker may say nothing to its supervisor, which it does four times a second. " +
      "Then it is killed and another one started.",
  ),

  "preflight.strict": supervisor(
    boolean(
      false,
      "Whether starting fails where this machine cannot hold connection.max. false only warns. " +
        "The flag --strict means the same.",
    ),
  ),

  "node.name": supervisor(
    nullable(
      text(
        { default: "", min: 1, max: 255 },
        "The name of the server in Welcome, in the log and in statistics; all workers have it.",
      ),
      "the host's name and the process id",
    ),
  ),

  "log.level": choice(LOG_LEVELS, "info", "The least severe records that are written."),
  "log.pretty": supervisor(
    nullable(
      boolean(false, "Whether the log is written for people; otherwise it is JSON, one line each."),
      "pretty when standard output is a terminal",
    ),
  ),
  "log.samplePerSecond": integer(
    { default: 10, min: 0, max: 100_000, unit: "records" },
    "How many records of one kind about single connections are written per second. The rest are " +
      "counted and the count is written. 0 only counts.",
  ),

  "debug.closedRing": integer(
    { default: 256, min: 0, max: 65_536, unit: "connections" },
    "How many closed connections are remembered, with their cause, for /connections. The oldest " +
      "is forgotten first. 0 remembers none.",
  ),
};

/** Every key, in the order of the table. */
export const OPTION_PATHS: readonly OptionPath[] = Object.keys(OPTION_TABLE) as OptionPath[];

export function isOptionPath(path: string): path is OptionPath {
  return Object.hasOwn(OPTION_TABLE, path);
}

/** The value that `options` have for a key. */
export function optionAt(options: Options, path: OptionPath): OptionValue {
  const [area = "", name = ""] = path.split(".");
  const group = options[area as OptionArea] as Readonly<Record<string, OptionValue>>;
  return group[name] as OptionValue;
}
