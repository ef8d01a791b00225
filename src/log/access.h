/* log/access.h: the access log: one line for each request, gathered in memory and written out by
 * the end of the tick or a moment later, never on a request's path. When the reader is slow, lines
 * are dropped and counted; requests do not wait. A line goes out by one write of at most PIPE_BUF
 * bytes, so that several workers share a pipe without mixing lines. */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "base/reason.h"
#include "wire/ip.h"

enum access_log_format { ACCESS_LOG_OFF, ACCESS_LOG_TEXT, ACCESS_LOG_JSON };

struct access_entry { /* strs are borrowed during the call; empty ones are written as "-" */
    struct ip client;
    struct str method, target, authority, referer, user_agent, request_id;
    uint8_t version; /* 10, 11, 20, 30; 0: no HTTP at all */
    uint16_t status; /* 499: the client went away before a status was sent */
    uint64_t request_bytes, body_bytes;
    usec_t duration;
    struct str route_namespace, route_name; /* the Ingress */
    struct str upstream_name;               /* "<namespace>-<service>-<port>" */
    bool has_upstream;
    struct ip upstream_ip;
    uint16_t upstream_port;
    uint16_t upstream_status; /* 0: none came */
    uint64_t upstream_bytes;
    usec_t upstream_duration;
    enum reason reason; /* REASON_none when the upstream answered */
    bool has_grpc_status;
    uint8_t grpc_status;
    bool is_tls; /* ended here; what follows says something only then */
    bool is_session_reused;
    struct str tls_version, tls_cipher, server_name;
    struct str client_verdict; /* as nginx' ssl_client_verify */
};

struct access_log {
    int fd;
    enum access_log_format format;
    char *p;
    size_t n;
    uint64_t line_n, dropped_n; /* since the start */
    int64_t second;             /* whose text is in time */
    char time[32];
    size_t time_n;
};

/* fd is non-blocking and borrowed. Errors: E_NOMEM. */
enum err access_log_init(struct access_log *l, int fd, enum access_log_format format);
void access_log_fini(struct access_log *l); /* does not flush */
/* wall: now. Does nothing with ACCESS_LOG_OFF. */
void access_log_write(struct access_log *l, const struct access_entry *e, usec_t wall);
/* True when there is enough for a write of its own. */
bool access_log_is_full(const struct access_log *l);
/* Lines go to fd from now on, those that the old one does not take at once as well. Borrows fd. */
void access_log_move(struct access_log *l, int fd);
/* Writes out whole lines; on a slow reader what is left stays for the next time. */
void access_log_flush(struct access_log *l);
