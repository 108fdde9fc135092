// What a server that has started says of itself: where it listens, over what, within which limits.
import type { Listener } from "../server/listener.ts";
import type { Server } from "../server/server.ts";
import type { TransportAddress } from "../transport/transport.ts";
import { WebSocketTransport } from "../transport/websocket.ts";

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
  const facts: ListenerFacts[] = server.listeners
    .filter((listener) => listener.address !== null)
    .map((listener) => ({
      listener: listener.name,
      endpoint: endpointOf(
        listener.transport.kind === "websocket" ? "ws" : "tcp",
        listener.address,
      ),
      transport: transportOf(listener),
      framing: listener.context.framing.name,
    }));
  const admin = server.addresses()["admin"];
  if (admin === undefined) return facts;
  return [
    ...facts,
    { listener: "admin", endpoint: endpointOf("http", admin), transport: "node:http" },
  ];
}

function endpointOf(scheme: string, address: TransportAddress | null): string {
  if (address === null) return "";
  if (address.path !== null) return `unix:${address.path}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `${scheme}://${host}:${address.port}`;
}

function transportOf({ transport }: Listener): string {
  return transport instanceof WebSocketTransport ? transport.library : transport.kind;
}

/** The same for people, with what the machine allows. */
export function announcement(server: Server, version: string): string {
  const facts = listenerFacts(server);
  const width = Math.max(...facts.map(({ endpoint }) => endpoint.length));
  const lines = facts.map(
    ({ listener, endpoint, transport, framing }) =>
      `  ${listener.padEnd(10)} ${endpoint.padEnd(width)}  ${transport}` +
      (framing === undefined ? "" : `, ${framing} frames`),
  );
  const { websocket } = server.options;
  if (websocket.enabled && !facts.some(({ listener }) => listener === "websocket")) {
    lines.push("  websocket  not served: uWebSockets.js could not be loaded");
  }
  const { connectionsMax } = server.admission;
  return [
    `Holdfast ${version}, node ${server.node}, Node.js ${process.versions.node}`,
    ...lines,
    `  at most ${connectionsMax} connections; ${server.shared.budget.bytesMax} bytes may be queued`,
    "Ctrl+C stops it in order; once more, at once.",
    "",
  ].join("\n");
}
