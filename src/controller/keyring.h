/* controller/keyring.h: the stream of secrets: private keys on their way to the workers.
 *
 * A key that no certificate names any more leaves the workers SECRET_KEPT later, so that one that
 * is behind never lacks the key of a certificate that it still serves. Commit it before the routes.
 * Keys of tickets are made here unless a Secret has some. */
#pragma once

#include "controller/tickets.h"
#include "event/loop.h"
#include "publish/publish.h"

struct keyring {
    struct loop *loop;
    struct publish *publish;
    struct list retired;     /* keys that will be taken away; the oldest in front */
    struct tickets tickets;  /* while no Secret brings some */
    bool has_tickets;        /* a Secret brings some */
    bool are_tickets_missed; /* ours are not on their way yet */
    struct timer timer;
    void (*on_due)(void *arg); /* something is to be committed */
    void *arg;
};

/* Borrows all. options: as for a publish, without is_secret. Errors: E_NOMEM. */
enum err keyring_init(struct keyring *k, struct loop *loop, const struct publish_options *options,
                      void (*on_due)(void *arg), void *arg);
void keyring_fini(struct keyring *k); /* k may be zeroed */
/* A compile_shard_fn for shards of the secret stream. Errors: E_NOMEM. */
enum err keyring_add(struct keyring *k, const struct snap_shard *shard);
/* As publish_commit(). */
enum err keyring_commit(struct keyring *k, bool is_whole);
