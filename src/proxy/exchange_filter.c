/* An exchange as filters see it: the request once its route is known, and each response head on its
 * way to the client, whoever made it. */
#include "base/mem.h"
#include "proxy/exchange.h"

static struct filter_request request_of(const struct exchange *x, char *scratch)
{
    return (struct filter_request){
        .request = &x->request,
        .global = global_of(x->proxy),
        .scheme = x->origin.scheme,
        .host = x->origin.host,
        .https_port = x->proxy->https_port,
        .scratch = scratch,
    };
}

enum filter_verdict exchange_filter_request(const struct exchange *x, char *scratch,
                                            struct filter_answer *ret)
{
    struct filter_request request = request_of(x, scratch);
    return filter_run(x->match.host, x->match.route, &request, ret);
}

void exchange_filter_response(const struct exchange *x, struct http_response *response)
{
    struct field *fields = x->proxy->fields;
    if (response->fields != fields) {
        mem_copy(fields, response->fields, response->field_n * sizeof(*fields));
    }
    struct filter_request request = request_of(x, NULL);
    struct filter_response changed = {fields, response->field_n,
                                      response->field_n + FILTER_FIELDS_MAX};
    filter_change(x->match.host, x->match.route, &request, &changed);
    response->fields = fields;
    response->field_n = changed.field_n;
}
