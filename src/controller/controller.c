/* The controller process: heritage in, loop, control socket, health port, out. */
#include "controller/controller.h"

#include "admin/listener.h"
#include "base/mem.h"
#include "controller/feedback.h"
#include "controller/pipeline.h"
#include "controller/views.h"
#include "log/log.h"
#include "os/heritage.h"
#include "stats/series.h"

#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

struct controller {
    struct heritage heritage;
    struct loop *loop;
    struct stats_area *stats;
    struct pipeline_options pipeline_options;
    struct pipeline pipeline;
    struct feedback feedback;
    struct admin_views views;
    struct admin_listener health;
    struct watch control;
    struct timer start;
    struct timer retire; /* of series that nobody uses */
    bool has_health, is_ready_sent, is_closing;
};

static void on_control(struct watch *w, uint32_t events);

/* Asks for room only while something waits: the socket is writable nearly always. */
static void watch_control(struct controller *c)
{
    uint32_t events = EPOLLIN | (pipeline_is_waiting(&c->pipeline) ? EPOLLOUT : 0U);
    if (loop_watch_level(c->loop, &c->control, c->heritage.control_fd, events, on_control) !=
        E_OK) {
        log_line(LOG_ERROR, "the control socket cannot be watched; ending");
        loop_stop(c->loop);
    }
}

/* Tells the supervisor once that a configuration is out. */
static void send_ready(struct controller *c)
{
    const struct control_message m = {.type = CONTROL_READY};
    if (c->is_ready_sent) {
        return;
    }
    switch (control_send(c->heritage.control_fd, &m, -1)) {
    case E_OK:
        c->is_ready_sent = true;
        log_line(LOG_INFO, "configuration is published generation=%llu",
                 (unsigned long long)stats_get(&c->stats->generation));
        break;
    case E_AGAIN: /* with the next commit or flush */
        break;
    case E_CLOSED:
    case E_PROTO:
    case E_LIMIT:
    case E_NOMEM:
    case E_NOTFOUND:
    case E_REFUSED:
    case E_TIMEOUT:
    case E_SYS:
        loop_stop(c->loop);
        break;
    }
}

static void on_commit(void *arg, enum err e)
{
    struct controller *c = arg;
    if (e != E_OK) {
        loop_stop(c->loop);
        return;
    }
    if (!pipeline_is_waiting(&c->pipeline)) {
        send_ready(c);
    }
    feedback_on_commit(&c->feedback);
    watch_control(c);
}

static void on_closed(void *arg)
{
    const struct controller *c = arg;
    loop_stop(c->loop);
}

/* The workers are gone: what we leave in the cluster is put in order, then we go too. */
static void close_down(struct controller *c)
{
    if (!c->is_closing) {
        c->is_closing = true;
        feedback_close(&c->feedback, on_closed, c);
    }
}

/* One message; true when there may be more. */
static bool take_control(struct controller *c)
{
    struct control_message m;
    int fd;
    enum err e = control_receive(c->heritage.control_fd, &m, &fd);
    if (e == E_AGAIN) {
        return false;
    }
    if (e != E_OK) {
        loop_stop(c->loop); /* the supervisor is gone */
        return false;
    }
    if (fd >= 0) {
        (void)close(fd); /* nobody sends us one */
    }
    if (m.type == CONTROL_DRAIN) {
        close_down(c);
    }
    return true;
}

static void on_control(struct watch *w, uint32_t events)
{
    struct controller *c = container_of(w, struct controller, control);
    if ((events & EPOLLOUT) != 0) {
        pipeline_flush(&c->pipeline);
        if (!pipeline_is_waiting(&c->pipeline)) {
            send_ready(c);
        }
        watch_control(c);
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        while (take_control(c)) {
        }
    }
}

/* -1: there is none of that name. */
static int listener_fd(const struct controller *c, struct str name)
{
    for (uint32_t i = 0; i < c->heritage.listener_n; i++) {
        const struct heritage_listener *l = &c->heritage.listeners[i];
        if (str_eq(str_from_cstr(l->name), name)) {
            return l->fd;
        }
    }
    return -1;
}

static enum err open_health(struct controller *c)
{
    int fd = listener_fd(c, STR("health"));
    if (fd >= 0) {
        TRY(admin_listener_open(&c->health, c->loop, fd, &c->views));
        c->has_health = true;
    }
    return E_OK;
}

static bool has_ingress(const void *store, struct str namespace_name, struct str name)
{
    return store_get(store, OBJECT_INGRESS, namespace_name, name) != NULL;
}

static void on_retire(struct timer *t)
{
    struct controller *c = container_of(t, struct controller, retire);
    /* Out of memory: the next time will do. */
    (void)series_retire(c->stats, clock_monotonic(), has_ingress, c->pipeline.store);
    loop_arm(c->loop, t, SERIES_RETIRE_PERIOD, on_retire);
}

static void on_start(struct timer *t)
{
    struct controller *c = container_of(t, struct controller, start);
    pipeline_start(&c->pipeline);
}

static enum err start(struct controller *c, const struct controller_options *o)
{
    (void)signal(SIGPIPE, SIG_IGN); /* libcurl's sockets; inherited so, but by hand it is not */
    TRY(loop_new(&c->loop));
    TRY(stats_open(c->heritage.stats_fd, &c->stats));
    c->pipeline_options = (struct pipeline_options){.manifests = o->manifests,
                                                    .kubeconfig = o->kubeconfig,
                                                    .context = o->context,
                                                    .api = o->api,
                                                    .snapshot_file = o->snapshot_file,
                                                    .compile = o->compile,
                                                    .ocsp = o->ocsp,
                                                    .control_fd = c->heritage.control_fd,
                                                    .stats = c->stats};
    TRY(pipeline_init(&c->pipeline, c->loop, &c->pipeline_options, on_commit, c));
    feedback_init(&c->feedback, &c->pipeline, &o->feedback, listener_fd(c, STR("webhook")));
    views_init(&c->views, &c->pipeline, &c->feedback);
    TRY(open_health(c));
    watch_control(c);
    loop_arm(c->loop, &c->start, 0, on_start);
    loop_arm(c->loop, &c->retire, SERIES_RETIRE_PERIOD, on_retire);
    return E_OK;
}

static void finish(struct controller *c)
{
    if (c->loop == NULL) {
        return;
    }
    if (c->has_health) {
        admin_listener_close(&c->health);
    }
    feedback_fini(&c->feedback);
    if (c->pipeline.publish != NULL) {
        pipeline_fini(&c->pipeline);
    }
    loop_disarm(c->loop, &c->start);
    loop_disarm(c->loop, &c->retire);
    loop_unwatch(c->loop, &c->control);
    loop_free(c->loop);
    stats_close(c->stats);
}

static int run(struct controller *c, const struct controller_options *options)
{
    enum err e = start(c, options);
    if (e == E_OK) {
        e = loop_run(c->loop);
    }
    if (e != E_OK && e != E_CLOSED) {
        log_line(LOG_ERROR, "the controller cannot go on error=\"%s\"", err_text(e));
    }
    finish(c);
    return e == E_OK || e == E_CLOSED ? 0 : 1;
}

int controller_main(int heritage_fd, const struct controller_options *options)
{
    struct controller *c = mem_calloc(1, sizeof(*c));
    enum err e = c == NULL ? E_NOMEM : heritage_take(heritage_fd, &c->heritage);
    int status = 1;
    if (e == E_OK) {
        c->control.fd = -1;
        status = run(c, options);
    } else {
        log_line(LOG_ERROR, "the controller is started by 'lintel run', not by hand error=\"%s\"",
                 err_text(e));
    }
    mem_free(c);
    return status;
}
