// Files of Unix sockets: they outlive the process that listened on them.

import { lstatSync } from "node:fs";
import { connect } from "node:net";

/** A Unix socket file that a process which is gone has left behind. */
export function isDeadSocket(path: string): Promise<boolean> {
  // Connecting to a file that is no socket is refused as well, and such a file is not ours to
  // remove.
  const file = lstatSync(path, { throwIfNoEntry: false });
  if (file?.isSocket() !== true) return Promise.resolve(false);
  return new Promise((resolve) => {
    const probe = connect({ path });
    probe.once("connect", () => {
      probe.destroy();
      resolve(false);
    });
    probe.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ECONNREFUSED"));
  });
}
