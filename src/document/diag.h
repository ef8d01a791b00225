/* document/diag.h: what is wrong with an object or a file: where, what, why, how to mend.
 * One form for the log, lintel check, metrics and, later, Events. */
#pragma once

#include "base/buf.h"

enum diag_severity { DIAG_WARNING = 1, DIAG_ERROR = 2 };

/* Machine-readable reasons, CamelCase as in Kubernetes Events; the table with texts is diag.c. */
enum diag_reason {
#define REASON(name, text) DIAG_##name,
#include "document/diag_reasons.def"
#undef REASON
    DIAG_REASONS_N
};

/* Borrowed strings: valid during the call that carries the diag, unless a diag_list copied it. */
struct diag {
    enum diag_severity severity;
    enum diag_reason reason;
    struct str file;                       /* empty when the object did not come from a file */
    uint32_t line;                         /* from 1; 0 = unknown */
    struct str kind, namespace_name, name; /* of the object; may be empty */
    struct str field; /* path: "spec.rules[0].http.paths[1].pathType"; may be empty */
    struct str what;  /* "is 70000" */
    struct str why;   /* "a port is a number from 1 to 65535" */
    struct str mend;  /* "write the Service's port" ; may be empty */
};

const char *diag_reason_name(enum diag_reason reason);
/* "file:line: error: Ingress default/web: spec.rules[0].host: is "a:80": a host has no port; drop
 * the port (InvalidHost)". Without a line end. */
void diag_emit_text(struct buf *b, const struct diag *d);

/* A sink: whoever finds something calls it. */
typedef void diag_fn(void *arg, const struct diag *d);

/* Copies kept in order of arrival, at most max of them; the rest are counted. */
struct diag_list;
enum err diag_list_new(size_t max, struct diag_list **ret);
void diag_list_free(struct diag_list *l);
void diag_list_add(void *list, const struct diag *d); /* a diag_fn */
size_t diag_list_n(const struct diag_list *l);
size_t diag_list_dropped(const struct diag_list *l);
const struct diag *diag_list_get(const struct diag_list *l, size_t i);
/* By file, line, kind, namespace, name, field, reason. */
void diag_list_sort(struct diag_list *l);
