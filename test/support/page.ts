// What a page of HTML must be, whatever is on it: balanced, with figures in its drawings.

import { expect } from "vitest";

/** The text between two marks, the first time they come. */
export function between(text: string, from: string, to: string): string {
  const start = text.indexOf(from);
  if (start === -1) throw new Error(`there is no ${from}`);
  return text.slice(start + from.length, text.indexOf(to, start + from.length));
}

const VOID = new Set(["meta", "br", "hr", "img", "input", "link"]);

/** What is not closed, or closed where it was not open. */
function unbalanced(page: string): string[] {
  const open: string[] = [];
  const problems: string[] = [];
  const plain = page.replace(/<(script|style)\b[^>]*>.*?<\/\1>/gs, "");
  for (const [, slash, name, rest] of plain.matchAll(/<(\/?)([a-zA-Z][a-zA-Z0-9]*)([^>]*)>/g)) {
    if (slash === "/") {
      const last = open.pop();
      if (last !== name) problems.push(`</${name}> closes <${last}>`);
    } else if (!VOID.has(name!) && !rest!.endsWith("/")) open.push(name!);
  }
  return [...problems, ...open.map((name) => `<${name}> stays open`)];
}

/** Every figure in a drawing is one. */
function strayWords(page: string): string[] {
  const drawn = page.match(/ (d|x|y|cx|cy|r|width|height|viewBox|points)="[^"]*"/g) ?? [];
  return drawn.filter((attribute) => /NaN|Infinity|undefined|null|e[+-]?\d/.test(attribute));
}

export function expectSound(page: string): void {
  expect(unbalanced(page)).toEqual([]);
  expect(strayWords(page)).toEqual([]);
  expect(page).not.toMatch(/>[^<]*\b(NaN|undefined|\[object)/);
}
