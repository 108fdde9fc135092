// HTML that is put together from text of anywhere: whatever a template is given is escaped, unless
// it came out of a template itself.

/** Text that is HTML already. Made by {@link html} and {@link verbatim} only. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type MarkupValue = Markup | string | number | readonly MarkupValue[];

const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** For text and for attributes in quotes. Control characters, which HTML must not have, go. */
export function escaped(text: string): string {
  return text
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g, "\ufffd")
    .replace(/[&<>"']/g, (character) => ESCAPES[character]!);
}

export function html(strings: TemplateStringsArray, ...values: readonly MarkupValue[]): Markup {
  let text = strings[0]!;
  for (const [index, value] of values.entries()) text += rendered(value) + strings[index + 1]!;
  return new Markup(text);
}

/** Our own constants, such as a style sheet. Never anything that came from outside. */
export function verbatim(text: string): Markup {
  return new Markup(text);
}

/** Nothing at all. */
export const NOTHING: Markup = new Markup("");

function rendered(value: MarkupValue): string {
  if (value instanceof Markup) return value.text;
  if (typeof value === "number") return String(value);
  if (typeof value === "string") return escaped(value);
  return value.map(rendered).join("");
}
