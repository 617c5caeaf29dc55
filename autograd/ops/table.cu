/* table: the device's kernels of every row of autograd/ops.def and every type of activations; a row without
 * its kernels does not link */
#include "autograd/op_table.h"

#define OP_TYPE(name, type)                                                                                  \
    void op_##name##_fwd_cuda_##type(const op_args *a);                                                      \
    void op_##name##_bwd_cuda_##type(const op_args *a);
#define ENTRY(name, type)                                                                                    \
    {op_##name##_fwd_cuda_##type, op_##name##_bwd_cuda_##type, &op_##name##_assigns_cuda},

extern "C" {

#define OP(name, inputs, outputs, rows, flags, ...) OP_TYPE(name, f32) OP_TYPE(name, f64) OP_TYPE(name, bf16)
#include "autograd/ops.def"
#undef OP

#define OP(name, inputs, outputs, rows, flags, ...) extern const uint32_t op_##name##_assigns_cuda;
#include "autograd/ops.def"
#undef OP

#define TABLE(type)                                                                                          \
    __attribute__((visibility("default"))) extern const op_kernels cambium_ops_##type[OP_COUNT];             \
    const op_kernels                                               cambium_ops_##type[OP_COUNT]

TABLE(f32) = {
#define OP(name, inputs, outputs, rows, flags, ...) ENTRY(name, f32)
#include "autograd/ops.def"
#undef OP
};
TABLE(f64) = {
#define OP(name, inputs, outputs, rows, flags, ...) ENTRY(name, f64)
#include "autograd/ops.def"
#undef OP
};
TABLE(bf16) = {
#define OP(name, inputs, outputs, rows, flags, ...) ENTRY(name, bf16)
#include "autograd/ops.def"
#undef OP
};
}
