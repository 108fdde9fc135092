// What the suites measure, by the name that rows of a result have.

/**
 * Everything that is measured, by the name that rows have. `better` says what an improvement is;
 * `isClaim` marks what is claimed of a server: the rest is shown beside it.
 * @type {Record<string, {title: string, unit: string, better: "less" | "more", isClaim?: boolean}>}
 */
export const FIGURES = {
  cpuPerMessage: { title: "CPU per message", unit: "us", better: "less", isClaim: true },
  messagesPerSecond: { title: "messages", unit: "/s", better: "more" },
  p50: { title: "p50", unit: "ms", better: "less" },
  p99: { title: "p99", unit: "ms", better: "less" },
  generatorCpuPerMessage: { title: "generator's CPU", unit: "us", better: "less" },
  residentPerConnection: {
    title: "resident per connection",
    unit: "B",
    better: "less",
    isClaim: true,
  },
  kernelPerConnection: { title: "kernel, both ends", unit: "B", better: "less" },
  cpuPerConnect: { title: "CPU per connect", unit: "us", better: "less", isClaim: true },
  connectsPerSecond: { title: "connects", unit: "/s", better: "more" },
  cpuPerDelivery: { title: "CPU per delivery", unit: "us", better: "less", isClaim: true },
  lastDelivery: { title: "last delivery", unit: "ms", better: "less" },
  residentGrowth: { title: "resident growth", unit: "B", better: "less", isClaim: true },
  pauseMax: { title: "longest pause", unit: "ms", better: "less" },
  pauseTotal: { title: "pauses per million", unit: "ms", better: "less", isClaim: true },
  allocated: { title: "allocated per message", unit: "B", better: "less", isClaim: true },
  time: { title: "time", unit: "ns", better: "less", isClaim: true },
};
