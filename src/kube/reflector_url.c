/* The URLs of a reflector's calls. */
#include <string.h>

#include "kube/reflector_priv.h"

enum { URL_BYTES_MAX = 64 * 1024, FIELD_BYTES_MAX = 16 * 1024 };

static void add_escaped(struct buf *b, struct str s)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool is_letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (is_letter || (c >= '0' && c <= '9') || strchr("-._~", c) != NULL) {
            buf_add_char(b, (char)c); /* RFC 3986 section 2.3; no NUL can be in s */
        } else {
            buf_add_char(b, '%');
            buf_add_char(b, hex[c >> 4]);
            buf_add_char(b, hex[c & 15]);
        }
    }
}

static void add_parameter(struct buf *b, const char *name, struct str value)
{
    if (value.n > 0) {
        buf_addf(b, "%c%s=", str_find(buf_str(b), '?') == b->n ? '?' : '&', name);
        add_escaped(b, value);
    }
}

static void add_number(struct buf *b, const char *name, uint64_t value)
{
    char text[24];
    struct wr w = wr_make(text, sizeof(text));
    wr_u64(&w, value);
    add_parameter(b, name, (struct str){text, wr_n(&w)});
}

static void add_selectors(const struct kube_reflector *r, struct buf *url)
{
    struct buf field;
    buf_init(&field, FIELD_BYTES_MAX);
    buf_add_str(&field, r->field_selector);
    if (reflector_has_name(r)) {
        buf_addf(&field, "%smetadata.name=%.*s", field.n > 0 ? "," : "", STR_ARG(r->name));
    }
    add_parameter(url, "labelSelector", r->label_selector);
    add_parameter(url, "fieldSelector", buf_str(&field));
    url->bad |= field.bad;
    buf_fini(&field);
}

static void begin_url(const struct kube_reflector *r, struct buf *url)
{
    buf_init(url, URL_BYTES_MAX);
    buf_add_str(url, r->path);
}

void reflector_url_page(const struct kube_reflector *r, struct buf *url)
{
    begin_url(r, url);
    if (!r->is_unpaged) {
        add_number(url, "limit", r->page_n);
    }
    add_parameter(url, "continue", buf_str(&r->next));
    add_selectors(r, url);
}

void reflector_url_check(const struct kube_reflector *r, struct buf *url)
{
    begin_url(r, url);
    add_number(url, "limit", 1);
    add_selectors(r, url);
}

void reflector_url_fetch(const struct kube_reflector *r, struct buf *url)
{
    begin_url(r, url);
    buf_add_char(url, '/');
    add_escaped(url, r->name);
}

void reflector_url_watch(const struct kube_reflector *r, struct buf *url)
{
    begin_url(r, url);
    add_parameter(url, "watch", STR("true"));
    add_parameter(url, "allowWatchBookmarks", STR("true"));
    add_number(url, "timeoutSeconds", r->asked_for / USEC_PER_SEC);
    add_parameter(url, "resourceVersion", (struct str){r->version, r->version_n});
    add_selectors(r, url);
}
