/* The Kubernetes API client as a puppet: the reflectors and calls that the code under test opens,
 * to be told what to say. For one test program; stands in for the folder kube/. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "document/yaml.h"
#include "kube/client.h"
#include "kube/reflector.h"

enum { FAKES_MAX = 4096, FAKE_TEXT = 512 };

struct kube_reflector {
    char path[FAKE_TEXT], name[FAKE_TEXT], label_selector[FAKE_TEXT];
    const struct kube_reflector_events *events;
    void *arg;
    uint32_t status;
    struct kube_reflector_counters counters;
};

struct kube_call {
    char path[FAKE_TEXT];
    struct kube_call_events events;
    void *arg;
};

struct kube_client {
    char only; /* there is nothing in it */
};

static struct {
    struct kube_reflector *reflectors[FAKES_MAX];
    struct kube_call *calls[FAKES_MAX];
    size_t reflector_n, call_n, opened_n;
    enum err call_error;   /* of the next kube_call_start() calls */
    enum err config_error; /* of the next attempts to read a configuration */
} fake;

static inline void fake_copy(char to[FAKE_TEXT], struct str s)
{
    if (!str_to_cstr(s, to, FAKE_TEXT)) {
        abort();
    }
}

/* ---- what the code under test calls ---- */

enum err kube_config_load(const char *file, const char *context, diag_fn *on_diag, void *arg,
                          struct kube_config **ret)
{
    static const struct diag bad = {.severity = DIAG_ERROR, .what = STR_INIT("is bad")};
    (void)file;
    (void)context;
    if (fake.config_error != E_OK) {
        on_diag(arg, &bad);
        return fake.config_error;
    }
    struct kube_config *c = mem_calloc(1, sizeof(*c));
    if (c == NULL) {
        return E_NOMEM;
    }
    c->server = "https://fake";
    *ret = c;
    return E_OK;
}

enum err kube_config_in_cluster(const char *folder, diag_fn *on_diag, void *arg,
                                struct kube_config **ret)
{
    return kube_config_load(folder, NULL, on_diag, arg, ret);
}

void kube_config_free(struct kube_config *c)
{
    mem_free(c);
}

enum err kube_client_new(struct loop *loop, const struct kube_config *config,
                         struct kube_client **ret)
{
    (void)loop;
    (void)config;
    *ret = mem_calloc(1, sizeof(**ret));
    return *ret == NULL ? E_NOMEM : E_OK;
}

void kube_client_free(struct kube_client *c)
{
    mem_free(c);
}

const struct kube_counters *kube_client_counters(const struct kube_client *c)
{
    static const struct kube_counters none;
    (void)c;
    return &none;
}

enum err kube_reflector_open(const struct kube_reflector_options *o, struct kube_reflector **ret)
{
    struct kube_reflector *r = mem_calloc(1, sizeof(*r));
    if (r == NULL) {
        return E_NOMEM;
    }
    fake_copy(r->path, o->path);
    fake_copy(r->name, o->name);
    fake_copy(r->label_selector, o->label_selector);
    r->events = o->events;
    r->arg = o->arg;
    fake.reflectors[fake.reflector_n++] = r;
    fake.opened_n++;
    *ret = r;
    return E_OK;
}

void kube_reflector_close(struct kube_reflector *r)
{
    for (size_t i = 0; i < fake.reflector_n; i++) {
        if (fake.reflectors[i] == r) {
            fake.reflectors[i] = fake.reflectors[--fake.reflector_n];
            mem_free(r);
            return;
        }
    }
}

uint32_t kube_reflector_status(const struct kube_reflector *r)
{
    return r->status;
}

const struct kube_reflector_counters *kube_reflector_counters(const struct kube_reflector *r)
{
    return &r->counters;
}

bool kube_result_is_ok(const struct kube_result *r)
{
    return r->error == E_OK && r->status >= 200 && r->status < 300;
}

enum err kube_call_start(struct kube_client *c, const struct kube_request *request,
                         const struct kube_call_events *events, void *arg, struct kube_call **ret)
{
    (void)c;
    TRY(fake.call_error);
    struct kube_call *call = mem_calloc(1, sizeof(*call));
    if (call == NULL) {
        return E_NOMEM;
    }
    fake_copy(call->path, request->path);
    call->events = *events;
    call->arg = arg;
    fake.calls[fake.call_n++] = call;
    *ret = call;
    return E_OK;
}

void kube_call_cancel(struct kube_call *call)
{
    for (size_t i = 0; i < fake.call_n; i++) {
        if (fake.calls[i] == call) {
            fake.calls[i] = fake.calls[--fake.call_n];
            mem_free(call);
            return;
        }
    }
}

/* ---- what a test makes them say ---- */

/* The reflector of a path's end and a name ("" = all); NULL when there is none. */
static inline struct kube_reflector *fake_reflector(const char *end, const char *name)
{
    for (size_t i = 0; i < fake.reflector_n; i++) {
        struct kube_reflector *r = fake.reflectors[i];
        if (str_has_suffix(str_from_cstr(r->path), str_from_cstr(end)) &&
            strcmp(r->name, name) == 0) {
            return r;
        }
    }
    return NULL;
}

struct fake_told {
    struct kube_reflector *r;
    bool is_gone;
};

static inline enum err fake_on_document(void *arg, const struct tree_node *root)
{
    const struct fake_told *told = arg;
    (told->is_gone ? told->r->events->on_gone : told->r->events->on_object)(told->r->arg, root);
    return E_OK;
}

static inline void fake_on_diag(void *arg, const struct diag *d)
{
    (void)arg;
    fprintf(stderr, "bad yaml in a test: %.*s\n", STR_ARG(d->what));
    abort();
}

/* Documents of YAML; memory must not run out while they are read. */
static inline void fake_tell(struct kube_reflector *r, bool is_gone, const char *yaml)
{
    struct fake_told told = {r, is_gone};
    const struct tree_sink sink = {&told, fake_on_document, fake_on_diag};
    if (yaml_parse(str_from_cstr(yaml), &sink) != E_OK) {
        abort();
    }
}

static inline void fake_put(struct kube_reflector *r, const char *yaml)
{
    fake_tell(r, false, yaml);
    r->events->on_batch(r->arg);
}

static inline void fake_gone(struct kube_reflector *r, const char *yaml)
{
    fake_tell(r, true, yaml);
    r->events->on_batch(r->arg);
}

/* A whole list. */
static inline void fake_list(struct kube_reflector *r, const char *yaml)
{
    r->counters.lists++;
    r->events->on_list(r->arg);
    fake_tell(r, false, yaml);
    r->events->on_listed(r->arg);
    r->events->on_batch(r->arg);
}

static inline void fake_sick(struct kube_reflector *r, uint32_t status, const char *why)
{
    r->status = status;
    r->counters.failures++;
    r->events->on_health(r->arg, false, str_from_cstr(why));
}

static inline void fake_well(struct kube_reflector *r)
{
    r->status = 0;
    r->events->on_health(r->arg, true, STR_EMPTY);
}

/* Ends the call whose path ends so; body in two pieces. False when there is none. */
static inline bool fake_answer(const char *end, uint32_t status, const char *body)
{
    for (size_t i = 0; i < fake.call_n; i++) {
        struct kube_call *call = fake.calls[i];
        struct str text = str_from_cstr(body);
        if (!str_has_suffix(str_from_cstr(call->path), str_from_cstr(end))) {
            continue;
        }
        fake.calls[i] = fake.calls[--fake.call_n];
        if (status == 200) {
            call->events.on_data(call->arg, str_first(text, text.n / 2));
            call->events.on_data(call->arg, str_from(text, text.n / 2));
        }
        call->events.on_done(call->arg,
                             &(struct kube_result){.error = status == 0 ? E_CLOSED : E_OK,
                                                   .status = status,
                                                   .reason = STR_EMPTY,
                                                   .message = STR("told by the test")});
        mem_free(call);
        return true;
    }
    return false;
}

/* Everything must have been closed. */
static inline bool fake_is_empty(void)
{
    return fake.reflector_n == 0 && fake.call_n == 0;
}
