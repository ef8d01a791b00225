/* base/limits.h: every maximum and every timeout of the tree, by name.
 * A limit that a client, a peer or a manifest can hit has a counter in stats/counters.def. */
#pragma once

#include "base/clock.h"

enum limit {
    /* snapshot */
    SNAPSHOT_SEGMENT_BYTES_MAX = 1 << 30,
    SNAPSHOT_SHARD_BYTES_MAX = 64 << 20,
    SNAPSHOT_VERIFY_STEP_BYTES = 256 * 1024, /* verified per tick, so that requests do not wait */

    /* manifests */
    MANIFEST_FILE_BYTES_MAX = 64 << 20,
    MANIFEST_FILES_MAX = 200 * 1000,
    MANIFEST_DEPTH_MAX = 64,             /* nesting of one document */
    MANIFEST_NODES_MAX = 4 << 20,        /* nodes of one document, aliases expanded */
    MANIFEST_OBJECT_BYTES_MAX = 8 << 20, /* arena of one decoded object */
    DIRECTORY_DEPTH_MAX = 32,
    DIAGNOSTICS_PER_OBJECT_MAX = 64,
    REDIRECT_BYTES_MAX = 2048, /* URL of a redirect */

    /* HTTP messages */
    HEAD_BYTES_DEFAULT = 32 * 1024, /* --max-header-bytes */
    HEAD_BYTES_MAX = 64 * 1024,     /* its upper limit */
    HEAD_FIELDS_MAX = 128,          /* --max-header-fields and its upper limit */
    TRUSTED_PREFIXES_MAX = 64,      /* --proxy-real-ip-cidr */
    PLAIN_PATHS_MAX = 32,           /* --no-tls-redirect-locations */
    PLAIN_PATH_BYTES_MAX = 1024,    /* one of them */
    FILTER_FIELDS_MAX = 16,         /* that the filters of a route add to a response */
    TARGET_BYTES_MAX = 16 * 1024,
    CHUNK_LINE_BYTES_MAX = 256,
    TRAILER_BYTES_MAX = 8 * 1024,

    /* ahead of HTTP */
    PROXY_V1_BYTES_MAX = 107,       /* a PROXY header of version 1, with its CRLF */
    PROXY_V2_BYTES_MAX = 4096,      /* of version 2: addresses and whatever the sender adds */
    PROXY_V2_BYTES_EMITTED = 52,    /* one of ours */
    CLIENT_HELLO_BYTES_MAX = 16384, /* of TLS records up to the ClientHello's end */
    SERVER_NAME_BYTES_MAX = 253,    /* RFC 1035 section 2.3.4, as text */

    /* worker */
    RECEIVE_BYTES = 64 * 1024,           /* the worker's one receive buffer */
    CONN_PENDING_BYTES_MAX = 256 * 1024, /* unsent bytes held for one connection */
    ACCEPT_BATCH = 64,
    WORKERS_MAX = 64,
    LISTENERS_MAX = 16,
    UPSTREAM_IDLE_PER_ENDPOINT_MAX = 320,
    UPSTREAM_IDLE_MAX = 8192,           /* connections of one worker */
    UPSTREAM_IDLE_SHED = 16,            /* idle ones closed when there is no room for a new one */
    UPSTREAM_CONN_REQUESTS_MAX = 10000, /* on one connection */
    UPSTREAM_REFUSALS_MAX = 32,         /* endpoints that refuse the connection, in one request */
    UPSTREAM_FAILURES_MAX = 3,          /* in a row, then the endpoint is ejected */
    UPSTREAM_EJECT_PERCENT = 50,        /* of a service's endpoints at most, rounded down */
    UPSTREAM_TRIES_MAX = 3,
    UPSTREAM_GOAWAY_TRIES_MAX = 8, /* when the last one only met a connection's end */
    ACCESS_LOG_BYTES_MAX = 256 * 1024,

    /* TLS of clients, of one worker */
    TLS_HANDSHAKES_MAX = 4096,   /* under way at a time */
    TLS_HANDSHAKES_PER_TICK = 4, /* that go on before everybody else gets a turn */
    TLS_SERVED_MAX = 16 * 1024,  /* certificates and authorities kept decoded */

    /* OCSP responses for certificates */
    OCSP_CERTIFICATES_MAX = 4096,     /* that responders are asked about */
    OCSP_QUESTIONS_MAX = 16,          /* under way at a time; the rest wait in line */
    OCSP_QUESTIONS_PER_NAMESPACE = 4, /* of them, so that nobody's responders keep others waiting */
    OCSP_URL_BYTES_MAX = 2048,        /* of a responder */
    OCSP_RESPONSE_BYTES_MAX = 16384,  /* goes out with handshakes */
    OCSP_SKEW_S = 300,                /* a responder's clock may be ahead of ours */
    OCSP_UNTOLD_S = 3600,             /* validity of a response that does not tell its own */

    /* HTTP/2, of one connection; its memory and heads are more where more streams are allowed */
    HTTP2_STREAMS_MAX = 128,              /* --http2-max-concurrent-streams */
    HTTP2_UPSTREAM_STREAMS_MAX = 128,     /* --upstream-max-concurrent-streams */
    HTTP2_STREAM_WINDOW_BYTES = 64 << 10, /* of a message that nobody takes */
    HTTP2_CONN_WINDOW_BYTES = 1 << 20,    /* of all of them */
    HTTP2_WINDOW_STEP_BYTES = 16 << 10,   /* its least growth */
    HTTP2_CONN_MEMORY_MAX = 1 << 20,      /* streams, header tables, frames that wait */
    HTTP2_UPSTREAM_MEMORY_MAX = 8 << 20,  /* the same, with heads that wait for a connection */
    HTTP2_INTERIM_MAX = 16,               /* 1xx responses before the real one */
    HTTP2_SESSION_BYTES = 28 << 10,       /* what it begins with: 26 KB of nghttp2 1.52 */
    HTTP2_CONN_IDLE_BYTES = 32 << 10,     /* of that, which every connection may have */
    HTTP2_CONN_HEADS_MAX = 1 << 20,       /* of requests in flight, unpacked */
    HTTP2_CONN_KEPT_BYTES = 256 << 10,    /* of responses the client does not take, then ... */
    HTTP2_PIECE_BYTES = 4 << 10,          /* ... this much of each further one */
    HTTP2_DRIP_BYTES = 1024,              /* that a client must let through in --send-timeout */
    HTTP2_GATHER_BYTES = 64 << 10,        /* frames that leave together */
    HTTP2_DECODED_BYTES_MAX = 512 << 10,  /* of one header section, however short it was packed */
    HTTP2_COOKIE_CRUMBS_MAX = 256,
    HTTP2_FRAME_BYTES_MAX = 16384,   /* SETTINGS_MAX_FRAME_SIZE, as it is without a word */
    HTTP2_CONTINUATIONS_MAX = 8,     /* frames of one header section */
    HTTP2_SETTINGS_ENTRIES_MAX = 32, /* in one frame */
    HTTP2_ACKS_PENDING_MAX = 128,    /* that the peer does not read */
    HTTP2_RESETS_PER_SECOND = 256,
    HTTP2_PROVOKED_PER_SECOND = 64, /* resets of ours */
    HTTP2_PINGS_PER_SECOND = 1000,  /* and one for each useful frame */
    HTTP2_SETTINGS_PER_SECOND = 32,
    HTTP2_EMPTY_PER_SECOND = 128,  /* DATA frames without a byte, and one for each useful frame */
    HTTP2_OTHER_PER_SECOND = 4000, /* and four for each useful frame */

    /* HTTP/2, of one worker: what is kept for its next use */
    HTTP2_SPARES_KEPT = 128, /* blocks of one size: a megabyte of all sizes */
    HTTP2_GATHERS_KEPT = 8,  /* of HTTP2_GATHER_BYTES */
    HTTP2_STREAMS_KEPT = 64,

    /* TLS to endpoints */
    TLS_SESSIONS_MAX = 512,        /* to be resumed, of one way of speaking to a service */
    TLS_SESSIONS_PER_PEER_MAX = 4, /* tickets of one endpoint */
    TLS_CLIENT_SESSION_BYTES_MAX =
        8192,                     /* of one, with its ticket and the endpoint's certificate */
    TLS_CIPHERS_BYTES_MAX = 4096, /* of proxy-ssl-ciphers */
    TLS_NAME_BYTES_MAX = 253,     /* RFC 1035 section 2.3.4, as text */

    /* supervisor */
    LISTEN_BACKLOG = 4096,   /* cut by the kernel at net.core.somaxconn */
    SEGMENTS_LIVE_MAX = 256, /* the controller keeps far fewer: about 2 log2 of the state's bytes */

    /* metrics */
    SERIES_MAX = 4096,               /* of each worker: route, method, status and reason */
    STATS_ENDPOINTS_MAX = 4096,      /* of each worker: those shown one by one */
    METRICS_SCRAPES_MAX = 8,         /* at a time; one more is refused with 503 */
    METRICS_ORPHANS_MAX = 1024,      /* Ingresses shown without Service or endpoint */
    METRICS_CERTIFICATES_MAX = 4096, /* hosts whose certificate is shown, those that end first */
    METRICS_PIECE_BYTES = 1 << 16,   /* made in one tick of the controller */
    TOP_ROUTES_MAX = 500,            /* of /debug/top: those used last */
    TOP_ENDPOINTS_MAX = 500,         /* of /debug/top: those that are ill, then those used most */

    /* Kubernetes API client */
    KUBE_CALLS_MAX = 32 * 1024,          /* under way or waiting, watches included */
    KUBE_CALLS_PER_SECOND = 100,         /* that are no watches, in the long run */
    KUBE_CALLS_BURST = 1000,             /* of them at once after a rest */
    KUBE_CONNECTION_STREAMS = 100,       /* what API servers allow on one connection */
    KUBE_STARTS_PER_TICK = 64,           /* calls sent off in one tick */
    KUBE_ANSWER_BYTES_MAX = 1 << 29,     /* one page of a list, unpacked */
    KUBE_ERROR_BYTES_MAX = 64 * 1024,    /* body of an answer that is an error */
    KUBE_EVENT_BYTES_MAX = 8 << 20,      /* one event of a watch, one item of a list */
    KUBE_CREDENTIAL_BYTES_MAX = 1 << 20, /* kubeconfig, token, certificates */
    KUBE_VERSION_BYTES_MAX = 64,         /* a resourceVersion */
    KUBE_CONTINUE_BYTES_MAX = 8 * 1024,
    KUBE_PAGE_N = 500,

    /* what the leader writes back to the cluster */
    STATUS_ADDRESSES_MAX = 256,        /* published in one Ingress */
    STATUS_NODES_MAX = 256,            /* looked at, of those that our pods run on */
    STATUS_PODS_PER_PAGE = 50,         /* of a list of our pods */
    STATUS_ANSWER_BYTES_MAX = 4 << 20, /* one page of pods, one node, one lease */
    STATUS_WRITES_MAX = 8,             /* Ingresses being written at a time */
    STATUS_TRIES_MAX = 5,              /* of one write; the next sweep begins anew */
    STATUS_STEP = 64,                  /* writes that turn out not to be needed, in one tick */
    EVENTS_WRITES_MAX = 4,             /* Events being written at a time */
    EVENTS_KNOWN_MAX = 4096,           /* told in the last hour; with more, new ones are dropped */
    EVENTS_OBJECTS = 4096,             /* budgets; objects are spread over them by their hash */
    EVENTS_OBJECT_BURST = 10,          /* Events on one object at once */
    EVENTS_BURST = 100,                /* on all objects together */
    EVENT_NOTE_BYTES_MAX = 1024,       /* of the API */

    /* admission webhook */
    ADMISSION_BODY_BYTES_MAX = (3 << 20) + (64 << 10), /* old and new object, what is around them */
    ADMISSION_VALUES_MAX = 500 * 1000,                 /* in a review */
    ADMISSION_ERRORS_MAX = 64,                         /* told in one answer */
    ADMISSION_WARNINGS_MAX = 15,
    ADMISSION_WARNING_BYTES_MAX = 256, /* what API servers pass on whole */
    ADMISSION_CONNECTIONS_MAX = 256,
    ADMISSION_MEMORY_MAX = 64 << 20, /* bodies that are not whole yet */
    ADMISSION_NAMES_MAX = 32,        /* of its own certificate */
    ADMISSION_AUTHORITIES_MAX = 4,   /* in one caBundle */

    /* admin port */
    ADMIN_CONNECTIONS_MAX = 64,
    ADMIN_MEMORY_MAX = 64 << 20,
};

#define CERTS_TURN               (4 * USEC_PER_MS) /* of /debug/certs, made in one tick of the controller */
#define TIMEOUT_PROXY_HEADER     (5 * USEC_PER_SEC)
#define TIMEOUT_TUNNEL_IDLE      (600 * USEC_PER_SEC) /* between two bytes, either way */
#define TIMEOUT_CLIENT_HEAD      (60 * USEC_PER_SEC)
#define TIMEOUT_CLIENT_IDLE      (75 * USEC_PER_SEC)
#define TIMEOUT_CLIENT_BODY      (60 * USEC_PER_SEC) /* between two reads */
#define TIMEOUT_CLIENT_WRITE     (60 * USEC_PER_SEC) /* between two successful writes */
#define TIMEOUT_CLIENT_HALF      (5 * USEC_PER_SEC)  /* for the response, its half being closed */
#define TIMEOUT_LINGER           (2 * USEC_PER_SEC)
#define TIMEOUT_HTTP2_NOTICE     (1 * USEC_PER_SEC) /* between the two GOAWAY of a drain */
#define TIMEOUT_UPSTREAM_CONNECT (5 * USEC_PER_SEC)
#define TIMEOUT_UPSTREAM_READ    (60 * USEC_PER_SEC) /* between two reads */
#define TIMEOUT_UPSTREAM_WRITE   (60 * USEC_PER_SEC) /* between two successful writes */
#define TIMEOUT_UPSTREAM_IDLE    (60 * USEC_PER_SEC)
#define TIMEOUT_UPSTREAM_PONG    (5 * USEC_PER_SEC)   /* for the answer to a PING */
#define TIMEOUT_UPSTREAM_PEER    (30 * USEC_PER_SEC)  /* for acknowledgements of its kernel */
#define TIMEOUT_DRAIN            (240 * USEC_PER_SEC) /* in-flight requests after SIGTERM */
#define TIMEOUT_CONTROLLER_EXIT  (5 * USEC_PER_SEC)   /* from its drain message to SIGKILL */
#define TIMEOUT_DRAIN_MARGIN     (5 * USEC_PER_SEC)   /* for workers, past grace and drain time */

#define TIMEOUT_ADMISSION_RECEIVE (10 * USEC_PER_SEC)  /* handshake, head, between two reads */
#define TIMEOUT_ADMISSION_IDLE    (180 * USEC_PER_SEC) /* longer than API servers keep connections */
#define ADMISSION_FILES_PERIOD    (10 * USEC_PER_SEC)  /* looks at the certificate's files */
#define ADMISSION_RETRY_MIN       (2 * USEC_PER_SEC)  /* a write that failed, then twice that ... */
#define ADMISSION_RETRY_MAX       (60 * USEC_PER_SEC) /* ... up to this */
#define ADMISSION_ECHO            (30 * USEC_PER_SEC) /* until our own write is seen again */
/* Between an authority's arrival in the webhook configuration and the use of what it signed. */
#define ADMISSION_SWITCH (30 * USEC_PER_SEC)
#define ADMISSION_LIFE_S (90 * 24 * 3600) /* of what Lintel makes itself; renewed at 2/3 of it */

#define SERIES_GONE_MAX      (10 * 60 * USEC_PER_SEC)   /* unused, and the Ingress is gone */
#define SERIES_IDLE_MAX      (24 * 3600 * USEC_PER_SEC) /* unused by every worker */
#define SERIES_RETIRE_PERIOD (30 * USEC_PER_SEC)        /* the controller looks for those */
#define SERIES_SWEEP_PAUSE                                                                         \
    (1 * USEC_PER_SEC) /* between a worker's looks for room in a full table */

#define TIMEOUT_KUBE_CONNECT (10 * USEC_PER_SEC)
#define TIMEOUT_KUBE_CALL    (60 * USEC_PER_SEC) /* from sending to the end of the answer */
#define TIMEOUT_KUBE_SILENCE (90 * USEC_PER_SEC) /* of a watch; bookmarks come every minute */
#define TIMEOUT_KUBE_AWAY    (10 * USEC_PER_SEC) /* then a watch is not resumed: all is listed */
#define TIMEOUT_KUBE_PEER    (30 * USEC_PER_SEC) /* bytes or probes not acknowledged by its kernel */
/* A watch is asked to last a random time between these; one that ends within KUBE_WATCH_SHORT
 * counts as a failure. */
#define KUBE_WATCH_MIN   (300 * USEC_PER_SEC)
#define KUBE_WATCH_MAX   (600 * USEC_PER_SEC)
#define KUBE_WATCH_SHORT (1 * USEC_PER_SEC)
/* After the n-th failure in a row: a random time up to KUBE_BACKOFF_MIN * 2^n, but not more than
 * KUBE_BACKOFF_MAX; all is forgiven after KUBE_STABLE of success. */
#define KUBE_BACKOFF_MIN     (200 * USEC_PER_MS)
#define KUBE_BACKOFF_MAX     (30 * USEC_PER_SEC)
#define KUBE_STABLE          (60 * USEC_PER_SEC)
#define KUBE_RETRY_AFTER_MAX (300 * USEC_PER_SEC) /* a server's wish beyond it is cut */
#define KUBE_CREDENTIAL_LOOK (1 * USEC_PER_SEC)   /* between two looks at a file */

#define TIMEOUT_OCSP_ANSWER (10 * USEC_PER_SEC) /* from the responder's name to the last byte */
/* A question that failed is put again, once, after a random time between the first two; then after
 * one between half of OCSP_AGAIN_MIN and OCSP_AGAIN_MIN * 2^n in the n-th round, but not more than
 * OCSP_AGAIN_MAX. */
#define OCSP_RETRY_MIN   (1 * USEC_PER_SEC)
#define OCSP_RETRY_MAX   (4 * USEC_PER_SEC)
#define OCSP_AGAIN_MIN   (60 * USEC_PER_SEC)
#define OCSP_AGAIN_MAX   (3600 * USEC_PER_SEC)
#define OCSP_REFRESH_MIN (10 * USEC_PER_SEC)        /* of what is valid for a moment only */
#define OCSP_REFRESH_MAX (4 * 86400 * USEC_PER_SEC) /* of what is valid for years */
#define OCSP_LOOK        (3600 * USEC_PER_SEC)      /* at the wall clock, which may be set */

#define TIMEOUT_STATUS_CALL  (10 * USEC_PER_SEC)
#define TIMEOUT_STATUS_CLOSE (4 * USEC_PER_SEC)  /* clearing addresses, giving up the lease */
#define STATUS_REFRESH       (60 * USEC_PER_SEC) /* addresses, and a look at every Ingress */
#define STATUS_REFRESH_MIN   (2 * USEC_PER_SEC)  /* addresses after a change, then twice that ... */
#define STATUS_NODE_REFRESH  (600 * USEC_PER_SEC) /* addresses of one node */
/* After the n-th failure in a row: STATUS_RETRY_MIN * 2^n, but not more than STATUS_RETRY_MAX. */
#define STATUS_RETRY_MIN     (1 * USEC_PER_SEC)
#define STATUS_RETRY_MAX     (60 * USEC_PER_SEC)
#define EVENTS_KNOWN         (3600 * USEC_PER_SEC) /* as long as the API server keeps Events */
#define EVENTS_SERIES        (60 * USEC_PER_SEC)   /* least time between two writes of one Event */
#define EVENTS_REPEAT        (1500 * USEC_PER_SEC) /* what is still wrong is told again */
#define EVENTS_OBJECT_PERIOD (60 * USEC_PER_SEC)   /* one more Event on the same object */
#define EVENTS_PERIOD        (200 * USEC_PER_MS)   /* one more Event at all */

/* A child that died: back at once, after the next death RESTART_DELAY_MIN later, then twice that
 * ... up to RESTART_DELAY_MAX; all is forgiven once it has stayed up for RESTART_STABLE. */
#define RESTART_DELAY_MIN (100 * USEC_PER_MS)
#define RESTART_DELAY_MAX (10 * USEC_PER_SEC)
#define RESTART_STABLE    (30 * USEC_PER_SEC)

/* Private keys and ticket keys that nothing names any more, until they are taken from the workers,
 * and replaced copies of them, until they are overwritten: who is behind may still need them. */
#define SECRET_KEPT (60 * USEC_PER_SEC)

/* What a gRPC client asks for beyond it is no deadline. */
#define GRPC_DEADLINE_MAX (365 * 24 * 3600 * USEC_PER_SEC)

/* Upstream connections are not used again beyond this age. */
#define UPSTREAM_CONN_AGE_MAX (3600 * USEC_PER_SEC)
/* Nor are TLS sessions that go back to an older full handshake. */
#define TLS_SESSION_AGE_MAX (3600 * USEC_PER_SEC)
/* Between two looks for dialers that nobody needs any more; between two lines of the log that tell
 * of failures of TLS to one service. */
#define UPSTREAM_TLS_SWEEP (1 * USEC_PER_SEC)
#define UPSTREAM_TLS_TOLD  (60 * USEC_PER_SEC)
/* An endpoint that fails is left out for UPSTREAM_EJECT_MIN, then twice that ... up to
 * UPSTREAM_EJECT_MAX; all is forgiven once it has been back for UPSTREAM_EJECT_MAX. */
#define UPSTREAM_EJECT_MIN   (5 * USEC_PER_SEC)
#define UPSTREAM_EJECT_MAX   (60 * USEC_PER_SEC)
#define UPSTREAM_PROBE_AGAIN (60 * USEC_PER_SEC) /* when a probe's outcome is never told */
/* In which an endpoint's remembered latency halves. */
#define UPSTREAM_LATENCY_HALF (7 * USEC_PER_SEC)
