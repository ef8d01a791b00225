/* Follows resources, each by a reflector of its own, and prints what they tell, a line each; the
 * tests drive it.
 *
 *   follow KUBECONFIG [name=NAME] [page=OBJECTS] [silence=MILLISECONDS] PATH...
 *
 * Lines begin with the number of the path, from 0: list, object NAMESPACE/NAME VERSION, listed,
 * gone NAMESPACE/NAME VERSION, batch, well, unwell WHY. A line on its standard input is answered
 * with a line of JSON for each path; its end ends the program. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "document/json_write.h"
#include "kube/reflector.h"

struct follow;

struct followed {
    struct follow *follow;
    struct kube_reflector *reflector;
    size_t number;
};

struct follow {
    struct loop *loop;
    struct kube_client *client;
    struct followed *followed;
    size_t n;
    struct watch input;
    struct str name;
    uint64_t page_n, silence_ms;
};

static void print(const void *arg, const char *what)
{
    const struct followed *f = arg;
    (void)printf("%zu %s\n", f->number, what);
}

static void print_object(const void *arg, const char *what, const struct tree_node *object)
{
    const struct followed *f = arg;
    const struct tree_node *metadata = tree_get(object, STR("metadata"));
    struct str space = tree_get_string(metadata, STR("namespace"));
    struct str name = tree_get_string(metadata, STR("name"));
    struct str version = tree_get_string(metadata, STR("resourceVersion"));
    (void)printf("%zu %s %.*s/%.*s %.*s\n", f->number, what, STR_ARG(space), STR_ARG(name),
                 STR_ARG(version));
}

static void on_list(void *arg)
{
    print(arg, "list");
}

static void on_object(void *arg, const struct tree_node *object)
{
    print_object(arg, "object", object);
}

static void on_listed(void *arg)
{
    print(arg, "listed");
}

static void on_gone(void *arg, const struct tree_node *object)
{
    print_object(arg, "gone", object);
}

static void on_batch(void *arg)
{
    print(arg, "batch");
    (void)fflush(stdout);
}

static void on_health(void *arg, bool is_ok, struct str why)
{
    const struct followed *f = arg;
    (void)printf("%zu %s%s%.*s\n", f->number, is_ok ? "well" : "unwell", is_ok ? "" : " ",
                 STR_ARG(why));
    (void)fflush(stdout);
}

static const struct kube_reflector_events events = {on_list, on_object, on_listed,
                                                    on_gone, on_batch,  on_health};

static void print_counters(const struct followed *f)
{
    const struct kube_reflector_counters *r = kube_reflector_counters(f->reflector);
    const struct kube_counters *c = kube_client_counters(f->follow->client);
    struct buf b;
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
    json_end_object(&j);
    json_finish(&j);
    (void)printf("%zu counters %.*s", f->number, STR_ARG(buf_str(&b)));
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
    for (size_t i = 0; i < f->n; i++) {
        print_counters(&f->followed[i]);
    }
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

static enum err follow_one(struct follow *f, struct str path)
{
    struct followed *one = &f->followed[f->n];
    *one = (struct followed){.follow = f, .number = f->n};
    TRY(kube_reflector_open(
        &(struct kube_reflector_options){
            .client = f->client,
            .path = path,
            .name = f->name,
            .page_n = (uint32_t)f->page_n,
            .silence = f->silence_ms * USEC_PER_MS,
            .events = &events,
            .arg = one,
        },
        &one->reflector));
    f->n++;
    return E_OK;
}

static enum err take_argument(struct follow *f, struct str argument)
{
    struct str name, value;
    if (argument.p[0] == '/') {
        return follow_one(f, argument);
    }
    (void)str_cut(argument, '=', &name, &value);
    if (str_eq(name, STR("name"))) {
        f->name = value;
        return E_OK;
    }
    uint64_t *number = str_eq(name, STR("page"))      ? &f->page_n
                       : str_eq(name, STR("silence")) ? &f->silence_ms
                                                      : NULL;
    return number != NULL && str_to_u64(value, UINT32_MAX, number) ? E_OK : E_PROTO;
}

static enum err follow_all(struct follow *f, int argc, char **argv)
{
    enum err e = loop_watch_level(f->loop, &f->input, STDIN_FILENO, EPOLLIN, on_input);
    f->followed = mem_calloc((size_t)argc, sizeof(*f->followed));
    e = f->followed == NULL ? E_NOMEM : e;
    for (int i = 2; e == E_OK && i < argc; i++) {
        e = take_argument(f, str_from_cstr(argv[i]));
    }
    if (e == E_OK) {
        e = loop_run(f->loop);
    }
    for (size_t i = 0; i < f->n; i++) {
        kube_reflector_close(f->followed[i].reflector);
    }
    mem_free(f->followed);
    return e;
}

static enum err connect_and_follow(struct follow *f, const struct kube_config *config, int argc,
                                   char **argv)
{
    TRY(loop_new(&f->loop));
    enum err e = kube_client_new(f->loop, config, &f->client);
    if (e == E_OK) {
        e = follow_all(f, argc, argv);
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
        (void)fputs("usage: follow KUBECONFIG [name=NAME] [page=OBJECTS] [silence=MS] PATH...\n",
                    stderr);
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
