// How the native addon is found and loaded, and what is said where it cannot be. The addon itself
// is not needed here.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import { LAYOUT_VERSION } from "../../src/transport/epoll-layout.ts";
import { loadNativeFrom, type NativePlace, nativePlace } from "../../src/transport/native.ts";

const BUILD = join(import.meta.dirname, "..", "..", "native", "build");

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-native-"));
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

let files = 0;

function plant(text: string, extension: string): string {
  const path = join(folder, `${files++}${extension}`);
  writeFileSync(path, text);
  return path;
}

/** What is thrown where the addon is sought in such a place. */
function fault(place: Partial<NativePlace>): HoldfastError {
  const missing = join(folder, "missing");
  try {
    const none = { platform: "linux", path: missing, skippedPath: missing, builtPath: null };
    loadNativeFrom({ ...none, ...place });
  } catch (error) {
    expect(error).toBeInstanceOf(HoldfastError);
    return error as HoldfastError;
  }
  throw new Error("it was loaded");
}

// Loading goes by the file's extension, so a script stands in for an addon of some version.
function addonOf(source: string): string {
  return plant(`module.exports = ${source};\n`, ".cjs");
}

describe("an addon that can be loaded", () => {
  it("is what the file exports", () => {
    const path = addonOf(`{ version: ${LAYOUT_VERSION}, Loop: class Loop {} }`);
    const addon = loadNativeFrom({ platform: "linux", path, skippedPath: null, builtPath: null });
    expect(addon.version).toBe(LAYOUT_VERSION);
    expect(addon.Loop).toBeTypeOf("function");
  });
});

describe("an addon that cannot be used", () => {
  it("is told of with a code, what is wrong, and what to do", () => {
    const error = fault({});
    expect(error.code).toBe("HOLDFAST_TRANSPORT_UNAVAILABLE");
    expect(error.message).toMatch(/^tcp-epoll cannot be used: .*install script did not run/);
    expect(error.message).toMatch(/`npm rebuild holdfast`.*; or use tcp-net/);
  });

  it("is not loaded where it is shorter than what was built", () => {
    const path = addonOf(`{ version: ${LAYOUT_VERSION} }`);
    const builtPath = plant('{"bytes":1000000}', ".json");
    expect(fault({ path, builtPath }).message).toMatch(
      /is not what was built: it was cut off\. Build/,
    );
  });

  it.each(["", "{}", "null", '{"bytes":"many"}'])("is loaded where the size is %j", (text) => {
    const path = addonOf(`{ version: ${LAYOUT_VERSION} }`);
    const builtPath = plant(text, ".json");
    const addon = loadNativeFrom({ platform: "linux", path, skippedPath: null, builtPath });
    expect(addon.version).toBe(LAYOUT_VERSION);
  });

  it("is told of with the installation's own reason", () => {
    const skippedPath = plant('{"reason":"it needs make, not found here"}', ".json");
    expect(fault({ skippedPath }).message).toMatch(/not built: it needs make, not found here\. /);
  });

  it.each(["", "{", "null", "[]", '{"reason":3}'])("is told of where the reason is %j", (text) => {
    const message = fault({ skippedPath: plant(text, ".json") }).message;
    expect(message).toMatch(/install script did not run/);
  });

  it("is told of by its path where the environment named it", () => {
    const path = join(folder, "elsewhere.node");
    const { message } = fault({ path, skippedPath: null });
    expect(message).toContain(`there is no ${path}, which HOLDFAST_NATIVE_ADDON names`);
    expect(message).not.toMatch(/install script/);
  });

  it.each(["darwin", "win32", "freebsd"])("is not even looked for on %s", (platform) => {
    const { message } = fault({ platform, path: addonOf("{}") });
    expect(message).toContain(`it needs Linux, and this is ${platform}. Use tcp-net`);
    expect(message).not.toMatch(/rebuild/);
  });

  it("is told of with what the system said of a file that is no library", () => {
    const path = plant("no library at all", ".node");
    const { code, message } = fault({ path });
    expect(code).toBe("HOLDFAST_TRANSPORT_UNAVAILABLE");
    expect(message).toMatch(/\.node cannot be loaded \(.*(?:file too short|invalid ELF header)\)/);
    expect(message).toMatch(/npm rebuild/);
  });

  it("is told of where the file is a folder", () => {
    expect(fault({ path: folder }).code).toBe("HOLDFAST_TRANSPORT_UNAVAILABLE");
  });

  it.each([
    ["(() => { throw new Error('first line\\nsecond') })()", "(first line)"],
    ["(() => { throw 'a text' })()", "(a text)"],
    ["(() => { throw null })()", "(null)"],
  ])("is told of where loading throws %s", (source, said) => {
    const { message } = fault({ path: addonOf(source) });
    expect(message).toContain(said);
    expect(message).not.toMatch(/second/);
  });

  it.each([
    [`{ version: ${LAYOUT_VERSION + 1} }`, `has version ${LAYOUT_VERSION + 1}`],
    [`{ version: "${LAYOUT_VERSION}" }`, "has no version"],
    ["{}", "has no version"],
    ["null", "has no version"],
    ["undefined", "has no version"],
  ])("is not taken where it exports %s", (source, said) => {
    const { code, message } = fault({ path: addonOf(source) });
    expect(code).toBe("HOLDFAST_TRANSPORT_UNAVAILABLE");
    expect(message).toContain(`${said}, and ${LAYOUT_VERSION} is needed`);
  });
});

describe("the place of the addon", () => {
  it("is the package's own build where the environment names none", () => {
    for (const environment of [{}, { HOLDFAST_NATIVE_ADDON: "" }]) {
      const { path, skippedPath } = nativePlace(environment);
      expect(path).toBe(join(BUILD, "Release", "holdfast.node"));
      expect(skippedPath).toBe(join(BUILD, "skipped.json"));
    }
  });

  it("is what HOLDFAST_NATIVE_ADDON names, from the working directory", () => {
    const { path, skippedPath } = nativePlace({ HOLDFAST_NATIVE_ADDON: "some/other.node" });
    expect(path).toBe(join(process.cwd(), "some/other.node"));
    expect(skippedPath).toBeNull();
  });
});
