// The command line of the load client.
#ifndef LOAD_OPTIONS_H
#define LOAD_OPTIONS_H
#include <getopt.h>
#include "clocks.h"
#include "dialects.h"
#include "words.h"

#define CONNECTIONS_MAX 100000
// Of all messages that are on their way at once: kernel and server hold them.
#define UNDER_WAY_BYTES_MAX (256u << 20)
#define RATE_MAX 1000000

static struct {
  const char *host;
  int port, connections, in_flight, pid, source_base, bytes;
  bool hold, mark;
  double warmup, seconds, rate;
} options = {.host = "127.0.0.1",
             .connections = 1,
             .in_flight = 1,
             .bytes = PAYLOAD_BYTES_MIN,
             .seconds = 3,
             .warmup = 1};

static void read_options(int argc, char **argv) {
  static const char *const transports[] = {"tcp", "websocket", NULL};
  static const char *const protocols[] = {"raw", "holdfast", "socket.io", NULL};
  static const char *const modes[] = {"echo", "hold", NULL};
  static const struct option known[] = {
      {"host", 1, NULL, 'h'},        {"port", 1, NULL, 'p'},     {"transport", 1, NULL, 't'},
      {"protocol", 1, NULL, 'P'},    {"pid", 1, NULL, 'i'},      {"connections", 1, NULL, 'c'},
      {"in-flight", 1, NULL, 'f'},   {"warmup", 1, NULL, 'w'},   {"seconds", 1, NULL, 's'},
      {"source-base", 1, NULL, 'b'}, {"mode", 1, NULL, 'm'},     {"bytes", 1, NULL, 'B'},
      {"rate", 1, NULL, 'r'},        {"mark", 1, NULL, 'M'},     {NULL, 0, NULL, 0}};
  int option, index = 0;
  while ((option = getopt_long(argc, argv, "", known, &index)) != -1) {
    const char *flag = known[index].name;
    switch (option) {
      case 'h': options.host = optarg; break;
      case 'p': options.port = (int)number(flag, optarg, 1, 65535); break;
      case 't': over_websocket = which(flag, optarg, transports) == 1; break;
      case 'P': dialect = (enum dialect)which(flag, optarg, protocols); break;
      case 'i': options.pid = (int)number(flag, optarg, 0, INT32_MAX); break;
      case 'c': options.connections = (int)number(flag, optarg, 1, CONNECTIONS_MAX); break;
      case 'f': options.in_flight = (int)number(flag, optarg, 1, IN_FLIGHT_MAX); break;
      case 'w': options.warmup = number(flag, optarg, 0, 60); break;
      case 's': options.seconds = number(flag, optarg, 0.01, 60); break;
      case 'b': options.source_base = (int)number(flag, optarg, 0, 200); break;
      case 'm': options.hold = which(flag, optarg, modes) == 1; break;
      case 'B':
        options.bytes = (int)number(flag, optarg, PAYLOAD_BYTES_MIN, PAYLOAD_BYTES_MAX);
        break;
      case 'r': options.rate = number(flag, optarg, 0, RATE_MAX); break;
      case 'M': options.mark = number(flag, optarg, 0, 1) == 1; break;
      default: exit(2);
    }
  }
  if (strncmp(options.host, "127.", 4) != 0) die("only loopback addresses are loaded");
  if (options.port == 0) die("--port is missing");
  if (options.mark && options.pid == 0) die("--mark needs --pid");
  if (dialect == SOCKET_IO && !over_websocket) die("socket.io is spoken over websocket alone");
  double under_way = (double)options.connections * options.in_flight * options.bytes;
  if (under_way > UNDER_WAY_BYTES_MAX) die("more than 256 MiB would be under way at once");
}

#endif
