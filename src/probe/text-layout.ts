// Plain text in columns and lines of a limited width, with colours where they are asked for.

const STYLES = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  magenta: [35, 39],
} as const;
export type TextStyle = keyof typeof STYLES;
export type Paint = (text: string, style: TextStyle) => string;

/** Colours by ANSI codes, or not at all. */
export function paintWith(colour: boolean): Paint {
  if (!colour) return (text) => text;
  return (text, style) => `\u001b[${STYLES[style][0]}m${text}\u001b[${STYLES[style][1]}m`;
}

/** Without control characters: names that come from elsewhere must not drive the terminal. */
export function plain(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, "?");
}

/** At most so many characters; what is missing is an ellipsis. */
export function clipped(text: string, width: number): string {
  // Cheap for what fits, and no character is cut in half.
  if (text.length <= width) return text;
  const characters = [...text];
  if (characters.length <= width) return text;
  return width < 1 ? "" : `${characters.slice(0, width - 1).join("")}…`;
}

/** Words in lines of this width; lines after the first are indented. A longer word stays whole. */
export function wrapped(text: string, width: number, indent: number = 0): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const isFirst = line.trim() === "";
    if (!isFirst && line.length + 1 + word.length > width) {
      lines.push(line);
      line = " ".repeat(indent) + word;
    } else {
      line += isFirst ? word : ` ${word}`;
    }
  }
  return [...lines, line];
}

/**
 * Rows in columns as wide as their widest cell, two blanks between them.
 * @param align one letter for each column: `l` or `r`
 */
export function textTable(
  rows: readonly (readonly string[])[],
  align: string,
  width: number,
): string[] {
  const widths = [...align].map((_, column) =>
    Math.max(...rows.map((row) => [...(row[column] ?? "")].length)),
  );
  return rows.map((row) => {
    const cells = row.map((cell, column) => {
      const blanks = " ".repeat(widths[column]! - [...cell].length);
      return align[column] === "r" ? blanks + cell : cell + blanks;
    });
    return clipped(cells.join("  ").trimEnd(), width);
  });
}
