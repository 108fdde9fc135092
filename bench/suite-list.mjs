// The suites of `npm run bench`, in the order in which they run, and what each is given: about 50
// minutes in all on two cores. `quick` are the flags of the shortest run that still measures,
// which throws nothing away.

/**
 * @type {{name: string, script: string, minutes: number, flags: string, quick: string,
 *   nodeFlags?: string}[]} name: of its result, NAME.json
 */
export const SUITES = [
  {
    name: "echo",
    script: "echo.mjs",
    minutes: 8,
    flags: "--bytes 32 --seconds 1 --warmup 0.5 --rounds 5",
    quick:
      "--keep --bytes 32 --connections 200 --in-flight 1 --seconds 0.5 --warmup 0.2 --rounds 1",
  },
  {
    name: "echo-large",
    script: "echo.mjs",
    minutes: 7,
    flags: "--bytes 1024,16384 --seconds 0.5 --warmup 0.3 --rounds 3",
    quick:
      "--keep --bytes 1024 --connections 200 --in-flight 1 --seconds 0.5 --warmup 0.2 --rounds 1",
  },
  {
    name: "memory",
    script: "memory.mjs",
    minutes: 4,
    flags: "--connections 10000,19000 --rounds 2",
    quick: "--keep --connections 500,1000 --rounds 1",
  },
  {
    name: "hold",
    script: "hold.mjs",
    minutes: 3,
    flags: "--connections 19000 --seconds 20",
    quick: "--connections 500 --seconds 1 --settle 0",
  },
  {
    name: "storm",
    script: "storm.mjs",
    minutes: 2,
    flags: "--rounds 5",
    quick: "--keep --connections 500 --rounds 1",
  },
  {
    name: "fanout",
    script: "fanout.mjs",
    minutes: 5,
    flags: "--seconds 0.7 --warmup 0.3 --rounds 3",
    quick: "--keep --subscribers 1,1000 --seconds 0.3 --warmup 0.2 --rounds 1",
  },
  {
    name: "workers-fanout",
    script: "workers-fanout.mjs",
    minutes: 2,
    flags: "--rounds 3",
    quick: "--keep --subscribers 1000 --rounds 1 --publishes 3",
  },
  {
    name: "mixed",
    script: "mixed.mjs",
    minutes: 4,
    flags: "--seconds 2 --rounds 3",
    quick: "--keep --idle 0,500 --busy 10 --rate 200 --seconds 0.5 --warmup 0.3 --rounds 1",
  },
  {
    name: "slow-readers",
    script: "slow-readers.mjs",
    minutes: 3,
    flags: "--seconds 6 --rounds 1",
    quick: "--keep --subscribers 100 --stalled 2 --seconds 1 --warmup 0.2 --rounds 1",
  },
  {
    name: "churn",
    script: "churn.mjs",
    minutes: 2,
    flags: "--cycles 200000",
    quick: "--cycles 5000",
  },
  {
    name: "gc",
    script: "gc.mjs",
    minutes: 2,
    flags: "--seconds 5 --rounds 1",
    quick: "--keep --bytes 32 --seconds 0.5 --warmup 0.3 --rounds 1",
  },
  {
    name: "micro",
    script: "micro.mjs",
    minutes: 3,
    flags: "--rounds 3",
    quick: "--quick",
  },
  {
    name: "alloc",
    script: "alloc.mjs",
    minutes: 1,
    flags: "",
    quick: "--messages 10000",
    nodeFlags: "--expose-gc --min-semi-space-size=256 --max-semi-space-size=256",
  },
  {
    name: "load",
    script: "open-loop.mjs",
    minutes: 1,
    flags: "",
    quick: "--rate 2000 --seconds 2",
  },
  {
    name: "latency",
    script: "latency.mjs",
    minutes: 3,
    flags: "--connections 100000 --rounds 1",
    quick: "--connections 2000 --rounds 1 --warmup 1 --seconds 2",
  },
  {
    name: "capacity",
    script: "capacity.mjs",
    minutes: 3,
    flags: "--connections 100000 --hold 30s",
    quick: "--connections 6000 --start 2000 --hold 2s",
  },
];
