// The messages of the wire contract as TypeScript sees them, and the numbers that go with them.
// The field numbers are in protocol/holdfast/v1/holdfast.proto.

import type { Payload } from "./payload.ts";

export const PROTOCOL_VERSION = 1;
/** WebSocket subprotocol. */
export const SUBPROTOCOL = "holdfast.v1";

/** gRPC's status codes, as far as `Failure` uses them. */
export const STATUS = {
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

export type Status = (typeof STATUS)[keyof typeof STATUS];

export interface Hello {
  readonly version: number;
  readonly token: string;
  readonly client: string;
  readonly features: number;
  readonly resume: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface Call {
  readonly method: string;
  readonly payload: Payload | Uint8Array;
  readonly timeoutMs: number;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface Publish {
  readonly topic: string;
  readonly payload: Payload | Uint8Array;
}

export interface Subscribe {
  readonly topic: string;
  readonly epoch: string;
  readonly offset: number;
  readonly recover: boolean;
}

export interface Unsubscribe {
  readonly topic: string;
}

export interface Goodbye {
  readonly code: number;
  readonly reason: string;
}

/** As decoded: `body` names the one member that counts; it is undefined for a body nobody knows. */
export interface ClientMessage {
  readonly id: number;
  readonly body?: "hello" | "call" | "publish" | "subscribe" | "unsubscribe" | "goodbye";
  readonly hello?: Hello | null;
  readonly call?: Call | null;
  readonly publish?: Publish | null;
  readonly subscribe?: Subscribe | null;
  readonly unsubscribe?: Unsubscribe | null;
  readonly goodbye?: Goodbye | null;
}

export interface Welcome {
  readonly connectionId: string;
  /** The server sends a heartbeat after this much silence, in milliseconds. */
  readonly heartbeatMs: number;
  readonly maxFrameBytes: number;
  readonly features: number;
  readonly node: string;
  readonly version: number;
  readonly resume: string;
}

export interface Result {
  readonly payload: Uint8Array;
}

export interface Failure {
  readonly code: number;
  readonly reason: string;
  readonly retryable: boolean;
  readonly retryAfterMs: number;
}

export interface Event {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly offset: number;
}

export interface Gap {
  readonly topic: string;
  readonly missed: number;
}

export interface GoAway {
  readonly code: number;
  readonly reason: string;
  readonly reconnectAfterMs: number;
  readonly endpoints: readonly string[];
}

/** As decoded: see {@link ClientMessage}. */
export interface ServerMessage {
  readonly id: number;
  readonly body?: "welcome" | "result" | "failure" | "event" | "gap" | "goAway";
  readonly welcome?: Welcome | null;
  readonly result?: Result | null;
  readonly failure?: Failure | null;
  readonly event?: Event | null;
  readonly gap?: Gap | null;
  readonly goAway?: GoAway | null;
}

type PartialFields<T> = { readonly [K in keyof T]?: T[K] | null };
type PartialBodies<T> = {
  readonly [K in Exclude<keyof T, "id" | "body">]?: PartialFields<NonNullable<T[K]>> | null;
};

/** To be encoded: missing fields are the defaults. */
export type ClientMessageInit = { readonly id?: number } & PartialBodies<ClientMessage>;
/** To be encoded: missing fields are the defaults. */
export type ServerMessageInit = { readonly id?: number } & PartialBodies<ServerMessage>;
