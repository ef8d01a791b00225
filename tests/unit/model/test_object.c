/* What objects of all kinds have in common, and equality of those that no manifest makes. */
#include "model/object.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void kinds(void **state)
{
    (void)state;
    assert_string_equal(object_kind_name(OBJECT_INGRESS), "Ingress");
    assert_string_equal(object_kind_name(OBJECT_ENDPOINT_SLICE), "EndpointSlice");
    for (int i = 0; i < OBJECT_KINDS_N; i++) {
        assert_non_null(object_kind_name((enum object_kind)i));
    }
    assert_true(object_kind_is_cluster_scoped(OBJECT_NAMESPACE));
    assert_true(object_kind_is_cluster_scoped(OBJECT_INGRESS_CLASS));
    assert_false(object_kind_is_cluster_scoped(OBJECT_SERVICE));
}

static void maps(void **state)
{
    (void)state;
    struct string_pair pairs[] = {
        {STR_INIT("a"),  STR_INIT("1")},
        {STR_INIT("ab"), STR_INIT("2")},
        {STR_INIT("c"),  STR_INIT("3")},
        {STR_INIT("d"),  STR_INIT("") },
    };
    struct string_map m = {pairs, 4};
    struct str value;
    for (size_t i = 0; i < 4; i++) {
        assert_true(string_map_get(&m, pairs[i].key, &value));
        assert_true(str_eq(value, pairs[i].value));
    }
    assert_false(string_map_get(&m, STR(""), &value));
    assert_false(string_map_get(&m, STR("b"), &value));
    assert_false(string_map_get(&m, STR("e"), &value));
    m.n = 0;
    assert_false(string_map_get(&m, STR("a"), &value));
}

static void resolutions(void **state)
{
    (void)state;
    struct ip ips[] = {
        {4, {10, 0, 0, 1}},
        {4, {10, 0, 0, 2}}
    };
    struct ip same = ips[0];
    struct resolution a = {
        .object = {.kind = OBJECT_RESOLUTION, .name = STR_INIT("a.b")},
        .addresses = ips,
        .address_n = 1
    };
    struct resolution b = a;
    b.addresses = &same;
    b.object.line = 5;
    assert_true(object_is_equal(&a.object, &b.object));
    b.is_refused = true;
    assert_false(object_is_equal(&a.object, &b.object));
    b = a;
    b.address_n = 2;
    assert_false(object_is_equal(&a.object, &b.object));
    b = a;
    b.addresses = &ips[1];
    assert_false(object_is_equal(&a.object, &b.object));
    b = a;
    b.object.name = STR("c");
    assert_false(object_is_equal(&a.object, &b.object));
    b = a;
    b.object.kind = OBJECT_NAMESPACE;
    assert_false(object_is_equal(&a.object, &b.object));
}

static void metadata(void **state)
{
    (void)state;
    struct string_pair pairs[] = {
        {STR_INIT("a"), STR_INIT("1")}
    };
    struct namespace_object a = {
        .object = {.kind = OBJECT_NAMESPACE, .name = STR_INIT("a")}
    };
    struct namespace_object b = a;
    assert_true(object_is_equal(&a.object, &b.object));
    b.object.annotations = (struct string_map){pairs, 1};
    assert_false(object_is_equal(&a.object, &b.object));
    b = a;
    b.object.uid = STR("1");
    assert_false(object_is_equal(&a.object, &b.object));
    b = a;
    b.object.created_s = 1;
    assert_false(object_is_equal(&a.object, &b.object));
    object_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds),
        cmocka_unit_test(maps),
        cmocka_unit_test(resolutions),
        cmocka_unit_test(metadata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
