import { describe, expect, it } from "vitest";
import {
  CLIENT_EVENTS,
  CLIENT_STATES,
  CLIENT_TRANSITIONS,
  type ClientEvent,
  type ClientState,
} from "../../src/client/client-state.ts";
import { isTerminal } from "../../src/client/close-code.ts";

describe("the client's transition table", () => {
  const legal: [ClientState, ClientEvent, ClientState][] = [
    ["connecting", "opened", "handshaking"],
    ["connecting", "lost", "waiting"],
    ["connecting", "failed", "closed"],
    ["connecting", "close", "closed"],
    ["handshaking", "welcomed", "active"],
    ["handshaking", "lost", "waiting"],
    ["handshaking", "failed", "closed"],
    ["handshaking", "close", "closed"],
    ["active", "lost", "waiting"],
    ["active", "failed", "closed"],
    ["active", "close", "closing"],
    ["waiting", "retry", "connecting"],
    ["waiting", "close", "closed"],
    ["closing", "finished", "closed"],
  ];

  it("has exactly the moves of the documentation, for every state and event", () => {
    const moves = CLIENT_STATES.flatMap((state) =>
      CLIENT_EVENTS.flatMap((event) => {
        const next = CLIENT_TRANSITIONS[state][event];
        return next === undefined ? [] : [[state, event, next]];
      }),
    );
    expect(moves.sort()).toEqual(legal.sort());
  });

  it("leaves closed by nothing, and every other state towards closed", () => {
    expect(CLIENT_TRANSITIONS.closed).toEqual({});
    for (const start of CLIENT_STATES) {
      const reached = new Set<ClientState>([start]);
      for (const state of reached) {
        for (const next of Object.values(CLIENT_TRANSITIONS[state])) reached.add(next);
      }
      expect(reached.has("closed"), start).toBe(true);
    }
  });
});

describe("a close code", () => {
  it.each([1000, 3500, 3501, 3503, 3506, 3999, 4500, 4999])("%i is terminal", (code) => {
    expect(isTerminal(code)).toBe(true);
  });

  it.each([0, 1001, 1005, 1006, 1009, 1011, 2999, 3000, 3004, 3499, 4000, 4499, 5000])(
    "%i lets the client come back",
    (code) => {
      expect(isTerminal(code)).toBe(false);
    },
  );
});
