/* matmul_decode: the product of a few rows with a weight [n, k], each weight read once */
#ifndef CORE_CPU_MATMUL_DECODE_H
#define CORE_CPU_MATMUL_DECODE_H

#include "core/cpu/matmul.h"

#ifdef __cplusplus
extern "C" {
#endif

/* For products that matmul_decodes. */
void matmul_decode(const matmul *p);

#ifdef __cplusplus
}
#endif
#endif
