/* The keys of sessions that clients keep, from the Secret of --ssl-session-ticket-secret: whoever
 * has the same Secret opens the same tickets. What cannot be used changes nothing. */
#include "compile/compile_priv.h"

#include "tls/ticket_keys.h"

#include <string.h>

#define ITEM "ticket.key"

static const struct finding missing = {DIAG_ERROR, DIAG_SecretNotFound,
                                       "random keys are used, which other replicas do not know",
                                       "create the Secret or correct the name"};
static const struct finding bad_keys = {
    DIAG_ERROR, DIAG_InvalidSetting,
    "the keys that were there before stay in use, or random ones, which other replicas do not know",
    "put one to 8 keys of 80 random bytes each behind each other, the present one first"};

/* The random ones of the controller take over. */
static enum err drop(struct compile *c, struct secret_node *secret)
{
    buf_reset(&c->key);
    return product_delete(c, &secret->tickets, SNAP_TICKETS);
}

static enum err refuse(struct compile *c, struct diag_batch *batch,
                       const struct secret_node *secret, const struct object *object, size_t n)
{
    buf_reset(&c->field);
    buf_addf(&c->field, "data[" ITEM "]");
    buf_addf(what_begin(c), "has %zu bytes", n);
    finding_add(c, batch, object, object->line, &bad_keys);
    buf_addf(what_begin(c), "names Secret %.*s, whose " ITEM " cannot be used",
             STR_ARG(object->name));
    secret_tell_users(c, batch, secret, SECRET_TICKETS, &bad_keys);
    return E_OK;
}

enum err tickets_compile(struct compile *c, struct diag_batch *batch, struct secret_node *secret,
                         const struct secret *object)
{
    struct snap_ticket_key keys[SNAP_TICKET_KEYS_MAX];
    struct str bytes = STR_EMPTY;
    uint32_t n;
    if (secret->role_n[SECRET_TICKETS] == 0) {
        return drop(c, secret);
    }
    if (object == NULL) {
        return secret_tell_missing(c, batch, secret, SECRET_TICKETS, &missing) ? drop(c, secret)
                                                                               : E_OK;
    }
    (void)secret_get(object, STR(ITEM), &bytes); /* stays empty */
    if (ticket_keys_parse(bytes, keys, &n) != E_OK) {
        return refuse(c, batch, secret, &object->object, bytes.n);
    }
    buf_reset(&c->shard);
    enum err e = ticket_keys_emit(&c->shard, keys, n);
    explicit_bzero(keys, sizeof(keys));
    e = e == E_OK ? product_emit(c, &secret->tickets) : e;
    explicit_bzero(c->shard.p, c->shard.n);
    return e;
}
