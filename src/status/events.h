/* status/events.h: what is wrong with objects, and what became of them, as Events on the objects
 * themselves (events.k8s.io/v1).
 *
 * The same text on the same object is one Event: told again, its series is counted up, at most once
 * in EVENTS_SERIES. The Event's name follows from what it says, so that a leader after the first
 * one, or a restarted one, finds it there. What lasts is told again every EVENTS_REPEAT, since the
 * API server forgets Events after an hour. Objects have budgets, and all of them together have one;
 * what is over is dropped and counted. Source: events.k8s.io/v1 Event. */
#pragma once

#include "document/diag.h"
#include "model/store.h"
#include "status/line.h"

/* Calls fn for everything that is wrong now. Errors: E_NOMEM. */
typedef enum err events_each_diag_fn(void *arg, diag_fn *fn, void *fn_arg);

struct events_options {
    struct loop *loop;
    struct kube_client *client;
    const struct store *store;      /* for uids */
    struct str controller;          /* "lintel.dev/ingress-controller" */
    struct str instance;            /* our pod */
    events_each_diag_fn *each_diag; /* or NULL */
    void *arg;
};

struct events;

/* Borrows all. Off at first. Errors: E_NOMEM. */
enum err events_open(const struct events_options *options, struct events **ret);
void events_close(struct events *e); /* e may be NULL */
/* On: tells what is wrong now, and goes on. Off: what is in line, and what was told, is forgotten.
 */
void events_switch(struct events *e, bool is_on);

/* A diag_fn: events is the struct. Diagnostics without an object are left out. */
void events_on_diag(void *events, const struct diag *d);
/* Any other Event on o; texts are short and static. */
void events_tell(struct events *e, const struct object *o, bool is_warning, struct str reason,
                 struct str action, struct str note);

struct events_counters {
    uint64_t created, counted_up, refused;
    uint64_t dropped_budget, dropped_table, dropped_memory;
};
const struct events_counters *events_counters(const struct events *e);
uint64_t events_retries(const struct events *e);
