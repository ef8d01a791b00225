/* os/heritage.h: everything a child of the supervisor is born with: one struct in a sealed memfd,
 * whose number is argument 1, and the descriptors it names. Survives exec; size-checked on receipt.
 * Also the messages on the control socket (SOCK_SEQPACKET) between supervisor and children. */
#pragma once

#include "base/err.h"
#include "base/limits.h"

#include <stdint.h>

enum heritage_role { HERITAGE_CONTROLLER = 1, HERITAGE_WORKER = 2 };

struct heritage_listener {
    char name[16]; /* "http"; "health", "webhook" for the controller */
    int32_t fd;    /* listening, non-blocking */
    uint16_t port; /* as bound */
    uint16_t zero;
};

struct heritage {
    uint32_t magic; /* HERITAGE_MAGIC */
    uint32_t bytes; /* sizeof(struct heritage) */
    uint32_t role;  /* enum heritage_role */
    uint32_t index; /* of the worker, from 0 */
    uint32_t worker_n;
    int32_t control_fd;  /* SOCK_SEQPACKET to the supervisor */
    int32_t stats_fd;    /* memfd of struct stats_area */
    int32_t log_fd;      /* access log: non-blocking; -1 = off */
    int32_t sessions_fd; /* memory for TLS sessions, which all workers share; -1 = none are kept */
    uint32_t log_format; /* enum access_log_format */
    uint32_t log_level;  /* enum log_level */
    uint32_t listener_n;
    uint32_t zero;
    struct heritage_listener listeners[LISTENERS_MAX];
    uint64_t shutdown_grace_us; /* go on accepting for this long after the drain message */
    uint64_t drain_us;          /* then finish what is in flight for at most this long */
};
#define HERITAGE_MAGIC 0x4c4e5448U

/* Writes h into a new sealed memfd that survives exec. Errors: E_SYS. */
enum err heritage_pass(const struct heritage *h, int *ret_fd);
/* Reads it back and closes fd. Errors: E_PROTO (not sealed, wrong size or magic, a count or role
 * out of range), E_SYS. */
enum err heritage_take(int fd, struct heritage *ret);

enum control_type {
    CONTROL_SEGMENT = 1, /* controller -> supervisor -> workers, with one descriptor */
    CONTROL_DRAIN = 2,   /* supervisor -> children: SIGTERM has come */
    CONTROL_READY = 3,  /* child -> supervisor: in service (a worker: after its first generation) */
    CONTROL_RESYNC = 4, /* worker -> supervisor: send every segment of both streams again */
    CONTROL_LOG_REOPEN = 5, /* supervisor -> workers, with the descriptor to log to from now on */
    CONTROL_SECRET = 6      /* as CONTROL_SEGMENT, of the stream of secrets */
};

/* Segments come in two streams, each with generations and a log of its own. */
enum control_stream { CONTROL_ROUTES, CONTROL_SECRETS, CONTROL_STREAMS_N };

struct control_message {
    uint32_t type; /* enum control_type */
    uint32_t
        keep_n; /* CONTROL_SEGMENT, _SECRET: of the segments of the stream sent so far that still
                   count, the first keep_n stay; this one follows them and replaces the rest */
    uint64_t generation, base_generation; /* of the same: as in the segment's header */
};

/* Sends m with fd (or -1). Errors: E_AGAIN, E_CLOSED, E_SYS. Never blocks. */
enum err control_send(int socket, const struct control_message *m, int fd);
/* Receives one; *ret_fd is -1 when none came, else the caller owns it (close-on-exec).
 * Errors: E_AGAIN, E_CLOSED, E_PROTO (wrong size, unknown type), E_SYS. Never blocks. */
enum err control_receive(int socket, struct control_message *ret, int *ret_fd);
