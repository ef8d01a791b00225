/* Access log lines: ingress-nginx's default text format, or JSON.
 * In text, a line of a request that Lintel itself answered or cut off ends with the reason. */
#include "log/access.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "wire/date.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

/* How many bytes of a line each string may take, escapes included: together with the fixed parts
 * they stay below PIPE_BUF, so that nobody keeps a request out of the log by how it is written. */
enum { LINE_MAX_BYTES = PIPE_BUF, FIXED_BYTES = 768 };
enum {
    ROOM_METHOD = 64,
    ROOM_HOST = 320,
    ROOM_TARGET = 1280,
    ROOM_REFERER = 320,
    ROOM_AGENT = 384,
    ROOM_NAMESPACE = 64,
    ROOM_NAME = 256,
    ROOM_UPSTREAM = 160, /* a namespace, a Service, a port */
    ROOM_ID = 128,
    ROOM_TLS_VERSION = 8,
    ROOM_TLS_CIPHER = 32,
    ROOM_SERVER_NAME = 232,
    ROOM_VERDICT = 80
};
_Static_assert(FIXED_BYTES + ROOM_METHOD + ROOM_HOST + ROOM_TARGET + ROOM_REFERER + ROOM_AGENT +
                       ROOM_NAMESPACE + ROOM_NAME + ROOM_UPSTREAM + ROOM_ID + ROOM_TLS_VERSION +
                       ROOM_TLS_CIPHER + ROOM_SERVER_NAME + ROOM_VERDICT <=
                   LINE_MAX_BYTES,
               "every line fits");

enum err access_log_init(struct access_log *l, int fd, enum access_log_format format)
{
    *l = (struct access_log){.fd = fd, .format = fd < 0 ? ACCESS_LOG_OFF : format, .second = -1};
    if (l->format != ACCESS_LOG_OFF) {
        l->p = mem_alloc(ACCESS_LOG_BYTES_MAX);
        return l->p == NULL ? E_NOMEM : E_OK;
    }
    return E_OK;
}

void access_log_fini(struct access_log *l)
{
    mem_free(l->p);
    *l = (struct access_log){.fd = -1};
}

static bool is_plain(char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void wr_escape(struct wr *w, char c, bool is_json)
{
    wr_str(w, is_json ? STR("\\u00") : STR("\\x"));
    wr_char(w, "0123456789ABCDEF"[(unsigned char)c >> 4]);
    wr_char(w, "0123456789ABCDEF"[c & 15]);
}

/* At most room bytes of output. nginx writes \xXX for what is not plain; JSON has its own form.
 * Bytes over 0x7f are taken as Latin-1 there, so that a line is valid JSON whatever a client sends.
 */
static void wr_safe(struct wr *w, struct str s, size_t room, bool is_json)
{
    size_t escape = is_json ? 6 : 4;
    while (s.n > 0 && room > 0) {
        size_t n = 0;
        while (n < s.n && n < room && is_plain(s.p[n])) {
            n++;
        }
        wr_str(w, str_first(s, n));
        room -= n;
        s = str_from(s, n);
        if (s.n == 0 || room < escape) {
            return;
        }
        wr_escape(w, s.p[0], is_json);
        room -= escape;
        s = str_from(s, 1);
    }
}

static void wr_or_dash(struct wr *w, struct str s, size_t room)
{
    if (s.n == 0) {
        wr_char(w, '-');
    } else {
        wr_safe(w, s, room, false);
    }
}

static void wr_seconds(struct wr *w, usec_t us)
{
    usec_t ms = (us + 500) / USEC_PER_MS;
    wr_u64(w, ms / 1000);
    wr_char(w, '.');
    wr_char(w, (char)('0' + ms / 100 % 10));
    wr_char(w, (char)('0' + ms / 10 % 10));
    wr_char(w, (char)('0' + ms % 10));
}

static void wr_endpoint(struct wr *w, const struct access_entry *e)
{
    bool is_v6 = e->upstream_ip.family == 6;
    if (is_v6) {
        wr_char(w, '[');
    }
    ip_emit(w, &e->upstream_ip);
    if (is_v6) {
        wr_char(w, ']');
    }
    wr_char(w, ':');
    wr_u64(w, e->upstream_port);
}

static struct str version_text(uint8_t version)
{
    switch (version) {
    case 0:
        return STR("tcp/passthrough");
    case 10:
        return STR("HTTP/1.0");
    case 20:
        return STR("HTTP/2.0");
    case 30:
        return STR("HTTP/3.0");
    default:
        return STR("HTTP/1.1");
    }
}

static void log_upstream_text(struct wr *w, const struct access_entry *e)
{
    if (!e->has_upstream) {
        wr_str(w, STR("- - - - "));
        return;
    }
    wr_endpoint(w, e);
    wr_char(w, ' ');
    wr_u64(w, e->upstream_bytes);
    wr_char(w, ' ');
    wr_seconds(w, e->upstream_duration);
    wr_char(w, ' ');
    if (e->upstream_status == 0) {
        wr_char(w, '-');
    } else {
        wr_u64(w, e->upstream_status);
    }
    wr_char(w, ' ');
}

static void log_text(struct wr *w, const struct access_entry *e, struct str time)
{
    ip_emit(w, &e->client);
    wr_str(w, STR(" - - ["));
    wr_str(w, time);
    wr_str(w, STR("] \""));
    if (e->method.n > 0) {
        wr_safe(w, e->method, ROOM_METHOD, false);
        wr_char(w, ' ');
        wr_safe(w, e->target, ROOM_TARGET, false);
        wr_char(w, ' ');
        wr_str(w, version_text(e->version));
    } else {
        wr_safe(w, e->target, ROOM_TARGET, false);
    }
    wr_str(w, STR("\" "));
    wr_u64(w, e->status);
    wr_char(w, ' ');
    wr_u64(w, e->body_bytes);
    wr_str(w, STR(" \""));
    wr_or_dash(w, e->referer, ROOM_REFERER);
    wr_str(w, STR("\" \""));
    wr_or_dash(w, e->user_agent, ROOM_AGENT);
    wr_str(w, STR("\" "));
    wr_u64(w, e->request_bytes);
    wr_char(w, ' ');
    wr_seconds(w, e->duration);
    wr_str(w, STR(" ["));
    wr_safe(w, e->upstream_name, ROOM_UPSTREAM, false);
    wr_str(w, STR("] [] ")); /* no alternative (canary) upstream */
    log_upstream_text(w, e);
    wr_or_dash(w, e->request_id, ROOM_ID);
    if (e->reason != REASON_none) {
        wr_char(w, ' ');
        wr_str(w, str_from_cstr(reason_name(e->reason)));
    }
    wr_char(w, '\n');
}

static void json_text(struct wr *w, struct str key, struct str value, size_t room)
{
    wr_str(w, STR(",\""));
    wr_str(w, key);
    wr_str(w, STR("\":\""));
    wr_safe(w, value, room, true);
    wr_char(w, '"');
}

static void json_number(struct wr *w, struct str key, uint64_t value)
{
    wr_str(w, STR(",\""));
    wr_str(w, key);
    wr_str(w, STR("\":"));
    wr_u64(w, value);
}

static void json_seconds(struct wr *w, struct str key, usec_t value)
{
    wr_str(w, STR(",\""));
    wr_str(w, key);
    wr_str(w, STR("\":"));
    wr_seconds(w, value);
}

/* By the names of nginx' variables. */
static void json_tls(struct wr *w, const struct access_entry *e)
{
    json_text(w, STR("ssl_protocol"), e->tls_version, ROOM_TLS_VERSION);
    json_text(w, STR("ssl_cipher"), e->tls_cipher, ROOM_TLS_CIPHER);
    json_text(w, STR("ssl_server_name"), e->server_name, ROOM_SERVER_NAME);
    json_text(w, STR("ssl_session_reused"), e->is_session_reused ? STR("r") : STR("."), 1);
    json_text(w, STR("ssl_client_verify"), e->client_verdict, ROOM_VERDICT);
}

static void log_json(struct wr *w, const struct access_entry *e, struct str time)
{
    wr_str(w, STR("{\"time\":\""));
    wr_str(w, time);
    wr_str(w, STR("\",\"remote_addr\":\""));
    ip_emit(w, &e->client);
    wr_char(w, '"');
    json_text(w, STR("method"), e->method, ROOM_METHOD);
    json_text(w, STR("host"), e->authority, ROOM_HOST);
    json_text(w, STR("target"), e->target, ROOM_TARGET);
    json_text(w, STR("protocol"), version_text(e->version), ROOM_METHOD);
    json_number(w, STR("status"), e->status);
    json_number(w, STR("request_length"), e->request_bytes);
    json_number(w, STR("body_bytes_sent"), e->body_bytes);
    json_seconds(w, STR("request_time"), e->duration);
    json_text(w, STR("referer"), e->referer, ROOM_REFERER);
    json_text(w, STR("user_agent"), e->user_agent, ROOM_AGENT);
    json_text(w, STR("namespace"), e->route_namespace, ROOM_NAMESPACE);
    json_text(w, STR("ingress"), e->route_name, ROOM_NAME);
    json_text(w, STR("upstream"), e->upstream_name, ROOM_UPSTREAM);
    if (e->has_upstream) {
        wr_str(w, STR(",\"upstream_addr\":\""));
        wr_endpoint(w, e);
        wr_char(w, '"');
        json_number(w, STR("upstream_status"), e->upstream_status);
        json_number(w, STR("upstream_response_length"), e->upstream_bytes);
        json_seconds(w, STR("upstream_response_time"), e->upstream_duration);
    }
    if (e->has_grpc_status) {
        json_number(w, STR("grpc_status"), e->grpc_status);
    }
    if (e->is_tls) {
        json_tls(w, e);
    }
    json_text(w, STR("request_id"), e->request_id, ROOM_ID);
    json_text(w, STR("reason"), str_from_cstr(reason_name(e->reason)), ROOM_METHOD);
    wr_str(w, STR("}\n"));
}

/* The text of the second, made once for all its lines. */
static struct str log_time(struct access_log *l, usec_t wall)
{
    int64_t second = (int64_t)(wall / USEC_PER_SEC);
    if (second != l->second) {
        struct wr w = wr_make(l->time, sizeof(l->time));
        if (l->format == ACCESS_LOG_JSON) {
            date_emit_rfc3339(&w, second);
        } else {
            date_emit_log(&w, second);
        }
        l->second = second;
        l->time_n = wr_n(&w);
    }
    return str_make(l->time, l->time_n);
}

void access_log_write(struct access_log *l, const struct access_entry *e, usec_t wall)
{
    if (l->format == ACCESS_LOG_OFF) {
        return;
    }
    size_t room = ACCESS_LOG_BYTES_MAX - l->n;
    struct wr w = wr_make(l->p + l->n, room < LINE_MAX_BYTES ? room : LINE_MAX_BYTES);
    if (l->format == ACCESS_LOG_JSON) {
        log_json(&w, e, log_time(l, wall));
    } else {
        log_text(&w, e, log_time(l, wall));
    }
    if (w.bad) {
        l->dropped_n++;
        return;
    }
    l->n += wr_n(&w);
    l->line_n++;
}

bool access_log_is_full(const struct access_log *l)
{
    return l->n >= PIPE_BUF - 512;
}

void access_log_flush(struct access_log *l)
{
    size_t at = 0;
    while (at < l->n) {
        size_t n = l->n - at;
        if (n > PIPE_BUF) { /* as many whole lines as go in one atomic write */
            const char *end = memrchr(l->p + at, '\n', PIPE_BUF);
            must(end != NULL);
            n = (size_t)(end + 1 - (l->p + at));
        }
        ssize_t sent = write(l->fd, l->p + at, n);
        if (sent <= 0) {
            break; /* slow reader: later, or dropped when the buffer is full */
        }
        at += (size_t)sent;
    }
    if (at > 0) {
        memmove(l->p, l->p + at, l->n - at);
        l->n -= at;
    }
}

void access_log_move(struct access_log *l, int fd)
{
    access_log_flush(l);
    l->fd = fd;
}
