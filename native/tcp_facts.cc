// Apart from the other files: glibc's netinet/tcp.h lacks the newer fields, and does not go together
// with the kernel's own header.
#include "tcp_facts.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace holdfast {

int read_tcp_facts(int fd, double (&facts)[TCP_FACTS]) {
  tcp_info info = {};
  socklen_t length = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return -errno;
  facts[TCP_RTT] = info.tcpi_rtt;
  facts[TCP_RTT_VARIANCE] = info.tcpi_rttvar;
  facts[TCP_RETRANSMITS] = info.tcpi_total_retrans;
  facts[TCP_UNACKED] = static_cast<double>(info.tcpi_unacked) * info.tcpi_snd_mss;
  facts[TCP_UNSENT] = info.tcpi_notsent_bytes;
  return 0;
}

}  // namespace holdfast
