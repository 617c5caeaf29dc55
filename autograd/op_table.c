/* op_table: autograd/ops.def turned into tables; a row without its functions does not link */
#include "autograd/op_table.h"

#include "core/cpu/path.h"

#include <string.h>

const op_row op_rows[OP_COUNT] = {
#define OP(name_, inputs, outputs, rows_, flags_, ...)                                             \
    [OP_##name_] = {.name = #name_,                                                                \
                    .n_in = inputs,                                                                \
                    .n_out = outputs,                                                              \
                    .rows = rows_,                                                                 \
                    .flags = (flags_),                                                             \
                    .reads = {__VA_ARGS__}},
#include "autograd/ops.def"
#undef OP
};

#define DECLARE(variant, name)                                                                     \
    status op_##name##_shape_##variant(const op_args *a, shape *out, int64_t *n_aux);              \
    void   op_##name##_fwd_cpu_##variant(const op_args *a);                                        \
    void   op_##name##_bwd_cpu_##variant(const op_args *a);
#define ENTRY(variant, name)                                                                       \
    [OP_##name] = {op_##name##_shape_##variant, op_##name##_fwd_cpu_##variant,                     \
                   op_##name##_bwd_cpu_##variant},

#define OP(name, inputs, outputs, rows, flags, ...) DECLARE(f32, name) DECLARE(f64, name)
#include "autograd/ops.def"
#undef OP
static const op_functions table_f32[OP_COUNT] = {
#define OP(name, inputs, outputs, rows, flags, ...) ENTRY(f32, name)
#include "autograd/ops.def"
#undef OP
};
static const op_functions table_f64[OP_COUNT] = {
#define OP(name, inputs, outputs, rows, flags, ...) ENTRY(f64, name)
#include "autograd/ops.def"
#undef OP
};

#if defined(__x86_64__)
#define OP(name, inputs, outputs, rows, flags, ...) DECLARE(f32_avx2, name) DECLARE(f32_avx512, name)
#include "autograd/ops.def"
#undef OP
static const op_functions table_f32_avx2[OP_COUNT] = {
#define OP(name, inputs, outputs, rows, flags, ...) ENTRY(f32_avx2, name)
#include "autograd/ops.def"
#undef OP
};
static const op_functions table_f32_avx512[OP_COUNT] = {
#define OP(name, inputs, outputs, rows, flags, ...) ENTRY(f32_avx512, name)
#include "autograd/ops.def"
#undef OP
};
#endif

const op_functions *op_variant(const char *name)
{
    if (strcmp(name, "f32") == 0)
        return table_f32;
    if (strcmp(name, "f64") == 0)
        return table_f64;
#if defined(__x86_64__)
    if (strcmp(name, "f32_avx2") == 0 && path_runs("avx2"))
        return table_f32_avx2;
    if (strcmp(name, "f32_avx512") == 0 && path_runs("avx512"))
        return table_f32_avx512;
#endif
    return NULL;
}

const op_functions *op_best(dtype type)
{
    if (type == TYPE_F64)
        return table_f64;
#if defined(__x86_64__)
    if (path_tiles()->lanes == 16)
        return table_f32_avx512;
    if (path_tiles()->lanes == 8)
        return table_f32_avx2;
#endif
    return table_f32;
}

const char *op_name(op_code op)
{
    CHECK(op < OP_COUNT);
    return op_rows[op].name;
}
