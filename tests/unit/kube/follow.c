/* Follows one resource by a reflector and prints what it is told, a line each; the tests drive it.
 *
 *   follow KUBECONFIG PATH [NAME [PAGE]]
 *
 * Lines: list, object NAMESPACE/NAME VERSION, listed, gone NAMESPACE/NAME VERSION, batch,
 * well, unwell WHY. A line on its standard input is answered with "counters {...}" in JSON; its end
 * ends the program. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/limits.h"
#include "document/json_write.h"
#include "kube/reflector.h"

struct follow {
    struct loop *loop;
    struct kube_client *client;
    struct kube_reflector *reflector;
    struct watch input;
};

static void print_object(const char *what, const struct tree_node *object)
{
    const struct tree_node *metadata = tree_get(object, STR("metadata"));
    struct str space = tree_get_string(metadata, STR("namespace"));
    struct str name = tree_get_string(metadata, STR("name"));
    struct str version = tree_get_string(metadata, STR("resourceVersion"));
    (void)printf("%s %.*s/%.*s %.*s\n", what, STR_ARG(space), STR_ARG(name), STR_ARG(version));
}

static void on_list(void *arg)
{
    (void)arg;
    (void)puts("list");
}

static void on_object(void *arg, const struct tree_node *object)
{
    (void)arg;
    print_object("object", object);
}

static void on_listed(void *arg)
{
    (void)arg;
    (void)puts("listed");
}

static void on_gone(void *arg, const struct tree_node *object)
{
    (void)arg;
    print_object("gone", object);
}

static void on_batch(void *arg)
{
    (void)arg;
    (void)puts("batch");
    (void)fflush(stdout);
}

static void on_health(void *arg, bool is_ok, struct str why)
{
    (void)arg;
    (void)printf("%s%s%.*s\n", is_ok ? "well" : "unwell", is_ok ? "" : " ", STR_ARG(why));
    (void)fflush(stdout);
}

static const struct kube_reflector_events events = {on_list, on_object, on_listed,
                                                    on_gone, on_batch,  on_health};

static void print_counters(const struct follow *f)
{
    const struct kube_reflector_counters *r = kube_reflector_counters(f->reflector);
    const struct kube_counters *c = kube_client_counters(f->client);
    struct rusage usage;
    struct buf b;
    (void)getrusage(RUSAGE_SELF, &usage);
    buf_init(&b, 4096);
    struct json j = json_make(&b, false);
    json_object(&j);
    json_name_u64(&j, "lists", r->lists);
    json_name_u64(&j, "watches", r->watches);
    json_name_u64(&j, "checks", r->checks);
    json_name_u64(&j, "events", r->events);
    json_name_u64(&j, "relists_expired", r->relists_expired);
    json_name_u64(&j, "relists_back", r->relists_back);
    json_name_u64(&j, "oversized", r->oversized);
    json_name_u64(&j, "failures", r->failures);
    json_name_u64(&j, "calls", c->calls);
    json_name_u64(&j, "connects", c->connects);
    json_name_u64(&j, "received_bytes", c->received_bytes);
    json_name_u64(&j, "unauthorized", c->unauthorized);
    json_name_u64(&j, "throttled", c->throttled);
    json_name_bool(&j, "is_synced", kube_reflector_is_synced(f->reflector));
    json_name_bool(&j, "is_healthy", kube_reflector_is_healthy(f->reflector));
    json_name_u64(&j, "max_rss_kb", (uint64_t)usage.ru_maxrss);
    json_end_object(&j);
    json_finish(&j);
    (void)printf("counters %.*s", STR_ARG(buf_str(&b)));
    (void)fflush(stdout);
    buf_fini(&b);
}

static void on_input(struct watch *w, uint32_t happened)
{
    struct follow *f = container_of(w, struct follow, input);
    char text[256];
    (void)happened;
    if (read(w->fd, text, sizeof(text)) <= 0) {
        loop_stop(f->loop);
        return;
    }
    print_counters(f);
}

static void on_diag(void *arg, const struct diag *d)
{
    struct buf b;
    (void)arg;
    buf_init(&b, 4096);
    diag_emit_text(&b, d);
    (void)fprintf(stderr, "%.*s\n", STR_ARG(buf_str(&b)));
    buf_fini(&b);
}

static enum err follow(struct follow *f, int argc, char **argv)
{
    uint64_t page_n = 0;
    struct kube_reflector_options options = {
        .client = f->client,
        .path = str_from_cstr(argv[2]),
        .name = str_from_cstr(argc > 3 ? argv[3] : NULL),
        .events = &events,
        .arg = f,
    };
    if (argc > 4 && !str_to_u64(str_from_cstr(argv[4]), UINT32_MAX, &page_n)) {
        return E_PROTO;
    }
    options.page_n = (uint32_t)page_n;
    TRY(loop_watch_level(f->loop, &f->input, STDIN_FILENO, EPOLLIN, on_input));
    TRY(kube_reflector_open(&options, &f->reflector));
    enum err e = loop_run(f->loop);
    kube_reflector_close(f->reflector);
    loop_unwatch(f->loop, &f->input);
    return e;
}

static enum err connect_and_follow(struct follow *f, const struct kube_config *config, int argc,
                                   char **argv)
{
    TRY(loop_new(&f->loop));
    enum err e = kube_client_new(f->loop, config, &f->client);
    if (e == E_OK) {
        e = follow(f, argc, argv);
    }
    kube_client_free(f->client);
    loop_free(f->loop);
    return e;
}

int main(int argc, char **argv)
{
    struct follow f = {0};
    struct kube_config *config = NULL;
    if (argc < 3) {
        (void)fputs("usage: follow KUBECONFIG PATH [NAME [PAGE]]\n", stderr);
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    enum err e = kube_config_load(argv[1], NULL, on_diag, NULL, &config);
    if (e == E_OK) {
        e = connect_and_follow(&f, config, argc, argv);
    }
    kube_config_free(config);
    if (e != E_OK) {
        (void)fprintf(stderr, "follow: %s\n", err_text(e));
    }
    return e == E_OK ? 0 : 1;
}
