import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    pool: "forks",
    maxWorkers: 2,
    // `fileParallelism: false` takes one worker, so the integration tests wait for the others.
    projects: [
      {
        extends: true,
        test: {
          name: "fast",
          include: ["test/{unit,state,contract,property}/**/*.test.ts"],
        },
      },
      {
        extends: true,
        test: {
          name: "sim",
          include: ["test/sim/**/*.test.ts"],
          testTimeout: 30_000,
        },
      },
      {
        extends: true,
        test: {
          name: "integration",
          include: ["test/{integration,hostile}/**/*.test.ts"],
          // They count file descriptors and open real sockets: never beside each other.
          fileParallelism: false,
          sequence: { groupOrder: 1 },
          testTimeout: 30_000,
          hookTimeout: 30_000,
        },
      },
      {
        extends: true,
        test: {
          name: "hostile-tcp-net",
          // The tests of TCP once more, since "integration" runs them on what serves it by default.
          include: ["test/hostile/**/*.test.ts"],
          exclude: ["test/hostile/websocket.test.ts"],
          env: { HOLDFAST_TCP_TRANSPORT: "tcp-net" },
          fileParallelism: false,
          sequence: { groupOrder: 2 },
          testTimeout: 30_000,
          hookTimeout: 30_000,
        },
      },
    ],
  },
});
