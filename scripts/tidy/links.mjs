// Relative links in Markdown lead to a file that exists, and their fragment to a heading in it.
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

const inline = /\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g;
const reference = /^\s{0,3}\[[^\]]+\]:\s*<?([^\s>]+)>?/;
const external = /^([a-z][a-z0-9+.-]*:|\/\/)/i;

/** @returns the violations of one Markdown file */
export function checkLinks(root, path, text) {
  const found = [];
  for (const [index, line] of withoutCode(text).entries()) {
    const targets = [...line.matchAll(inline)].map((match) => match[1]);
    const definition = reference.exec(line);
    if (definition) targets.push(definition[1]);
    for (const target of targets) {
      const message = checkTarget(root, path, target);
      if (message) found.push({ path, line: index + 1, rule: "link", message });
    }
  }
  return found;
}

function checkTarget(root, path, target) {
  if (external.test(target)) return undefined;
  const [file, fragment] = target.split("#", 2);
  const wanted = file === "" ? path : normalize(join(dirname(path), decodeURIComponent(file)));
  const full = join(root, wanted);
  if (wanted.startsWith("..") || !existsSync(full)) return `${target} leads nowhere`;
  if (!fragment || !wanted.endsWith(".md") || !statSync(full).isFile()) return undefined;
  if (anchors(readFileSync(full, "utf8")).has(fragment)) return undefined;
  return `${target}: ${wanted} has no such heading`;
}

// The lines of a document with code blocks and inline code blanked; the numbering stays.
function withoutCode(text) {
  let fence;
  return text.split("\n").map((line) => {
    const mark = /^\s*(```+|~~~+)/.exec(line)?.[1];
    if (mark && fence === undefined) fence = mark;
    else if (mark?.startsWith(fence)) fence = undefined;
    if (mark || fence !== undefined) return "";
    return line.replace(/(`+)(?!`).*?\1/g, "");
  });
}

// As GitHub makes them: lower case, punctuation dropped, spaces to hyphens, repeats numbered.
function anchors(text) {
  const seen = new Map();
  const names = new Set();
  let fenced = false;
  for (const line of text.split("\n")) {
    if (/^\s*(```|~~~)/.test(line)) fenced = !fenced;
    for (const match of line.matchAll(/<a (?:id|name)="([^"]+)"/g)) names.add(match[1]);
    const heading = fenced ? undefined : /^#{1,6}\s+(.*?)\s*#*$/.exec(line)?.[1];
    if (heading === undefined) continue;
    const plain = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
    const slug = plain.replace(/[^\p{L}\p{N}\s_-]/gu, "").replaceAll(" ", "-");
    const repeats = seen.get(slug) ?? 0;
    seen.set(slug, repeats + 1);
    names.add(repeats === 0 ? slug : `${slug}-${repeats}`);
  }
  return names;
}
