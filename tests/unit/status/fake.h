/* What the tests of status/ share: a clock that passes while the loop waits, and a Kubernetes API
 * in place of kube/client.c: each call arrives after a while at the test's own function, which says
 * what is answered. */
#pragma once

#include "event/loop.h"
#include "kube/client.h"
#include "model/store.h"

struct fake_request {
    enum kube_method method;
    struct str path, body, content_type;
};

struct fake_answer {
    enum err error;  /* E_TIMEOUT: after the call's timeout */
    uint32_t status; /* 200 unless said otherwise */
    usec_t retry_after;
    const char *reason;
    struct buf body;
};

typedef void fake_api_fn(void *arg, const struct fake_request *request, struct fake_answer *ret);

struct fake {
    struct loop *loop;
    struct kube_client *client;
    fake_api_fn *api; /* NULL: 200 and {} */
    void *arg;
    usec_t latency;       /* until a call arrives; it is answered at once */
    enum err start_error; /* other than E_OK: no call can be started */
    size_t started, under_way, most_under_way;
    size_t fail_from, fail_mark; /* see fake_fail_from() */
};

void fake_init(struct fake *f, fake_api_fn *api, void *arg);
void fake_fini(struct fake *f);
/* A second client of the same loop and API. */
struct kube_client *fake_client(struct fake *f);
void fake_client_free(struct kube_client *c);

void fake_run(struct fake *f, usec_t time);
usec_t fake_now(void);
/* The clock goes on without the loop: the process stood still. */
void fake_freeze(usec_t time);

/* The nth allocation from now and all later ones fail, but for those of the test's own API; 0:
 * none.
 */
void fake_fail_from(struct fake *f, size_t nth);

/* An object of the API as the store wants it. */
struct object *fake_object(const char *json);
void fake_put(struct store *s, const char *json);
bool has_text(struct str s, const char *part);
