#include "writer.h"

namespace holdfast {

void Writer::flush(const Operation* operations, int32_t count, RecordList& told) {
  counters_[COUNTER_FLUSHES]++;
  chain(operations, count);
  for (int32_t index = 0; index < channel_count_; index++) {
    carry_out(operations, channels_[index], told);
  }
}

/** Links the operations of each channel. */
void Writer::chain(const Operation* operations, int32_t count) {
  channel_count_ = 0;
  for (int32_t index = 0; index < count; index++) {
    int32_t channel = operations[index].channel;
    Socket* socket = connections_.table().get(channel);
    if (socket == nullptr) {
      invalid();
      continue;
    }
    next_[index] = -1;
    if (socket->first_operation == -1) {
      socket->first_operation = index;
      channels_[channel_count_++] = channel;
    } else {
      next_[socket->last_operation] = index;
    }
    socket->last_operation = index;
  }
}

void Writer::carry_out(const Operation* operations, int32_t channel, RecordList& told) {
  SocketTable& table = connections_.table();
  int32_t index = table.at(channel).first_operation;
  table.at(channel).first_operation = -1;
  piece_count_ = 0;
  for (; index != -1; index = next_[index]) {
    const Operation& operation = operations[index];
    int32_t kind = operation.word & 0xff;
    if (kind == OPERATION_WRITE) {
      if (!gather(operation)) invalid();
      if (piece_count_ == PIECES_MAX) send(channel, told);
    } else {
      send(channel, told);
      apply(kind, channel, told);
    }
  }
  send(channel, told);
}

void Writer::apply(int32_t kind, int32_t channel, RecordList& told) {
  switch (kind) {
    case OPERATION_PAUSE:
      connections_.pause(channel);
      return;
    case OPERATION_RESUME:
      connections_.resume(channel);
      return;
    case OPERATION_CLOSE:
      connections_.close(channel, told);
      return;
    case OPERATION_RESET:
      connections_.reset(channel, told);
      return;
    case OPERATION_FREE:
      connections_.free(channel);
      return;
    default:
      invalid();
  }
}

/** @returns false: it points outside of its slab. */
bool Writer::gather(const Operation& operation) {
  int32_t index = operation.word >> 8;
  if (index < 0 || index >= SLOTS_MAX) return false;
  const Slot& slot = slots_[index];
  int32_t start = operation.start;
  int32_t end = operation.end;
  if (start < 0 || end < start || static_cast<size_t>(end) > slot.length) return false;
  if (start == end) return true;
  uint8_t* bytes = slot.bytes + start;
  auto length = static_cast<size_t>(end - start);
  if (piece_count_ > 0) {
    iovec& last = pieces_[piece_count_ - 1];
    if (static_cast<uint8_t*>(last.iov_base) + last.iov_len == bytes) {
      last.iov_len += length;
      return true;
    }
  }
  pieces_[piece_count_++] = {bytes, length};
  return true;
}

void Writer::send(int32_t channel, RecordList& told) {
  if (piece_count_ == 0) return;
  int count = piece_count_;
  piece_count_ = 0;
  const Socket& socket = connections_.table().at(channel);
  // Ended by an earlier operation, or by the kernel: JavaScript learns of it from the records.
  if (socket.phase != PHASE_OPEN || (socket.flags & SOCKET_CLOSE_ASKED) != 0) return;
  connections_.write(channel, pieces_, count, told);
}

}  // namespace holdfast
