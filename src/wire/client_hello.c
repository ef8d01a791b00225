/* Records first, then the message that lies in them, then its extensions. What is wrong is told as
 * soon as it can be known: more bytes never mend it. */
#include "wire/client_hello.h"

#include "base/mem.h"
#include "base/rd.h"
#include "wire/uri.h"

enum {
    RECORD_HEAD = 5, /* type, version, length */
    RECORD_HANDSHAKE = 22,
    RECORD_MAJOR = 3, /* SSL 3.0 and every TLS */
    RECORD_BYTES_MAX = 1 << 14,
    MESSAGE_HEAD = 4, /* type, length */
    MESSAGE_CLIENT_HELLO = 1,
    SESSION_ID_BYTES_MAX = 32,
    EXTENSION_SERVER_NAME = 0,
    NAME_OF_HOST = 0
};

/* ---- names ---- */

bool server_name_normalize(struct str raw, char *out, size_t *ret_n)
{
    struct str host;
    uint16_t port;
    bool is_name = raw.n <= SERVER_NAME_BYTES_MAX + 1 && str_find(raw, ':') == raw.n &&
                   host_parse(raw, out, &host, &port) == E_OK;
    if (is_name) {
        *ret_n = host.n;
    }
    return is_name;
}

/* ---- records ---- */

struct record {
    struct str payload; /* what is there of it */
    size_t end;         /* of the record in the bytes; more are needed when there are fewer */
};

/* The one that begins at that offset. */
static enum err record_read(struct str bytes, size_t at, struct record *ret)
{
    struct str head = str_from(bytes, at);
    if (at + RECORD_HEAD + 1 > CLIENT_HELLO_BYTES_MAX) {
        return E_LIMIT;
    }
    if ((head.n > 0 && head.p[0] != RECORD_HANDSHAKE) ||
        (head.n > 1 && head.p[1] != RECORD_MAJOR)) {
        return E_PROTO;
    }
    if (head.n < RECORD_HEAD) {
        *ret = (struct record){STR_EMPTY, at + RECORD_HEAD};
        return E_OK;
    }
    size_t n = (size_t)(uint8_t)head.p[3] << 8 | (uint8_t)head.p[4];
    if (n == 0 || n > RECORD_BYTES_MAX) { /* RFC 8446 section 5.1: none of a handshake is empty */
        return E_PROTO;
    }
    if (at + RECORD_HEAD + n > CLIENT_HELLO_BYTES_MAX) {
        return E_LIMIT;
    }
    *ret = (struct record){str_first(str_from(head, RECORD_HEAD), n), at + RECORD_HEAD + n};
    return E_OK;
}

/* ---- the message ---- */

/* What its first bytes say: E_OK: it is all there, E_AGAIN: it is not. */
static enum err message_check(struct str m, size_t *ret_n)
{
    if (m.n > 0 && m.p[0] != MESSAGE_CLIENT_HELLO) {
        return E_PROTO;
    }
    if (m.n < MESSAGE_HEAD) {
        return E_AGAIN;
    }
    size_t n = (size_t)(uint8_t)m.p[1] << 16 | (size_t)(uint8_t)m.p[2] << 8 | (uint8_t)m.p[3];
    if (n > CLIENT_HELLO_BYTES_MAX) {
        return E_LIMIT;
    }
    *ret_n = MESSAGE_HEAD + n;
    return m.n < MESSAGE_HEAD + n ? E_AGAIN : E_OK;
}

/* Part behind message, in scratch, which message may lie in already. */
static struct str message_join(struct str message, struct str part, char *scratch)
{
    if (message.n == 0 || part.n == 0) {
        return message.n == 0 ? part : message; /* one record is all there is, most of the time */
    }
    if (message.p != scratch) {
        mem_copy(scratch, message.p, message.n);
    }
    mem_copy(scratch + message.n, part.p, part.n);
    return str_make(scratch, message.n + part.n);
}

/* The first message, whole, out of its records; *ret_n: where the last of them ends. */
static enum err message_gather(struct str bytes, char *scratch, struct str *ret, size_t *ret_n)
{
    struct str message = STR_EMPTY;
    struct record record = {STR_EMPTY, 0};
    for (;;) {
        size_t message_n = 0;
        TRY(record_read(bytes, record.end, &record));
        message = message_join(message, record.payload, scratch);
        enum err e = message_check(message, &message_n);
        if (e != E_OK && e != E_AGAIN) {
            return e;
        }
        if (record.end > bytes.n) {
            *ret_n = record.end;
            return E_AGAIN;
        }
        if (e == E_OK) {
            *ret = str_first(message, message_n);
            *ret_n = record.end;
            return E_OK;
        }
    }
}

/* ---- what it says ---- */

/* A vector whose length stands in front in so many bytes: RFC 8446 section 3.4. */
static struct rd vector(struct rd *r, size_t length_bytes)
{
    size_t n = length_bytes == 1 ? rd_u8(r) : rd_be16(r);
    const uint8_t *p = rd_take(r, n);
    return p == NULL ? (struct rd){.bad = true} : rd_make(p, n);
}

/* RFC 6066 section 3: a list of names with one of each type, and there is only one type. */
static enum err server_name_read(struct rd *extension, struct str *ret)
{
    struct rd list = vector(extension, 2);
    uint8_t type = rd_u8(&list);
    struct rd name = vector(&list, 2);
    if (name.bad || type != NAME_OF_HOST || rd_left(&name) == 0 || rd_left(&list) > 0 ||
        rd_left(extension) > 0) {
        return E_PROTO;
    }
    *ret = str_make((const char *)name.p, rd_left(&name));
    return E_OK;
}

/* *ret is empty when no extension is a server name. */
static enum err extensions_read(struct rd *all, struct str *ret)
{
    struct str name = STR_EMPTY;
    while (!all->bad && rd_left(all) > 0) {
        uint16_t type = rd_be16(all);
        struct rd extension = vector(all, 2);
        if (extension.bad || type != EXTENSION_SERVER_NAME) {
            continue;
        }
        if (name.n > 0) { /* RFC 8446 section 4.2: no two of one type */
            return E_PROTO;
        }
        TRY(server_name_read(&extension, &name));
    }
    *ret = name;
    return all->bad ? E_PROTO : E_OK;
}

/* RFC 8446 section 4.1.2; before TLS 1.3 the extensions may be left out (RFC 5246 section 7.4.1.2).
 * What stands in front of them only has to have the form. */
static enum err hello_read(struct str message, struct str *ret_name)
{
    struct rd r = rd_make(message.p + MESSAGE_HEAD, message.n - MESSAGE_HEAD);
    (void)rd_take(&r, 2 + 32); /* version and random; r remembers whether they are there */
    struct rd session = vector(&r, 1);
    (void)vector(&r, 2); /* cipher suites */
    (void)vector(&r, 1); /* compression methods */
    if (r.bad || rd_left(&session) > SESSION_ID_BYTES_MAX) {
        return E_PROTO;
    }
    *ret_name = STR_EMPTY;
    if (rd_left(&r) == 0) {
        return E_OK;
    }
    struct rd extensions = vector(&r, 2);
    if (extensions.bad || rd_left(&r) > 0) {
        return E_PROTO;
    }
    return extensions_read(&extensions, ret_name);
}

enum err client_hello_parse(struct str bytes, char *scratch, struct client_hello *ret,
                            size_t *ret_n)
{
    struct str message, name;
    TRY(message_gather(bytes, scratch, &message, ret_n));
    TRY(hello_read(message, &name));
    if (!server_name_normalize(name, ret->name, &ret->name_n)) {
        ret->name_n = 0;
    }
    return E_OK;
}
