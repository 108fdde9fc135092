// Random operations on the core of the addon, checked against a model after each of them.
//
//   fuzz [--operations N] [--seed S] [--episode E] [--seconds MAX]
//
// A run is made of episodes of one loop each, and each is a function of the seed and its number: a
// breach prints both, and the episode runs alone. Prints `N operations` and what came about; ends
// with 1 where the model or a sanitizer finds a difference.
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "world.h"

namespace holdfast::fuzz {

namespace {

constexpr uint64_t EPISODE_OPERATIONS = 20000;

struct Settings {
  uint64_t operations = 300000;
  uint64_t seed = 1;
  int64_t episode = -1;
  double seconds_max = 3600;
};

double seconds_now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

int count_files() {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) breach("there is no /proc");
  int count = 0;
  while (readdir(folder) != nullptr) count++;
  closedir(folder);
  return count;
}

bool read_settings(int count, char** words, Settings& settings) {
  for (int at = 1; at + 1 < count; at += 2) {
    std::string word = words[at];
    const char* value = words[at + 1];
    if (word == "--operations") settings.operations = strtoull(value, nullptr, 10);
    else if (word == "--seed") settings.seed = strtoull(value, nullptr, 10);
    else if (word == "--episode") settings.episode = strtoll(value, nullptr, 10);
    else if (word == "--seconds") settings.seconds_max = strtod(value, nullptr);
    else return false;
  }
  return count % 2 == 1;
}

void run_episode(uint64_t episode, uint64_t operations, const std::string& folder, Tally& tally) {
  position.episode = episode;
  Prng prng(position.seed * 1000003 + episode);
  int files = count_files();
  {
    World world(prng, folder, tally);
    for (uint64_t done = 0; done < operations; done++) {
      position.operation = done;
      world.step();
    }
    if (prng.once_in(4)) world.abandon();
    else world.finish();
  }
  if (count_files() != files) breach("files are left open");
}

void report(const Tally& tally, uint64_t operations, uint64_t episodes, double seconds) {
  const struct {
    const char* name;
    uint64_t count;
  } counts[] = {
      {"opened", tally.opened},
      {"accepted", tally.accepted},
      {"connected", tally.connected},
      {"refused", tally.refused},
      {"ended in order", tally.ended_in_order},
      {"reset", tally.reset},
      {"ended by errors", tally.failed},
      {"queue limits passed", tally.overflowed},
      {"out of memory", tally.out_of_memory},
      {"out of files", tally.starved},
      {"queued", tally.queued},
      {"drained", tally.drained},
      {"full batches", tally.full_batches},
      {"stale events", tally.stale_events},
      {"invalid operations", tally.invalid_operations},
      {"bytes in", tally.bytes_in},
      {"bytes out", tally.bytes_out},
  };
  bool is_complete = true;
  for (auto [name, count] : counts) {
    std::printf("  %s: %llu\n", name, static_cast<unsigned long long>(count));
    if (count == 0) is_complete = false;
  }
  std::printf("%llu operations in %llu episodes, %.1f s\n",
              static_cast<unsigned long long>(operations),
              static_cast<unsigned long long>(episodes), seconds);
  // Of a few operations not everything comes; what never comes in many is not checked at all.
  if (!is_complete && operations >= 200000) breach("something above never came about");
}

int run(const Settings& settings) {
  position.seed = settings.seed;
  const char* temporary = getenv("TMPDIR");
  std::string folder = temporary == nullptr ? P_tmpdir : temporary;
  folder += "/holdfast-fuzz-XXXXXX";
  if (mkdtemp(&folder[0]) == nullptr) breach("there is no folder for sockets");
  rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  signal(SIGPIPE, SIG_DFL);
  pattern(0, 0);
  Tally tally;
  double start = seconds_now();
  double told_at = start;
  uint64_t done = 0;
  uint64_t episodes = 0;
  if (settings.episode >= 0) {
    run_episode(static_cast<uint64_t>(settings.episode), EPISODE_OPERATIONS, folder, tally);
    done = EPISODE_OPERATIONS;
    episodes = 1;
  }
  while (settings.episode < 0 && done < settings.operations) {
    if (seconds_now() - start > settings.seconds_max) break;
    run_episode(episodes++, EPISODE_OPERATIONS, folder, tally);
    done += EPISODE_OPERATIONS;
    if (seconds_now() - told_at < 10) continue;
    told_at = seconds_now();
    std::printf("%llu operations\n", static_cast<unsigned long long>(done));
    std::fflush(stdout);
  }
  rmdir(folder.c_str());
  report(tally, settings.episode >= 0 ? 0 : done, episodes, seconds_now() - start);
  return 0;
}

}  // namespace
}  // namespace holdfast::fuzz

int main(int count, char** words) {
  holdfast::fuzz::Settings settings;
  if (!holdfast::fuzz::read_settings(count, words, settings)) {
    std::fprintf(stderr, "fuzz [--operations N] [--seed S] [--episode E] [--seconds MAX]\n");
    return 2;
  }
  return holdfast::fuzz::run(settings);
}
