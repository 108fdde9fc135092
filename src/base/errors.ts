// Every error that reaches a caller has a code from this table. Users match `code`; a code is never
// reused for another meaning. Broken invariants are in assert.ts; what peers do wrong is no
// exception at all but a close reason.

export const ERRORS = {
  HOLDFAST_OPTIONS_INVALID: "An option is unknown or its value is out of range.",
  HOLDFAST_LISTEN_FAILED: "A listener could not be opened.",
  HOLDFAST_TRANSPORT_UNAVAILABLE:
    "A transport that was asked for cannot be loaded on this machine.",
  HOLDFAST_SERVER_STATE: "The server is not in a state in which this call makes sense.",
  HOLDFAST_METHOD_INVALID: "A method's name or handler is invalid, or the name is taken.",
  HOLDFAST_FRAMING_INVALID: "A framing gave an impossible answer or cannot carry these bytes.",
  HOLDFAST_PAYLOAD_EXPIRED: "A payload was read after its handler had returned; copy it before.",
  HOLDFAST_CLOSE_CODE_INVALID: "A connection was to be closed with a code that is not to be sent.",
  HOLDFAST_LISTENER_KIND:
    "A raw listener's connection was asked to speak the session protocol, or the other way round.",
  HOLDFAST_FRAME_TOO_LARGE: "A message is larger than one frame may be.",
  HOLDFAST_TOPIC_INVALID: "A topic's name is empty or too long.",
  HOLDFAST_CALL_FAILED: "The server answered a call with a Failure.",
  HOLDFAST_CALL_TIMEOUT: "No answer came within the call's timeout.",
  HOLDFAST_CALL_ABORTED: "The caller's AbortSignal fired before the answer came.",
  HOLDFAST_DISCONNECTED: "The connection was lost before the answer came.",
  HOLDFAST_CONNECT_FAILED: "No endpoint could be reached, or the server refused the connection.",
  HOLDFAST_CLIENT_CLOSED: "The client was closed.",
  HOLDFAST_BUS_BROKEN: "Another process of the server sent what is no frame of their bus.",
  HOLDFAST_PROTOCOL: "The peer broke the wire contract.",
  HOLDFAST_PREFLIGHT_FAILED: "The machine cannot hold what the options promise.",
  HOLDFAST_WORKER_FAILED: "A worker process ended before it served, or its application failed.",
} as const;

export type ErrorCode = keyof typeof ERRORS;

/** An error with a stable code from {@link ERRORS}. */
export class HoldfastError extends Error {
  override readonly name: string = "HoldfastError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
