// A whole server and its clients in one seeded run: everything that happens is drawn from the seed
// and happens in virtual time, so that a run can be replayed.

import { Prng } from "../../src/base/prng.ts";
import { Connection } from "../../src/connection/connection.ts";
import type { CloseCause } from "../../src/connection/close-reason.ts";
import type { State } from "../../src/connection/state.ts";
import { Server } from "../../src/server/server.ts";
import type { MemoryTransport } from "../../src/transport/memory.ts";
import { frame } from "./raw-message.ts";
import { type SeenEvent, SimClient, type SimClientOwner } from "./sim-client.ts";
import { SimInvariants, whatIsLeft } from "./sim-invariants.ts";
import {
  CALM,
  HEAL_MS,
  moodOf,
  type NetworkMood,
  planOf,
  type SimPlan,
  TOPICS,
} from "./sim-plan.ts";
import { VirtualClock } from "./virtual-clock.ts";

/** Causes that an honest client never deserves. */
const UNDESERVED: readonly CloseCause[] = [
  "bad_message",
  "unknown_body",
  "bad_state",
  "malformed_frame",
  "frame_too_large",
  "wrong_protocol",
  "framing_broken",
  "handler_error",
  "bad_hello",
  "bad_version",
  "truncated_frame",
  "text_message",
  "empty_message",
];

const OFFENCES: readonly Buffer[] = [
  Buffer.from([0xff, 0xff, 0xff, 0xff]),
  Buffer.from("GET / HTTP/1.1\r\n\r\n"),
  frame(Buffer.from([0xff])),
  frame(Buffer.from([0x08, 0x01])),
  frame(Buffer.alloc(100, 7)),
  // The beginning of a frame, and nothing more.
  Buffer.from([0, 0, 1]),
];

/** What a run did, to see that a seed was worth its time. */
export interface SimResult {
  readonly events: number;
  readonly lives: number;
  readonly delivered: number;
  readonly causes: Readonly<Record<string, number>>;
  /** Changes with everything that every client and the server did. */
  readonly fingerprint: number;
}

export class SimWorld implements SimClientOwner {
  readonly plan: SimPlan;
  readonly clock: VirtualClock = new VirtualClock();
  readonly server: Server;
  readonly clients: SimClient[];
  readonly invariants: SimInvariants;
  readonly #prng: Prng;
  #mood: NetworkMood = CALM;
  #isTroubled: boolean = true;
  #violation: Error | null = null;
  #events: number = 0;
  readonly #lookEvery: number;
  #published: number = 0;
  #fingerprint: number = 0;
  #stopped: Promise<void> | null = null;
  #hasStopped: boolean = false;
  /** Event number -> its topic and offset, the same for everybody who sees it. */
  readonly #seen: Map<number, SeenEvent> = new Map();
  readonly #trace: ((text: string) => void) | null;

  /** @param trace told what happens, for a replay. */
  constructor(seed: number, trace: ((text: string) => void) | null = null) {
    this.#prng = new Prng(seed);
    this.plan = planOf(seed, this.#prng);
    this.#trace = trace;
    this.#lookEvery = this.plan.crowd > 0 ? 200 : 1;
    this.server = this.#newServer();
    this.invariants = new SimInvariants(this.server, (what) => this.violated(what));
    this.clients = Array.from(
      { length: this.plan.clients },
      (_, index) => new SimClient(`client${index}`, this),
    );
  }

  /** Runs the seed to its end. Rejects with what was violated, and how to replay it. */
  async run(): Promise<SimResult> {
    const restore = this.#watchMoves();
    try {
      await this.#live();
    } catch (error) {
      const { seed, ...plan } = this.plan;
      const where = `seed ${seed}, at ${this.clock.now()} ms, event ${this.#events}`;
      const replay = `HOLDFAST_SIM_SEED=${seed} npx vitest run --project sim`;
      const what = `${where}: ${(error as Error).message}`;
      const text = `${what}\nreplay: ${replay}\n${JSON.stringify(plan)}`;
      throw new Error(text, { cause: error });
    } finally {
      restore();
    }
    const causes = Object.entries(this.server.closedByCause).filter(([, count]) => count > 0);
    return {
      events: this.#events,
      lives: this.clients.reduce((sum, { lives }) => sum + lives, 0),
      delivered: this.server.topics.delivered,
      causes: Object.fromEntries(causes),
      fingerprint: this.#fingerprint,
    };
  }

  violated(what: string): never {
    this.#violation ??= new Error(what);
    throw this.#violation;
  }

  onEvent(event: SeenEvent): void {
    const known = this.#seen.get(event.number);
    if (known === undefined) this.#seen.set(event.number, event);
    else if (known.topic !== event.topic || known.offset !== event.offset) {
      this.violated(
        `I3: event ${event.number} is ${known.offset} to one and ${event.offset} to another`,
      );
    }
    this.#mark(event.number);
  }

  onDown(client: SimClient, code: number): void {
    this.#note(`${client.name} is down with ${code}, told ${client.goAwayCode}`);
    this.#mark(code);
    this.#comeBack(client, this.#prng.int(50, 800));
  }

  async #live(): Promise<void> {
    await this.server.start();
    for (const client of this.clients) this.#comeBack(client, this.#prng.int(0, 500));
    if (this.plan.crowd > 0) this.#addCrowd();
    const trouble = this.clock.now() + this.plan.troubleMs;
    this.#happen();
    await this.#until(trouble);
    if (this.plan.stopsEarly) {
      await this.#stop();
      return;
    }
    this.#heal();
    await this.#until(this.clock.now() + HEAL_MS);
    this.#checkHealed();
    await this.#probe();
    this.#checkComplete();
    await this.#stop();
  }

  async #until(ms: number): Promise<void> {
    await this.clock.run(ms, () => {
      this.#events++;
      if (this.#violation !== null) throw this.#violation;
      // Looking at all of a crowd after every event would take most of the time.
      if (this.#events % this.#lookEvery === 0) this.invariants.afterEvent();
    });
  }

  #newServer(): Server {
    const { options, listeners } = this.plan;
    const off = { enabled: false } as const;
    const server = new Server(
      { ...options, tcp: off, websocket: off, admin: off },
      {
        clock: this.clock,
        seed: this.plan.seed,
        listeners: listeners.map(({ name, policy, framing, ...memory }) => ({
          name,
          policy,
          framing,
          transport: {
            kind: "memory",
            ...memory,
            delayMs: () => this.#prng.float() * this.#mood.delayMsMax,
            segmentBytes: (length) =>
              this.#prng.int(1, Math.min(length, this.#mood.segmentBytesMax)),
          },
        })),
        hooks: {
          onDisconnect: ({ labels }, _reason, cause) => this.#checkDeserved(labels, cause),
          // An application that reacts to one end by publishing, from inside of whatever ended it.
          onConnect: () => this.#publishFromServer(),
        },
      },
    );
    server.method("echo", ({ payload }) => payload);
    server.method("fail", () => Promise.reject(new Error("as it should")));
    server.method("sleep", ({ payload }) => {
      const text = payload.text();
      return new Promise((resolve) => {
        this.clock.after(Number.parseInt(text, 10), () => resolve(text));
      });
    });
    server.topicPolicy(TOPICS[0]!, "conflate").topicPolicy(TOPICS[1]!, "drop-newest");
    return server;
  }

  #checkDeserved(labels: ReadonlyMap<string, string> | null, cause: CloseCause): void {
    const client = this.clients.find(({ name }) => name === labels?.get("name"));
    if (client === undefined || client.isHostile || !UNDESERVED.includes(cause)) return;
    // It throws inside a hook, which the server catches: the next step sees the violation.
    this.violated(`${client.name} was cut off for ${cause} and has done nothing`);
  }

  /** Every change of state of every connection is seen by the invariants. */
  #watchMoves(): () => void {
    const { prototype } = Connection;
    const { move } = prototype;
    const { invariants } = this;
    prototype.move = function (event) {
      const from: State = this.state;
      move.call(this, event);
      invariants.onMove(this, from, this.state);
    };
    return () => {
      prototype.move = move;
    };
  }

  #comeBack(client: SimClient, afterMs: number): void {
    this.clock.after(afterMs, () => {
      if (client.state !== "down" || this.#hasStopped) return;
      const listener = this.#pick(this.server.listeners);
      const { framing } = this.plan.listeners.find(({ name }) => name === listener.name)!;
      this.invariants.attempts++;
      const { notAdmitted } = this.server.shared.counters;
      const isRude = this.#isTroubled && this.#prng.float() < 0.05;
      const rudeness = isRude ? this.#pick(OFFENCES) : null;
      if (client.connect(listener.transport as MemoryTransport, framing, rudeness)) return;
      if (this.server.shared.counters.notAdmitted === notAdmitted) this.invariants.unheard++;
      if (this.server.state === "serving") this.#comeBack(client, 500);
    });
  }

  /** Listeners only, so that a fan-out of their topic takes several turns. */
  #addCrowd(): void {
    for (let index = 0; index < this.plan.crowd; index++) {
      const member = new SimClient(`crowd${index}`, this);
      this.clients.push(member);
      this.#comeBack(member, index);
      this.clock.after(2_000, () => {
        if (member.state === "active") member.send(member.subscribe(TOPICS[2]!));
      });
    }
  }

  /** Trouble comes at random, until it ends. */
  #happen(): void {
    if (!this.#isTroubled) return;
    const pause = -Math.log(1 - this.#prng.float()) * this.plan.paceMs;
    this.clock.after(pause, () => {
      if (!this.#isTroubled) return;
      if (this.#prng.float() < 0.12) this.#shake();
      else this.#act(this.#pick(this.clients));
      this.#happen();
    });
  }

  /** Something happens to the machine or to the application. */
  #shake(): void {
    switch (this.#prng.int(0, 6)) {
      case 0:
        this.#note("the loop stalls");
        this.clock.stall(this.#prng.int(1, 2_000));
        return;
      case 1:
        this.clock.jumpWall(this.#prng.int(-3_600_000, 3_600_000));
        return;
      case 2:
      case 3:
        this.#mood = moodOf(this.#prng, this.plan.crowd > 0);
        this.#note(`the network: ${JSON.stringify(this.#mood)}`);
        return;
      case 4:
        this.#broadcast("0 ".repeat(this.#prng.int(1, 500)));
        return;
      default: {
        const connection = this.server.connection(this.#pick(this.clients).connectionId);
        this.#note(`the server disconnects ${connection?.id ?? "nobody"}`);
        connection?.disconnect({ code: this.#pick([1000, 3005, 3505, 4_200]) });
      }
    }
  }

  #act(client: SimClient): void {
    const { peer } = client;
    if (peer === null) return;
    const choice = this.#prng.int(0, 99);
    this.#mark(choice);
    if (client.state === "active" && choice < 88) {
      this.#talk(client, choice);
      return;
    }
    this.#note(`${client.name} (${client.state}) does ${choice}`);
    if (choice < 94) this.#stopReading(client);
    else if (choice < 95) peer.end();
    else if (choice < 96) peer.reset();
    else if (choice < 97) this.#vanish(client);
    else if (choice < 98) client.sayGoodbye();
    else if (choice < 99) client.answersHeartbeats = this.#prng.float() < 0.5;
    else client.junk(this.#pick(OFFENCES));
  }

  /** For a while, or until trouble ends. */
  #stopReading(client: SimClient): void {
    const { peer } = client;
    peer!.setReading(false);
    this.clock.after(this.#prng.int(50, 1_500), () => peer!.setReading(true));
  }

  #talk(client: SimClient, choice: number): void {
    const prng = this.#prng;
    const text = "x".repeat(prng.int(0, 19) === 0 ? prng.int(0, 6_000) : prng.int(0, 60));
    const topic = this.#pick(TOPICS);
    if (choice < 20) client.send(client.call("echo", text));
    else if (choice < 28) client.send(client.call("sleep", `${prng.int(0, 2_500)}`));
    else if (choice < 31) client.send(client.call("fail", ""));
    else if (choice < 34) client.send(client.call("unknown", ""));
    else if (choice < 56) client.send(client.subscribe(topic));
    else if (choice < 60) client.send(client.unsubscribe(topic));
    else if (choice < 78) client.send(client.publish(topic, this.#eventText(prng.int(8, 2_000))));
    else if (choice < 84) this.#flood();
    else client.send(...this.#burst(client, text.slice(0, 60)));
  }

  /** What makes the server stop reading, in the middle of what it has received. */
  #burst(client: SimClient, text: string): Buffer[] {
    const prng = this.#prng;
    const count = prng.int(1, prng.int(0, 9) === 0 ? 90 : 12);
    return Array.from({ length: count }, () =>
      prng.int(0, 3) > 0 ? client.call("echo", text) : client.call("sleep", `${prng.int(0, 40)}`),
    );
  }

  /** The cable is pulled; the client notices after a while and comes back. */
  #vanish(client: SimClient): void {
    const { peer } = client;
    peer!.blackhole();
    this.clock.after(this.#prng.int(500, 6_000), () => {
      if (client.peer === peer) peer!.reset();
    });
  }

  #publishFromServer(): void {
    this.server.publish(this.#pick(TOPICS), this.#eventText());
  }

  /** More than a slow reader can take: policies get to work. */
  #flood(): void {
    const topic = this.#pick(TOPICS);
    for (let count = this.#prng.int(1, 80); count > 0; count--) {
      this.server.publish(topic, this.#eventText(this.#prng.int(8, 2_000)));
    }
  }

  #broadcast(text: string): void {
    this.invariants.broadcasts++;
    void this.server.broadcast("all", text).then(() => this.invariants.broadcasts--);
  }

  /** Events carry their number over and over, so that a cut or a mix-up shows. */
  #eventText(length: number = this.#prng.int(8, 100)): string {
    const number = `${++this.#published} `;
    return number.repeat(Math.ceil(length / number.length)).slice(0, length);
  }

  /** No more trouble: everybody reads, nobody is lost, and who offended comes back honest. */
  #heal(): void {
    this.#note("heal");
    this.#isTroubled = false;
    this.#mood = CALM;
    for (const client of this.clients) {
      client.answersHeartbeats = true;
      client.peer?.setReading(true);
      if (client.isHostile) client.peer?.reset();
    }
  }

  /** I9: whoever is let in is active; and the server is as full as it may be. */
  #checkHealed(): void {
    const active = this.clients.filter(({ state }) => state === "active").length;
    const wanted = Math.min(this.clients.length, this.server.admission.connectionsMax);
    if (active < wanted) this.violated(`I9: ${active} of ${wanted} clients are active again`);
    for (const client of this.clients) {
      if (client.state === "active" && client.awaited.size > 0) {
        this.violated(`I9: ${client.name} still awaits ${client.awaited.size} answers`);
      }
    }
    // A heartbeat may be on its way to each.
    const { bytes } = this.server.shared.budget;
    if (bytes > 5 * wanted) this.violated(`I9: ${bytes} bytes are still queued`);
  }

  /** Every active client calls, and gets the event that the server publishes. */
  async #probe(): Promise<void> {
    const active = this.clients.filter(({ state }) => state === "active");
    for (const client of active) client.send(client.call("echo", "probe"));
    for (const topic of TOPICS) {
      const { followers } = { followers: active.filter(({ followed }) => followed.has(topic)) };
      if (followers.length > 0) this.server.publish(topic, `${++this.#published} `);
    }
    await this.#until(this.clock.now() + 1_000);
    for (const client of active) {
      if (client.state !== "active") this.violated(`I9: ${client.name} was lost without trouble`);
      if (client.awaited.size > 0) this.violated(`I9: ${client.name} got no answer`);
    }
  }

  /** I3: what a subscriber received and what it was told it missed is all there was. */
  #checkComplete(): void {
    for (const client of this.clients) {
      if (client.state !== "active") continue;
      const connection = this.server.registry.byId(client.connectionId)!;
      for (const [topic, flow] of connection.subscriptions ?? []) {
        const { joinedAt, topic: of } = flow as unknown as {
          joinedAt: number;
          topic: { offset: number };
        };
        const followed = client.followed.get(topic);
        const counted = (followed?.counted ?? 0) + flow.missed;
        if (counted !== of.offset - joinedAt) {
          this.violated(
            `I3: ${client.name} counts ${counted} of ${of.offset - joinedAt} in ${topic}`,
          );
        }
        if (followed?.last !== null && followed?.last !== of.offset) {
          this.violated(`I3: ${client.name} is at ${followed?.last} of ${of.offset} in ${topic}`);
        }
      }
    }
  }

  async #stop(): Promise<void> {
    this.#note("stop");
    this.#isTroubled = false;
    this.#stopped = this.server.stop().then(() => {
      this.#hasStopped = true;
    });
    const { connection, drain } = this.server.options;
    const deadline = drain.graceMs + drain.closeSpreadMs + connection.closeTimeoutMs + 3_000;
    await this.#until(this.clock.now() + deadline);
    if (!this.#hasStopped) this.violated(`the server has not stopped in ${deadline} ms`);
    await this.#stopped;
    const left = whatIsLeft(this.server);
    if (Object.keys(left).length > 0)
      this.violated(`left of a stopped server: ${JSON.stringify(left)}`);
    // Clients' own timers may be pending; the server's are not.
    await this.#until(this.clock.now() + 60_000);
    if (this.clock.pending > 0) this.violated(`${this.clock.pending} calls are still scheduled`);
    if (this.server.shared.pool.leased > 0) this.violated("a lease came after the end");
  }

  #pick<T>(values: readonly T[]): T {
    return values[this.#prng.int(0, values.length - 1)]!;
  }

  #mark(value: number): void {
    this.#fingerprint =
      (Math.imul(this.#fingerprint, 31) + value + Math.floor(this.clock.now())) | 0;
  }

  #note(text: string): void {
    this.#trace?.(`${this.clock.now().toFixed(1)} ${text}`);
  }
}
