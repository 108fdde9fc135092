// connection.max is the whole server's, however many workers there are and whatever befalls them.
import { setTimeout as delay } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { hasNative } from "../support/native.ts";
import { CutOff, LoadClient } from "../support/load-client.ts";
import { signal, SupervisedServer } from "../support/supervised-server.ts";

const MAX = 10;
const FLAGS = [
  `--connection-max=${MAX}`,
  "--drain-grace-ms=300",
  "--drain-reconnect-spread-ms=50",
  "--drain-close-spread-ms=50",
  "--overload-retry-after-ms=1000",
];

/** Clients that all want in, all the time; each stays a moment once it is served. */
class Crowd {
  /** Welcomed, and not leaving yet. */
  readonly served: Set<LoadClient> = new Set();
  /** The most at a time. */
  most: number = 0;
  refused: number = 0;
  readonly faults: string[] = [];
  readonly #server: SupervisedServer;
  #isOver: boolean = false;
  readonly #running: Promise<void>[];

  constructor(server: SupervisedServer, size: number) {
    this.#server = server;
    this.#running = Array.from({ length: size }, (_, index) => this.#want(index));
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#running);
  }

  async #want(index: number): Promise<void> {
    const transport = index % 2 === 0 ? "tcp" : "websocket";
    while (!this.#isOver) {
      try {
        const client = await LoadClient.open({ transport, port: this.#server.ports[transport] });
        await this.#stay(client, 200 + 20 * index);
      } catch (error) {
        this.#refused(error);
      }
      await delay(30);
    }
  }

  async #stay(client: LoadClient, ms: number): Promise<void> {
    if (client.hasEnded) return;
    this.served.add(client);
    this.most = Math.max(this.most, this.served.size);
    await Promise.race([client.ended, delay(ms)]);
    this.served.delete(client);
    await client.leave();
  }

  #refused(error: unknown): void {
    if (!(error instanceof CutOff)) throw error;
    // Overloaded; or the worker was killed.
    if (error.how === "GoAway 3004") this.refused++;
    else if (error.how !== "fin" && error.how !== "ECONNRESET") this.faults.push(error.message);
  }
}

test.skipIf(!hasNative)(
  `two workers never serve more than ${MAX} together, and in the end do serve ${MAX}`,
  async () => {
    const server = await SupervisedServer.start({ workers: 2, flags: FLAGS }, onTestFinished);
    const crowd = new Crowd(server, 40);
    onTestFinished(() => crowd.stop());
    await server.until(() => crowd.most === MAX, `${MAX} are served at a time`);
    expect(await server.reload()).toMatchObject({ problem: null });
    const [victim] = await server.workers();
    signal(victim!.pid, "SIGKILL");
    await server.until(async () => (await server.workers()).length === 2, "it is replaced");
    await server.until(() => crowd.served.size === MAX, `${MAX} are served again`);
    await crowd.stop();
    expect(crowd.most).toBe(MAX);
    expect(crowd.refused).toBeGreaterThan(0);
    expect(crowd.faults).toEqual([]);
    expect((await server.stats()).connections.max).toBe(MAX);
    expect(await server.stop()).toBe(0);
    await server.nothingIsLeft();
  },
);

test.skipIf(!hasNative)("a limit of one is one also while its worker is restarted", async () => {
  const flags = ["--connection-max=1", "--drain-grace-ms=400", "--drain-close-spread-ms=0"];
  const server = await SupervisedServer.start({ workers: 1, flags }, onTestFinished);
  const target = { transport: "tcp", port: server.ports.tcp } as const;
  const first = await LoadClient.open(target);
  onTestFinished(() => first.destroy());
  const reloading = server.reload();
  await server.until(() => first.goAway !== null, "the old worker drains");
  await expect(LoadClient.open(target)).rejects.toMatchObject({ how: "GoAway 3004" });
  expect(first.hasEnded).toBe(false);
  await reloading;
  await first.ended;
  const isFree = async (): Promise<boolean> => {
    try {
      await (await LoadClient.open(target)).leave();
      return true;
    } catch {
      return false;
    }
  };
  await server.until(isFree, "the next is served");
});
