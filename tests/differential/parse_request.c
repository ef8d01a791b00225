/* parse_request: what our request parser makes of bytes, for comparison with other parsers.
 *
 * Standard input: cases, each a length (4 bytes, little endian) and that many bytes. Standard
 * output: one line of JSON per case: the requests that were read one after the other, texts in
 * hexadecimal, and how it ended: "end" (nothing is left), "more" (an incomplete request), "close"
 * (a request after which the connection ends or changes), or "reject" with the reason. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "wire/http1.h"

enum { FIELDS_MAX = 256, CASE_BYTES_MAX = 1 << 20 };

static void put_text(const char *name, struct str s)
{
    printf("\"%s\":\"", name);
    for (size_t i = 0; i < s.n; i++) {
        printf("%02x", (unsigned char)s.p[i]);
    }
    printf("\"");
}

static void put_fields(const struct field *fields, uint32_t n)
{
    printf("\"fields\":[");
    for (uint32_t i = 0; i < n; i++) {
        printf("%s{", i == 0 ? "" : ",");
        put_text("name", fields[i].name);
        printf(",");
        put_text("value", fields[i].value);
        printf("}");
    }
    printf("]");
}

static void put_request(const struct h1_request *r, const struct field *fields, size_t at)
{
    printf("{\"at\":%zu,\"minor\":%d,\"keep\":%s,\"upgrade\":%s,", at, r->minor,
           r->is_keep_alive ? "true" : "false", r->has_upgrade ? "true" : "false");
    put_text("method", r->method);
    printf(",");
    put_text("target", r->target);
    printf(",");
    put_fields(fields, r->field_n);
    printf(",\"body\":\"");
}

static void put_data(struct str data)
{
    for (size_t i = 0; i < data.n; i++) {
        printf("%02x", (unsigned char)data.p[i]);
    }
}

/* Prints the body and moves *p behind it. */
static enum err take_chunks(struct str *p, enum h1_fault *ret_fault)
{
    struct h1_chunked c = {0};
    while (c.state != H1_CHUNK_DONE) {
        struct str data;
        TRY(h1_chunked_next(&c, p, &data, ret_fault));
        put_data(data);
    }
    return E_OK;
}

static enum err take_body(const struct h1_request *r, struct str *p, enum h1_fault *ret_fault)
{
    if (r->body == H1_BODY_CHUNKED) {
        return take_chunks(p, ret_fault);
    }
    uint64_t n = r->body == H1_BODY_LENGTH ? r->body_n : 0;
    if (n > p->n) {
        return E_AGAIN;
    }
    put_data(str_first(*p, (size_t)n));
    *p = str_from(*p, (size_t)n);
    return E_OK;
}

static bool is_last(const struct h1_request *r)
{
    return !r->is_keep_alive || r->has_upgrade || str_eq(r->method, STR("CONNECT"));
}

/* One request from *p. E_OK: there may be another behind it. */
static enum err take_request(struct str all, struct str *p, bool is_first, enum h1_fault *ret_fault,
                             bool *ret_last)
{
    struct field fields[FIELDS_MAX];
    struct h1_scan scan = {0};
    struct h1_request r;
    size_t head_n;
    TRY(h1_head_scan(&scan, p->p, p->n, &head_n));
    TRY(h1_request_parse(p->p, head_n, fields, FIELDS_MAX, &r, ret_fault));
    printf("%s", is_first ? "" : ",");
    put_request(&r, fields, (size_t)(p->p - all.p));
    *p = str_from(*p, head_n);
    enum err e = take_body(&r, p, ret_fault);
    printf("\",\"whole\":%s}", e == E_OK ? "true" : "false");
    *ret_last = e == E_OK && is_last(&r);
    return e;
}

static void run_case(struct str all)
{
    struct str rest = all;
    enum h1_fault fault = H1_FAULT_NONE; /* stays so when the head was refused before parsing */
    const char *end = "end";
    bool has_last = false;
    printf("{\"requests\":[");
    for (bool is_first = true; rest.n > 0 && !has_last; is_first = false) {
        enum err e = take_request(all, &rest, is_first, &fault, &has_last);
        if (e != E_OK) {
            end = e == E_AGAIN ? "more" : "reject";
            break;
        }
    }
    printf("],\"end\":\"%s\",\"at\":%zu,\"fault\":\"%s\"}\n", has_last ? "close" : end,
           all.n - rest.n, h1_fault_text(fault));
}

int main(void)
{
    uint8_t size[4];
    while (fread(size, 1, sizeof(size), stdin) == sizeof(size)) {
        size_t n = size[0] | (size_t)size[1] << 8 | (size_t)size[2] << 16 | (size_t)size[3] << 24;
        char *bytes = n <= CASE_BYTES_MAX ? malloc(n + 1) : NULL; /* exact but for an empty one */
        if (bytes == NULL || fread(bytes, 1, n, stdin) != n) {
            free(bytes);
            fprintf(stderr, "parse_request: broken input\n");
            return 2;
        }
        run_case((struct str){bytes, n});
        free(bytes);
    }
    return 0;
}
