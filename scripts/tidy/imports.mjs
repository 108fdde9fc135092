// Who may import whom in src/: the layers, one file or folder per vendor package, and what the
// browser client reaches. Type imports and dynamic imports count.
import { posix } from "node:path";

// Layer -> layers it may import besides itself.
const layers = {
  base: [],
  bus: ["base"],
  config: ["base"],
  observe: ["base"],
  wire: ["base"],
  transport: ["base", "wire"],
  connection: ["base", "wire", "transport"],
  server: ["base", "bus", "config", "observe", "wire", "transport", "connection"],
  client: ["base", "wire", "transport", "observe"],
  probe: ["base", "wire", "transport", "observe"],
  supervisor: ["base", "bus", "config", "observe", "wire", "transport", "connection", "server"],
  cli: [
    ...["base", "bus", "config", "observe", "wire", "transport", "connection", "server", "client"],
    ...["probe", "supervisor"],
  ],
};
// Layer -> layers of which it may import types only.
const typesOnly = { connection: ["observe"] };

// Package (or scope) -> where it may be imported.
const vendors = {
  "uWebSockets.js": /^src\/transport\/uws\.ts$/,
  "@uwsjs": /^src\/transport\/uws\.ts$/,
  protobufjs: /^src\/wire\//,
  pino: /^src\/observe\/log\.ts$/,
  "pino-pretty": /^src\/observe\/log\.ts$/,
  "prom-client": /^src\/observe\/metrics\.ts$/,
  ws: /^src\/client\/node\.ts$/,
  zod: /^src\/config\//,
  yaml: /^src\/config\//,
  commander: /^src\/cli\//,
  "hdr-histogram-js": /^src\/probe\/histogram\.ts$/,
};

// A package whose name is only known at run time, and our own addon, are loaded here alone.
const runtimeLoader = /^src\/transport\/(?:native|uws)\.ts$/;

// What the user's own module is loaded by.
const applicationLoader = /^src\/supervisor\/application\.ts$/;

const browserEntry = "src/client/browser.ts";
const browserVendors = new Set(["protobufjs"]);

/** @param {Map<string, object>} sources path -> what parseSource() gave */
export function checkImports(sources) {
  const found = [];
  for (const [path, { imports, references }] of sources) {
    if (!path.startsWith("src/")) continue;
    for (const { name, line } of references) {
      if (name !== "createRequire" || runtimeLoader.test(path)) continue;
      const message = "createRequire() loads what no check can follow";
      found.push({ path, line, rule: "vendor", message });
    }
    for (const item of imports) {
      const problem = checkImport(path, item);
      if (problem) found.push({ path, line: item.line, ...problem });
    }
  }
  found.push(...checkBrowser(sources));
  return found;
}

function checkImport(path, { specifier, type, star }) {
  if (specifier === undefined) {
    if (runtimeLoader.test(path) || applicationLoader.test(path)) return undefined;
    return { rule: "vendor", message: "import of a computed name, which no check can follow" };
  }
  if (star && path !== "src/index.ts") {
    return { rule: "barrel", message: `export * from "${specifier}": name what is exported` };
  }
  if (specifier.startsWith(".")) return checkLayer(path, specifier, type);
  if (specifier.startsWith("node:")) return undefined;
  const vendor = packageOf(specifier);
  const place = vendors[vendor] ?? vendors[vendor.split("/")[0]];
  if (!place) {
    return { rule: "vendor", message: `${vendor} has no place in scripts/tidy/imports.mjs` };
  }
  if (place.test(path)) return undefined;
  return { rule: "vendor", message: `${vendor} may be imported only in ${place.source}` };
}

function checkLayer(path, specifier, type) {
  const target = resolveImport(path, specifier);
  if (!target.startsWith("src/")) {
    return { rule: "layer", message: `${specifier} is outside src/` };
  }
  const from = layerOf(path);
  const to = layerOf(target);
  // src/index.ts stands above all layers: it may import anything and only programs import it.
  if (from === "index") return undefined;
  if (!Object.hasOwn(layers, from)) {
    return { rule: "layer", message: `${from} is no layer that scripts/tidy/imports.mjs knows` };
  }
  if (from === to || layers[from].includes(to)) return undefined;
  if (from === "cli" && to === "index") return undefined;
  if (typesOnly[from]?.includes(to)) {
    if (type) return undefined;
    return { rule: "layer", message: `${from} may import only types of ${to} (${specifier})` };
  }
  return { rule: "layer", message: `${from} must not import ${to} (${specifier})` };
}

// Every violation names the chain of imports that leads to it from the browser's entry.
function checkBrowser(sources) {
  const found = [];
  const cameFrom = new Map([[browserEntry, undefined]]);
  const queue = sources.has(browserEntry) ? [browserEntry] : [];
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    for (const { specifier, type, line } of sources.get(path).imports) {
      if (type || specifier === undefined) continue;
      if (!specifier.startsWith(".")) {
        if (browserVendors.has(packageOf(specifier))) continue;
        const message = `${specifier} does not exist in a browser (${chain(path, cameFrom)})`;
        found.push({ path, line, rule: "browser", message });
        continue;
      }
      const target = resolveImport(path, specifier);
      if (!sources.has(target) || cameFrom.has(target)) continue;
      cameFrom.set(target, path);
      queue.push(target);
    }
  }
  return found;
}

function chain(path, cameFrom) {
  const steps = [];
  for (let step = path; step !== undefined; step = cameFrom.get(step)) steps.unshift(step);
  return steps.join(" > ");
}

function resolveImport(path, specifier) {
  return posix.join(posix.dirname(path), specifier);
}

// src/base/clock.ts -> base; src/index.ts -> index
function layerOf(path) {
  return path.split("/")[1].replace(/\.ts$/, "");
}

function packageOf(specifier) {
  const parts = specifier.split("/");
  return specifier.startsWith("@") ? parts.slice(0, 2).join("/") : parts[0];
}
