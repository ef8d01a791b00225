/* A chunked body: whole and in pieces give the same data, the same end and the same fault; what is
 * handed out lies inside the input. The first byte says how large the pieces are. */
#include "base/err.h"
#include "wire/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct outcome {
    enum err e;
    enum h1_fault fault;
    size_t data_n, rest_n;
    uint64_t sum; /* of the data, in order, however it is cut */
};

static void data_add(struct outcome *o, struct str data)
{
    o->data_n += data.n;
    for (size_t i = 0; i < data.n; i++) {
        o->sum = o->sum * 31 + (uint8_t)data.p[i];
    }
}

static struct outcome decode(struct str input, size_t piece_n)
{
    struct outcome o = {.e = E_AGAIN};
    struct h1_chunked c = {0};
    while (o.e == E_AGAIN && input.n > 0) {
        struct str piece = str_first(input, piece_n), data = {0};
        size_t given_n = piece.n;
        while ((o.e = h1_chunked_next(&c, &piece, &data, &o.fault)) == E_OK &&
               c.state != H1_CHUNK_DONE) {
            must(data.n > 0 && data.p >= input.p && data.p + data.n <= input.p + input.n);
            data_add(&o, data);
        }
        must(o.e != E_AGAIN || piece.n == 0);
        input = str_from(input, given_n - piece.n);
    }
    o.rest_n = input.n;
    must((o.e == E_PROTO) == (o.fault != H1_FAULT_NONE));
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0) {
        return 0;
    }
    struct str input = {(const char *)data + 1, n - 1};
    struct outcome whole = decode(input, input.n);
    struct outcome pieces = decode(input, 1 + data[0] % 16);
    must(whole.e == pieces.e && whole.fault == pieces.fault && whole.rest_n == pieces.rest_n);
    must(whole.data_n == pieces.data_n && whole.sum == pieces.sum);
    return 0;
}
