// One loop with its connections, the sockets at their far ends, and the model of both. Operations
// are appended and flushed, records collected and handled as src/transport/epoll-loop.ts does it;
// the handling of one record may do anything to any connection.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../connector.h"
#include "../loop.h"
#include "failing_memory.h"
#include "model.h"
#include "prng.h"

namespace holdfast::fuzz {

/** What a whole run has done: a fuzz that never came to something has not checked it. */
struct Tally {
  uint64_t opened = 0;
  uint64_t accepted = 0;
  uint64_t connected = 0;
  uint64_t refused = 0;
  uint64_t ended_in_order = 0;
  uint64_t reset = 0;
  uint64_t failed = 0;
  uint64_t overflowed = 0;
  uint64_t out_of_memory = 0;
  uint64_t queued = 0;
  uint64_t drained = 0;
  uint64_t starved = 0;
  uint64_t stale_events = 0;
  uint64_t invalid_operations = 0;
  uint64_t full_batches = 0;
  uint64_t bytes_in = 0;
  uint64_t bytes_out = 0;
};

/** Memory of a slab of JavaScript's, of exactly its size, so that the sanitizer sees its edges. */
struct Slab {
  int32_t slot;
  std::unique_ptr<uint8_t[]> memory;
  size_t length;
  size_t used = 0;
};

class World {
 public:
  World(Prng& prng, const std::string& folder, Tally& tally);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /** One random operation. */
  void step();
  /** Everything ends in order, and nothing may be left. */
  void finish();
  /** The loop goes as it is, with everything open. */
  void abandon();

 private:
  using Action = void (World::*)();
  struct Weighted {
    Action action;
    const char* name;
    int weight;
  };
  static const std::vector<Weighted>& actions();
  void act(const Weighted& weighted);
  void add_slabs();

  // What JavaScript does: actions.cc.
  void write();
  void write_to(int32_t channel, size_t length);
  void write_burst();
  void write_nothing();
  void pause();
  void resume();
  void close();
  void reset();
  void free_one();
  void flush_action() { flush(); }
  void write_outside();
  void write_unknown();
  void free_wrongly();
  void ask();
  void grow_queued();
  size_t random_length();
  void append(int32_t word, int32_t channel, int32_t start, int32_t end);

  // How connections come about: sockets.cc.
  void open_pair();
  void call_acceptor();
  void connect_tcp();
  void connect_unix();
  void connect_nowhere();
  void connect_for_ever();
  void replace();
  void adopt_wrongly();
  void accept_waiting();
  void add_acceptor();
  void add_inherited();
  void add_acceptor_wrongly();
  void remove_acceptor();
  void retry_acceptors();
  void starve();
  void sweep_callers();
  void on_accepted(int32_t acceptor, int fd);
  int32_t adopt(int fd, const Peer& peer, Phase phase);
  void reserve();
  void listen_for_outbound();
  int32_t own(int32_t acceptor, Listener listener);
  Peer new_peer(int fd, bool is_unix);
  void tune(int fd, bool is_unix);
  Address random_source();

  // What the far ends do: peers.cc.
  void peer_send();
  void peer_burst();
  void send_some(Peer& peer, size_t length);
  void peer_read();
  void peer_drain();
  void peer_shut();
  void peer_close();
  void peer_reset();
  /** @returns false: there is nothing more at this time. */
  bool read_some(Peer& peer, size_t length, int& result);
  void read_all(int32_t channel);
  void check_end(Link& link, int result);
  void bury(Link& link);
  static void close_peer(Peer& peer, bool is_hard);

  // Flushes, batches, and whether they are right: world.cc.
  void flush();
  void collect();
  void apply(const Operation& operation);
  void check_records(const RecordList& told, bool is_flush);
  void check_data(Link& link, const Record& record);
  void check_end_told(Link& link, const Record& record);
  void check_closed(Link& link, const Record& record);
  bool is_expected_error(const Link& link, int error) const;
  void check_acceptor(const Record& record);
  void check_all(bool may_grow);
  void handle(const RecordList& told, bool is_batch);
  void handle_one(const Record& record, const uint8_t* expected);
  void sometimes_quiesce();
  void quiesce();
  void push_until_quiet();
  void push();
  const char* unrest();
  static bool is_deserted(const Link& link);
  void describe_restless();
  const char* unrest_of(const Link& link, int32_t channel);
  void close_everything();

  Link* pick();
  int32_t channel_of(const Link& link) const {
    return static_cast<int32_t>(&link - links_.data());
  }
  void forget_live(Link& link);
  bool is_room() const { return live_.size() < live_max_; }

  Prng& prng_;
  const std::string folder_;
  Tally& tally_;
  std::vector<Record> records_;
  std::vector<Record> results_;
  std::vector<Operation> operations_;
  int32_t operation_count_ = 0;
  std::unique_ptr<uint8_t[]> receive_;
  std::vector<double> counters_;
  std::unique_ptr<double[]> queued_;
  int32_t queued_length_;
  std::unique_ptr<Loop> loop_;
  std::vector<Slab> slabs_;
  size_t limit_;
  size_t live_max_;
  /** A size that is not allocated, in Link: its pointers die when a channel is added. */
  std::vector<Link> links_;
  std::vector<int32_t> live_;
  /** Told closed, to be freed some time. */
  std::vector<int32_t> closed_;
  std::vector<const uint8_t*> expected_;
  Listener listeners_[ACCEPTORS_MAX];
  std::vector<Caller> callers_;
  int32_t used_ = 0;
  int32_t open_files_ = 0;
  double invalid_ = 0;
  int32_t last_channel_ = 0;
  /** The connection that something is still expected of. */
  int32_t restless_ = -1;
  bool is_handling_ = false;
  bool is_quiet_wanted_ = false;
  bool may_run_out_ = false;
  /** Where the fuzz itself listens, for outbound connections, and where nobody does. */
  int tcp_listener_ = -1;
  int unix_listener_ = -1;
  int deaf_socket_ = -1;
  Address tcp_address_;
  Address unix_address_;
  Address deaf_address_;
  int full_listener_ = -1;
  int fillers_[4] = {-1, -1, -1, -1};
  Address full_address_;
  std::string unix_path_;
  int file_names_ = 0;
  std::vector<uint8_t> scratch_;
};

}  // namespace holdfast::fuzz
