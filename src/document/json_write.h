/* document/json_write.h: writing JSON. The writer keeps track of commas and nesting; the text is
 * one line for machines, or indented for people. Strings that are not UTF-8 get U+FFFD for the bad
 * bytes. */
#pragma once

#include "base/buf.h"

struct json {
    struct buf *out;
    bool is_pretty;
    bool is_first; /* nothing stands before in the innermost object or array */
    bool has_name; /* a name was written, its value comes next */
    unsigned depth;
};

struct json json_make(struct buf *out, bool is_pretty);
void json_object(struct json *j); /* { */
void json_array(struct json *j);  /* [ */
void json_end_object(struct json *j);
void json_end_array(struct json *j);
/* The name of the next value. */
void json_name(struct json *j, const char *name);
void json_str(struct json *j, struct str s);
void json_cstr(struct json *j, const char *s); /* NULL gives null */
void json_u64(struct json *j, uint64_t n);
void json_bool(struct json *j, bool b);
void json_null(struct json *j);
/* name and value at once. */
void json_name_str(struct json *j, const char *name, struct str s);
void json_name_cstr(struct json *j, const char *name, const char *s);
void json_name_u64(struct json *j, const char *name, uint64_t n);
void json_name_bool(struct json *j, const char *name, bool b);
/* The line end after the outermost value. */
void json_finish(struct json *j);
