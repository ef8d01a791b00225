/* source/directory_priv.h: what directory.c (batches, timers), directory_watch.c (notices),
 * directory_tree.c (which files there are) and directory_file.c (reading one) share.
 *
 *   file: idle <-> loads -> idle      read in this batch
 *            -> waiting -> loads      changed a moment ago and maybe being written
 *            -> retries -> loads      could not be read; tried again every DIRECTORY_CHECK
 *            -> gone -> freed         after its claims have gone; back to loads when it reappears
 * The state of a file is the list that its `queue` link is in. */
#pragma once

#include "base/hash.h"
#include "source/claims.h"
#include "source/directory.h"

#include <sys/stat.h>

/* Other work of the loop (health checks) waits that long at most, but for one file or directory. */
#define WORK_TICK_MAX (10 * USEC_PER_MS)

enum {
    NODE_DIAGS_MAX = 256,
    CONTENT_BYTES_MAX = 2 * MANIFEST_FILE_BYTES_MAX, /* room to see that there is more */
};

struct identity {
    dev_t dev;
    ino_t ino;
    off_t size;
    int64_t mtime_ns, ctime_ns;
};

enum node_type { NODE_FILE, NODE_DIRECTORY };

struct node {
    enum node_type type;
    bool is_gone;
    int error;        /* errno of the failure that was reported last; 0 = none */
    uint32_t seen_at; /* the parent's scan that saw it last */
    uint64_t hash;
    struct str path;         /* the whole path, with a NUL behind it */
    struct dir_node *parent; /* NULL: a root */
    struct list sibling;
    struct list in_links; /* linked when reached through a symbolic link */
    struct identity identity;
    struct diag_list *diags; /* NULL: none */
};

struct file_node {
    struct node node;
    struct claim_source source;
    struct list queue;
    bool is_settled; /* identity is sure to change with the next write */
};

/* A directory as inotify sees it; several paths may lead to it. */
struct watched {
    int watch;
    struct list dirs;
};

struct dir_node {
    struct node node;
    struct list children;
    struct list queue;       /* linked: to be scanned */
    struct watched *watched; /* NULL: no notices */
    struct list in_watched;
    uint32_t depth;
    uint32_t scan_n;
    bool is_deep;    /* the scan goes on into directories known already */
    bool is_certain; /* moved here: what is in it is complete */
};

struct directory {
    struct loop *loop; /* NULL: offline */
    struct directory_options options;
    struct claims *claims;
    struct map nodes;   /* by path and type */
    struct arena arena; /* of roots */
    struct str *roots;  /* paths, with a NUL behind each */
    size_t root_n, root_gone_n;
    struct list scans, loads, waiting, retries, gone;
    struct list links;
    size_t file_n, dir_n, read_n;
    struct buf content;
    int inotify_fd; /* -1: none */
    struct watch inotify;
    struct map watches; /* by number */
    size_t watch_n;
    struct watched *dispatching; /* stays while its notice is delivered, or NULL */
    usec_t batch_begin;          /* 0: nothing is under way */
    struct timer expire_timer, settle_timer, check_timer;
    struct deferred work;
    bool is_loading;       /* directory_open() */
    bool is_polling;       /* no notices for some or all directories */
    bool is_over_limit;    /* files or directories are left out, and that was told */
    bool is_leaving_out;   /* the same, since the last look at everything */
    bool is_incomplete;    /* something failed: look through everything at the next check */
    bool is_out_of_memory; /* the same, for directory_open() */
    bool is_rescan_due, is_link_check_due;
    bool is_changed; /* since the last on_batch */
};

/* ---- directory.c ---- */
void directory_wake(struct directory *d);
usec_t directory_removal_deadline(const struct directory *d);
struct diag directory_limit_diag(const struct directory *d);

/* ---- directory_file.c ---- */
void directory_tell(struct directory *d, const struct diag *diag); /* to the user's on_diag */
/* Keeps it with node, too. */
void node_report(struct directory *d, struct node *node, enum diag_severity severity,
                 enum diag_reason reason, struct str what, struct str why, struct str mend);
/* The same for a failed system call; once per errno. */
void node_report_errno(struct directory *d, struct node *node, int error, struct str mend);
void node_clear_diags(struct directory *d, struct node *node);
struct identity identity_of(const struct stat *st);
bool identity_eq(const struct identity *a, const struct identity *b);
void file_queue(struct file_node *f, struct list *queue);
/* st: what stat() says now. is_certain: a notice says that new content is complete. */
void file_check(struct directory *d, struct file_node *f, const struct stat *st, bool is_certain);
/* Reads the file that is in loads. */
void file_load(struct directory *d, struct file_node *f);

/* ---- directory_tree.c ---- */
/* Errors: E_NOTFOUND, E_REFUSED, E_NOMEM, E_SYS. path lives as long as d. */
enum err tree_add_root(struct directory *d, struct str path);
void tree_check_roots(struct directory *d);
void tree_check_links(struct directory *d);
/* Something happened to name in dir. is_certain: its content is complete. */
void tree_check_name(struct directory *d, struct dir_node *dir, struct str name, bool is_certain);
/* Something happened to it; node may be freed. */
void tree_check_node(struct directory *d, struct node *node);
void tree_rescan(struct directory *d); /* queues everything */
/* Reads one directory from scans. */
void tree_scan(struct directory *d, struct dir_node *dir);
/* Frees what is gone and has no claims any more. */
void tree_reap(struct directory *d);
/* The file is not there (any more). */
void tree_file_gone(struct directory *d, struct file_node *f);
void tree_free(struct directory *d);
bool name_is_hidden(struct str name);

/* ---- directory_watch.c ---- */
enum err watch_start(struct directory *d); /* E_SYS: the loop does not take it */
void watch_stop(struct directory *d);
/* Watches dir from now on, or polls when that cannot be had. */
void watch_enter(struct directory *d, struct dir_node *dir);
void watch_leave(struct directory *d, struct dir_node *dir);
struct diag watch_polling_diag(const struct directory *d);
