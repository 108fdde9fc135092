// How a client is made, wherever it runs; node.ts and browser.ts bring the dialer.

import { BufferPool } from "../base/buffer-pool.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { Prng } from "../base/prng.ts";
import { type Client, type ClientParts, ConnectedClient } from "./client.ts";
import { ClientFrameWriter } from "../wire/client-frame.ts";
import { type ClientOptions, clientSettings } from "./client-options.ts";
import type { Dialer } from "./dial.ts";
import { parseEndpoints } from "../transport/endpoint.ts";

/** What is replaced for tests and simulations; the defaults are the real ones. */
export interface ConnectParts {
  readonly clock?: Clock;
  /** Seeds the jitter of reconnecting; default: random. */
  readonly seed?: number;
  readonly dialer?: Dialer;
}

/** What all clients of a process share: an idle one owns its connection and little else. */
export function sharedParts(dialer: Dialer): ClientParts {
  return {
    clock: systemClock,
    pool: new BufferPool(),
    writer: new ClientFrameWriter(),
    dialer,
    prng: new Prng(Prng.randomSeed()),
  };
}

/** Throws HOLDFAST_OPTIONS_INVALID. */
export function connectWith(
  shared: ClientParts,
  endpoints: string | readonly string[],
  options: ClientOptions,
  parts: ConnectParts,
): Client {
  const { clock = shared.clock, seed, dialer = shared.dialer } = parts;
  const prng = seed === undefined ? shared.prng : new Prng(seed);
  const isPlain = clock === shared.clock && dialer === shared.dialer && prng === shared.prng;
  return new ConnectedClient(
    parseEndpoints(endpoints, dialer.schemes),
    clientSettings(options),
    isPlain ? shared : { ...shared, clock, dialer, prng },
  );
}
