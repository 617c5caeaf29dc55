/* jinja_tests: tests, by name */
#include "data/jinja.h"

#include <string.h>

#define TEST(name)                                                                                 \
    static status test_##name(jinja *j UNUSED, const jvalue *self UNUSED,                          \
                              const jargs *args UNUSED, jvalue *out)

#define KIND_TEST(name, condition)                                                                 \
    TEST(name)                                                                                     \
    {                                                                                              \
        *out = jvalue_bool(condition);                                                             \
        return STATUS_OK;                                                                          \
    }
KIND_TEST(defined, self->kind != JV_UNDEFINED)
KIND_TEST(undefined, self->kind == JV_UNDEFINED)
KIND_TEST(none, self->kind == JV_NONE)
KIND_TEST(string, self->kind == JV_STRING)
KIND_TEST(number, self->kind == JV_INT || self->kind == JV_FLOAT || self->kind == JV_BOOL)
KIND_TEST(integer, self->kind == JV_INT)
KIND_TEST(float, self->kind == JV_FLOAT)
KIND_TEST(boolean, self->kind == JV_BOOL)
KIND_TEST(is_true, self->kind == JV_BOOL && self->b)
KIND_TEST(is_false, self->kind == JV_BOOL && !self->b)
KIND_TEST(mapping, self->kind == JV_DICT)
KIND_TEST(callable, self->kind == JV_MACRO || self->kind == JV_FUNCTION)
KIND_TEST(sequence, self->kind == JV_LIST || self->kind == JV_STRING || self->kind == JV_DICT ||
                        self->kind == JV_UNDEFINED)

static status remainder_test(jinja *j, const jvalue *self, int64_t by, int64_t want, jvalue *out)
{
    const jvalue divisor = jvalue_int(by);
    jvalue rest;

    TRY(jinja_binary(j, JO_MODULO, self, &divisor, &rest));
    *out = jvalue_bool(rest.kind == JV_INT && rest.i == want);
    return STATUS_OK;
}

TEST(even)
{
    return remainder_test(j, self, 2, 0, out);
}

TEST(odd)
{
    return remainder_test(j, self, 2, 1, out);
}

TEST(divisibleby)
{
    if (args->n != 1 || args->v[0].kind != JV_INT)
        return jinja_fail(j, "divisibleby needs a whole number");
    return remainder_test(j, self, args->v[0].i, 0, out);
}

#define COMPARE_TEST(name, op)                                                                     \
    TEST(name)                                                                                     \
    {                                                                                              \
        bool holds;                                                                                \
        if (args->n != 1)                                                                          \
            return jinja_fail(j, "the test needs one value");                                      \
        TRY(jinja_compare(j, op, self, &args->v[0], &holds));                                      \
        *out = jvalue_bool(holds);                                                                 \
        return STATUS_OK;                                                                          \
    }
COMPARE_TEST(equal, JO_EQUAL)
COMPARE_TEST(unequal, JO_UNEQUAL)
COMPARE_TEST(less, JO_LESS)
COMPARE_TEST(less_equal, JO_LESS_EQUAL)
COMPARE_TEST(greater, JO_GREATER)
COMPARE_TEST(greater_equal, JO_GREATER_EQUAL)
COMPARE_TEST(in, JO_IN)

static const jfunction tests[] = {{"defined", test_defined, 0, 0, NULL},
                                  {"undefined", test_undefined, 0, 0, NULL},
                                  {"none", test_none, 0, 0, NULL},
                                  {"string", test_string, 0, 0, NULL},
                                  {"number", test_number, 0, 0, NULL},
                                  {"integer", test_integer, 0, 0, NULL},
                                  {"float", test_float, 0, 0, NULL},
                                  {"boolean", test_boolean, 0, 0, NULL},
                                  {"true", test_is_true, 0, 0, NULL},
                                  {"false", test_is_false, 0, 0, NULL},
                                  {"mapping", test_mapping, 0, 0, NULL},
                                  {"callable", test_callable, 0, 0, NULL},
                                  {"sequence", test_sequence, 0, 0, NULL},
                                  {"iterable", test_sequence, 0, 0, NULL},
                                  {"even", test_even, 0, 0, NULL},
                                  {"odd", test_odd, 0, 0, NULL},
                                  {"divisibleby", test_divisibleby, 1, 1, NULL},
                                  {"equalto", test_equal, 1, 1, NULL},
                                  {"eq", test_equal, 1, 1, NULL},
                                  {"==", test_equal, 1, 1, NULL},
                                  {"sameas", test_equal, 1, 1, NULL},
                                  {"ne", test_unequal, 1, 1, NULL},
                                  {"!=", test_unequal, 1, 1, NULL},
                                  {"lt", test_less, 1, 1, NULL},
                                  {"le", test_less_equal, 1, 1, NULL},
                                  {"gt", test_greater, 1, 1, NULL},
                                  {"ge", test_greater_equal, 1, 1, NULL},
                                  {"in", test_in, 1, 1, NULL}};

const jfunction *jinja_find_test(const char *name, size_t n)
{
    return jinja_find(tests, COUNT_OF(tests), name, n);
}
