/* gguf: the tensor types of the format, for its reader and writer */
#ifndef CORE_GGUF_TYPES_H
#define CORE_GGUF_TYPES_H

#include "core/tensor.h"

typedef struct gguf_type {
    uint32_t    number; /* in a file */
    const char *name;
    int         type; /* dtype; -1: known to the format, not handled here */
} gguf_type;

static const gguf_type gguf_types[] = {
    {0, "f32", TYPE_F32}, {1, "f16", TYPE_F16}, {2, "q4_0", TYPE_Q4_0}, {3, "q4_1", TYPE_Q4_1},
    {6, "q5_0", TYPE_Q5_0}, {7, "q5_1", TYPE_Q5_1}, {8, "q8_0", TYPE_Q8_0}, {9, "q8_1", -1},
    {10, "q2_k", TYPE_Q2_K}, {11, "q3_k", TYPE_Q3_K}, {12, "q4_k", TYPE_Q4_K},
    {13, "q5_k", TYPE_Q5_K}, {14, "q6_k", TYPE_Q6_K}, {15, "q8_k", -1}, {16, "iq2_xxs", -1},
    {17, "iq2_xs", -1}, {18, "iq3_xxs", -1}, {19, "iq1_s", -1}, {20, "iq4_nl", TYPE_IQ4_NL},
    {21, "iq3_s", -1}, {22, "iq2_s", -1}, {23, "iq4_xs", TYPE_IQ4_XS}, {24, "i8", -1},
    {25, "i16", -1}, {26, "i32", TYPE_I32}, {27, "i64", TYPE_I64}, {28, "f64", TYPE_F64},
    {29, "iq1_m", -1}, {30, "bf16", TYPE_BF16}, {34, "tq1_0", -1}, {35, "tq2_0", -1},
    {39, "mxfp4", TYPE_MXFP4}};

#endif
