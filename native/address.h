// Socket addresses, as JavaScript writes them and as people read them. Names are resolved there.
#pragma once

#include <sys/socket.h>

#include <cstddef>

namespace holdfast {

struct Address {
  sockaddr_storage storage;
  socklen_t length;
  int family() const { return storage.ss_family; }
};

/** A numeric IPv4 or IPv6 address, with a scope where it has one. @returns 0, or -errno. */
int parse_ip(const char* text, int port, Address& address);
/** A Unix socket's path. @returns 0, or -ENAMETOOLONG. */
int parse_path(const char* path, Address& address);

constexpr size_t ADDRESS_TEXT_MAX = 80;
/** Writes "address:port", or "" where there is none to tell, as on Unix sockets. */
void format_address(const Address& address, char (&text)[ADDRESS_TEXT_MAX]);
/** A Unix socket's path; "" where it has none that the file system knows. */
const char* path_of(const Address& address);
/** The address that a file is bound to. @returns 0, or -errno. */
int local_address(int fd, Address& address);
int remote_address(int fd, Address& address);
/** 0 for Unix sockets. */
int port_of(const Address& address);

}  // namespace holdfast
