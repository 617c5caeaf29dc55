/* tensor: sizes, types and their arithmetic */
#include "core/tensor.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int64_t     block, bytes;
} types[TYPE_COUNT] = {
#define TYPE(name, block, bytes, text) [TYPE_##name] = {text, block, bytes},
#include "core/types.def"
#undef TYPE
};

const char *dtype_name(dtype t)
{
    CHECK(t < TYPE_COUNT);
    return types[t].name;
}

int64_t dtype_block(dtype t)
{
    CHECK(t < TYPE_COUNT);
    return types[t].block;
}

int64_t dtype_block_bytes(dtype t)
{
    CHECK(t < TYPE_COUNT);
    return types[t].bytes;
}

bool dtype_find(const char *name, dtype *out)
{
    for (int t = 0; t < TYPE_COUNT; t++)
        if (strcmp(types[t].name, name) == 0) {
            *out = (dtype)t;
            return true;
        }
    return false;
}

int64_t dtype_row_bytes(dtype t, int64_t n)
{
    int64_t bytes;

    if (n < 0 || n % dtype_block(t) != 0)
        return -1;
    if (MUL_OVERFLOWS(n / dtype_block(t), dtype_block_bytes(t), &bytes))
        return -1;
    return bytes;
}

shape shape_of(int n, const int64_t *d)
{
    shape s = {.n = n};

    CHECK(n >= 0 && n <= SHAPE_MAX);
    for (int i = 0; i < n; i++)
        s.d[i] = d[i];
    return s;
}

shape shape_1(int64_t a)
{
    return (shape){.n = 1, .d = {a}};
}

shape shape_2(int64_t a, int64_t b)
{
    return (shape){.n = 2, .d = {a, b}};
}

shape shape_3(int64_t a, int64_t b, int64_t c)
{
    return (shape){.n = 3, .d = {a, b, c}};
}

bool shape_equal(shape a, shape b)
{
    if (a.n != b.n)
        return false;
    for (int i = 0; i < a.n; i++)
        if (a.d[i] != b.d[i])
            return false;
    return true;
}

int64_t shape_count(shape s)
{
    int64_t count = 1;

    for (int i = 0; i < s.n; i++)
        count *= s.d[i];
    return count;
}

int64_t shape_last(shape s)
{
    return s.n ? s.d[s.n - 1] : 1;
}

int64_t shape_rows(shape s)
{
    int64_t rows = 1;

    for (int i = 0; i + 1 < s.n; i++)
        rows *= s.d[i];
    return rows;
}

const char *shape_text(shape s)
{
    static THREAD_LOCAL char ring[4][128];
    static THREAD_LOCAL int  next;
    char                    *text = ring[next++ & 3];
    size_t                   used = 0;

    used += (size_t)snprintf(text, sizeof ring[0], "[");
    for (int i = 0; i < s.n; i++)
        used += (size_t)snprintf(text + used, sizeof ring[0] - used, "%s%lld", i ? ", " : "",
                                 (long long)s.d[i]);
    snprintf(text + used, sizeof ring[0] - used, "]");
    return text;
}

size_t tensor_bytes(const tensor *t)
{
    const int64_t row = dtype_row_bytes(t->type, shape_last(t->s));

    CHECK(row >= 0);
    return (size_t)(row * shape_rows(t->s));
}

int64_t tensor_rows(const tensor *t)
{
    const int64_t capacity = shape_rows(t->s);

    if (!t->rows)
        return capacity;
    CHECK(*t->rows >= 0 && *t->rows <= capacity);
    return *t->rows;
}
