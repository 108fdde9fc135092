// The one public list of exports. What is not here may change without notice.

export { ERRORS, type ErrorCode, HoldfastError } from "./base/errors.ts";
export { systemClock, type Clock } from "./base/clock.ts";
export {
  CallError,
  type Client,
  type ClientOptions,
  connect,
  type Subscription,
} from "./client/node.ts";
export type { Options, PartialOptions } from "./config/options.ts";
export { OptionsError } from "./config/options-error.ts";
export type { ClientConnection, DisconnectOptions } from "./connection/client-connection.ts";
export {
  CLOSE_CAUSES,
  CLOSE_REASONS,
  type CloseCause,
  type CloseReason,
} from "./connection/close-reason.ts";
export type { RawHandler } from "./connection/connection-context.ts";
export { SEND, type SendOutcome } from "./connection/outbound.ts";
export type { SlowConsumerPolicy } from "./connection/send-queue.ts";
export {
  createLog,
  type Log,
  type LogDestination,
  type LogEvent,
  type LogFields,
  type LogLosses,
  type LogOptions,
  silentLog,
} from "./observe/log.ts";
export type { DeliveryOutcome } from "./server/delivery.ts";
export type { ListenerSpec, ListenerTransport } from "./server/listener-spec.ts";
export {
  type CallAnswer,
  type CallContext,
  type CallHandler,
  StatusError,
} from "./server/router.ts";
export {
  createServer,
  type HoldfastServer,
  type ServerHooks,
  type ServerParts,
  type ServerState,
} from "./server/server.ts";
export type { TransportAddress } from "./transport/transport.ts";
export {
  FRAME_MALFORMED,
  FRAME_TOO_LARGE,
  FRAME_UNKNOWN,
  type Framing,
  newlineFraming,
  uint32Framing,
  varintFraming,
} from "./wire/framing.ts";
export { STATUS, type Status } from "./wire/messages.ts";
export type { Payload } from "./wire/payload.ts";
