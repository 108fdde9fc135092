import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import { TimerWheel } from "../../src/base/timer-wheel.ts";
import {
  type CallContext,
  type CallHandler,
  Router,
  StatusError,
} from "../../src/server/router.ts";
import { STATUS } from "../../src/wire/messages.ts";
import { PayloadScope } from "../../src/wire/payload.ts";
import { type MemoryClient, MemoryServer } from "../support/memory-server.ts";
import { bytesField, call, clientMessage, entryField } from "../support/raw-message.ts";

describe("a method's name", () => {
  const nothing: CallHandler = () => undefined;

  function router(): Router {
    const options = {
      timeoutMs: 0,
      timeoutMsMax: 1,
      onAnswered: () => {},
      onHandlerError: () => {},
    };
    return new Router(options, new TimerWheel(50), new PayloadScope(), () => 0);
  }

  it("is found exactly, or else by the longest prefix that fits, in any order", () => {
    const handlers = Object.fromEntries(
      ["orders.*", "orders.new", "*", "orders.new.*", "orders.ne*"].map((name) => [
        name,
        (): string => name,
      ]),
    );
    for (const names of [Object.keys(handlers), Object.keys(handlers).reverse()]) {
      const made = router();
      for (const name of names) made.add(name, handlers[name]!);
      const found = (method: string): unknown => made.find(method)?.({} as CallContext);
      expect(found("orders.new")).toBe("orders.new");
      expect(found("orders.new.x")).toBe("orders.new.*");
      expect(found("orders.new.")).toBe("orders.new.*");
      expect(found("orders.next")).toBe("orders.ne*");
      expect(found("orders.")).toBe("orders.*");
      expect(found("orders")).toBe("*");
      expect(found("")).toBe("*");
    }
  });

  it.each(["echo ", "Echo", "ech", "echo2", "", "toString", "__proto__", "constructor"])(
    "that nobody registered is not found: %j",
    (method) => {
      const made = router();
      made.add("echo", nothing);
      expect(made.find(method)).toBe(null);
    },
  );

  it.each<[string, string, unknown, string]>([
    ["is empty", "", nothing, "a name is not empty"],
    ["has a * in the middle", "a*b", nothing, "a * stands only at the end"],
    ["has two *", "a**", nothing, "a * stands only at the end"],
    ["has a * at both ends", "*a*", nothing, "a * stands only at the end"],
    ["is taken", "echo", nothing, "the name is taken"],
    ["is taken as a prefix", "echo.*", nothing, "the name is taken"],
    ["comes without a handler", "x", undefined, "the handler is no function"],
    ["comes with a handler that is none", "x", "echo", "the handler is no function"],
  ])("that %s is refused", (_what, name, handler, text) => {
    const made = router();
    made.add("echo", nothing);
    made.add("echo.*", nothing);
    const expected = { code: "HOLDFAST_METHOD_INVALID", message: `method "${name}": ${text}` };
    expect(() => made.add(name, handler as CallHandler)).toThrow(
      expect.objectContaining(expected) as Error,
    );
  });
});

// What nobody should throw, and somebody will.
const NOTHING: unknown = undefined;
const TEXT: unknown = "secret";

describe("a call", () => {
  let running: MemoryServer;
  let client: MemoryClient;
  let calls: CallContext[];

  beforeEach(async () => {
    calls = [];
    running = await MemoryServer.start({
      options: {
        connection: { callsMax: 3 },
        call: { timeoutMs: 2_000, timeoutMsMax: 5_000 },
        frame: { bytesMax: 1_048_576 },
      },
    });
    client = await running.welcome();
  });

  afterEach(async () => {
    await running.stop();
  });

  function method(name: string, handler: (context: CallContext) => unknown): void {
    running.server.method(name, ((context: CallContext) => {
      calls.push(context);
      return handler(context);
    }) as CallHandler);
  }

  async function ask(name: string, payload: string = "", timeoutMs: number = 0): Promise<unknown> {
    client.sendBody(call(7, name, payload, timeoutMs));
    await running.clock.settle();
    expect(client.messages.length).toBeLessThanOrEqual(1);
    return client.messages.shift();
  }

  function failure(code: number, reason: string, retryable = false, retryAfterMs = 0): unknown {
    return { id: 7, body: "failure", failure: { code, reason, retryable, retryAfterMs } };
  }

  function result(text: string): unknown {
    return { id: 7, body: "result", payload: Buffer.from(text) };
  }

  it.each<[string, (context: CallContext) => unknown, string]>([
    ["a text", () => "täxt", "täxt"],
    ["bytes", () => new Uint8Array([65, 66]), "AB"],
    ["a Buffer", () => Buffer.from("AB"), "AB"],
    ["nothing", () => undefined, ""],
    ["its payload", ({ payload }) => payload, "asked"],
    ["a text later", async () => "later", "later"],
    ["a copy of its payload later", async ({ payload }) => payload.copy(), "asked"],
    ["nothing later", async () => undefined, ""],
  ])("is answered with what the handler gives: %s", async (_what, handler, text) => {
    method("m", handler);
    expect(await ask("m", "asked")).toEqual(result(text));
    expect(running.server.callsByStatus[0]).toBe(1);
  });

  it.each<[string, (context: CallContext) => unknown]>([
    ["a number", () => 5],
    ["null", () => null],
    ["an object", () => ({ a: 1 })],
    ["an array of numbers", () => [1, 2]],
    ["a number later", async () => 5],
    ["an error", () => new Error("secret")],
    [
      "a throw",
      () => {
        throw new Error("secret");
      },
    ],
    [
      "a throw of nothing",
      () => {
        throw NOTHING;
      },
    ],
    [
      "a throw of text",
      () => {
        throw TEXT;
      },
    ],
    [
      "a rejection",
      async () => {
        throw new Error("secret");
      },
    ],
    [
      "its payload after an await",
      async ({ payload }) => {
        await Promise.resolve();
        return payload;
      },
    ],
    [
      "a read of its payload after an await",
      async ({ payload }) => {
        await Promise.resolve();
        return payload.text();
      },
    ],
    [
      "a thenable that throws",
      () => ({
        then() {
          throw new Error("secret");
        },
      }),
    ],
    [
      "a thenable whose then cannot be read",
      () => ({
        get then() {
          throw new Error("secret");
        },
      }),
    ],
  ])("is answered with INTERNAL, which says nothing, after %s", async (_what, handler) => {
    method("m", handler);
    expect(await ask("m", "data")).toEqual(failure(STATUS.INTERNAL, "the handler failed"));
    expect(running.logged.map(({ text }) => text)).toEqual(["handler_failed"]);
    expect(running.logged[0]!.fields).toMatchObject({ method: "m" });
    expect(running.server.callsByStatus[STATUS.INTERNAL]).toBe(1);
    expect(running.connectionOf(client).calls).toBe(0);
  });

  it("is answered with what a StatusError says, thrown at once or later", async () => {
    const error = new StatusError(STATUS.NOT_FOUND, "no such order");
    const busy = new StatusError(STATUS.UNAVAILABLE, "busy", { retryAfterMs: 250 });
    method("now", () => {
      throw error;
    });
    method("later", async () => {
      throw error;
    });
    method("busy", () => {
      throw busy;
    });
    expect(await ask("now")).toEqual(failure(STATUS.NOT_FOUND, "no such order"));
    expect(await ask("later")).toEqual(failure(STATUS.NOT_FOUND, "no such order"));
    expect(await ask("busy")).toEqual(failure(STATUS.UNAVAILABLE, "busy", true, 250));
    expect(running.logged).toEqual([]);
  });

  it("of a method that nobody has is UNIMPLEMENTED, its name told in part", async () => {
    expect(await ask("nope")).toEqual(failure(STATUS.UNIMPLEMENTED, "no such method: nope"));
    const answer = await ask("x".repeat(10_000));
    expect(answer).toEqual(failure(STATUS.UNIMPLEMENTED, `no such method: ${"x".repeat(100)}`));
    expect(await ask("")).toEqual(failure(STATUS.UNIMPLEMENTED, "no such method: "));
  });

  it("with id 0 is run and not answered, whatever comes of it", async () => {
    method("ok", () => "x");
    method("later", async () => "x");
    method("bad", () => {
      throw new Error("x");
    });
    for (const name of ["ok", "later", "bad", "nope"]) client.sendBody(call(0, name));
    await running.clock.settle();
    expect(calls.length).toBe(3);
    expect(client.messages).toEqual([]);
    expect(running.connectionOf(client).calls).toBe(0);
  });

  it("gets an answer of 1 MiB, and of one byte more a Failure instead", async () => {
    method("big", ({ payload }) => new Uint8Array(Number(payload.text())));
    expect(await ask("big", "1048576")).toMatchObject({ body: "result" });
    const reason = "the answer has 1048577 bytes, more than a frame may carry";
    expect(await ask("big", "1048577")).toEqual(failure(STATUS.RESOURCE_EXHAUSTED, reason));
  });

  it("carries its metadata, whose keys may be called anything", async () => {
    method("m", ({ metadata }) => JSON.stringify([...metadata]));
    const entries = [entryField(4, "trace", "1"), entryField(4, "__proto__", "2")];
    client.sendBody(clientMessage(7, "call", bytesField(1, "m"), ...entries));
    await running.clock.settle();
    expect(client.messages.shift()).toEqual(result('[["trace","1"],["__proto__","2"]]'));
  });

  it("ends at its deadline: Failure, signal, and no later answer", async () => {
    let answer: (text: string) => void = () => {};
    method("slow", () => new Promise<string>((resolve) => (answer = resolve)));
    expect(await ask("slow", "", 1_000)).toBeUndefined();
    const { signal } = calls[0]!;
    await running.clock.advance(900);
    expect([client.messages, signal.aborted]).toEqual([[], false]);
    await running.clock.advance(200);
    const expired = failure(STATUS.DEADLINE_EXCEEDED, "the deadline passed");
    expect(client.messages.shift()).toEqual(expired);
    expect(signal.reason).toMatchObject({ code: "HOLDFAST_CALL_TIMEOUT" });
    answer("too late");
    await running.clock.settle();
    expect(client.messages).toEqual([]);
    expect(running.server.callsByStatus[STATUS.DEADLINE_EXCEEDED]).toBe(1);
    expect(running.server.callsByStatus[0]).toBe(0);
  });

  it.each([
    [0, 2_000],
    [100, 100],
    [4_999, 4_999],
    [5_000, 5_000],
    [5_001, 5_000],
    [0xffff_ffff, 5_000],
  ])("that asks for %i ms gets %i", async (asked, given) => {
    method("m", ({ timeoutMs }) => String(timeoutMs));
    expect(await ask("m", "", asked)).toEqual(result(String(given)));
  });

  it("has a signal that has fired when it is first asked for too late", async () => {
    method("slow", () => new Promise(() => {}));
    await ask("slow", "", 100);
    await running.clock.advance(200);
    expect(calls[0]!.signal.aborted).toBe(true);
    expect(calls[0]!.signal.reason).toBeInstanceOf(HoldfastError);
    expect(calls[0]!.signal).toBe(calls[0]!.signal);
  });

  it("is aborted when its connection closes, and holds no timer any more", async () => {
    method("slow", () => new Promise(() => {}));
    await ask("slow");
    const { signal } = calls[0]!;
    expect(running.server.shared.wheel.live).toBe(2);
    client.peer.reset();
    expect(signal.reason).toMatchObject({ code: "HOLDFAST_DISCONNECTED" });
    expect(running.server.shared.wheel.live).toBe(0);
  });

  it("is aborted when its own handler closes the connection before it answers", async () => {
    method("bye", ({ connection }) => {
      connection.disconnect();
      return new Promise(() => {});
    });
    client.sendBody(call(7, "bye", "", 5_000));
    await running.clock.settle();
    expect(calls[0]!.signal.reason).toMatchObject({ code: "HOLDFAST_DISCONNECTED" });
    expect(client.closedWith).toBe(1_000);
    expect(running.server.shared.wheel.live).toBe(0);
  });

  it("that is answered after its connection closed hurts nobody else", async () => {
    let answer: (text: string) => void = () => {};
    method("slow", () => new Promise<string>((resolve) => (answer = resolve)));
    await ask("slow");
    client.peer.reset();
    const heir = await running.welcome();
    answer("for whom?");
    await running.clock.settle();
    expect(heir.messages).toEqual([]);
  });

  it("is taken while fewer than callsMax run; then reading waits for one to end", async () => {
    const answers: ((text: string) => void)[] = [];
    method("slow", () => new Promise<string>((resolve) => answers.push(resolve)));
    for (let id = 1; id <= 5; id++) client.sendBody(call(id, "slow"));
    await running.clock.settle();
    expect(answers.length).toBe(3);
    answers[0]!("one");
    await running.clock.settle();
    expect(answers.length).toBe(4);
    expect(client.messages.map(({ id }) => id)).toEqual([1]);
    for (const answer of answers.slice(1)) answer("more");
    await running.clock.settle();
    answers[4]!("last");
    await running.clock.settle();
    expect(client.messages.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5]);
    expect(running.connectionOf(client).calls).toBe(0);
  });

  it("that reaches its deadline makes room for the next one", async () => {
    method("slow", () => new Promise(() => {}));
    for (let id = 1; id <= 4; id++) client.sendBody(call(id, "slow", "", 1_000));
    await running.clock.settle();
    expect(calls.length).toBe(3);
    await running.clock.advance(1_100);
    expect(calls.length).toBe(4);
  });

  it("with a short timeout cannot pile up handlers that run on", async () => {
    const ends: (() => void)[] = [];
    method("slow", () => new Promise<void>((resolve) => ends.push(resolve)));
    for (let id = 1; id <= 20; id++) {
      client.sendBody(call(id, "slow", "", 100));
      await running.clock.advance(200);
    }
    expect(calls.length).toBe(12);
    const codes = client.messages.map((message) =>
      message.body === "failure" ? message.failure.code : null,
    );
    expect(codes.filter((code) => code === STATUS.DEADLINE_EXCEEDED).length).toBe(12);
    expect(codes.filter((code) => code === STATUS.RESOURCE_EXHAUSTED).length).toBe(8);
    for (const end of ends) end();
    client.sendBody(call(21, "slow", "", 100));
    await running.clock.settle();
    expect(calls.length).toBe(13);
  });

  it("may be answered out of order", async () => {
    const answers = new Map<string, (text: string) => void>();
    method("m", ({ payload }) => {
      const text = payload.text();
      return new Promise<string>((resolve) => answers.set(text, resolve));
    });
    for (const id of [1, 2, 3]) client.sendBody(call(id, "m", String(id)));
    await running.clock.settle();
    for (const id of ["3", "1", "2"]) answers.get(id)!(id);
    await running.clock.settle();
    expect(client.messages.map(({ id }) => id)).toEqual([3, 1, 2]);
  });

  it.each([-1, Number.NaN, Infinity, 1.5, 2 ** 40])(
    "answered with a StatusError that asks to come back after %d ms is still understood",
    async (retryAfterMs) => {
      method("m", () => {
        throw new StatusError(STATUS.UNAVAILABLE, "busy", { retryAfterMs });
      });
      expect(await ask("m")).toMatchObject({ failure: { code: 14, reason: "busy" } });
      expect(await ask("nope")).toMatchObject({ failure: { code: 12 } });
    },
  );
});
