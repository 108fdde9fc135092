// What the load clients count with: clocks, and an end with a reason. Whoever includes this defines
// PROGRAM, its own name.
#ifndef CLOCKS_H
#define CLOCKS_H
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline void die(const char *format, ...) {
  va_list values;
  va_start(values, format);
  fprintf(stderr, PROGRAM ": ");
  vfprintf(stderr, format, values);
  fprintf(stderr, "\n");
  va_end(values);
  exit(1);
}

static inline double seconds_of(clockid_t clock) {
  struct timespec time;
  if (clock_gettime(clock, &time) != 0) die("clock: %s", strerror(errno));
  return time.tv_sec + time.tv_nsec / 1e9;
}

static inline double now(void) { return seconds_of(CLOCK_MONOTONIC); }

// CPU time of all threads of a process so far; 0 where none was named.
static inline double cpu_seconds(int pid) {
  clockid_t clock;
  if (pid == 0) return 0;
  if (clock_getcpuclockid(pid, &clock) != 0) die("process %d is gone", pid);
  return seconds_of(clock);
}

#endif
