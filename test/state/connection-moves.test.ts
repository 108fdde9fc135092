import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AssertionError } from "../../src/base/assert.ts";
import { Connection } from "../../src/connection/connection.ts";
import {
  ILLEGAL,
  nextState,
  STATE,
  STATE_EVENTS,
  STATE_NAMES,
  type State,
  type StateEvent,
} from "../../src/connection/state.ts";
import { type MemoryClient, MemoryServer } from "../support/memory-server.ts";
import { call, goodbye, HEARTBEAT, hello } from "../support/raw-message.ts";

let running: MemoryServer;

beforeEach(async () => {
  running = await MemoryServer.start({
    options: {
      connection: {
        heartbeatMs: 1_000,
        heartbeatJitter: 0,
        idleTimeoutMs: 2_500,
        handshakeTimeoutMs: 3_000,
        closeTimeoutMs: 4_000,
      },
    },
    prepare: (server) => server.method("echo", ({ payload }) => payload),
  });
});

afterEach(async () => {
  await running.stop();
});

/** How many connections are in each state, by the counter that operators see. */
function counted(): Record<string, number> {
  const counts = running.server.listeners[0]!.context.stateCounts;
  const entries = STATE_NAMES.map((name, state) => [name, counts[state]!] as const);
  return Object.fromEntries(entries.filter(([, count]) => count > 0));
}

/** A connection that is in a state by no way but the legal one. */
async function inState(state: State): Promise<{ client: MemoryClient; connection: Connection }> {
  const client = running.connect();
  const connection = running.connectionOf(client);
  if (state >= STATE.ACTIVE) {
    client.sendBody(hello(1));
    await running.clock.settle();
  }
  if (state === STATE.IDLE) await running.clock.advance(1_100);
  if (state === STATE.CLOSING) {
    client.peer.setReading(false);
    connection.close("shutdown", "draining");
  }
  expect(connection.state).toBe(state);
  return { client, connection };
}

/** A connection on its own, in INIT or ACCEPTED, where none of a listener's can be seen. */
function unopened(state: State): Connection {
  const { context } = running.server.listeners[0]!;
  const connection = new Connection(context, 4_711, 4_711);
  if (state === STATE.ACCEPTED) connection.move(STATE_EVENTS.open);
  return connection;
}

async function any(state: State): Promise<Connection> {
  if (state <= STATE.ACCEPTED) return unopened(state);
  if (state < STATE.CLOSED) return (await inState(state)).connection;
  const { client, connection } = await inState(STATE.ACTIVE);
  client.peer.reset();
  return connection;
}

/** Takes what `unopened` made out of the counts again. */
function forget(connection: Connection): void {
  if (connection.channel !== 4_711) return;
  const { stateCounts, wheel } = connection.context;
  if (connection.state !== STATE.INIT) stateCounts[connection.state]!--;
  wheel.destroy(connection.timer);
}

const CELLS = Object.entries(STATE).flatMap(([stateName, state]) =>
  Object.entries(STATE_EVENTS).map(
    ([name, event]) => [stateName, name, state, event] as [string, string, State, StateEvent],
  ),
);

describe("an illegal move", () => {
  const illegal = CELLS.filter(([, , state, event]) => nextState(state, event) === ILLEGAL);

  it.each(illegal)("%s: %s is asserted, counted, logged, and changes nothing", async (...cell) => {
    const [, name, state, event] = cell;
    const connection = await any(state);
    const { counters } = connection.context;
    const before = { counts: counted(), since: connection.since };
    running.logged.length = 0;
    let caught: unknown;
    try {
      connection.move(event);
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(AssertionError);
    expect((caught as AssertionError).code).toBe("HOLDFAST_ASSERTION");
    const where = `${name} in state ${STATE_NAMES[state]}`;
    expect((caught as AssertionError).message).toBe(`connection ${connection.id}: ${where}`);
    expect(counters.illegalTransitions).toBe(1);
    expect(running.logged.map(({ level, text }) => [level, text])).toEqual([
      ["error", "illegal state transition"],
    ]);
    const fields = running.logged[0]!.fields;
    expect(fields).toMatchObject({ connection: connection.id, state: STATE_NAMES[state] });
    expect(Object.values(fields)).toContain(name);
    expect(connection.state).toBe(state);
    expect({ counts: counted(), since: connection.since }).toEqual(before);
    forget(connection);
  });
});

describe("a legal move", () => {
  it("is counted: one leaves the old state's count and joins the new one's", async () => {
    const first = running.connect();
    expect(counted()).toEqual({ handshaking: 1 });
    first.sendBody(hello(1));
    const second = running.connect();
    await running.clock.settle();
    expect(counted()).toEqual({ handshaking: 1, active: 1 });
    await running.clock.advance(1_100);
    expect(counted()).toEqual({ handshaking: 1, idle: 1 });
    first.send(HEARTBEAT);
    await running.clock.settle();
    expect(counted()).toEqual({ handshaking: 1, active: 1 });
    second.peer.setReading(false);
    running.connectionOf(second).close("shutdown", "draining");
    expect(counted()).toEqual({ active: 1, closing: 1 });
    second.peer.reset();
    first.peer.reset();
    expect(counted()).toEqual({});
  });

  it("never happens twice: a connection that is closing keeps its first reason", async () => {
    const { client, connection } = await inState(STATE.ACTIVE);
    connection.close("slow_consumer", "queue_full");
    connection.close("normal", "goodbye");
    connection.fault("text_message");
    connection.peerEnded();
    connection.drain(5);
    connection.disconnect({ code: 4_000 });
    await running.clock.settle();
    expect(client.closedWith).toBe(3_003);
    expect([connection.ending?.reason, connection.ending?.cause]).toEqual([
      "slow_consumer",
      "queue_full",
    ]);
    expect(running.server.closedByReason.slow_consumer).toBe(1);
  });

  it("out of CLOSED is tried by none of the ways in which a connection ends", async () => {
    const { client, connection } = await inState(STATE.ACTIVE);
    client.peer.reset();
    expect(connection.state).toBe(STATE.CLOSED);
    connection.close("normal", "server");
    connection.disconnect();
    connection.drain(0);
    connection.shed();
    connection.peerEnded();
    connection.fault("text_message");
    connection.sign();
    connection.receive(HEARTBEAT, 0, HEARTBEAT.length);
    expect(connection.send("t", "x")).toBe("closed");
    expect(connection.context.counters.illegalTransitions).toBe(0);
    expect(connection.state).toBe(STATE.CLOSED);
  });
});

describe("each state, while it lasts", () => {
  it("HANDSHAKING: takes nothing but a Hello and heartbeats", async () => {
    const { client, connection } = await inState(STATE.HANDSHAKING);
    client.send(HEARTBEAT);
    await running.clock.settle();
    expect([connection.state, client.closedWith]).toEqual([STATE.HANDSHAKING, null]);
    client.sendBody(call(1, "echo"));
    await running.clock.settle();
    expect(client.closedWith).toBe(3_500);
  });

  it("HANDSHAKING: ends by its own absolute deadline, heartbeats or not", async () => {
    const { client } = await inState(STATE.HANDSHAKING);
    for (let round = 0; round < 29; round++) {
      client.send(HEARTBEAT);
      await running.clock.advance(100);
      expect(client.closedWith).toBe(null);
    }
    await running.clock.advance(200);
    expect(client.closedWith).toBe(3_002);
  });

  it("IDLE: any byte leads back to ACTIVE, even the first of a frame", async () => {
    const { client, connection } = await inState(STATE.IDLE);
    client.send(HEARTBEAT.subarray(0, 1));
    await running.clock.settle();
    expect(connection.state).toBe(STATE.ACTIVE);
  });

  it("IDLE: sends one heartbeat per interval and ends with the idle timeout", async () => {
    const { client } = await inState(STATE.IDLE);
    expect(client.heartbeats).toBe(1);
    await running.clock.advance(1_000);
    expect([client.heartbeats, client.closedWith]).toEqual([2, null]);
    await running.clock.advance(600);
    expect([client.heartbeats, client.closedWith]).toEqual([2, 3_001]);
  });

  it("CLOSING: reads on, throws away what comes, and counts it", async () => {
    const { client, connection } = await inState(STATE.CLOSING);
    const { counters } = connection.context;
    client.sendBody(call(9, "echo", "late"));
    await running.clock.settle();
    expect(counters.bytesDiscardedIn).toBeGreaterThan(0);
    client.peer.setReading(true);
    await running.clock.settle();
    expect(client.messages.some(({ id }) => id === 9)).toBe(false);
    expect(client.closedWith).toBe(3_000);
  });

  it("CLOSING: ends in a reset when its deadline passes", async () => {
    const { client, connection } = await inState(STATE.CLOSING);
    await running.clock.advance(900);
    expect(connection.state).toBe(STATE.CLOSING);
    await running.clock.advance(3_500);
    expect([connection.state, client.closedWith]).toEqual([STATE.CLOSED, -1]);
  });

  it("ACTIVE: ends in order with Goodbye", async () => {
    const { client, connection } = await inState(STATE.ACTIVE);
    client.sendBody(goodbye());
    await running.clock.settle();
    expect([connection.state, client.closedWith]).toEqual([STATE.CLOSED, 1_000]);
    expect(client.messages.at(-1)).toMatchObject({ body: "goAway", goAway: { code: 1_000 } });
  });
});
