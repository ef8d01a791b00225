/* PCRE2, bytes as they are (no UTF), interpreted. */
#include "regex/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdio.h>

#include "base/mem.h"

/* What a match may cost. Honest patterns over a header take a few hundred steps. */
enum { STEPS_MAX = 100 * 1000, DEPTH_MAX = 1000, HEAP_KIB_MAX = 1024 };

struct regex {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *limits;
};

static void *on_alloc(size_t n, void *arg)
{
    (void)arg;
    return mem_alloc(n);
}

static void on_free(void *p, void *arg)
{
    (void)arg;
    mem_free(p);
}

static enum err compile(struct regex *r, struct str pattern, pcre2_general_context *memory,
                        char *fault)
{
    int code;
    size_t at;
    char text[REGEX_FAULT_BYTES / 2];
    pcre2_compile_context *context = pcre2_compile_context_create(memory);
    if (context == NULL) {
        return E_NOMEM;
    }
    r->code = pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n,
                            PCRE2_NEVER_UTF | PCRE2_NEVER_BACKSLASH_C | PCRE2_NEVER_UCP, &code, &at,
                            context);
    pcre2_compile_context_free(context);
    if (r->code != NULL) {
        return E_OK;
    }
    if (code == PCRE2_ERROR_HEAP_FAILED) {
        return E_NOMEM;
    }
    (void)pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof(text)); /* cut when long */
    (void)snprintf(fault, REGEX_FAULT_BYTES, "%s at offset %zu", text, at);
    return E_PROTO;
}

static enum err prepare(struct regex *r, pcre2_general_context *memory)
{
    r->data = pcre2_match_data_create(1, memory);
    r->limits = pcre2_match_context_create(memory);
    if (r->data == NULL || r->limits == NULL) {
        return E_NOMEM;
    }
    (void)pcre2_set_match_limit(r->limits, STEPS_MAX); /* these only store */
    (void)pcre2_set_depth_limit(r->limits, DEPTH_MAX);
    (void)pcre2_set_heap_limit(r->limits, HEAP_KIB_MAX);
    return E_OK;
}

enum err regex_new(struct str pattern, char *fault, struct regex **ret)
{
    if (pattern.n > REGEX_PATTERN_BYTES_MAX) {
        return E_LIMIT;
    }
    struct regex *r = mem_calloc(1, sizeof(*r));
    pcre2_general_context *memory =
        r == NULL ? NULL : pcre2_general_context_create(on_alloc, on_free, NULL);
    enum err e = memory == NULL ? E_NOMEM : compile(r, pattern, memory, fault);
    if (e == E_OK) {
        e = prepare(r, memory);
    }
    pcre2_general_context_free(memory);
    if (e != E_OK) {
        regex_free(r);
        return e;
    }
    *ret = r;
    return E_OK;
}

void regex_free(struct regex *r)
{
    if (r != NULL) {
        pcre2_match_context_free(r->limits);
        pcre2_match_data_free(r->data);
        pcre2_code_free(r->code);
        mem_free(r);
    }
}

bool regex_finds(struct regex *r, struct str subject)
{
    return pcre2_match(r->code, (PCRE2_SPTR)subject.p, subject.n, 0, 0, r->data, r->limits) >= 0;
}
