import { describe, expect, it } from "vitest";
import {
  eventName,
  ILLEGAL,
  nextState,
  STATE,
  STATE_EVENTS,
  STATE_NAMES,
  TRANSITIONS,
} from "../../src/connection/state.ts";

type StateName = keyof typeof STATE;
type EventName = keyof typeof STATE_EVENTS;

// Written out by hand from the design, not from the code: every state with every event.
const EXPECTED: readonly [StateName, EventName, StateName | null][] = [
  ["INIT", "open", "ACCEPTED"],
  ["INIT", "ready", null],
  ["INIT", "welcome", null],
  ["INIT", "silence", null],
  ["INIT", "bytes", null],
  ["INIT", "close", null],
  ["INIT", "closed", null],

  ["ACCEPTED", "open", null],
  ["ACCEPTED", "ready", "HANDSHAKING"],
  ["ACCEPTED", "welcome", null],
  ["ACCEPTED", "silence", null],
  ["ACCEPTED", "bytes", null],
  ["ACCEPTED", "close", "CLOSING"],
  ["ACCEPTED", "closed", "CLOSED"],

  ["HANDSHAKING", "open", null],
  ["HANDSHAKING", "ready", null],
  ["HANDSHAKING", "welcome", "ACTIVE"],
  ["HANDSHAKING", "silence", null],
  ["HANDSHAKING", "bytes", null],
  ["HANDSHAKING", "close", "CLOSING"],
  ["HANDSHAKING", "closed", "CLOSED"],

  ["ACTIVE", "open", null],
  ["ACTIVE", "ready", null],
  ["ACTIVE", "welcome", null],
  ["ACTIVE", "silence", "IDLE"],
  ["ACTIVE", "bytes", null],
  ["ACTIVE", "close", "CLOSING"],
  ["ACTIVE", "closed", "CLOSED"],

  ["IDLE", "open", null],
  ["IDLE", "ready", null],
  ["IDLE", "welcome", null],
  ["IDLE", "silence", null],
  ["IDLE", "bytes", "ACTIVE"],
  ["IDLE", "close", "CLOSING"],
  ["IDLE", "closed", "CLOSED"],

  ["CLOSING", "open", null],
  ["CLOSING", "ready", null],
  ["CLOSING", "welcome", null],
  ["CLOSING", "silence", null],
  ["CLOSING", "bytes", null],
  ["CLOSING", "close", null],
  ["CLOSING", "closed", "CLOSED"],

  ["CLOSED", "open", null],
  ["CLOSED", "ready", null],
  ["CLOSED", "welcome", null],
  ["CLOSED", "silence", null],
  ["CLOSED", "bytes", null],
  ["CLOSED", "close", null],
  ["CLOSED", "closed", null],
];

describe("the table of moves", () => {
  it.each(EXPECTED)("%s: %s leads to %s", (state, event, next) => {
    const expected = next === null ? ILLEGAL : STATE[next];
    expect(nextState(STATE[state], STATE_EVENTS[event])).toBe(expected);
  });

  it("has been looked at in every cell, and has no others", () => {
    const states = Object.keys(STATE).length;
    const events = Object.keys(STATE_EVENTS).length;
    const cells = new Set(EXPECTED.map(([state, event]) => `${state} ${event}`));
    expect(cells.size).toBe(states * events);
    expect(TRANSITIONS.length).toBe(states);
    for (const row of TRANSITIONS) expect(row.length).toBe(events);
  });

  it("leads from INIT to every state, and from every state but CLOSED to CLOSED", () => {
    const reach = (from: number): Set<number> => {
      const seen = new Set([from]);
      for (const state of seen) {
        for (const next of TRANSITIONS[state]!) if (next !== ILLEGAL) seen.add(next);
      }
      return seen;
    };
    expect(reach(STATE.INIT).size).toBe(Object.keys(STATE).length);
    for (const state of Object.values(STATE)) expect(reach(state).has(STATE.CLOSED)).toBe(true);
    expect([...reach(STATE.CLOSED)]).toEqual([STATE.CLOSED]);
  });

  it("leads out of CLOSING only to CLOSED, so that nothing revives a connection", () => {
    const out = TRANSITIONS[STATE.CLOSING]!.filter((next) => next !== ILLEGAL);
    expect(out).toEqual([STATE.CLOSED]);
  });

  it("is numbered without gaps, because rows and columns are found by number", () => {
    expect(Object.values(STATE)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(Object.values(STATE_EVENTS)).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  it("has names for logs and metrics", () => {
    expect(STATE_NAMES).toEqual([
      "init",
      "accepted",
      "handshaking",
      "active",
      "idle",
      "closing",
      "closed",
    ]);
    for (const [name, event] of Object.entries(STATE_EVENTS)) expect(eventName(event)).toBe(name);
  });
});
