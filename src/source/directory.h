/* source/directory.h: a directory of manifests as the source of objects: loaded, watched, followed.
 *
 * What counts: regular files ending in .yaml, .yml or .json at any depth, symbolic links followed.
 * Names that begin with '.' or '#' do not, so editor leftovers and the `..data` directories of
 * ConfigMap volumes are seen only through the visible links. The order of files is the bytewise
 * order of their paths.
 *
 * One object, several places: the first place by path, then by position, is used; the others get
 * a DuplicateObject diagnostic and one of them takes over when the first goes away. The outcome
 * does not depend on the order in which the changes came.
 *
 * When things go wrong, the last good state stays:
 *  - An object that a file no longer has goes away when the file was read without an error. While
 *    the file has errors (DIAG_ERROR, unreadable, too large), the objects it once had and that the
 *    new content no longer yields stay as they were; those it does yield are taken over.
 *  - Additions and changes count at once. What is deleted goes away DIRECTORY_REMOVE_DELAY later,
 * so that writing a file anew by deleting it first, or moving it, makes no gap.
 *  - While the directory itself is gone, everything stays, with a diagnostic, until it is back. (A
 *    recursive delete that takes longer than that delay is taken as the deletion of its files.)
 *  - A file written in place counts once its writer has closed it; when that notice was missed (a
 *    rescan), once it has not changed for DIRECTORY_SETTLE.
 * A change costs what changed: a notice names one file, and just that file is read.
 * Without inotify, or out of watches, the directory is looked through every DIRECTORY_CHECK
 * instead, and only files whose identity (device, inode, size, times) changed are read again.
 * The targets of symbolic links that no notice covers are checked at the same pace. */
#pragma once

#include "event/loop.h"
#include "model/store.h"
#include "source/manifest.h"

#define DIRECTORY_SETTLE       (100 * USEC_PER_MS)
#define DIRECTORY_SETTLE_EMPTY (2 * USEC_PER_SEC)  /* most likely it is being written */
#define DIRECTORY_REMOVE_DELAY (250 * USEC_PER_MS) /* polling: and DIRECTORY_CHECK */
#define DIRECTORY_CHECK        (1 * USEC_PER_SEC)
#define DIRECTORY_BATCH_MAX    (500 * USEC_PER_MS) /* a flood of changes is cut there */

struct directory;

typedef enum err directory_parse_fn(struct str file_name, struct str content,
                                    manifest_object_fn *on_object, diag_fn *on_diag, void *arg);
/* A batch of changes is in the store: the time to compile, once. Also when only diagnostics
 * changed. Not called during directory_open(). */
typedef void directory_batch_fn(void *arg);
/* While loading: done of total files. */
typedef void directory_progress_fn(void *arg, size_t done, size_t total);

struct directory_options {
    directory_parse_fn *parse;          /* manifest_parse, or a test's double */
    diag_fn *on_diag;                   /* each time a file is found to be wrong; or NULL */
    directory_batch_fn *on_batch;       /* or NULL */
    directory_progress_fn *on_progress; /* or NULL */
    void *arg;                          /* for the three above */
    size_t files_max;                   /* 0: MANIFEST_FILES_MAX */
    size_t watches_max;                 /* 0: as many as the kernel gives */
    usec_t check_every;                 /* 0: DIRECTORY_CHECK */
};

/* Loads everything below the paths (at least one; directories, or single files of whatever name)
 * into store, then follows changes on loop. loop NULL: loads once, for the offline commands.
 * Borrows loop and store, copies the rest. One store takes the objects of one struct directory.
 * Errors: E_NOTFOUND (a path does not exist; errno says more), E_REFUSED (it is neither file nor
 * directory), E_LIMIT (a path is too long), E_NOMEM, E_SYS; the store then holds what was read so
 * far. What is wrong with files is no error.
 * Context: controller and offline commands; reads files, blocks while loading. */
enum err directory_open(struct loop *loop, const char *const *paths, size_t path_n,
                        struct store *store, const struct directory_options *options,
                        struct directory **ret);
/* The objects stay in the store. d may be NULL. Not from inside on_batch or on_diag. */
void directory_close(struct directory *d);

/* What is wrong at present, by path. Errors: E_NOMEM. */
enum err directory_each_diag(const struct directory *d, diag_fn *fn, void *arg);
/* Files that are followed. */
size_t directory_file_n(const struct directory *d);
/* Files read since the start, for tests and metrics: a change of one file reads one. */
size_t directory_read_n(const struct directory *d);
bool directory_is_polling(const struct directory *d);
