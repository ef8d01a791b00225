/* The snapshot file. */
#include "controller/saved.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "log/log.h"

/* ---- writing ---- */

static void save(struct saved *s)
{
    enum err e = publish_save(s->publish, s->file);
    if (e == E_OK) {
        s->has_failed = false;
    } else if (!s->has_failed) {
        s->has_failed = true;
        log_line(LOG_WARN, "the snapshot file cannot be written file=%s error=\"%s\"", s->file,
                 e == E_SYS ? strerror(errno) : err_text(e));
    }
}

static void on_save(struct timer *t)
{
    save(container_of(t, struct saved, save));
}

static void confirm(const struct saved *s)
{
    if (s->is_true(s->arg)) {
        /* It may not have been written yet, or not be ours to touch: then it looks older. */
        (void)utimensat(AT_FDCWD, s->file, NULL, AT_SYMLINK_NOFOLLOW);
    }
}

static void on_confirm(struct timer *t)
{
    struct saved *s = container_of(t, struct saved, confirm);
    confirm(s);
    loop_arm(s->loop, &s->confirm, SAVED_CONFIRM, on_confirm);
}

void saved_changed(struct saved *s)
{
    if (s->file != NULL) {
        loop_arm(s->loop, &s->save, SAVED_DELAY, on_save);
    }
}

/* ---- reading ---- */

usec_t saved_age(const struct saved *s)
{
    usec_t now = clock_wall();
    return s->true_at == 0 || now < s->true_at ? 0 : now - s->true_at;
}

static void tell_loaded(struct saved *s)
{
    struct stat st;
    if (stat(s->file, &st) == 0 && st.st_mtim.tv_sec > 0) {
        s->true_at = (usec_t)st.st_mtim.tv_sec * USEC_PER_SEC + (usec_t)st.st_mtim.tv_nsec / 1000;
    }
    usec_t age = saved_age(s);
    log_line(LOG_INFO, "serving the saved snapshot until the objects are read file=%s age_s=%llu",
             s->file, (unsigned long long)(age / USEC_PER_SEC));
    if (age > SAVED_OLD) {
        log_line(
            LOG_WARN,
            "the saved snapshot is too old to be trusted: endpoints in it may belong to others "
            "by now file=%s age_h=%llu",
            s->file, (unsigned long long)(age / (3600 * USEC_PER_SEC)));
    }
}

enum err saved_load(struct saved *s)
{
    struct snapshot_fault fault = {0};
    if (s->file == NULL) {
        return E_OK;
    }
    enum err e = publish_load(s->publish, s->file, &fault);
    switch (e) {
    case E_OK:
        tell_loaded(s);
        return E_OK;
    case E_NOTFOUND:
        return E_OK; /* the first start */
    case E_CLOSED:
        return E_CLOSED;
    case E_AGAIN:
    case E_PROTO:
    case E_LIMIT:
    case E_NOMEM:
    case E_REFUSED:
    case E_TIMEOUT:
    case E_SYS:
        log_line(LOG_WARN,
                 "the snapshot file cannot be used; starting without it file=%s error=\"%s\"",
                 s->file, fault.what != NULL ? fault.what : err_text(e));
        return E_OK;
    }
    return E_OK;
}

/* ---- life ---- */

void saved_init(struct saved *s, struct loop *loop, struct publish *publish, const char *file,
                saved_true_fn *is_true, void *arg)
{
    *s = (struct saved){
        .loop = loop, .publish = publish, .file = file, .is_true = is_true, .arg = arg};
    if (file != NULL) {
        loop_arm(loop, &s->confirm, SAVED_CONFIRM, on_confirm);
    }
}

void saved_fini(struct saved *s)
{
    if (s->file == NULL) {
        return;
    }
    if (list_is_linked(&s->save.link)) {
        save(s);
    } else {
        confirm(s);
    }
    loop_disarm(s->loop, &s->save);
    loop_disarm(s->loop, &s->confirm);
    s->file = NULL;
}
