import type { Connection } from "../connection/connection.ts";

const NOTHING = new Uint8Array(0);

/** Answers with an empty Result; a message with id 0 is not answered. */
export function acknowledge(connection: Connection, id: number): void {
  if (id !== 0) connection.context.outbound.result(connection, id, NOTHING);
}
