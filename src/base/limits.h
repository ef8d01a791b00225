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
    HEAD_BYTES_MAX = 32 * 1024,
    HEAD_FIELDS_MAX = 128,
    TARGET_BYTES_MAX = 16 * 1024,
    CHUNK_LINE_BYTES_MAX = 256,
    TRAILER_BYTES_MAX = 8 * 1024,

    /* worker */
    RECEIVE_BYTES = 64 * 1024,           /* the worker's one receive buffer */
    CONN_PENDING_BYTES_MAX = 256 * 1024, /* unsent bytes held for one connection */
    ACCEPT_BATCH = 64,
    WORKERS_MAX = 64,
    LISTENERS_MAX = 16,
    UPSTREAM_IDLE_PER_ENDPOINT_MAX = 320,
    UPSTREAM_TRIES_MAX = 3,
    ACCESS_LOG_BYTES_MAX = 256 * 1024,

    /* supervisor */
    LISTEN_BACKLOG = 4096,   /* cut by the kernel at net.core.somaxconn */
    SEGMENTS_LIVE_MAX = 256, /* the controller keeps far fewer: about 2 log2 of the state's bytes */

    /* admin port */
    ADMIN_CONNECTIONS_MAX = 64,
};

#define TIMEOUT_CLIENT_HEAD      (60 * USEC_PER_SEC)
#define TIMEOUT_CLIENT_IDLE      (75 * USEC_PER_SEC)
#define TIMEOUT_CLIENT_BODY      (60 * USEC_PER_SEC) /* between two reads */
#define TIMEOUT_CLIENT_WRITE     (60 * USEC_PER_SEC) /* between two successful writes */
#define TIMEOUT_LINGER           (2 * USEC_PER_SEC)
#define TIMEOUT_UPSTREAM_CONNECT (5 * USEC_PER_SEC)
#define TIMEOUT_UPSTREAM_HEAD    (60 * USEC_PER_SEC)
#define TIMEOUT_UPSTREAM_READ    (60 * USEC_PER_SEC) /* between two reads */
#define TIMEOUT_UPSTREAM_WRITE   (60 * USEC_PER_SEC) /* between two successful writes */
#define TIMEOUT_UPSTREAM_IDLE    (60 * USEC_PER_SEC)
#define TIMEOUT_DRAIN            (240 * USEC_PER_SEC) /* in-flight requests after SIGTERM */
#define TIMEOUT_CONTROLLER_EXIT  (5 * USEC_PER_SEC)   /* from its drain message to SIGKILL */
#define TIMEOUT_DRAIN_MARGIN     (5 * USEC_PER_SEC)   /* for workers, past grace and drain time */

/* A child that died: back at once, after the next death RESTART_DELAY_MIN later, then twice that
 * ... up to RESTART_DELAY_MAX; all is forgiven once it has stayed up for RESTART_STABLE. */
#define RESTART_DELAY_MIN (100 * USEC_PER_MS)
#define RESTART_DELAY_MAX (10 * USEC_PER_SEC)
#define RESTART_STABLE    (30 * USEC_PER_SEC)
