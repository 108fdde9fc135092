// Makes sockets: those that connect and those that listen. Each function returns the file, or
// -errno; it is non-blocking and closes on exec.
#pragma once

#include "acceptor.h"
#include "address.h"

namespace holdfast {

/** @param local null where the kernel chooses; port 0 leaves the port to it. */
int open_connecting(const Address& remote, const Address* local, const SocketOptions& options);
/** @param is_shared beside others of the same user that say so too (SO_REUSEPORT). */
int open_listening(const Address& address, int backlog, const SocketOptions& options,
                   bool is_shared = false);
/** Lets others listen beside it from now on. @returns 0, or -errno. */
int share_port(int fd);
/** A duplicate of a socket that somebody else holds, which listens or will. */
int open_inherited(int fd, int backlog, const SocketOptions& options);
/** Where a stream socket listens. @returns 0, or -errno: -EINVAL where it does not. */
int listening_address(int fd, Address& address);

}  // namespace holdfast
