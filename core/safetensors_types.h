/* safetensors: the types of the format, for its reader and writer */
#ifndef CORE_SAFETENSORS_TYPES_H
#define CORE_SAFETENSORS_TYPES_H

#include "core/tensor.h"

typedef struct safetensors_type {
    const char *name;
    int         bits; /* of a value */
    int         type; /* dtype; -1: opaque */
} safetensors_type;

/* In the order in which a writer places them: wide before narrow. */
static const safetensors_type safetensors_types[] = {
    {"U64", 64, -1},       {"I64", 64, TYPE_I64}, {"F64", 64, TYPE_F64},  {"C64", 64, -1},
    {"F32", 32, TYPE_F32}, {"U32", 32, -1},       {"I32", 32, TYPE_I32},  {"BF16", 16, TYPE_BF16},
    {"F16", 16, TYPE_F16}, {"U16", 16, -1},       {"I16", 16, -1},        {"F8_E8M0", 8, -1},
    {"F8_E4M3", 8, -1},    {"F8_E5M2", 8, -1},    {"F8_E4M3FNUZ", 8, -1}, {"F8_E5M2FNUZ", 8, -1},
    {"I8", 8, -1},         {"U8", 8, TYPE_U8},    {"F6_E3M2", 6, -1},     {"F6_E2M3", 6, -1},
    {"F4", 4, -1},         {"BOOL", 8, -1}};

#endif
