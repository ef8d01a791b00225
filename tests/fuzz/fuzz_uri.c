/* Targets, paths and hosts: parts lie inside the input, results fit their room, normalizing and
 * parsing once more change nothing. */
#include <stdlib.h>

#include "base/err.h"
#include "wire/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char *room_of(size_t n)
{
    char *room = malloc(n > 0 ? n : 1); /* of its own size: a sanitizer sees one byte more */
    must(room != NULL);
    return room;
}

static bool has_special_element(struct str path)
{
    struct str element;
    bool has_more = str_cut(str_from(path, 1), '/', &element, &path);
    while (true) {
        if (str_eq(element, STR(".")) || str_eq(element, STR("..")) ||
            (element.n == 0 && has_more)) {
            return true;
        }
        if (!has_more) {
            return false;
        }
        has_more = str_cut(path, '/', &element, &path);
    }
}

static void check_normalize(struct str path)
{
    char *out = room_of(path.n);
    struct str normal, again;
    if (uri_normalize(path, out, &normal) == E_OK) {
        must(normal.n > 0 && normal.n <= path.n && normal.p[0] == '/');
        must(!has_special_element(normal));
        must(normal.p == path.p || normal.p == out);
        must((normal.p == path.p) == str_eq(normal, path));
        char *out2 = room_of(normal.n);
        must(uri_normalize(normal, out2, &again) == E_OK && again.p == normal.p);
        free(out2);
    }
    free(out);
}

static void check_host(struct str authority)
{
    char *out = room_of(authority.n);
    struct str host;
    uint16_t port;
    enum err e = host_parse(authority, out, &host, &port);
    must((e == E_OK) == host_is_valid(authority));
    if (e == E_OK) {
        must(host.n > 0 && host.n <= authority.n && host.n <= 253 && host.p == out);
    }
    free(out);
}

static void check_split(struct str target)
{
    struct str authority, path, query;
    if (uri_split(target, &authority, &path, &query) != E_OK) {
        return;
    }
    must(path.n > 0 && (path.p[0] == '/' || str_eq(path, STR("*"))));
    must(authority.n + query.n <= target.n && str_find(path, '?') == path.n);
    must(authority.n == 0 || host_is_valid(authority));
    check_normalize(path);
}

static void check_paths(struct str text)
{
    enum { MAX = 3 };
    struct str paths[MAX], normal;
    uint32_t n = MAX + 1;
    if (uri_paths_parse(text, paths, MAX, &n) != E_OK) {
        must(n == MAX + 1);
        return;
    }
    must(n <= MAX);
    for (uint32_t i = 0; i < n; i++) {
        char *out = room_of(paths[i].n);
        must(paths[i].p >= text.p && paths[i].p + paths[i].n <= text.p + text.n);
        must(uri_normalize(paths[i], out, &normal) == E_OK && normal.p == paths[i].p);
        free(out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str input = {(const char *)data, n};
    check_split(input);
    check_normalize(input);
    check_host(input);
    check_paths(input);
    must(!dns_label_is_valid(input) || dns_subdomain_is_valid(input));
    must(!dns_subdomain_is_valid(input) || host_is_valid(input));
    return 0;
}
