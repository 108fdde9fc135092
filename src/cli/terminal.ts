// Where a command reads its surroundings and writes its words: the process's own, or a test's.

export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether standard output is read by a person. */
  readonly isInteractive: boolean;
  /** Characters in a line of help. */
  readonly columns: number;
  write(text: string): void;
  writeError(text: string): void;
}

/** How commander writes to it. */
export function commanderOutput(terminal: Terminal): {
  writeOut: (text: string) => void;
  writeErr: (text: string) => void;
  getOutHelpWidth: () => number;
  getErrHelpWidth: () => number;
} {
  return {
    writeOut: (text) => terminal.write(text),
    writeErr: (text) => terminal.writeError(text),
    getOutHelpWidth: () => terminal.columns,
    getErrHelpWidth: () => terminal.columns,
  };
}
