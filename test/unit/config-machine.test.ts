import { describe, expect, it } from "vitest";
import {
  connectionMax,
  type Machine,
  nodeName,
  parseFileLimit,
  readMachine,
  sendBudgetBytes,
} from "../../src/config/machine.ts";
import { optionsFrom } from "../../src/config/resolve.ts";

const machine: Machine = { memoryBytes: 1_000_003, fileLimit: 19_999, hostname: "edge", pid: 36 };

describe("the file limit", () => {
  const head = "Limit                     Soft Limit           Hard Limit           Units     \n";

  it.each([
    [
      `${head}Max open files            20000                20000                files     \n`,
      20_000,
    ],
    [
      `${head}Max open files            1024                 unlimited            files     \n`,
      1_024,
    ],
    [
      `${head}Max open files            unlimited            unlimited            files     \n`,
      null,
    ],
    [
      `${head}Max processes             95                   95                   processes \n`,
      null,
    ],
    ["x Max open files            1                    1                    files\n", null],
    ["Max open files", null],
    ["", null],
  ])("is the soft one: %#", (text, limit) => {
    expect(parseFileLimit(text)).toBe(limit);
  });
});

describe("defaults that depend on the machine", () => {
  it("leave a tenth of the files to other uses", () => {
    expect(connectionMax(optionsFrom({}), machine)).toBe(17_999);
    expect(connectionMax(optionsFrom({}), { ...machine, fileLimit: 1 })).toBe(1);
    expect(connectionMax(optionsFrom({}), { ...machine, fileLimit: null })).toBe(10_000);
  });

  it("give a quarter of the memory to queues", () => {
    expect(sendBudgetBytes(optionsFrom({}), machine)).toBe(250_000);
  });

  it("name the node by its host and process", () => {
    expect(nodeName(optionsFrom({}), machine)).toBe("edge-10");
    expect(nodeName(optionsFrom({}), { ...machine, pid: 37 })).toBe("edge-11");
  });

  it("give way to what is set", () => {
    const options = optionsFrom({
      connection: { max: 7 },
      send: { budgetBytes: 1_048_576 },
      node: { name: "n" },
    });
    expect(connectionMax(options, machine)).toBe(7);
    expect(sendBudgetBytes(options, machine)).toBe(1_048_576);
    expect(nodeName(options, machine)).toBe("n");
  });
});

describe("this machine", () => {
  it("has memory, a name and a process, and a file limit where it says so", () => {
    const here = readMachine();
    expect(here.memoryBytes).toBeGreaterThan(2 ** 24);
    expect(here.memoryBytes).toBeLessThan(2 ** 50);
    expect(here.hostname).not.toBe("");
    expect(here.pid).toBe(process.pid);
    const hasLimits = process.platform === "linux";
    expect((here.fileLimit ?? 0) > 0).toBe(hasLimits);
  });
});
