import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  CLIENT_NUMBERS,
  clientSettings,
  type ClientOptions,
  LABELS_MAX,
  NAME_LENGTH_MAX,
  RECONNECT_NUMBERS,
} from "../../src/client/client-options.ts";
import { connect } from "../../src/client/node.ts";
import { FakeNetwork } from "../support/fake-server.ts";
import { ManualClock } from "../support/manual-clock.ts";

const invalid = (message: RegExp): object => ({
  code: "HOLDFAST_OPTIONS_INVALID",
  message: expect.stringMatching(message) as string,
});

function thrownBy(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

/** What a user who does not use TypeScript may write. */
function settings(options: unknown): unknown {
  return clientSettings(options as ClientOptions);
}

describe("the client's options", () => {
  it("have the documented defaults", () => {
    expect(settings({})).toEqual({
      token: "",
      name: "",
      labels: {},
      connectTimeoutMs: 10_000,
      handshakeTimeoutMs: 5_000,
      callTimeoutMs: 30_000,
      reconnect: { baseMs: 500, maxMs: 20_000, attemptsMax: Infinity },
      sendBytesMax: 1_048_576,
      eventsMax: 1_024,
    });
  });

  it("take what is given, and keep a copy of the labels", () => {
    const labels = { device: "7" };
    const token = (): string => "secret";
    const reconnect = { baseMs: 10, maxMs: 10, attemptsMax: 3 };
    const given = { token, name: "x", labels, reconnect, eventsMax: 5, sendBytesMax: 2_000 };
    const result = clientSettings(given);
    labels.device = "8";
    expect(result).toMatchObject({ ...given, labels: { device: "7" } });
    expect(clientSettings({ reconnect: false }).reconnect).toBeNull();
  });

  it("treat undefined as not given", () => {
    const given = {
      token: undefined,
      labels: undefined,
      reconnect: undefined,
      eventsMax: undefined,
    };
    expect(settings(given)).toEqual(settings({}));
  });

  const numbers = [
    ...Object.entries(CLIENT_NUMBERS).map(([key, row]) => ({ key, row, area: "" })),
    ...Object.entries(RECONNECT_NUMBERS).map(([key, row]) => ({ key, row, area: "reconnect" })),
  ];
  const nested = (area: string, key: string, value: unknown): unknown =>
    area === "" ? { [key]: value } : { [area]: { [key]: value } };

  it.each(numbers)("take $key from its least to its greatest value", ({ key, row, area }) => {
    // baseMs has to stay below maxMs, and the other way round.
    const wide = { baseMs: 1, maxMs: 3_600_000 };
    for (const value of [row.min, row.max]) {
      const given = nested(area, key, value) as Record<string, Record<string, unknown>>;
      if (area !== "") given[area] = { ...wide, ...given[area] };
      if (key === "maxMs" && value === row.min) given[area]!["baseMs"] = 1;
      const result = settings(given) as Record<string, unknown>;
      expect(area === "" ? result : result[area]).toMatchObject({ [key]: value });
    }
  });

  it.each(
    numbers.flatMap(({ key, row, area }) => {
      const beyond = row.max === Infinity ? [] : [row.max + 1, Infinity];
      return [row.min - 1, 1.5, NaN, -Infinity, "5", null, true, ...beyond].map((value) => ({
        path: area === "" ? key : `${area}.${key}`,
        given: nested(area, key, value),
        value,
      }));
    }),
  )("refuse $value for $path", ({ path, given, value }) => {
    const shown = typeof value === "string" ? `"${value}"` : String(value);
    const error = thrownBy(() => settings(given)) as Error;
    expect(error).toMatchObject(invalid(/ is a whole number from \d+ (to \d+|or Infinity), not /));
    expect(error.message.startsWith(`${path} is`)).toBe(true);
    expect(error.message.endsWith(`not ${shown}`)).toBe(true);
  });

  it.each([
    ["no object", null, /^options is an object, not null$/],
    ["a list", [], /^options is an object, not a list$/],
    ["text", "tcp://x", /^options is an object/],
    ["an unknown key", { tokn: "x" }, /^tokn is no option; known are .*token/],
    ["a key of another case", { Token: "x" }, /^Token is no option/],
    ["an unknown key of reconnect", { reconnect: { base: 1 } }, /^reconnect\.base is no option/],
    ["reconnect: true", { reconnect: true }, /^reconnect is an object, not true/],
    [
      "maxMs below baseMs",
      { reconnect: { baseMs: 10, maxMs: 9 } },
      /^reconnect\.maxMs is at least/,
    ],
    ["maxMs below the default baseMs", { reconnect: { maxMs: 499 } }, /\(500\), not 499$/],
    ["a number for the name", { name: 1 }, /^name is text of at most 128 characters, not 1/],
    ["a long name", { name: "n".repeat(NAME_LENGTH_MAX + 1) }, /^name is text of at most 128/],
    ["labels that are a list", { labels: ["a"] }, /^labels is an object, not a list/],
    ["a label that is no text", { labels: { a: 1 } }, /^labels\.a is text, not 1/],
    ["a label without a name", { labels: { "": "x" } }, /^labels has no empty names/],
  ])("refuse %s", (_, given, message) => {
    expect(thrownBy(() => settings(given))).toMatchObject(invalid(message));
  });

  it("refuse more labels than any server takes", () => {
    const labels = Object.fromEntries(Array.from({ length: LABELS_MAX + 1 }, (_, n) => [n, ""]));
    expect(thrownBy(() => settings({ labels }))).toMatchObject(invalid(/^labels has at most 1000/));
  });

  it("never show what was given for a token", () => {
    const error = thrownBy(() => settings({ token: ["secret"] })) as Error;
    expect(error.message).toBe("token is text, or a function that gives text");
  });

  it("are checked before anything is dialed", () => {
    const network = new FakeNetwork();
    const parts = { clock: new ManualClock(), dialer: network.dialer };
    const open = (): unknown => connect("tcp://a:1", { eventsMax: 0 }, parts);
    expect(thrownBy(open)).toMatchObject(invalid(/^eventsMax/));
    expect(network.dialed).toEqual([]);
  });

  it("stand in the documentation with their defaults and ranges, each once", () => {
    const text = readFileSync(join(import.meta.dirname, "../../docs/client.md"), "utf8");
    const rows = [...text.matchAll(/^\| `([\w.]+)` \| ([^|]+) \| ([^|]+) \|/gm)];
    const documented = Object.fromEntries(
      rows.map(([, key, value, range]) => [key, `${value?.trim()} ${range?.trim()}`]),
    );
    const bound = (value: number): string => value.toLocaleString("en-US").replace("∞", "Infinity");
    const numeric = numbers.map(({ key, row, area }) => [
      area === "" ? key : `${area}.${key}`,
      `${bound(row.default)} ${bound(row.min)} to ${bound(row.max)}`,
    ]);
    expect(documented).toMatchObject(Object.fromEntries(numeric) as Record<string, string>);
    const others = ["token", "name", "labels", "reconnect"];
    expect(Object.keys(documented).sort()).toEqual(
      [...numeric.map(([key]) => key!), ...others].sort(),
    );
    expect(rows.length).toBe(numeric.length + others.length);
  });
});

describe("what a request may be given", () => {
  const client = connect(
    "tcp://a:1",
    {},
    {
      clock: new ManualClock(),
      dialer: new FakeNetwork().dialer,
    },
  );
  const call = (method: unknown, payload?: unknown, options?: unknown): Promise<unknown> =>
    client.call(method as string, payload as string, options as object);

  it.each([
    ["timeoutMs", { timeoutMs: 0 }],
    ["timeoutMs", { timeoutMs: 86_400_001 }],
    ["timeoutMs", { timeoutMs: Infinity }],
    ["timeoutMs", { timeoutMs: "1000" }],
    ["signal", { signal: {} }],
    ["signal", { signal: null }],
    ["metadata", { metadata: null }],
    ["metadata.a", { metadata: { a: 1 } }],
    ["timeout", { timeout: 1 }],
    ["eventsMax", { eventsMax: 1 }],
    ["options", null],
    ["options", []],
  ])("call() refuses %s of %o", async (key, options) => {
    const escaped = key.replace(".", "\\.");
    await expect(call("m", "", options)).rejects.toMatchObject(invalid(new RegExp(`^${escaped} `)));
  });

  it.each([[null], [5], [new ArrayBuffer(1)], [[1, 2]], [{}], [new DataView(new ArrayBuffer(1))]])(
    "call() and publish() refuse the payload %o",
    async (payload) => {
      const error = invalid(/^payload is text or a Uint8Array, not /);
      await expect(call("m", payload)).rejects.toMatchObject(error);
      await expect(client.publish("t", payload as string)).rejects.toMatchObject(error);
    },
  );

  it.each([[""], [undefined], [5], [null]])("call() refuses the method %o", async (method) => {
    await expect(call(method)).rejects.toMatchObject({ code: "HOLDFAST_METHOD_INVALID" });
  });

  it.each([[""], [undefined], [5], [{}]])("the topic %o is refused", async (topic) => {
    const error = { code: "HOLDFAST_TOPIC_INVALID" };
    await expect(client.publish(topic as string, "x")).rejects.toMatchObject(error);
    await expect(client.subscribe(topic as string)).rejects.toMatchObject(error);
  });

  it.each([[{ eventsMax: 0 }], [{ eventsMax: 1.5 }], [{ metadata: {} }], [{ offset: 1 }]])(
    "subscribe() refuses %o",
    async (options) => {
      await expect(client.subscribe("t", options as object)).rejects.toMatchObject(
        invalid(/^(eve|met|off)/),
      );
    },
  );

  it("publish() refuses metadata, which only calls have", async () => {
    const options = { metadata: {} } as object;
    await expect(client.publish("t", "", options)).rejects.toMatchObject(
      invalid(/^metadata is no/),
    );
  });
});
