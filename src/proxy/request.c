/* What an exchange keeps of its request, for another try and for the log: the head in the memory
 * behind the exchange, and of the body as much as BODY_KEPT_MAX, as long as there is no response.
 */
#include "proxy/exchange.h"

#include "base/mem.h"

/* The same bytes in the copy of the head; what lies outside of the head is static text. */
static struct str moved(struct str s, struct str head, const char *copy)
{
    bool is_inside = s.p >= head.p && s.p < head.p + head.n;
    return is_inside ? str_make(copy + (s.p - head.p), s.n) : s;
}

size_t exchange_request_bytes(const struct http_request *r, struct str body)
{
    return r->field_n * sizeof(struct field) + r->head.n + body.n;
}

void exchange_request_copy(struct exchange *x, const struct http_request *r, struct str body)
{
    struct field *fields = (struct field *)(void *)(x + 1);
    char *head = (char *)(fields + r->field_n);
    mem_copy(head, r->head.p, r->head.n);
    for (uint32_t i = 0; i < r->field_n; i++) {
        fields[i] = r->fields[i];
        fields[i].name = moved(r->fields[i].name, r->head, head);
        fields[i].value = moved(r->fields[i].value, r->head, head);
    }
    x->request = *r;
    x->request.head = str_make(head, r->head.n);
    x->request.method = moved(r->method, r->head, head);
    x->request.authority = moved(r->authority, r->head, head);
    x->request.target = moved(r->target, r->head, head);
    x->request.upgrade = moved(r->upgrade, r->head, head);
    x->request.fields = fields;
    x->first_body = body;
    if (x->is_first_body_kept) {
        mem_copy(head + r->head.n, body.p, body.n);
        x->first_body.p = head + r->head.n;
    }
}

/* Its trailers are not kept. */
static bool can_keep(const struct exchange *x, struct str data)
{
    return !x->has_responded && !x->is_request_started && x->client->received.n == 0 &&
           (x->is_first_body_kept || x->first_body.n == 0) &&
           data.n <= BODY_KEPT_MAX - x->first_body.n;
}

/* Once for each request that has more than one piece. */
static bool room_make(struct exchange *x)
{
    if (x->kept.p != NULL) {
        return true;
    }
    buf_init(&x->kept, BODY_KEPT_MAX);
    if (!buf_reserve(&x->kept, BODY_KEPT_MAX)) {
        buf_init(&x->kept, BODY_KEPT_MAX); /* not bad: there is nothing to be told */
        return false;
    }
    x->proxy->budget->used += BODY_KEPT_MAX;
    buf_add_str(&x->kept, x->first_body);
    return true;
}

void exchange_body_keep(struct exchange *x, struct str data, bool is_end)
{
    if (!can_keep(x, data) || !room_make(x)) {
        x->is_request_started = true;
        exchange_body_drop(x);
        return;
    }
    buf_add_str(&x->kept, data);
    x->first_body = buf_str(&x->kept);
    x->is_first_body_kept = true;
    x->is_first_end = is_end;
}

void exchange_body_drop(struct exchange *x)
{
    if (x->kept.p != NULL) {
        x->proxy->budget->used -= BODY_KEPT_MAX;
        buf_fini(&x->kept);
        x->first_body = STR_EMPTY;
    }
}

/* ---- the id ---- */

/* xoroshiro128+: for request ids and backend picks, never for secrets. */
uint64_t exchange_random(struct proxy *p)
{
    uint64_t a = p->random[0], b = p->random[1], sum = a + b;
    b ^= a;
    p->random[0] = (a << 24 | a >> 40) ^ b ^ (b << 16);
    p->random[1] = b << 37 | b >> 27;
    return sum;
}

/* The client's id is taken when it is a short word of harmless characters. */
static bool is_request_id(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool is_good = (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') ||
                       c == '-' || c == '_' || c == '.' || c == ':' || c == '/' || c == '+' ||
                       c == '=';
        if (!is_good) {
            return false;
        }
    }
    return s.n > 0 && s.n <= 128;
}

void exchange_id_set(struct exchange *x)
{
    if (http_field_get(x->request.fields, x->request.field_n, FIELD_x_request_id,
                       &x->client_request_id) &&
        is_request_id(x->client_request_id)) {
        return;
    }
    uint64_t random[2] = {exchange_random(x->proxy), exchange_random(x->proxy)};
    for (size_t i = 0; i < REQUEST_ID_BYTES; i++) {
        x->request_id[i] = "0123456789abcdef"[random[i / 16] >> (i % 16 * 4) & 15];
    }
    x->request_id_n = REQUEST_ID_BYTES;
}
