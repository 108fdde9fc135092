// What can go wrong between a probe and a server, as one closed vocabulary: `phase.cause`, with a
// detail where a number belongs to it (`upgrade.status.403`, `hello.refused.3004`). Reports,
// verdicts and exit codes are made from these; users match them.

/** Whose doing a failure is, as far as it can be told from here. */
export type Party = "client" | "network" | "server" | "prober";

/** In the order in which a connection goes through them; `prober` is our own side. */
export const PHASES = [
  "dns",
  "connect",
  "tls",
  "upgrade",
  "hello",
  "subscribe",
  "closed",
  "echo",
  "publish",
  "app",
  "prober",
] as const;
export type Phase = (typeof PHASES)[number];

export interface FailureRow {
  readonly party: Party;
  readonly meaning: string;
  /** A number follows the name: a status, an alert, a close code. */
  readonly detail?: string;
}

/** Every failure, by name without its detail. */
export const FAILURES = {
  "dns.nxdomain": { party: "client", meaning: "The target's name is not known." },
  "dns.timeout": { party: "network", meaning: "The name was not resolved in time." },
  "connect.refused": { party: "server", meaning: "Nothing listens there, or it was told not to." },
  "connect.timeout": {
    party: "network",
    meaning: "The TCP handshake did not end in time: packets are dropped, or a backlog is full.",
  },
  "connect.reset": { party: "server", meaning: "The TCP handshake was answered with a reset." },
  "connect.unreachable": { party: "network", meaning: "No route leads there." },
  "connect.local_exhausted": {
    party: "prober",
    meaning: "The probe has no free local address and port for this target (EADDRNOTAVAIL).",
  },
  "connect.other": { party: "network", meaning: "connect() failed with another error." },
  "tls.alert": { party: "server", meaning: "The peer ended the TLS handshake.", detail: "alert" },
  "tls.malformed": { party: "server", meaning: "What answered the TLS handshake is no TLS." },
  "tls.timeout": { party: "server", meaning: "The TLS handshake did not end in time." },
  "tls.verify": { party: "server", meaning: "The certificate is not to be trusted." },
  "tls.closed": { party: "server", meaning: "The connection ended inside the TLS handshake." },
  "upgrade.status": {
    party: "server",
    meaning: "The WebSocket upgrade was answered with another status than 101.",
    detail: "status",
  },
  "upgrade.bad_accept": {
    party: "server",
    meaning: "101 without the Sec-WebSocket-Accept that belongs to our key, or without the rest.",
  },
  "upgrade.bad_response": { party: "server", meaning: "The answer to the upgrade is no HTTP." },
  "upgrade.timeout": { party: "server", meaning: "The upgrade was not answered in time." },
  "upgrade.closed": { party: "server", meaning: "The connection ended inside the upgrade." },
  "hello.refused": {
    party: "server",
    meaning: "Hello was answered with GoAway, Failure or a close frame.",
    detail: "code",
  },
  "hello.timeout": { party: "server", meaning: "Hello was not answered in time." },
  "hello.closed": { party: "server", meaning: "The connection ended before Hello was answered." },
  "hello.malformed": { party: "server", meaning: "What came before Welcome is no frame of ours." },
  "subscribe.failure": { party: "server", meaning: "Subscribe was refused.", detail: "status" },
  "closed.code": {
    party: "server",
    meaning: "The server ended a held connection and said why.",
    detail: "code",
  },
  "closed.fin": { party: "server", meaning: "The server ended a held connection without a word." },
  "closed.reset": { party: "server", meaning: "A held connection was reset." },
  "closed.timeout": { party: "network", meaning: "A held connection timed out in the kernel." },
  "closed.malformed": { party: "server", meaning: "Bytes on a held connection were no frames." },
  "echo.timeout": { party: "server", meaning: "An echo did not come back in time." },
  "echo.lost": { party: "server", meaning: "The connection ended while an echo was under way." },
  "echo.failure": {
    party: "server",
    meaning: "A call was answered with Failure.",
    detail: "status",
  },
  "publish.timeout": { party: "server", meaning: "A publish was not answered in time." },
  "publish.lost": { party: "server", meaning: "The connection ended before publish was answered." },
  "publish.failure": { party: "server", meaning: "A publish was refused.", detail: "status" },
  "echo.blocked": {
    party: "server",
    meaning: "An echo was not sent: the server reads too slowly, and earlier bytes still wait.",
  },
  "echo.unconnected": { party: "server", meaning: "An echo was due and no connection was up." },
  "publish.blocked": {
    party: "server",
    meaning: "A publish was not sent: earlier bytes still wait.",
  },
  "publish.unconnected": {
    party: "server",
    meaning: "A publish was due and no connection was up.",
  },
  "app.mismatch": { party: "server", meaning: "An echo came back with other bytes." },
  "app.missed": { party: "server", meaning: "An event of a subscription never came." },
  "app.duplicate": { party: "server", meaning: "An event came twice, or out of order." },
  "prober.fd": { party: "prober", meaning: "The probe is out of files (EMFILE, ENFILE)." },
  "prober.memory": { party: "prober", meaning: "The probe's kernel has no buffers (ENOBUFS)." },
} as const;

export type FailureName = keyof typeof FAILURES;
/** A name of {@link FAILURES}, with `.detail` where it has one. */
export type FailureCode = FailureName | `${FailureName}.${number}`;

export interface FailureFacts extends FailureRow {
  readonly code: string;
  readonly phase: Phase;
  readonly cause: string;
}

/** A code's row, whatever its detail; throws where there is none. */
export function failureFacts(code: string): FailureFacts {
  const [phase, cause] = code.split(".") as [Phase, string];
  const row = (FAILURES as Readonly<Record<string, FailureRow>>)[`${phase}.${cause}`];
  if (row === undefined) throw new Error(`no such failure: ${code}`);
  return { ...row, code, phase, cause: code.slice(phase.length + 1) };
}

const CONNECT_ERRORS: Readonly<Record<string, FailureName>> = {
  ENOTFOUND: "dns.nxdomain",
  EAI_AGAIN: "dns.timeout",
  ECONNREFUSED: "connect.refused",
  // A Unix socket: nobody listens, or its backlog is full.
  ENOENT: "connect.refused",
  EAGAIN: "connect.timeout",
  ETIMEDOUT: "connect.timeout",
  ECONNRESET: "connect.reset",
  ECONNABORTED: "connect.reset",
  EHOSTUNREACH: "connect.unreachable",
  ENETUNREACH: "connect.unreachable",
  EADDRNOTAVAIL: "connect.local_exhausted",
  EADDRINUSE: "connect.local_exhausted",
  EMFILE: "prober.fd",
  ENFILE: "prober.fd",
  ENOBUFS: "prober.memory",
  ENOMEM: "prober.memory",
};

/** The failure behind an errno of connect(). */
export function connectFailure(errno: string): FailureName {
  return CONNECT_ERRORS[errno] ?? "connect.other";
}
