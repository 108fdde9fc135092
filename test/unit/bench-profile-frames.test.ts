// Stacks of three profilers, folded: shares are of what was busy, and a frame's kind is told right.

import { describe, expect, it } from "vitest";
import { flameGraph } from "../../bench/profile/flame-graph.mjs";
import {
  fromClinicSamples,
  fromCpuProfile,
  fromHeapProfile,
  fromPerfScript,
  SYSTEM_CALL,
} from "../../bench/profile/frame-tree.mjs";

function place(functionName: string, url: string = "", lineNumber: number = -1): object {
  return { functionName, url, lineNumber };
}

describe("what perf prints", () => {
  const text = `
        ffffffff81a0 tcp_ack ([kernel.kallsyms])
        ffffffff8100 __x64_sys_sendto ([kernel.kallsyms])
            7ff0aa00 syscall (/usr/lib/libc.so.6)
            7ff0bb00 JS:*receive file:///tree/dist/connection/receive.js:24:24 (/tmp/perf-7.map)

            7ff0bb10 JS:~onFrame file:///tree/dist/connection/receive.js:77:8 (/tmp/perf-7.map)
            7ff0bb00 JS:*receive file:///tree/dist/connection/receive.js:24:24 (/tmp/perf-7.map)

             1234ab v8::internal::Scavenger::Process (/usr/bin/node)

             77ab10 [unknown] (/tree/node_modules/uws/uws.node)
`;
  const tree = fromPerfScript(text);

  it("is a sample a stack, by kind", () => {
    expect(tree.total).toBe(4);
    expect(tree.kinds()).toEqual({ js: 0.25, native: 0.25, kernel: 0.25, gc: 0.25 });
  });

  it("names JavaScript by its place, and what has no name by its file", () => {
    expect(tree.top(9).map(({ name, kind }) => `${kind} ${name}`)).toEqual([
      "kernel tcp_ack",
      "js onFrame connection/receive.js:77",
      "gc v8::internal::Scavenger::Process",
      "native (uws.node)",
    ]);
  });

  it("has all that was done in a system call", () => {
    expect(tree.within(SYSTEM_CALL)).toEqual([{ name: "sendto", share: 0.25 }]);
  });
});

describe("what the inspector gives", () => {
  const nodes = [
    { id: 1, callFrame: place("(root)"), children: [2, 4, 5, 6] },
    { id: 2, callFrame: place("call", "file:///tree/dist/server/router.js", 9), children: [3] },
    { id: 3, callFrame: place("", "file:///tree/app/handler.mjs", 1) },
    { id: 4, callFrame: place("(idle)") },
    { id: 5, callFrame: place("(garbage collector)") },
    { id: 6, callFrame: place("send") },
  ];
  const samples = [2, 3, 4, 5, 6, 6];
  const timeDeltas = [100, 200, 5_000, 300, 250, 150];

  it("is weighed by time, without that in which nothing was done", () => {
    const tree = fromCpuProfile({ nodes, samples, timeDeltas });
    expect(tree.idle).toBe(5_000);
    expect(tree.top(9)).toEqual([
      { name: "send", kind: "native", share: 0.4 },
      { name: "(garbage collector)", kind: "gc", share: 0.3 },
      { name: "(anonymous) handler.mjs:2", kind: "js", share: 0.2 },
      { name: "call server/router.js:10", kind: "js", share: 0.1 },
    ]);
    expect(tree.top(1)).toHaveLength(1);
  });

  it("of the heap is weighed by bytes", () => {
    const leaf = { callFrame: place("make", "node:buffer", 4), selfSize: 30, children: [] };
    const head = { callFrame: place("(root)"), selfSize: 10, children: [leaf] };
    expect(fromHeapProfile({ head }).top(9)).toEqual([
      { name: "make node:buffer:5", kind: "js", share: 0.75 },
      { name: "(native code)", kind: "native", share: 0.25 },
    ]);
  });
});

it("what clinic collects is a sample a stack; waiting is no work", () => {
  const js = { name: "call file:///tree/dist/server/router.js:9:3", type: "JS" };
  const tree = fromClinicSamples([
    [],
    [js],
    [js, { name: "/usr/lib/libc.so.6", type: "SHARED_LIB" }],
    [{ name: "epoll_pwait@@GLIBC_2.6", type: "CPP" }],
  ]);
  expect(tree.idle).toBe(1);
  expect(tree.top(9)).toEqual([
    { name: "call server/router.js:9:3", kind: "js", share: 0.5 },
    { name: "libc.so.6", kind: "native", share: 0.5 },
  ]);
});

describe("a flame graph", () => {
  it("cannot be broken out of by a name, and leaves out what nobody could see", () => {
    const tree = fromClinicSamples([[{ name: "</script><b>", type: "CPP" }]]);
    tree.add([{ name: "wide", kind: "js" }], 10_000);
    tree.add([{ name: "narrow", kind: "js" }], 2);
    const page = flameGraph(tree, "a <b> & c");
    expect(page.match(/<\/script>/g)).toHaveLength(1);
    expect(page).toContain("a &lt;b> &amp; c");
    expect(page).toContain("wide");
    expect(page).not.toContain("narrow");
  });
});
