// What a server that has started says of itself: where it listens, over what, within which limits.
import type { Listener } from "../server/listener.ts";
import { transportName } from "../server/listener.ts";
import type { Server } from "../server/server.ts";
import type { TransportAddress } from "../transport/transport.ts";

export interface ListenerFacts {
  readonly listener: string;
  /** As a client would write it: tcp://host:port, unix:/path, ws://host:port, http://host:port. */
  readonly endpoint: string;
  /** What moves the bytes, with the version of what is not part of Node. */
  readonly transport: string;
  /** Absent where no frames are spoken. */
  readonly framing?: string;
}

/** One entry for each place where the server listens. */
export function listenerFacts(server: Server): ListenerFacts[] {
  const facts = server.listeners
    .filter((listener) => listener.address !== null)
    .map((listener) => factsOf(listener));
  return [...facts, ...adminFacts(server.addresses()["admin"] ?? null)];
}

function factsOf(listener: Listener): ListenerFacts {
  const { name, address, context } = listener;
  const transport = transportName(listener);
  return { listener: name, ...placeOf(transport, address), framing: context.framing.name };
}

/** Where something listens that says its transport's name. */
export function placeOf(
  transport: string,
  address: TransportAddress | null,
): { endpoint: string; transport: string } {
  const isTcp = transport.startsWith("tcp");
  return { endpoint: endpointOf(isTcp ? "tcp" : "ws", address), transport };
}

/** Empty where operators are not served. */
export function adminFacts(address: TransportAddress | null): ListenerFacts[] {
  if (address === null) return [];
  return [{ listener: "admin", endpoint: endpointOf("http", address), transport: "node:http" }];
}

function endpointOf(scheme: string, address: TransportAddress | null): string {
  if (address === null) return "";
  if (address.path !== null) return `unix:${address.path}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `${scheme}://${host}:${address.port}`;
}

export interface Announcement {
  readonly version: string;
  /** The server's name for itself. */
  readonly node: string;
  readonly facts: readonly ListenerFacts[];
  /** What else there is to say, a line each. */
  readonly notes: readonly string[];
}

/** The same for people. */
export function announcement({ version, node, facts, notes }: Announcement): string {
  const width = Math.max(...facts.map(({ endpoint }) => endpoint.length));
  const lines = facts.map(
    ({ listener, endpoint, transport, framing }) =>
      `  ${listener.padEnd(10)} ${endpoint.padEnd(width)}  ${transport}` +
      (framing === undefined ? "" : `, ${framing} frames`),
  );
  return [
    `Holdfast ${version}, node ${node}, Node.js ${process.versions.node}`,
    ...lines,
    ...notes.map((note) => `  ${note}`),
    "Ctrl+C stops it in order; once more, at once.",
    "",
  ].join("\n");
}

/** Said where WebSocket is wanted and cannot be had. */
export const NO_WEBSOCKET = "websocket  not served: uWebSockets.js could not be loaded";
