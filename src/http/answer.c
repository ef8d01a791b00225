/* Lintel's own responses. RFC 9110 section 15 for the phrases. */
#include "http/answer.h"

#include "http/grpc.h"
#include "wire/date.h"

static const struct {
    uint16_t status;
    struct str text;
} phrases[] = {
    {100, STR_INIT("Continue")                       },
    {101, STR_INIT("Switching Protocols")            },
    {103, STR_INIT("Early Hints")                    },
    {200, STR_INIT("OK")                             },
    {201, STR_INIT("Created")                        },
    {202, STR_INIT("Accepted")                       },
    {203, STR_INIT("Non-Authoritative Information")  },
    {204, STR_INIT("No Content")                     },
    {205, STR_INIT("Reset Content")                  },
    {206, STR_INIT("Partial Content")                },
    {300, STR_INIT("Multiple Choices")               },
    {301, STR_INIT("Moved Permanently")              },
    {302, STR_INIT("Found")                          },
    {303, STR_INIT("See Other")                      },
    {304, STR_INIT("Not Modified")                   },
    {305, STR_INIT("Use Proxy")                      },
    {307, STR_INIT("Temporary Redirect")             },
    {308, STR_INIT("Permanent Redirect")             },
    {400, STR_INIT("Bad Request")                    },
    {401, STR_INIT("Unauthorized")                   },
    {402, STR_INIT("Payment Required")               },
    {403, STR_INIT("Forbidden")                      },
    {404, STR_INIT("Not Found")                      },
    {405, STR_INIT("Method Not Allowed")             },
    {406, STR_INIT("Not Acceptable")                 },
    {407, STR_INIT("Proxy Authentication Required")  },
    {408, STR_INIT("Request Timeout")                },
    {409, STR_INIT("Conflict")                       },
    {410, STR_INIT("Gone")                           },
    {411, STR_INIT("Length Required")                },
    {412, STR_INIT("Precondition Failed")            },
    {413, STR_INIT("Content Too Large")              },
    {414, STR_INIT("URI Too Long")                   },
    {415, STR_INIT("Unsupported Media Type")         },
    {416, STR_INIT("Range Not Satisfiable")          },
    {417, STR_INIT("Expectation Failed")             },
    {421, STR_INIT("Misdirected Request")            },
    {422, STR_INIT("Unprocessable Content")          },
    {426, STR_INIT("Upgrade Required")               },
    {428, STR_INIT("Precondition Required")          },
    {429, STR_INIT("Too Many Requests")              },
    {431, STR_INIT("Request Header Fields Too Large")},
    {451, STR_INIT("Unavailable For Legal Reasons")  },
    {500, STR_INIT("Internal Server Error")          },
    {501, STR_INIT("Not Implemented")                },
    {502, STR_INIT("Bad Gateway")                    },
    {503, STR_INIT("Service Unavailable")            },
    {504, STR_INIT("Gateway Timeout")                },
    {505, STR_INIT("HTTP Version Not Supported")     },
    {507, STR_INIT("Insufficient Storage")           },
    {511, STR_INIT("Network Authentication Required")},
};

struct str http_status_text(uint16_t status)
{
    for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++) {
        if (phrases[i].status == status) {
            return phrases[i].text;
        }
    }
    return STR_EMPTY;
}

enum form { FORM_TEXT, FORM_JSON, FORM_HTML };

/* The first of the media types that the client names and we have; text for whoever takes anything.
 * Weights are not looked at: tools name what they want first, browsers text/html. */
static enum form form_of(struct str accept)
{
    struct str item, type, parameters;
    while (accept.n > 0) {
        (void)str_cut(accept, ',', &item, &accept); /* the last item has no comma */
        (void)str_cut(item, ';', &type, &parameters);
        type = str_trim(type);
        if (str_eq_nocase(type, STR("application/json"))) {
            return FORM_JSON;
        }
        if (str_eq_nocase(type, STR("text/html"))) {
            return FORM_HTML;
        }
        if (str_has_prefix(type, STR("text/")) || str_eq(type, STR("*/*"))) {
            return FORM_TEXT;
        }
    }
    return FORM_TEXT;
}

static struct str form_type(enum form form)
{
    switch (form) {
    case FORM_JSON:
        return STR("application/json");
    case FORM_HTML:
        return STR("text/html; charset=utf-8");
    case FORM_TEXT:
        break;
    }
    return STR("text/plain; charset=utf-8");
}

static void answer_field(struct http_answer *a, enum field_name id, struct str name,
                         struct str value)
{
    a->fields[a->response.field_n++] = (struct field){.name = name, .value = value, .id = id};
}

static void wr_status(struct wr *w, uint16_t status)
{
    wr_u64(w, status);
    wr_char(w, ' ');
    wr_str(w, http_status_text(status));
}

/* Nothing of what the client sent is repeated, so nothing needs escaping. */
static struct str answer_body(struct http_answer *a, enum reason why, enum form form)
{
    struct wr w = wr_make(a->text, sizeof(a->text));
    uint16_t status = a->response.status;
    struct str text = str_from_cstr(reason_text(why));
    switch (form) {
    case FORM_TEXT:
        wr_status(&w, status);
        wr_str(&w, STR(": "));
        wr_str(&w, text);
        break;
    case FORM_JSON:
        wr_str(&w, STR("{\"status\":"));
        wr_u64(&w, status);
        wr_str(&w, STR(",\"reason\":\""));
        wr_str(&w, str_from_cstr(reason_name(why)));
        wr_str(&w, STR("\",\"message\":\""));
        wr_str(&w, text);
        wr_str(&w, STR("\"}"));
        break;
    case FORM_HTML:
        wr_str(&w, STR("<!doctype html>\n<html lang=\"en\"><title>"));
        wr_status(&w, status);
        wr_str(&w, STR("</title><h1>"));
        wr_status(&w, status);
        wr_str(&w, STR("</h1><p>"));
        wr_str(&w, text);
        wr_str(&w, STR("</p></html>"));
        break;
    }
    wr_char(&w, '\n');
    must(!w.bad); /* every text of the tables fits */
    return str_make(a->text, wr_n(&w));
}

static void answer_begin(struct http_answer *a, uint16_t status, int64_t now_s)
{
    a->response =
        (struct http_response){.status = status, .fields = a->fields, .body = HTTP_BODY_LENGTH};
    struct wr date = wr_make(a->date, sizeof(a->date));
    date_emit_http(&date, now_s);
    answer_field(a, FIELD_date, STR("date"), str_make(a->date, wr_n(&date)));
}

static void answer_reason(struct http_answer *a, enum reason why)
{
    answer_field(a, FIELD_OTHER, STR("x-lintel-reason"), str_from_cstr(reason_name(why)));
}

void http_answer_make_grpc(struct http_answer *a, enum reason why, uint16_t status, struct str type,
                           int64_t now_s)
{
    enum grpc_code code = http_grpc_code(why, status != 0 ? status : reason_status(why));
    struct wr w = wr_make(a->text, sizeof(a->text));
    answer_begin(a, 200, now_s);
    wr_u64(&w, code);
    struct str code_text = str_make(a->text, wr_n(&w));
    grpc_message_emit(&w, str_from_cstr(reason_text(why)));
    must(!w.bad); /* every text of the table fits */
    struct str message = str_make(a->text + code_text.n, wr_n(&w) - code_text.n);
    answer_field(a, FIELD_content_type, STR("content-type"), type);
    answer_field(a, FIELD_OTHER, STR("grpc-status"), code_text);
    answer_field(a, FIELD_OTHER, STR("grpc-message"), message);
    answer_reason(a, why);
    a->body = STR_EMPTY;
}

void http_answer_make(struct http_answer *a, enum reason why, uint16_t status, struct str accept,
                      struct str location, int64_t now_s)
{
    enum form form = form_of(accept);
    answer_begin(a, status != 0 ? status : reason_status(why), now_s);
    a->body = answer_body(a, why, form);
    a->response.body_n = a->body.n;
    answer_field(a, FIELD_content_type, STR("content-type"), form_type(form));
    answer_reason(a, why);
    if (location.n > 0) {
        answer_field(a, FIELD_location, STR("location"), location);
    }
}
