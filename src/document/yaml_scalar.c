/* What an unquoted YAML scalar is: the rules stand in yaml.h. */
#include "document/yaml_priv.h"

struct word {
    struct str text;
    enum tree_kind kind;
    bool is_true;
};

static const struct word words[] = {
    {STR_INIT("true"),  TREE_BOOL,   true },
    {STR_INIT("True"),  TREE_BOOL,   true },
    {STR_INIT("TRUE"),  TREE_BOOL,   true },
    {STR_INIT("yes"),   TREE_BOOL,   true },
    {STR_INIT("Yes"),   TREE_BOOL,   true },
    {STR_INIT("YES"),   TREE_BOOL,   true },
    {STR_INIT("on"),    TREE_BOOL,   true },
    {STR_INIT("On"),    TREE_BOOL,   true },
    {STR_INIT("ON"),    TREE_BOOL,   true },
    {STR_INIT("y"),     TREE_BOOL,   true },
    {STR_INIT("Y"),     TREE_BOOL,   true },
    {STR_INIT("false"), TREE_BOOL,   false},
    {STR_INIT("False"), TREE_BOOL,   false},
    {STR_INIT("FALSE"), TREE_BOOL,   false},
    {STR_INIT("no"),    TREE_BOOL,   false},
    {STR_INIT("No"),    TREE_BOOL,   false},
    {STR_INIT("NO"),    TREE_BOOL,   false},
    {STR_INIT("off"),   TREE_BOOL,   false},
    {STR_INIT("Off"),   TREE_BOOL,   false},
    {STR_INIT("OFF"),   TREE_BOOL,   false},
    {STR_INIT("n"),     TREE_BOOL,   false},
    {STR_INIT("N"),     TREE_BOOL,   false},
    {STR_INIT("null"),  TREE_NULL,   false},
    {STR_INIT("Null"),  TREE_NULL,   false},
    {STR_INIT("NULL"),  TREE_NULL,   false},
    {STR_INIT("~"),     TREE_NULL,   false},
    {STR_INIT(".inf"),  TREE_NUMBER, false},
    {STR_INIT(".Inf"),  TREE_NUMBER, false},
    {STR_INIT(".INF"),  TREE_NUMBER, false},
    {STR_INIT("+.inf"), TREE_NUMBER, false},
    {STR_INIT("-.inf"), TREE_NUMBER, false},
    {STR_INIT(".nan"),  TREE_NUMBER, false},
    {STR_INIT(".NaN"),  TREE_NUMBER, false},
    {STR_INIT(".NAN"),  TREE_NUMBER, false},
};

enum { WORD_BYTES_MAX = 5 };

static size_t skip_digits(struct str s, size_t i)
{
    while (i < s.n && ((s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '_')) {
        i++;
    }
    return i;
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?, with '_' among the digits. */
static bool is_decimal(struct str s)
{
    size_t i = s.n > 0 && (s.p[0] == '-' || s.p[0] == '+') ? 1 : 0;
    size_t whole = skip_digits(s, i), end = whole;
    if (whole < s.n && s.p[whole] == '.') {
        end = skip_digits(s, whole + 1);
        if (whole == i && end == whole + 1) {
            return false;
        }
    } else if (whole == i) {
        return false;
    }
    if (end < s.n && (s.p[end] == 'e' || s.p[end] == 'E')) {
        size_t at = end + 1;
        at += at < s.n && (s.p[at] == '-' || s.p[at] == '+');
        end = skip_digits(s, at);
        return end > at && end == s.n;
    }
    return end == s.n;
}

static bool is_number(struct str s)
{
    char c = s.p[0];
    struct tree_node node = {.p = s.p, .n = (uint32_t)s.n, .kind = TREE_NUMBER};
    int64_t value;
    if (!(c >= '0' && c <= '9') && c != '-' && c != '+' && c != '.') {
        return false;
    }
    return is_decimal(s) || tree_to_int(&node, &value);
}

void yaml_plain_type(struct tree_node *node)
{
    struct str text = tree_text(node);
    node->kind = TREE_STRING;
    if (text.n == 0) {
        node->kind = TREE_NULL;
        return;
    }
    for (size_t i = 0; text.n <= WORD_BYTES_MAX && i < sizeof(words) / sizeof(words[0]); i++) {
        if (str_eq(words[i].text, text)) {
            node->kind = (uint8_t)words[i].kind;
            node->is_true = words[i].is_true;
            return;
        }
    }
    if (is_number(text)) {
        node->kind = TREE_NUMBER;
    }
}
