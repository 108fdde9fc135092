// What the kernel knows about a TCP connection (TCP_INFO).
#pragma once

namespace holdfast {

enum TcpFact { TCP_RTT, TCP_RTT_VARIANCE, TCP_RETRANSMITS, TCP_UNACKED, TCP_UNSENT, TCP_FACTS };

/** Times are microseconds, the last two bytes. @returns 0, or -errno: it is no TCP socket. */
int read_tcp_facts(int fd, double (&facts)[TCP_FACTS]);

}  // namespace holdfast
