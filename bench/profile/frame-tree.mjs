// Stacks, however they were sampled, folded into one tree: what is shown as a table and as a flame
// graph. Weights are microseconds, samples or bytes; only shares are shown.
import { basename } from "node:path";

/** What a frame is: ours and Node's JavaScript, compiled code below it, the kernel's, V8's GC. */
export const KINDS = ["js", "native", "kernel", "gc"];

/** The kernel's side of a system call. */
export const SYSTEM_CALL = /^__(?:x64|arm64)_sys_(\w+)$/;

/** Nothing was done there; it is no part of a share. */
const IDLE = "(idle)";

/** @typedef {{name: string, kind: string, self: number, children: Map<string, Node>}} Node */

function newNode(name, kind) {
  return { name, kind, self: 0, children: new Map() };
}

/** The weight of a node and of all below it. */
export function totalOf(node) {
  let total = node.self;
  for (const child of node.children.values()) total += totalOf(child);
  return total;
}

export class FrameTree {
  /** @type {Node} */
  root = newNode("all", "js");
  total = 0;
  idle = 0;

  /** @param {{name: string, kind: string}[]} frames from the outermost to the innermost */
  add(frames, weight) {
    if (weight === 0) return;
    if (frames.at(-1)?.name === IDLE) {
      this.idle += weight;
      return;
    }
    let node = this.root;
    for (const { name, kind } of frames) {
      if (!node.children.has(name)) node.children.set(name, newNode(name, kind));
      node = node.children.get(name);
    }
    node.self += weight;
    this.total += weight;
  }

  /** Shares of what was busy, by the frame that was innermost; the largest first. */
  top(count) {
    const byName = new Map();
    const visit = (node) => {
      const known = byName.get(node.name) ?? { name: node.name, kind: node.kind, self: 0 };
      known.self += node.self;
      byName.set(node.name, known);
      for (const child of node.children.values()) visit(child);
    };
    visit(this.root);
    return [...byName.values()]
      .filter(({ self }) => self > 0)
      .sort((a, b) => b.self - a.self)
      .slice(0, count)
      .map(({ name, kind, self }) => ({ name, kind, share: self / this.total }));
  }

  /** Shares with all that they called, of the outermost frames with such names; largest first. */
  within(pattern) {
    const byName = new Map();
    const visit = (node) => {
      const found = pattern.exec(node.name)?.[1];
      if (found !== undefined) {
        byName.set(found, (byName.get(found) ?? 0) + totalOf(node));
        return;
      }
      for (const child of node.children.values()) visit(child);
    };
    visit(this.root);
    return [...byName]
      .sort(([, a], [, b]) => b - a)
      .map(([name, weight]) => ({ name, share: weight / this.total }));
  }

  /** Shares by kind. */
  kinds() {
    const shares = Object.fromEntries(KINDS.map((kind) => [kind, 0]));
    const visit = (node) => {
      if (node.self > 0) shares[node.kind] += node.self / this.total;
      for (const child of node.children.values()) visit(child);
    };
    visit(this.root);
    return shares;
  }
}

/** A function of JavaScript: its name and place, the folder as far as it says something. */
function jsFrame({ functionName, url, lineNumber }) {
  // Functions of the addon and of uWebSockets.js have no place, and some no name.
  const name = functionName || (url === "" ? "(a native function)" : "(anonymous)");
  if (name === "(garbage collector)") return { name, kind: "gc" };
  if (name === "(program)") return { name: "(native code and the kernel)", kind: "native" };
  if (url === "") return { name, kind: name === "(root)" ? "js" : "native" };
  return { name: `${name} ${shortPlace(url)}:${lineNumber + 1}`, kind: "js" };
}

function shortPlace(url) {
  const inside = /\/(?:dist|bench|node_modules)\/(.+)$/.exec(url)?.[1];
  return inside ?? url.replace(/^file:\/\/.*\//, "");
}

/** What the inspector's CPU profiler gives, and --cpu-prof writes. */
export function fromCpuProfile({ nodes, samples, timeDeltas }) {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const parents = new Map();
  for (const { id, children = [] } of nodes) for (const child of children) parents.set(child, id);
  const weights = new Map();
  samples.forEach((id, index) => {
    weights.set(id, (weights.get(id) ?? 0) + Math.max(0, timeDeltas[index]));
  });
  const tree = new FrameTree();
  for (const [id, weight] of weights) {
    const frames = [];
    for (let at = id; parents.has(at); at = parents.get(at)) {
      frames.unshift(jsFrame(byId.get(at).callFrame));
    }
    tree.add(frames, weight);
  }
  return tree;
}

/** What the inspector's sampling heap profiler gives, and --heap-prof writes. */
export function fromHeapProfile({ head }) {
  const tree = new FrameTree();
  const visit = (node, above) => {
    const frames = [...above, jsFrame(node.callFrame)];
    tree.add(frames, node.selfSize);
    for (const child of node.children) visit(child, frames);
  };
  for (const child of head.children) visit(child, []);
  tree.add([{ name: "(native code)", kind: "native" }], head.selfSize);
  return tree;
}

/** Where libuv waits: clinic looks at the clock's time, not at the processor's. */
const WAITING = /^epoll_pwait\b/;

/** What clinic flame collects: a stack for every sample, the outermost first. */
export function fromClinicSamples(samples) {
  const tree = new FrameTree();
  for (const sample of samples) {
    const frames = sample.map(({ name, type }) =>
      type === "JS"
        ? { name: name.trim().replace(/file:\/\/\S+/, shortPlace), kind: "js" }
        : { name: WAITING.test(name) ? IDLE : basename(name), kind: "native" },
    );
    if (frames.length > 0) tree.add(frames, 1);
  }
  return tree;
}

/** One line of a stack of `perf script -F ip,sym,dso`. */
const PERF_FRAME = /^\s+([0-9a-f]+) (.*) \((.*)\)$/;

function perfFrame(address, symbol, object) {
  if (object.includes("[kernel") || address.startsWith("ffff")) {
    return { name: symbol, kind: "kernel" };
  }
  if (/^(JS|Function|LazyCompile):/.test(symbol)) {
    // JS:*receive file:///.../dist/connection/receive.js:24:24
    const [, name, place] = /^\w+:[*~^+]*(\S*) ?(.*?)(?::\d+)?$/.exec(symbol);
    return { name: `${name || "(anonymous)"} ${shortPlace(place)}`.trim(), kind: "js" };
  }
  const place = basename(object);
  const name = symbol === "[unknown]" ? `(${place})` : symbol.replace(/\+0x[0-9a-f]+$/, "");
  const isCollector = /Scaveng|MarkCompact|ConcurrentMark|Sweeper|GarbageCollect/.test(name);
  return { name, kind: isCollector ? "gc" : "native" };
}

/** What `perf script -F ip,sym,dso` prints: stacks with empty lines between, innermost first. */
export function fromPerfScript(text) {
  const tree = new FrameTree();
  for (const block of text.split("\n\n")) {
    const frames = [];
    for (const line of block.split("\n")) {
      const found = PERF_FRAME.exec(line);
      if (found !== null) frames.unshift(perfFrame(found[1], found[2], found[3]));
    }
    if (frames.length > 0) tree.add(frames, 1);
  }
  return tree;
}
