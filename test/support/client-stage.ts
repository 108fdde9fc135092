// A client on a network that is only in the test's mind, in time that passes when the test says so.

import type { Client } from "../../src/client/client.ts";
import type { ClientOptions } from "../../src/client/client-options.ts";
import { connect } from "../../src/client/node.ts";
import type { Subscription } from "../../src/client/topic-reader.ts";
import { FakeNetwork, type FakePeer, honest, type Script } from "./fake-server.ts";
import { ManualClock } from "./manual-clock.ts";

export class ClientStage {
  readonly clock: ManualClock = new ManualClock();
  readonly network: FakeNetwork;
  readonly client: Client;
  /** Every state after the first. */
  readonly states: string[] = [];
  /** Why connections were lost. */
  readonly losses: Error[] = [];

  constructor(
    options: ClientOptions = {},
    script: Script = honest,
    endpoints: string | readonly string[] = "tcp://a:1",
    prepare: (network: FakeNetwork) => void = () => {},
  ) {
    this.network = new FakeNetwork(script);
    prepare(this.network);
    const parts = { clock: this.clock, seed: 7, dialer: this.network.dialer };
    this.client = connect(endpoints, options, parts);
    this.client.onState((state, error) => {
      this.states.push(state);
      if (error !== null) this.losses.push(error);
    });
  }

  /** A stage whose client is active. */
  static async active(
    options: ClientOptions = {},
    script: Script = honest,
    endpoints: string | readonly string[] = "tcp://a:1",
  ): Promise<ClientStage> {
    const stage = new ClientStage(options, script, endpoints);
    await stage.clock.settle();
    return stage;
  }

  get peer(): FakePeer {
    return this.network.peer;
  }

  settle(): Promise<void> {
    return this.clock.settle();
  }

  /** What promises have come to when nothing more happens by itself. */
  async outcomes(...promises: readonly Promise<unknown>[]): Promise<unknown[]> {
    const watched = promises.map(watch);
    await this.settle();
    return watched.map(({ outcome }) => outcome);
  }

  async outcome(promise: Promise<unknown>): Promise<unknown> {
    const [outcome] = await this.outcomes(promise);
    return outcome;
  }

  /** Lets the backoff pass, whatever it is, and what follows. */
  async reconnected(): Promise<void> {
    await this.clock.advance(60_000);
  }
}

/** What a promise has come to so far: "pending", "done", its value, or what it rejected with. */
export interface Watched {
  readonly outcome: unknown;
}

export function watch(promise: Promise<unknown>): Watched {
  const watched = { outcome: "pending" as unknown };
  promise.then(
    (value) => {
      watched.outcome = value === undefined ? "done" : value;
    },
    (error: unknown) => {
      watched.outcome = error;
    },
  );
  return watched;
}

/** Collects what a subscription gives, as text, until it ends. */
export class Collected {
  readonly items: string[] = [];
  /** "open", "ended", or what was thrown. */
  end: unknown = "open";

  constructor(subscription: Subscription) {
    void this.#run(subscription);
  }

  async #run(subscription: Subscription): Promise<void> {
    try {
      for await (const message of subscription) {
        if (message.type === "gap") this.items.push(`gap ${message.missed}`);
        else this.items.push(`${new TextDecoder().decode(message.payload)}@${message.offset}`);
      }
      this.end = "ended";
    } catch (error) {
      this.end = error;
    }
  }
}
