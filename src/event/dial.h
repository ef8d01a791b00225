/* event/dial.h: a TCP connection to an address, as a descriptor that tells by EPOLLOUT, EPOLLERR or
 * EPOLLHUP how it went. */
#pragma once

#include "base/err.h"
#include "wire/ip.h"

/* Begins: *ret_fd is non-blocking and the caller's. Errors: E_LIMIT (descriptors, ports),
 * E_REFUSED (at once), E_SYS. */
enum err dial_begin(const struct ip *ip, uint16_t port, int *ret_fd);
/* After the event: 0 when it stands, else the error number. */
int dial_outcome(int fd);
/* Lets the kernel find out that the peer's is gone without a word: while nothing is sent it is
 * asked now and then, and what is sent must be acknowledged within TIMEOUT_UPSTREAM_PEER. */
void dial_watch_peer(int fd);
