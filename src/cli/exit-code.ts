// What the command's exit status says. Service managers and scripts match it.

export const EXIT = {
  /** All went well; a server was stopped in order. */
  OK: 0,
  /** It could not start, or failed while it ran. */
  FAILED: 1,
  /** The command line or an option is wrong: nothing was started, and trying again is of no use. */
  USAGE: 2,
  /** It found a defect in itself and ended at once; sysexits(3) calls it EX_SOFTWARE. */
  DEFECT: 70,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];
