// tcp-epoll without the layers above it, for the benchmarks that measure the transport alone.
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/** As much as one chunk may have. */
const SLAB_BYTES = 65_536;

const OPTIONS = {
  host: "127.0.0.1",
  port: 0,
  path: null,
  fd: null,
  backlog: 4_096,
  noDelay: true,
  keepAliveMs: 0,
  userTimeoutMs: 0,
  queueBytesMax: 1_048_576,
};

/** What the addon counts, by name. */
export function nativeCounters(loop, names) {
  const entries = Object.entries(names).map(([name, index]) => [name, loop.counters[index]]);
  return Object.fromEntries(entries);
}

/**
 * A transport that listens on a free port of 127.0.0.1, and echoes: each chunk is copied into a
 * leased slab, as frames are encoded into one, and written. A sink drops it instead.
 * @param {{isSink?: boolean, copy?: Function}} how `copy` instead of Holdfast's copyBytes
 */
export async function startBareTransport(dist, { isSink = false, copy = null } = {}) {
  const load = (module) => import(pathToFileURL(join(dist, module)).href);
  const { BufferPool } = await load("base/buffer-pool.js");
  const { systemClock } = await load("base/clock.js");
  const { copyBytes } = await load("wire/frame-reader.js");
  const { COUNTER } = await load("transport/epoll-layout.js");
  const { loadNative } = await load("transport/native.js");
  const { EpollLoop } = await load("transport/epoll-loop.js");
  const { TcpEpollTransport } = await load("transport/tcp-epoll.js");
  const pool = new BufferPool();
  const copyInto = copy ?? copyBytes;
  const held = { open: 0, chunks: 0 };
  let slab = pool.lease(SLAB_BYTES);
  let used = 0;

  function echo(channel, bytes, start, end) {
    const length = end - start;
    held.chunks++;
    // The transport holds the slab as long as it needs it.
    if (slab.holders === 1) used = 0;
    if (used + length > SLAB_BYTES) {
      slab.release();
      slab = pool.lease(SLAB_BYTES);
      used = 0;
    }
    copyInto(bytes, start, end, slab.bytes, used);
    transport.write(channel, slab, used, used + length);
    used += length;
  }

  function drop() {
    held.chunks++;
  }

  const loop = new EpollLoop(loadNative());
  const transport = new TcpEpollTransport(
    OPTIONS,
    {
      admit: () => true,
      onOpen: () => {
        held.open++;
      },
      onChunk: isSink ? drop : echo,
      onQueued: () => {},
      onDrain: () => {},
      onEnd: (channel) => transport.close(channel, 1000, ""),
      onSign: () => {},
      onFault: () => {},
      onClose: () => {
        held.open--;
      },
      onAcceptError: (code) => process.stderr.write(`accept: ${code}\n`),
    },
    loop,
    systemClock,
  );
  const { port } = await transport.listen();
  return {
    port,
    held,
    transport,
    leases: () => pool.leased - 1,
    counters: () => nativeCounters(loop, COUNTER),
  };
}
