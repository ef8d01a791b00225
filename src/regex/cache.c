/* A map by text. */
#include "regex/cache.h"

#include "base/mem.h"

struct pattern {
    struct regex *regex; /* NULL: the text is no regular expression */
    struct str text;     /* behind the struct */
};

static bool pattern_is(const void *value, const void *key)
{
    return str_eq(((const struct pattern *)value)->text, *(const struct str *)key);
}

static void clear(struct regex_cache *c)
{
    map_each(slot, &c->patterns)
    {
        struct pattern *p = slot->value;
        regex_free(p->regex);
        mem_free(p);
    }
    map_fini(&c->patterns);
    map_init(&c->patterns);
    c->n = 0;
}

void regex_cache_init(struct regex_cache *c, size_t max)
{
    *c = (struct regex_cache){.max = max};
    map_init(&c->patterns);
}

void regex_cache_fini(struct regex_cache *c)
{
    clear(c);
}

static struct pattern *pattern_new(struct str text)
{
    char fault[REGEX_FAULT_BYTES];
    struct pattern *p = mem_calloc(1, sizeof(*p) + text.n + 1);
    if (p == NULL) {
        return NULL;
    }
    mem_copy((char *)(p + 1), text.p, text.n);
    p->text = str_make((char *)(p + 1), text.n);
    if (regex_new(text, fault, &p->regex) == E_NOMEM) {
        mem_free(p);
        return NULL;
    }
    return p;
}

struct regex *regex_cache_get(struct regex_cache *c, struct str text)
{
    uint64_t hash = hash_str(text);
    struct pattern *p = map_get(&c->patterns, hash, pattern_is, &text);
    if (p != NULL) {
        return p->regex;
    }
    if (c->n == c->max) {
        clear(c);
    }
    p = pattern_new(text);
    if (p == NULL || map_add(&c->patterns, hash, p) != E_OK) {
        if (p != NULL) {
            regex_free(p->regex);
        }
        mem_free(p);
        return NULL;
    }
    c->n++;
    return p->regex;
}
