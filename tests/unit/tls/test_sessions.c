/* Sessions that workers keep for each other: the table, row by row and slot by slot, and clients
 * that come back to whichever worker. */
#include "tls/sessions_priv.h"

#include <sys/mman.h>

#include "../../lib/durations.h"
#include "site_world.h"

enum {
    WORKERS = 2,
    ROW = 4 /* a page for both */,
    ROOM = TLS_SESSION_BYTES - 8 - SESSION_ID_BYTES
};

static int memory_make(size_t slots)
{
    int fd = memfd_create("sessions", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)(slots * TLS_SESSION_BYTES)), 0);
    return fd;
}

struct table {
    int fd;
    struct tls_sessions *of[WORKERS];
};

static int table_setup(void **state)
{
    struct table *t = calloc(1, sizeof(*t));
    t->fd = memory_make((size_t)ROW * WORKERS);
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_int_equal(tls_sessions_open(t->fd, i, WORKERS, &t->of[i]), E_OK);
    }
    *state = t;
    return 0;
}

static int table_teardown(void **state)
{
    struct table *t = *state;
    for (uint32_t i = 0; i < WORKERS; i++) {
        tls_sessions_close(t->of[i]);
    }
    close(t->fd);
    free(t);
    return 0;
}

struct id {
    uint8_t bytes[SESSION_ID_BYTES];
};

static struct id keep(struct tls_sessions *s, const char *text)
{
    struct id id;
    assert_true(sessions_id_make(s, id.bytes));
    sessions_put(s, id.bytes, text, strlen(text));
    return id;
}

static void check_found(struct tls_sessions *s, const struct id *id, const char *want)
{
    char got[TLS_SESSION_BYTES];
    size_t n = sessions_get(s, id->bytes, sizeof(id->bytes), got);
    assert_int_equal(n, want == NULL ? 0 : strlen(want));
    assert_true(want == NULL || memcmp(got, want, n) == 0);
}

/* ---- the table ---- */

static void whoever_made_it(void **state)
{
    struct table *t = *state;
    uint64_t kept, found;
    struct id a = keep(t->of[0], "of the first"), b = keep(t->of[1], "of the second");
    for (int i = 0; i < WORKERS; i++) {
        check_found(t->of[i], &a, "of the first");
        check_found(t->of[i], &b, "of the second");
        tls_sessions_figures(t->of[i], &kept, &found);
        assert_int_equal(kept, 1);
        assert_int_equal(found, 2);
    }
    assert_memory_not_equal(a.bytes, b.bytes, SESSION_ID_BYTES);
}

static void the_oldest_makes_room(void **state)
{
    static const char *const texts[ROW + 1] = {"0", "1", "2", "3", "4"};
    struct table *t = *state;
    struct id ids[ROW + 1], other = keep(t->of[1], "another row");
    for (int i = 0; i < ROW; i++) {
        ids[i] = keep(t->of[0], texts[i]);
    }
    for (int i = 0; i < ROW; i++) {
        check_found(t->of[1], &ids[i], texts[i]);
    }
    ids[ROW] = keep(t->of[0], texts[ROW]);
    check_found(t->of[1], &ids[0], NULL);
    for (int i = 1; i <= ROW; i++) {
        check_found(t->of[1], &ids[i], texts[i]);
    }
    check_found(t->of[0], &other, "another row");
}

/* Whatever a client makes up. */
static void ids_of_nobody(void **state)
{
    struct table *t = *state;
    struct id good = keep(t->of[1], "secret");
    char got[TLS_SESSION_BYTES];
    for (size_t i = 0; i < SESSION_ID_BYTES; i++) { /* one bit is another session, or none */
        for (int bit = 0; bit < 8; bit++) {
            struct id id = good;
            id.bytes[i] ^= (uint8_t)(1U << bit);
            check_found(t->of[0], &id, NULL);
        }
    }
    for (size_t n = 0; n < SESSION_ID_BYTES; n++) {
        assert_int_equal(sessions_get(t->of[0], good.bytes, n, got), 0);
    }
    struct id zero = {{0}}, full;
    memset(&full, 0xff, sizeof(full));
    check_found(t->of[0], &zero, NULL); /* an empty slot has that id */
    check_found(t->of[0], &full, NULL);
    check_found(t->of[0], &good, "secret");
}

static void so_much_fits(void **state)
{
    struct table *t = *state;
    char bytes[ROOM + 1], got[TLS_SESSION_BYTES];
    struct id id;
    memset(bytes, 's', sizeof(bytes));
    for (size_t n = ROOM; n <= ROOM + 1; n++) {
        assert_true(sessions_id_make(t->of[0], id.bytes));
        sessions_put(t->of[0], id.bytes, bytes, n);
        assert_int_equal(sessions_get(t->of[1], id.bytes, sizeof(id.bytes), got),
                         n == ROOM ? n : 0);
    }
    uint64_t kept, found;
    tls_sessions_figures(t->of[0], &kept, &found);
    assert_int_equal(kept, 1);
}

/* Each writes its own row only: no two writers at one slot. */
static void rows_of_others_are_not_written(void **state)
{
    struct table *t = *state;
    struct id id = keep(t->of[0], "first");
    sessions_put(t->of[1], id.bytes, "forged", 6);
    check_found(t->of[0], &id, "first");
    id.bytes[0] = WORKERS; /* no such row */
    sessions_put(t->of[0], id.bytes, "nowhere", 7);
    check_found(t->of[0], &id, NULL);
}

/* A writer may be in the middle of it, or have died there: the slot is used again later. */
static void half_written_slots(void **state)
{
    struct table *t = *state;
    struct id id = keep(t->of[0], "whole");
    uint32_t *numbers = mmap(NULL, TLS_SESSION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, 0);
    assert_ptr_not_equal(numbers, MAP_FAILED);
    assert_int_equal(numbers[0], 2);
    numbers[0] = 3;
    check_found(t->of[1], &id, NULL);
    numbers[0] = 4;
    check_found(t->of[1], &id, "whole");
    numbers[1] = ROOM + 1; /* a length that cannot be: whoever shares the memory is not trusted */
    check_found(t->of[1], &id, NULL);
    numbers[0] = 5;
    for (int i = 0; i < ROW; i++) {
        id = keep(t->of[0], "anew");
    }
    check_found(t->of[1], &id, "anew");
    assert_int_equal(numbers[0], 6);
    (void)munmap(numbers, TLS_SESSION_BYTES);
}

static void room_for_one_each(void **state)
{
    struct tls_sessions *s = NULL;
    int fd = memory_make(4);
    (void)state;
    assert_int_equal(tls_sessions_open(fd, 0, 5, &s), E_LIMIT);
    assert_null(s);
    assert_int_equal(tls_sessions_open(fd, 3, 4, &s), E_OK);
    struct id first = keep(s, "first"), second = keep(s, "second"); /* in the same place */
    check_found(s, &first, NULL);
    check_found(s, &second, "second");
    tls_sessions_close(s);
    s = NULL;
    mem_fail_from(1);
    assert_int_equal(tls_sessions_open(fd, 0, 1, &s), E_NOMEM);
    mem_fail_from(0);
    close(fd);
    assert_int_equal(tls_sessions_open(fd, 0, 1, &s), E_SYS);
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(tls_sessions_open(pipes[0], 0, 1, &s), E_LIMIT);
    assert_null(s);
    close(pipes[0]);
    close(pipes[1]);
    tls_sessions_close(NULL);
}

/* ---- clients ---- */

/* What w and other are: two workers with the same routes, each with its part of the memory. */
static void two_workers(struct site_world *w, struct site_world *other)
{
    int fd = memory_make(64);
    struct site_world *both[WORKERS] = {w, other};
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_int_equal(tls_sessions_open(fd, i, WORKERS, &both[i]->sites.sessions), E_OK);
        site_context(both[i]);
        site_usual(both[i]);
    }
    close(fd);
}

static void clients_come_back(void **state)
{
    struct site_world *w = *state, *other;
    SSL_SESSION *session;
    uint64_t kept, found;
    assert_int_equal(site_setup((void **)&other), 0);
    two_workers(w, other);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        site_version(w, version);
        site_version(other, version);
        assert_false(site_resume(w, "a.test", NULL, &session));
        assert_true(site_resume(w, "a.test", session, NULL));
        assert_true(site_resume(other, "a.test", session, NULL)); /* made by its neighbour */
        SSL_SESSION_free(session);
    }
    assert_int_equal(stats_get(&w->stats->tls_resumed), 2);
    assert_int_equal(stats_get(&w->stats->tls_handshakes), 2);
    assert_int_equal(durations_n(&w->stats->tls_shaken_resumed), 2);
    assert_int_equal(durations_n(&w->stats->tls_shaken_full), 2);
    assert_int_equal(stats_get(&other->stats->tls_resumed), 2);
    tls_sessions_figures(w->sites.sessions, &kept, &found);
    assert_true(kept >= 2 && found == 2);
    assert_int_equal(site_teardown((void **)&other), 0);
}

/* The rules may be made anew meanwhile. */
static void with_another_context(void **state)
{
    struct site_world *w = *state;
    SSL_SESSION *session;
    int fd = memory_make(16);
    assert_int_equal(tls_sessions_open(fd, 0, 1, &w->sites.sessions), E_OK);
    close(fd);
    site_context(w);
    site_usual(w);
    site_version(w, TLS1_2_VERSION);
    assert_false(site_resume(w, "a.test", NULL, &session));
    site_context(w);
    assert_true(site_resume(w, "a.test", session, NULL));
    SSL_SESSION_free(session);
}

/* Sets when the session was made, as the table has it. */
static void backdate(struct tls_sessions *s, const SSL_SESSION *session, long by_s)
{
    unsigned char bytes[TLS_SESSION_BYTES], *to = bytes;
    const unsigned char *from = bytes;
    unsigned id_n;
    const unsigned char *id = SSL_SESSION_get_id(session, &id_n);
    size_t n = sessions_get(s, id, id_n, bytes);
    SSL_SESSION *kept = d2i_SSL_SESSION(NULL, &from, (long)n);
    assert_non_null(kept);
    assert_int_equal(SSL_SESSION_get_timeout(kept), 60);
    (void)SSL_SESSION_set_time(kept, SSL_SESSION_get_time(kept) - by_s);
    n = (size_t)i2d_SSL_SESSION(kept, &to);
    sessions_put(s, id, bytes, n);
    SSL_SESSION_free(kept);
}

/* --ssl-session-timeout */
static void not_for_ever(void **state)
{
    struct site_world *w = *state;
    SSL_SESSION *session;
    int fd = memory_make(16);
    w->settings.ssl_session_timeout = 60 * USEC_PER_SEC;
    assert_int_equal(tls_sessions_open(fd, 0, 1, &w->sites.sessions), E_OK);
    close(fd);
    site_context(w);
    site_usual(w);
    site_version(w, TLS1_2_VERSION);
    assert_false(site_resume(w, "a.test", NULL, &session));
    backdate(w->sites.sessions, session, 30);
    assert_true(site_resume(w, "a.test", session, NULL));
    backdate(w->sites.sessions, session, 31);
    assert_false(site_resume(w, "a.test", session, NULL));
    SSL_SESSION_free(session);
}

/* Neither tickets nor a table: nothing to come back with. */
static void without_any(void **state)
{
    struct site_world *w = *state;
    SSL_SESSION *session;
    site_usual(w);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        site_version(w, version);
        assert_false(site_resume(w, "a.test", NULL, &session));
        assert_false(site_resume(w, "a.test", session, NULL));
        SSL_SESSION_free(session);
    }
}

/* ---- tickets ---- */

static void tickets(struct site_world *w, const char *keys)
{
    assert_int_equal(
        make_tickets(make_next(w->secrets.set), (const uint8_t *)keys, (uint32_t)strlen(keys)),
        E_OK);
    site_apply(w);
}

/* The ticket of a session comes anew when its key is not the present one any more. */
static bool has_new_ticket(struct site_world *w, SSL_SESSION *session)
{
    const unsigned char *before, *after;
    size_t before_n, after_n;
    SSL_SESSION *now;
    SSL_SESSION_get0_ticket(session, &before, &before_n);
    assert_true(site_resume(w, "a.test", session, &now));
    SSL_SESSION_get0_ticket(now, &after, &after_n);
    bool is_new = after_n < 16 || memcmp(before, after, 16) != 0; /* name of its key */
    SSL_SESSION_free(now);
    return is_new;
}

static void keys_of_tickets_change(void **state)
{
    struct site_world *w = *state;
    SSL_SESSION *session;
    w->settings.ssl_session_tickets = 1;
    site_usual(w);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        site_version(w, version);
        tickets(w, "A");
        assert_false(site_resume(w, "a.test", NULL, &session));
        assert_true(SSL_SESSION_has_ticket(session));
        assert_false(has_new_ticket(w, session));
        tickets(w, "BA");
        assert_true(has_new_ticket(w, session)); /* opened by the old key, replaced by the new */
        tickets(w, "CBA");
        assert_true(has_new_ticket(w, session));
        tickets(w, "CB");
        assert_false(site_resume(w, "a.test", session, NULL)); /* its key is gone */
        SSL_SESSION_free(session);
    }
}

/* Whoever has the keys opens the tickets. */
static void tickets_of_a_neighbour(void **state)
{
    struct site_world *w = *state, *other;
    SSL_SESSION *session;
    assert_int_equal(site_setup((void **)&other), 0);
    struct site_world *both[WORKERS] = {w, other};
    for (int i = 0; i < WORKERS; i++) {
        both[i]->settings.ssl_session_tickets = 1;
        site_usual(both[i]);
        tickets(both[i], i == 0 ? "A" : "XA");
    }
    assert_false(site_resume(w, "a.test", NULL, &session));
    assert_true(site_resume(other, "a.test", session, NULL));
    tickets(other, "X");
    assert_false(site_resume(other, "a.test", session, NULL));
    SSL_SESSION_free(session);
    assert_int_equal(site_teardown((void **)&other), 0);
}

/* They are switched off, or nobody has keys: no ticket is made, and none is opened. */
static void no_tickets(void **state)
{
    struct site_world *w = *state;
    SSL_SESSION *old, *session;
    w->settings.ssl_session_tickets = 1;
    site_usual(w);
    tickets(w, "A");
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        site_version(w, version);
        w->settings.ssl_session_tickets = 1;
        tickets(w, "A");
        assert_false(site_resume(w, "a.test", NULL, &old));
        for (int i = 0; i < 2; i++) {
            w->settings.ssl_session_tickets = (uint64_t)i;
            tickets(w, i == 0 ? "A" : "");
            assert_false(site_resume(w, "a.test", old, NULL));
            assert_false(site_resume(w, "a.test", NULL, &session));
            assert_true(version == TLS1_3_VERSION || !SSL_SESSION_has_ticket(session));
            assert_false(site_resume(w, "a.test", session, NULL));
            SSL_SESSION_free(session);
        }
        SSL_SESSION_free(old);
    }
}

/* A bit that was changed on the way: no session, and no harm. */
static void forged_tickets(void **state)
{
    struct site_world *w = *state;
    SSL_SESSION *session;
    w->settings.ssl_session_tickets = 1;
    site_usual(w);
    tickets(w, "A");
    site_version(w, TLS1_2_VERSION);
    assert_false(site_resume(w, "a.test", NULL, &session));
    int n = i2d_SSL_SESSION(session, NULL);
    unsigned char *der = malloc((size_t)n), *at = der;
    assert_int_equal(i2d_SSL_SESSION(session, &at), n);
    const unsigned char *ticket, *read;
    size_t ticket_n;
    SSL_SESSION_get0_ticket(session, &ticket, &ticket_n);
    unsigned char *place = memmem(der, (size_t)n, ticket, ticket_n);
    assert_non_null(place);
    for (size_t i = 0; i < ticket_n; i += 1 + ticket_n / 24) {
        place[i] ^= 1;
        read = der;
        SSL_SESSION *forged = d2i_SSL_SESSION(NULL, &read, n);
        assert_non_null(forged);
        assert_false(site_resume(w, "a.test", forged, NULL));
        SSL_SESSION_free(forged);
        place[i] ^= 1;
    }
    assert_true(site_resume(w, "a.test", session, NULL));
    SSL_SESSION_free(session);
    free(der);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TABLE(name) cmocka_unit_test_setup_teardown(name, table_setup, table_teardown)
#define TEST(name)  cmocka_unit_test_setup_teardown(name, site_setup, site_teardown)
        TABLE(whoever_made_it),
        TABLE(the_oldest_makes_room),
        TABLE(ids_of_nobody),
        TABLE(so_much_fits),
        TABLE(rows_of_others_are_not_written),
        TABLE(half_written_slots),
        cmocka_unit_test(room_for_one_each),
        TEST(clients_come_back),
        TEST(with_another_context),
        TEST(not_for_ever),
        TEST(without_any),
        TEST(keys_of_tickets_change),
        TEST(tickets_of_a_neighbour),
        TEST(no_tickets),
        TEST(forged_tickets),
    };
    (void)signal(SIGPIPE, SIG_IGN); /* for the client */
    if (tls_library_start() != E_OK) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
