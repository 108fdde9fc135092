// Servers for the probe to connect to, inside the test: echoes over every transport, WebSocket
// servers that answer the upgrade wrongly, and a made-up /stats.

import { createServer as createHttp } from "node:http";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { createServer as createTls } from "node:tls";
import { CERTIFICATE, KEY } from "./localhost-certificate.ts";
import { acceptFor, OPCODE, webSocketFrame } from "./raw-websocket.ts";

type AtEnd = (stop: () => void) => void;

/** A server, and what it has seen. */
export class ProbeTarget {
  readonly #server: Server;
  readonly #open: Set<Socket> = new Set();
  /** Connections that were accepted. */
  accepted: number = 0;
  /** The heads of the upgrade requests that came. */
  readonly requests: string[] = [];

  constructor(server: Server) {
    this.#server = server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get open(): number {
    return this.#open.size;
  }

  take(socket: Socket): void {
    this.accepted++;
    this.#open.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.#open.delete(socket));
  }

  /** Closes the listener and resets everything. */
  stop(): void {
    this.#server.close();
    for (const socket of this.#open) socket.resetAndDestroy();
  }
}

type Where = { readonly host: string; readonly port: number } | { readonly path: string };

async function listening(
  server: Server,
  where: Where,
  onSocket: (target: ProbeTarget, socket: Socket) => void,
  atEnd: AtEnd,
): Promise<ProbeTarget> {
  const target = new ProbeTarget(server);
  const name = "setSecureContext" in server ? "secureConnection" : "connection";
  server.on(name, (socket: Socket) => {
    target.take(socket);
    onSocket(target, socket);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ ...where, backlog: 4_096 }, resolve);
  });
  atEnd(() => target.stop());
  return target;
}

export interface EchoTargetOptions {
  readonly host?: string;
  /** A Unix socket. */
  readonly path?: string;
  readonly isTls?: boolean;
  /** What is sent for what came; not given: the same. null: it ends every connection at once. */
  readonly answer?: ((bytes: Buffer) => Buffer) | null;
}

function serverOf(isTls: boolean): Server {
  return isTls ? createTls({ cert: CERTIFICATE, key: KEY }) : createServer();
}

function whereOf({ host = "127.0.0.1", path }: EchoTargetOptions): Where {
  return path === undefined ? { host, port: 0 } : { path };
}

/** Sends back what comes. */
export function startEcho(options: EchoTargetOptions, atEnd: AtEnd): Promise<ProbeTarget> {
  const server = serverOf(options.isTls === true);
  const { answer = (bytes: Buffer) => bytes } = options;
  const onSocket = (_target: ProbeTarget, socket: Socket): void => {
    if (answer === null) socket.end();
    else socket.on("data", (bytes: Buffer) => socket.write(answer(bytes)));
  };
  return listening(server, whereOf(options), onSocket, atEnd);
}

/** Sends back the payload of every binary message, as a binary message. */
export function startWebSocketEcho(options: EchoTargetOptions, atEnd: AtEnd): Promise<ProbeTarget> {
  return startUpgrade(
    (key) => switching({ "Sec-WebSocket-Accept": acceptFor(key) }),
    atEnd,
    options,
    echoMessages,
  );
}

/** The head of an answer that accepts the upgrade; a header that is null is left out. */
export function switching(headers: Readonly<Record<string, string | null>>): string {
  const all: Record<string, string | null> = {
    Upgrade: "websocket",
    Connection: "Upgrade",
    ...headers,
  };
  const lines = Object.entries(all).flatMap(([name, value]) =>
    value === null ? [] : [`${name}: ${value}`],
  );
  return ["HTTP/1.1 101 Switching Protocols", ...lines, "", ""].join("\r\n");
}

/** @param answer what is sent for the request's key; null: nothing, ever. */
export function startUpgrade(
  answer: (key: string) => string | Buffer | null,
  atEnd: AtEnd,
  options: EchoTargetOptions = {},
  onBytes: (socket: Socket, bytes: Buffer) => Buffer = (_socket, bytes) => bytes,
): Promise<ProbeTarget> {
  const server = serverOf(options.isTls === true);
  return listening(
    server,
    whereOf(options),
    (target, socket) => {
      let rest: Buffer = Buffer.alloc(0);
      let isUpgraded = false;
      socket.on("data", (chunk: Buffer) => {
        rest = Buffer.concat([rest, chunk]);
        const end = rest.indexOf("\r\n\r\n");
        if (!isUpgraded && end !== -1) {
          const head = rest.toString("latin1", 0, end);
          target.requests.push(head);
          isUpgraded = true;
          rest = rest.subarray(end + 4);
          const text = answer(/^sec-websocket-key: (.*)$/im.exec(head)?.[1] ?? "");
          if (text !== null) socket.write(text);
        }
        if (isUpgraded) rest = onBytes(socket, rest);
      });
    },
    atEnd,
  );
}

/** @returns what is not a whole message yet. A client masks. */
function echoMessages(socket: Socket, bytes: Buffer): Buffer {
  let rest = bytes;
  while (rest.length >= 6) {
    const short = rest[1]! & 0x7f;
    const header = short === 126 ? 8 : 6;
    if (rest.length < header) break;
    const length = short === 126 ? rest.readUInt16BE(2) : short;
    if (rest.length < header + length) break;
    const payload = Buffer.from(rest.subarray(header, header + length));
    for (let at = 0; at < length; at++) payload[at] = payload[at]! ^ rest[header - 4 + (at & 3)]!;
    const opcode = rest[0]! & 0x0f;
    if (opcode === OPCODE.BINARY) socket.write(webSocketFrame({ opcode, payload, mask: null }));
    else if (opcode === OPCODE.CLOSE) socket.end(webSocketFrame({ opcode, payload, mask: null }));
    rest = rest.subarray(header + length);
  }
  return rest;
}

/** A port on which nothing listens. */
export async function closedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A process as it tells of itself, with figures that the test makes up. */
export async function startStats(
  changes: (askedTimes: number) => Readonly<Record<string, unknown>>,
  atEnd: AtEnd,
): Promise<string> {
  let asked = 0;
  const server = createHttp((_request, response) => {
    response.end(
      JSON.stringify({
        schema: "holdfast.stats/1",
        pid: 7,
        state: "serving",
        uptimeMs: 1_000 * ++asked,
        rssBytes: 50_000_000,
        cpuMicros: { user: 100_000 * asked, system: 0 },
        fds: 20,
        fdLimit: 20_000,
        connections: { total: 0, max: 18_000 },
        loop: { lagP99Ms: 1 },
        totals: { refused: 0 },
        admission: { accepting: true, turnedAway: 0 },
        closedByReason: {},
        ...changes(asked),
      }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  atEnd(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/stats`;
}
