// What a server can be profiled under: the loads of the benchmarks, on one server process.
import { setTimeout as wait } from "node:timers/promises";
import { runEcho, startHolder, startLives } from "../load/load-client.mjs";
import { assertDelivered, Subscribers } from "../load/subscribers.mjs";

/** Bytes of an event's payload, as in bench:fanout. */
const EVENT_BYTES = 64;
/** Connections of a storm: opened and closed so many at a time, for as long as it lasts. */
const STORM = { round: 20_000, held: 200 };

/**
 * @typedef {{pid: number, ports: Record<string, number>, warmup: number, seconds: number,
 *   ask: (command: string) => Promise<object>}} Target
 * @typedef {{title: string, tcp: "tcp-epoll" | "tcp-net", served: number,
 *   start: (target: Target) => Promise<() => Promise<void>>}} Scenario
 *   `tcp`: the transport of the server's TCP listener; `served`: connections that are there before
 *   it warms up; `start`: begins the load and gives what ends it, which throws where it went wrong
 */

/** Every connection sends the next call when one is answered. */
function echo({ tcp = "tcp-epoll", transport = "tcp", inFlight = 1, bytes = 32 }) {
  const connections = 200;
  return {
    title: `${connections} connections echo ${bytes} bytes, ${inFlight} in flight`,
    tcp,
    served: connections,
    start: async ({ pid, ports, warmup, seconds }) => {
      const run = runEcho({
        ...{ port: ports[transport], transport, protocol: "holdfast", pid, connections },
        ...{ bytes, "in-flight": inFlight, warmup, seconds },
      });
      // Whoever waits for it may come to it late.
      run.catch(() => {});
      return async () => {
        const { messages, errors, lost } = await run;
        if (errors > 0 || lost > 0 || messages === 0) {
          throw new Error(`${messages} messages, ${errors} errors, ${lost} connections lost`);
        }
      };
    },
  };
}

/** Nobody says anything but heartbeats. */
function idle(connections) {
  return {
    title: `${connections} connections say nothing`,
    tcp: "tcp-epoll",
    served: connections,
    start: async ({ pid, ports }) => {
      const holder = startHolder({
        ...{ port: ports.tcp, transport: "tcp", protocol: "holdfast", pid },
      });
      await holder.ask(`open ${connections}`);
      return async () => {
        const { lost, errors } = await holder.ask("stat");
        await holder.stop();
        if (lost > 0 || errors > 0) throw new Error(`${lost} connections lost, ${errors} errors`);
      };
    },
  };
}

/** Connections come and go, with Hello and Welcome. */
function storm() {
  return {
    title: `connections come and go, ${STORM.held} at a time`,
    tcp: "tcp-epoll",
    served: 0,
    start: async ({ pid, ports }) => {
      const lives = startLives({
        ...{ transport: "tcp", protocol: "holdfast", port: ports.tcp, pid, "source-base": 3 },
      });
      let isOver = false;
      const run = (async () => {
        let errors = 0;
        while (!isOver) ({ errors } = await lives.ask(`cycle ${STORM.round} ${STORM.held}`));
        return errors;
      })();
      run.catch(() => {});
      return async () => {
        isOver = true;
        const errors = await run;
        await lives.stop();
        if (errors > 0) throw new Error(`${errors} connections went wrong`);
      };
    },
  };
}

/** One topic; each publish when the one before has reached everybody. */
function fanout({ transport, subscribers }) {
  return {
    title: `each publish reaches ${subscribers} subscribers over ${transport}`,
    tcp: "tcp-epoll",
    served: subscribers,
    start: async ({ pid, ports, warmup, seconds }) => {
      const how = { transport, protocol: "holdfast", port: ports[transport], bytes: EVENT_BYTES };
      const clients = new Subscribers({ ...how, pid });
      await clients.open(subscribers);
      const run = clients.publish(warmup + seconds, 1);
      run.catch(() => {});
      return async () => {
        assertDelivered("holdfast", await run);
        await clients.stop();
      };
    },
  };
}

/** @type {Record<string, Scenario>} */
export const SCENARIOS = {
  "echo-tcp-epoll": echo({}),
  "echo-tcp-net": echo({ tcp: "tcp-net" }),
  "echo-websocket": echo({ transport: "websocket" }),
  "echo-16-in-flight": echo({ inFlight: 16 }),
  "echo-websocket-16-in-flight": echo({ transport: "websocket", inFlight: 16 }),
  "echo-16k": echo({ bytes: 16_384 }),
  "echo-websocket-16k": echo({ transport: "websocket", bytes: 16_384 }),
  "fanout-tcp": fanout({ transport: "tcp", subscribers: 1_000 }),
  "fanout-websocket": fanout({ transport: "websocket", subscribers: 1_000 }),
  idle: idle(5_000),
  storm: storm(),
};

/** Waits until the server serves as many as the scenario has, and has warmed up on them. */
export async function warmedUp({ served }, ask, warmup) {
  const deadlineMs = performance.now() + 60_000;
  while ((await ask("served")).served < served) {
    if (performance.now() > deadlineMs) throw new Error("the load's connections do not come");
    await wait(50);
  }
  await wait(warmup * 1_000);
}
