// Clients that follow a short script and then listen, and one that publishes to them. One thread,
// one epoll instance; of a message no more is looked at than its header and the time that it was
// sent, so that a server's fan-out is measured and not its clients.
//
//   subscribers --port P --dialect NAME --source-base BASE [--request HEX] [--greeting HEX]
//               [--answers A] [--stalled S] [--bytes B] [--pid SERVER]
//               [--message HEX] [--publisher-greeting HEX] [--publisher-answers A]
//     Connections come from 127.BASE.0.x. Each sends the request, where its dialect begins with an
//     upgrade, waits for the end of the HTTP answer, sends the greeting and waits for A answers.
//     The first S do not read from then on. `raw` messages have B bytes each and no header.
//     A message whose payload begins with `T=` and 16 hexadecimal digits, the CLOCK_MONOTONIC at
//     which it was due, is counted with its delay. That of --message is filled in.
//
//     commands on standard input:
//       `open N`               opens N more
//       `publish SECONDS M`    publishes for so long, and M times at least, each when the one
//                              before has reached everybody who reads
//       `rate R SECONDS`       publishes R times a second, whoever may be late
//       `expect M`             somebody else publishes: waits until M messages have come
//       `stat`, `close`        what there is; `close` ends all connections before
//     Waiting ends when nothing has come for 10 s. Each is answered by a line of JSON.
//
// Linux only.
#define _GNU_SOURCE
#define PROGRAM "subscribers"
#include <getopt.h>
#include "subscriber-connections.h"
#include "words.h"

#define STUCK_NS_MAX 10000000000ll
#define STAMP_DIGITS 16
// Of a command with more publishes, the last so many are looked at.
#define LASTS_MAX 65536

// Of one command: what was published, and when the last subscriber had each.
static struct {
  uint64_t publishes, expected;
  int64_t late_ns;
  // Of this process, when the clocks were read.
  double generator_micros;
  double last_ms[LASTS_MAX];
} run;
static uint8_t *stamp;

static double server_cpu_micros(void) { return cpu_seconds(options.pid) * 1e6; }

static double own_cpu_micros(void) { return seconds_of(CLOCK_PROCESS_CPUTIME_ID) * 1e6; }

// What is counted as the generator's begins here.
static void begin_own(void) {
  run.generator_micros = own_cpu_micros();
  spun_ns = 0;
}

static int by_size(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return left < right ? -1 : left > right;
}

// When the last subscriber had a message, of half of the messages; sorts them.
static double median_last_ms(void) {
  size_t count = run.publishes < LASTS_MAX ? (size_t)run.publishes : LASTS_MAX;
  if (count == 0) return 0;
  qsort(run.last_ms, count, sizeof run.last_ms[0], by_size);
  return run.last_ms[count / 2];
}

// Of those who read, how many did not have as many messages as each was to have.
static int uneven(void) {
  int count = 0;
  uint64_t each = listening == 0 ? 0 : run.expected / (uint64_t)listening;
  for (int slot = 0; slot < begun; slot++) {
    struct connection *connection = &connections[slot];
    count += connection->phase == LISTENING && run.expected > 0 && connection->got != each;
    connection->got = 0;
  }
  return count;
}

static void report(int64_t began_ns, double cpu_micros) {
  printf("{\"open\":%d,\"stalled\":%d,\"lost\":%d,\"stalledLost\":%d,\"gaps\":%llu,", listening,
         stalled, lost, stalled_lost, (unsigned long long)gaps);
  printf("\"publishes\":%llu,\"expected\":%llu,\"received\":%llu,\"lastNs\":%lld,",
         (unsigned long long)run.publishes, (unsigned long long)run.expected,
         (unsigned long long)received, (long long)last_ns);
  printf("\"seconds\":%.6f,\"cpuMicros\":%.0f,\"p50\":%.4f,\"p99\":%.4f,\"max\":%.4f,",
         (double)(now_ns() - began_ns) / 1e9, cpu_micros, latency_at(0.5), latency_at(0.99),
         (double)delay_max / 1e6);
  printf("\"uneven\":%d,\"wrong\":%llu,", uneven(), (unsigned long long)wrong);
  // Where others took its core, what it spent cannot be told from how long it looked.
  double own = own_cpu_micros() - run.generator_micros - (double)spun_ns / 1e3;
  if (own > 0) printf("\"generatorMicros\":%.0f,", own);
  else printf("\"generatorMicros\":null,");
  printf("\"lastMs\":%.4f,\"lateMs\":%.4f}\n", median_last_ms(), (double)run.late_ns / 1e6);
  fflush(stdout);
  // The next command counts from here.
  received = gaps = wrong = delay_max = latency_count = 0;
  only_ns = 0;
  memset(latencies, 0, sizeof latencies);
  memset(&run, 0, sizeof run);
}

// Takes what comes until so many messages have, one of those who read is lost, or it is stuck.
static void await_messages(uint64_t count, int ms) {
  int before = lost;
  int64_t moved_at = now_ns();
  for (uint64_t seen = received; received < count && lost == before;) {
    turn(ms);
    if (received != seen) moved_at = now_ns();
    else if (now_ns() - moved_at > STUCK_NS_MAX) return;
    seen = received;
  }
}

// Opens them until all are ready, a few at a time.
static void open_more(int count) {
  if (count < 0 || begun + count > CONNECTIONS_MAX) die("at most %d connections", CONNECTIONS_MAX);
  int target = begun + count;
  int64_t moved_at = now_ns();
  for (int before = -1; begun < target || opening > 0; before = listening + stalled) {
    while (begun < target && opening < OPENING_MAX) begin(begun++);
    turn(100);
    if (listening + stalled != before) moved_at = now_ns();
    if (now_ns() - moved_at > STUCK_NS_MAX) die("%d connections do not get ready", opening);
  }
}

// Behind everybody else: where nobody is greeted, a server that has taken the publisher has taken
// the subscribers too.
static void open_publisher(void) {
  int64_t began_at = now_ns();
  if (stamp == NULL) die("--message is missing, or has no T=0000000000000000 in it");
  if (connections[PUBLISHER].phase == LISTENING) return;
  begin(PUBLISHER);
  while (connections[PUBLISHER].phase != LISTENING) {
    turn(100);
    if (now_ns() - began_at > STUCK_NS_MAX) die("the publisher does not get ready");
  }
}

static void publish(int64_t due_ns) {
  char digits[STAMP_DIGITS + 1];
  snprintf(digits, sizeof digits, "%016llx", (unsigned long long)due_ns);
  memcpy(stamp, digits, STAMP_DIGITS);
  say(PUBLISHER, options.message, options.message_bytes);
  run.publishes++;
  run.expected += (uint64_t)listening;
}

// A closed loop. The client does not sleep: waking it would be charged to the server.
static void publish_in_turn(double seconds, uint64_t least) {
  open_publisher();
  begin_own();
  double cpu = server_cpu_micros();
  int64_t began_ns = now_ns(), until_ns = began_ns + (int64_t)(seconds * 1e9);
  while (now_ns() < until_ns || run.publishes < least) {
    int64_t sent_ns = now_ns();
    only_ns = sent_ns;
    publish(sent_ns);
    await_messages(run.expected, 0);
    if (received != run.expected) break;
    run.last_ms[(run.publishes - 1) % LASTS_MAX] = (double)(last_ns - sent_ns) / 1e6;
  }
  report(began_ns, server_cpu_micros() - cpu);
}

// An open loop: a message carries when it was due, so that being late is counted as delay.
static void publish_at(double per_second, double seconds) {
  open_publisher();
  begin_own();
  double cpu = server_cpu_micros();
  int64_t began_ns = now_ns();
  uint64_t count = (uint64_t)(per_second * seconds);
  int before = lost;
  while (run.publishes < count && lost == before) {
    int64_t due_ns = began_ns + (int64_t)((double)run.publishes * 1e9 / per_second);
    int64_t late_ns = now_ns() - due_ns;
    if (late_ns < 0) {
      turn(0);
      continue;
    }
    if (late_ns > run.late_ns) run.late_ns = late_ns;
    publish(due_ns);
  }
  await_messages(run.expected, 0);
  report(began_ns, server_cpu_micros() - cpu);
}

static void close_all(void) {
  for (int slot = 0; slot < begun; slot++) {
    if (connections[slot].phase != LOST) close(connections[slot].fd);
    connections[slot].phase = LOST;
  }
  listening = stalled = 0;
}

static void command(void) {
  char line[64];
  unsigned long long count;
  double seconds, rate;
  int64_t began_ns = now_ns();
  has_command = false;
  begin_own();
  if (fgets(line, sizeof line, stdin) == NULL) exit(0);
  if (sscanf(line, "open %llu", &count) == 1) {
    open_more(count > CONNECTIONS_MAX ? -1 : (int)count);
  } else if (sscanf(line, "publish %lf %llu", &seconds, &count) == 2) {
    publish_in_turn(seconds, count);
    return;
  } else if (sscanf(line, "rate %lf %lf", &rate, &seconds) == 2 && rate > 0) {
    publish_at(rate, seconds);
    return;
  } else if (sscanf(line, "expect %llu", &count) == 1) {
    // The first may have come before the command did.
    run.expected = count;
    await_messages(count, 100);
  } else if (strcmp(line, "close\n") == 0) {
    close_all();
  } else if (strcmp(line, "stat\n") != 0) {
    die("no such command: %s", line);
  }
  report(began_ns, 0);
}

static size_t bytes_of(const char *hex, uint8_t *bytes) {
  size_t count = strlen(hex) / 2;
  if (count > SCRIPT_BYTES_MAX) die("more than %d bytes", SCRIPT_BYTES_MAX);
  for (size_t i = 0; i < count; i++) {
    unsigned value;
    if (sscanf(hex + 2 * i, "%2x", &value) != 1) die("no hex: %s", hex);
    bytes[i] = (uint8_t)value;
  }
  return count;
}

static enum dialect dialect_of(const char *name) {
  for (enum dialect dialect = 0; dialect < DIALECTS; dialect++) {
    if (strcmp(name, dialects[dialect].name) == 0) return dialect;
  }
  die("no such dialect: %s", name);
  return RAW;
}

static void find_stamp(void) {
  uint8_t *mark = memmem(options.message, options.message_bytes, "T=0000000000000000", 18);
  stamp = mark == NULL ? NULL : mark + 2;
}

static void read_options(int argc, char **argv) {
  static const struct option known[] = {
      {"port", 1, NULL, 'p'},    {"dialect", 1, NULL, 'd'}, {"source-base", 1, NULL, 'b'},
      {"request", 1, NULL, 'r'}, {"message", 1, NULL, 'm'}, {"greeting", 1, NULL, 'g'},
      {"answers", 1, NULL, 'a'}, {"stalled", 1, NULL, 's'}, {"publisher-greeting", 1, NULL, 'G'},
      {"pid", 1, NULL, 'i'},     {"bytes", 1, NULL, 'n'},   {"publisher-answers", 1, NULL, 'A'},
      {NULL, 0, NULL, 0}};
  struct script *own = &options.subscriber, *other = &options.publisher;
  int option, index = 0;
  while ((option = getopt_long(argc, argv, "", known, &index)) != -1) {
    const char *flag = known[index].name;
    switch (option) {
      case 'p': options.port = (int)number(flag, optarg, 1, 65535); break;
      case 'd': options.dialect = dialect_of(optarg); break;
      case 'b': options.source_base = (int)number(flag, optarg, 0, 200); break;
      case 'i': options.pid = (int)number(flag, optarg, 0, INT32_MAX); break;
      case 's': options.stalled = (int)number(flag, optarg, 0, CONNECTIONS_MAX); break;
      case 'n': options.bytes = (size_t)number(flag, optarg, 1, 1e6); break;
      case 'r': options.request_bytes = bytes_of(optarg, options.request); break;
      case 'm': options.message_bytes = bytes_of(optarg, options.message); break;
      case 'g': own->greeting_bytes = bytes_of(optarg, own->greeting); break;
      case 'a': own->answers = (uint32_t)number(flag, optarg, 0, 100); break;
      case 'G': other->greeting_bytes = bytes_of(optarg, other->greeting); break;
      case 'A': other->answers = (uint32_t)number(flag, optarg, 0, 100); break;
      default: exit(2);
    }
  }
  if (options.port == 0) die("--port is missing");
  find_stamp();
}

int main(int argc, char **argv) {
  read_options(argc, argv);
  raise_file_limit();
  epoll_fd = new_epoll();
  watch_commands(epoll_fd, COMMANDS);
  for (;;) {
    while (!has_command) turn(1000);
    command();
  }
}
