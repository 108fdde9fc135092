// Makes sockets: those that connect and those that listen. Each function returns the file, or
// -errno; it is non-blocking and closes on exec.
#pragma once

#include "acceptor.h"
#include "address.h"

namespace holdfast {

/** @param local null where the kernel chooses; port 0 leaves the port to it. */
int open_connecting(const Address& remote, const Address* local, const SocketOptions& options);
int open_listening(const Address& address, int backlog, const SocketOptions& options);
/** A duplicate of a socket that somebody else holds, which listens or will. */
int open_inherited(int fd, int backlog, const SocketOptions& options);

}  // namespace holdfast
