/* The whole data path of a worker in one process: server, exchange, pools, dialer, over real
 * sockets, stepped by hand. The test plays the clients (one end of a socket pair) and the endpoints
 * (accepted TCP connections). One host "a" with one prefix route "/" to one service of
 * RIG_ENDPOINTS endpoints. */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "snapshot/settings.h"

#include <stdbool.h>

enum { RIG_ENDPOINTS = 2, RIG_TEXT_MAX = 1 << 20, RIG_GENERATIONS_MAX = 64 };

/* Above 0 while the product runs, 0 in the test's own code: rig_net.c heeds it. */
extern int rig_inside;

struct rig;

struct rig *rig_new(void);
void rig_free(struct rig *r);
struct stats_page *rig_stats(struct rig *r);
/* Whoever opens connections to the endpoints. */
struct http_dialer *rig_dialer(struct rig *r);
struct snapshot *rig_snapshot(struct rig *r);
/* What the data path reads; for those that the snapshot carries, publish after a change. Clients
 * come from 192.0.2.7, and 192.0.2.0/24 is trusted when use_forwarded_headers is set. */
struct snap_settings *rig_settings(struct rig *r);
/* The route's host has TLS: plain requests are sent to https, 308, but for /plain, and responses by
 * https have HSTS, "max-age=9". From the next generation on. */
void rig_set_tls(struct rig *r);
/* Bytes that requests in flight may hold. */
void rig_set_budget(struct rig *r, uint64_t bytes);
/* A new client connection. */
int rig_client(struct rig *r);
/* The same from the given address (network: three bytes), with small socket buffers (0 = the usual
 * ones); -1 when the server could not take it. */
int rig_client_from(struct rig *r, const uint8_t *network, uint8_t address, int buffer_bytes);
/* From now on endpoints are spoken to in bytes, behind a PROXY header of that version (0: none). */
void rig_speak_tcp(struct rig *r, uint8_t proxy_protocol);
/* A new client connection, from 192.0.2.7:1234 to 192.0.2.1:443, that is passed through to the
 * service; name is the server name that it asks for. */
int rig_tunnel(struct rig *r, const char *name, int buffer_bytes);
/* The access log, as JSON, goes to fd when it is flushed; without this there is none. */
void rig_log_to(struct rig *r, int fd);
void rig_log_flush(struct rig *r);
/* The port that endpoint i has in the snapshot. */
uint16_t rig_port(const struct rig *r, int i);
/* The next connection that came to endpoint i, or -1. */
int rig_accept(struct rig *r, int i);
/* As above from whichever endpoint; *ret_i says which. */
int rig_accept_any(struct rig *r, int *ret_i);
/* Endpoint i refuses connections from now on, or accepts again. */
void rig_endpoint_close(struct rig *r, int i);
/* Runs ticks until nothing happens any more. */
void rig_run(struct rig *r);
/* Runs one tick. */
void rig_tick(struct rig *r);
/* Writes all of it, running ticks. */
void rig_send(struct rig *r, int fd, const char *text);
void rig_send_n(struct rig *r, int fd, const char *p, size_t n);
/* What has come up to now, NUL-terminated, valid until the next call. */
const char *rig_recv(struct rig *r, int fd);
/* True when the other side has ended (nothing is left to read). */
bool rig_is_closed(struct rig *r, int fd);
/* Publishes the service with only the first n endpoints. */
void rig_set_endpoints(struct rig *r, int n);
/* The same in two steps, for tests where applying may fail. */
void rig_prepare_endpoints(struct rig *r, int n);
enum err rig_apply_endpoints(struct rig *r);
/* Begins to drain, as after SIGTERM. */
void rig_drain(struct rig *r);
