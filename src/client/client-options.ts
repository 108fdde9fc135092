// What a client may be told: one table of numbers with defaults and ranges, and the checks of
// everything else. docs/client.md has the same table; a test compares them.

import { HoldfastError } from "../base/errors.ts";

/** How a lost connection is replaced. */
export interface ReconnectOptions {
  /** Ceiling of the first wait, in milliseconds; it doubles with every attempt. */
  readonly baseMs?: number;
  /** Where the ceiling stops growing, in milliseconds. */
  readonly maxMs?: number;
  /** Attempts in a row before the client gives up and is closed. */
  readonly attemptsMax?: number;
}

/** See docs/client.md for defaults and ranges. */
export interface ClientOptions {
  /**
   * Proves who the client is. A function is asked before every connection, so that an expired token
   * is replaced; if it throws or rejects, that attempt has failed.
   */
  readonly token?: string | (() => string | Promise<string>);
  /** Name and version of the program, for the server's logs. */
  readonly name?: string;
  /** The server finds connections by them. */
  readonly labels?: Readonly<Record<string, string>>;
  /** From the start of an attempt until bytes can be sent, in milliseconds. */
  readonly connectTimeoutMs?: number;
  /** From then until the server has accepted the client, in milliseconds. */
  readonly handshakeTimeoutMs?: number;
  /** For calls, publishes and subscribes that give none of their own, in milliseconds. */
  readonly callTimeoutMs?: number;
  /** False: a lost connection closes the client. */
  readonly reconnect?: ReconnectOptions | false;
  /** Bytes that may wait to be sent; beyond it calls and publishes are refused. */
  readonly sendBytesMax?: number;
  /** Events that a subscription keeps for a reader that is behind; then the oldest are dropped. */
  readonly eventsMax?: number;
}

/** Options of one call, publish or subscribe. */
export interface RequestOptions {
  /** Milliseconds; 1 to 86,400,000. Default: the client's callTimeoutMs. */
  readonly timeoutMs?: number;
  /** Gives up on the answer when it fires. What was sent is not taken back. */
  readonly signal?: AbortSignal;
}

export interface CallOptions extends RequestOptions {
  /** Handed to the method's handler. */
  readonly metadata?: Readonly<Record<string, string>>;
}

export interface SubscribeOptions extends RequestOptions {
  /** Instead of the client's eventsMax. */
  readonly eventsMax?: number;
}

/** Every option with its value. Shared by reference: a client keeps nothing else of its options. */
export interface ClientSettings {
  readonly token: string | (() => string | Promise<string>);
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly connectTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  readonly callTimeoutMs: number;
  readonly reconnect: Required<ReconnectOptions> | null;
  readonly sendBytesMax: number;
  readonly eventsMax: number;
}

export interface NumberRow {
  readonly default: number;
  /** Inclusive, as max. Whole numbers, or Infinity where max is. */
  readonly min: number;
  readonly max: number;
}

const DAY_MS = 86_400_000;

type NumberKey =
  | "connectTimeoutMs"
  | "handshakeTimeoutMs"
  | "callTimeoutMs"
  | "sendBytesMax"
  | "eventsMax";

export const CLIENT_NUMBERS: Readonly<Record<NumberKey, NumberRow>> = {
  connectTimeoutMs: { default: 10_000, min: 1, max: 600_000 },
  handshakeTimeoutMs: { default: 5_000, min: 1, max: 600_000 },
  callTimeoutMs: { default: 30_000, min: 1, max: DAY_MS },
  sendBytesMax: { default: 1_048_576, min: 1_024, max: 1_073_741_824 },
  eventsMax: { default: 1_024, min: 1, max: 1_000_000 },
};

export const RECONNECT_NUMBERS: Readonly<Record<keyof ReconnectOptions, NumberRow>> = {
  baseMs: { default: 500, min: 1, max: 600_000 },
  maxMs: { default: 20_000, min: 1, max: 3_600_000 },
  attemptsMax: { default: Infinity, min: 1, max: Infinity },
};

export const NAME_LENGTH_MAX = 128;
export const LABELS_MAX = 1_000;

const CLIENT_KEYS = [...Object.keys(CLIENT_NUMBERS), "token", "name", "labels", "reconnect"];
const REQUEST_KEYS = ["timeoutMs", "signal"];
const CALL_KEYS = [...REQUEST_KEYS, "metadata"];
const SUBSCRIBE_KEYS = [...REQUEST_KEYS, "eventsMax"];
const TIMEOUT: NumberRow = { ...CLIENT_NUMBERS.callTimeoutMs };

/** Throws HOLDFAST_OPTIONS_INVALID, which names the key, what it was, and what it may be. */
export function clientSettings(given: ClientOptions): ClientSettings {
  const options = record(given, "options", CLIENT_KEYS);
  return {
    token: checkToken(options["token"]),
    name: checkName(options["name"]),
    labels: checkTexts(options["labels"], "labels", LABELS_MAX),
    connectTimeoutMs: numberOf(options, "connectTimeoutMs", CLIENT_NUMBERS.connectTimeoutMs),
    handshakeTimeoutMs: numberOf(options, "handshakeTimeoutMs", CLIENT_NUMBERS.handshakeTimeoutMs),
    callTimeoutMs: numberOf(options, "callTimeoutMs", CLIENT_NUMBERS.callTimeoutMs),
    reconnect: checkReconnect(options["reconnect"]),
    sendBytesMax: numberOf(options, "sendBytesMax", CLIENT_NUMBERS.sendBytesMax),
    eventsMax: numberOf(options, "eventsMax", CLIENT_NUMBERS.eventsMax),
  };
}

/** Throws HOLDFAST_OPTIONS_INVALID. */
export function checkRequest(options: RequestOptions): void {
  checkTiming(record(options, "options", REQUEST_KEYS));
}

/** Throws HOLDFAST_OPTIONS_INVALID. */
export function checkCall(options: CallOptions): void {
  const given = record(options, "options", CALL_KEYS);
  checkTiming(given);
  if (given["metadata"] !== undefined) checkTexts(given["metadata"], "metadata", LABELS_MAX);
}

/** Throws HOLDFAST_OPTIONS_INVALID. */
export function checkSubscribe(options: SubscribeOptions): void {
  const given = record(options, "options", SUBSCRIBE_KEYS);
  checkTiming(given);
  if (given["eventsMax"] !== undefined) numberOf(given, "eventsMax", CLIENT_NUMBERS.eventsMax);
}

/** Throws HOLDFAST_OPTIONS_INVALID. */
export function checkPayload(payload: unknown): void {
  if (typeof payload === "string" || payload instanceof Uint8Array) return;
  refuse("payload", "is text or a Uint8Array", payload);
}

function checkTiming(given: Readonly<Record<string, unknown>>): void {
  if (given["timeoutMs"] !== undefined) numberOf(given, "timeoutMs", TIMEOUT);
  const { signal } = given as { signal?: unknown };
  if (signal === undefined) return;
  const isSignal = typeof (signal as AbortSignal | null)?.addEventListener === "function";
  if (!isSignal) refuse("signal", "is an AbortSignal", signal);
}

function checkToken(token: unknown): ClientSettings["token"] {
  if (token === undefined) return "";
  if (typeof token === "string") return token;
  if (typeof token === "function") return token as () => string;
  return refuse("token", "is text, or a function that gives text", token, false);
}

function checkName(name: unknown): string {
  if (name === undefined) return "";
  if (typeof name === "string" && name.length <= NAME_LENGTH_MAX) return name;
  return refuse("name", `is text of at most ${NAME_LENGTH_MAX} characters`, name);
}

function checkReconnect(given: unknown): Required<ReconnectOptions> | null {
  if (given === false) return null;
  const options = record(given ?? {}, "reconnect", Object.keys(RECONNECT_NUMBERS));
  const { baseMs, maxMs, attemptsMax } = RECONNECT_NUMBERS;
  const reconnect = {
    baseMs: numberOf(options, "baseMs", baseMs, "reconnect."),
    maxMs: numberOf(options, "maxMs", maxMs, "reconnect."),
    attemptsMax: numberOf(options, "attemptsMax", attemptsMax, "reconnect."),
  };
  if (reconnect.maxMs < reconnect.baseMs) {
    refuse(
      "reconnect.maxMs",
      `is at least reconnect.baseMs (${reconnect.baseMs})`,
      options["maxMs"],
    );
  }
  return reconnect;
}

function checkTexts(given: unknown, key: string, max: number): Readonly<Record<string, string>> {
  if (given === undefined) return NO_TEXTS;
  const texts = record(given, key, null);
  const entries = Object.entries(texts);
  if (entries.length > max) refuse(key, `has at most ${max} entries`, entries.length);
  for (const [name, text] of entries) {
    if (name === "") refuse(key, "has no empty names", name);
    if (typeof text !== "string") refuse(`${key}.${name}`, "is text", text);
  }
  return Object.freeze({ ...texts }) as Readonly<Record<string, string>>;
}

const NO_TEXTS: Readonly<Record<string, string>> = Object.freeze({});

function record(
  given: unknown,
  key: string,
  known: readonly string[] | null,
): Readonly<Record<string, unknown>> {
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    return refuse(key, "is an object", given);
  }
  if (known === null) return given as Readonly<Record<string, unknown>>;
  for (const name of Object.keys(given)) {
    if (known.includes(name)) continue;
    const path = key === "options" ? name : `${key}.${name}`;
    throw new HoldfastError(
      "HOLDFAST_OPTIONS_INVALID",
      `${path} is no option; known are ${known.join(", ")}`,
    );
  }
  return given as Readonly<Record<string, unknown>>;
}

function numberOf(
  options: Readonly<Record<string, unknown>>,
  key: string,
  row: NumberRow,
  area: string = "",
): number {
  const value = options[key];
  if (value === undefined) return row.default;
  const isWhole = Number.isInteger(value) || (value === Infinity && row.max === Infinity);
  if (isWhole && (value as number) >= row.min && (value as number) <= row.max) {
    return value as number;
  }
  const orInfinity = row.max === Infinity ? "or Infinity" : `to ${row.max}`;
  return refuse(`${area}${key}`, `is a whole number from ${row.min} ${orInfinity}`, value);
}

/** @param isShown false: the value may be a secret. */
function refuse(key: string, rule: string, value: unknown, isShown: boolean = true): never {
  const given = isShown ? `, not ${shown(value)}` : "";
  throw new HoldfastError("HOLDFAST_OPTIONS_INVALID", `${key} ${rule}${given}`);
}

function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 60));
  if (typeof value === "object" && value !== null)
    return Array.isArray(value) ? "a list" : "an object";
  return typeof value === "function" ? "a function" : String(value);
}
