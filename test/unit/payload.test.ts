import { describe, expect, it } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import { Payload, PayloadScope } from "../../src/wire/payload.ts";

const EXPIRED = expect.objectContaining({
  name: "HoldfastError",
  code: "HOLDFAST_PAYLOAD_EXPIRED",
}) as Error;

function payloadOf(text: string, scope: PayloadScope = new PayloadScope()): Payload {
  const bytes = Buffer.from(`before${text}after`);
  return new Payload(scope, bytes, 6, bytes.length - 5);
}

describe("a payload", () => {
  it("is the bytes between its bounds, as text, as JSON, as a view and as a copy", () => {
    const payload = payloadOf('{"a":"ü"}');
    expect(payload.length).toBe(10);
    expect(payload.text()).toBe('{"a":"ü"}');
    expect(payload.json()).toEqual({ a: "ü" });
    expect(Buffer.from(payload.view()).toString()).toBe('{"a":"ü"}');
    expect(Buffer.from(payload.copy()).toString()).toBe('{"a":"ü"}');
  });

  it("shows the very bytes in its view and its own in a copy", () => {
    const bytes = Buffer.from("abc");
    const payload = new Payload(new PayloadScope(), bytes, 0, 3);
    const copy = payload.copy();
    const view = payload.view();
    bytes[0] = 0x7a;
    expect(Buffer.from(view).toString()).toBe("zbc");
    expect(Buffer.from(copy).toString()).toBe("abc");
    expect(copy.buffer.byteLength).toBe(3);
  });

  it.each([0, 1, 64, 65, 500])("of %i bytes copies just these to where it is told", (length) => {
    const source = Buffer.from(Array.from({ length: 520 }, (_, index) => index % 256));
    const payload = new Payload(new PayloadScope(), source, 9, 9 + length);
    const target = Buffer.alloc(600, 0xee);
    expect(payload.copyTo(target, 30)).toBe(30 + length);
    expect(target.subarray(30, 30 + length)).toEqual(source.subarray(9, 9 + length));
    expect(target.subarray(0, 30).every((byte) => byte === 0xee)).toBe(true);
    expect(target.subarray(30 + length).every((byte) => byte === 0xee)).toBe(true);
  });

  it("without bytes is empty in every form but JSON", () => {
    const payload = Payload.empty(new PayloadScope());
    expect([payload.length, payload.text(), payload.copy().length]).toEqual([0, "", 0]);
    expect(() => payload.json()).toThrow(SyntaxError);
  });

  it.each(["ff", "c3", "eda080", "f8888080", "c080"])("of %s is no text", (hex) => {
    const bytes = Buffer.from(hex, "hex");
    const payload = new Payload(new PayloadScope(), bytes, 0, bytes.length);
    expect(() => payload.text()).toThrow(TypeError);
    expect(() => payload.json()).toThrow(TypeError);
  });

  it.each(["{", "undefined", "{'a':1}", "NaN"])("of %s is no JSON", (text) => {
    expect(() => payloadOf(text).json()).toThrow(SyntaxError);
  });
});

describe("a payload whose handler has returned", () => {
  const forms: Readonly<Record<string, (payload: Payload) => unknown>> = {
    "view()": (payload) => payload.view(),
    "copy()": (payload) => payload.copy(),
    "text()": (payload) => payload.text(),
    "json()": (payload) => payload.json(),
    "copyTo()": (payload) => payload.copyTo(Buffer.alloc(600), 0),
  };

  it.each(Object.entries(forms))("throws at %s, whatever its length", (_name, use) => {
    for (const text of ["", "1", "2".repeat(100)]) {
      const scope = new PayloadScope();
      const payload = payloadOf(text, scope);
      scope.end();
      expect(() => use(payload)).toThrow(EXPIRED);
    }
  });

  it.each(Object.entries(forms))("throws at %s again in every later scope", (_name, use) => {
    const scope = new PayloadScope();
    const payload = payloadOf("1", scope);
    for (let end = 0; end < 3; end++) {
      scope.end();
      expect(() => use(payload)).toThrow(EXPIRED);
    }
  });

  it("still knows its length, and a copy that was taken before stays", () => {
    const scope = new PayloadScope();
    const payload = payloadOf("abc", scope);
    const copy = payload.copy();
    scope.end();
    expect(payload.length).toBe(3);
    expect(Buffer.from(copy).toString()).toBe("abc");
  });

  it("says what to do instead", () => {
    const scope = new PayloadScope();
    const payload = payloadOf("abc", scope);
    scope.end();
    let error: unknown;
    try {
      payload.text();
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(HoldfastError);
    expect((error as HoldfastError).message).toContain("take payload.copy() before");
  });

  it("does not end the payloads of another scope", () => {
    const scope = new PayloadScope();
    const other = payloadOf("abc");
    scope.end();
    expect(other.text()).toBe("abc");
  });
});
