/* runtime: the plug-in's one device, its stream, its memory and its first failure.
 *
 * Calls fail into one text, the first failure of all, which names the kernel or call; whatever comes
 * after it does nothing. cuda_failure() gives it, core/cuda/plugin.c hands it to the program. While
 * `measuring` nothing is launched: only the scratch that an operation would take is noted. */
#ifndef CORE_CUDA_RUNTIME_H
#define CORE_CUDA_RUNTIME_H

#include <cuda_runtime_api.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

cudaStream_t cuda_stream(void);

/* "" while everything went well. */
const char *cuda_failure(void);
/* Notes a failure of `what` ("cudaMalloc of 3 MB"); returns false when there is one. */
bool cuda_check(cudaError_t code, const char *what);
void cuda_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Names what is launched from here on, for messages: "swiglu forward". */
void cuda_begin_operation(const char *name);
/* Notes that a tensor of the operation has the wrong type (core/tensor.h's number). */
void cuda_fail_type(int is, int must);
/* For LAUNCH: false when nothing is to be launched; notes what the launch said. */
bool cuda_begin_launch(const char *kernel);
void cuda_end_launch(void);
/* Lets a kernel have more than 48 KB of dynamic shared memory. */
void cuda_allow_shared(const void *kernel, size_t bytes);

/* Bounds of rows in use are multiples of it (core/device_plugin.h). */
int cuda_rows_step(void);

/* Multiprocessors of the device. */
int cuda_processors(void);

/* Scratch of operations on the device: at least `bytes`, valid until the next operation begins. Grows
 * outside of captures only; cuda_scratch_generation() changes when it has moved. A slot has one user in an
 * operation: the enum says who. */
enum cuda_slot { SCRATCH_OWN, SCRATCH_WEIGHT, SCRATCH_LOW, SCRATCH_SUM, SCRATCH_SLOTS };
void    *cuda_scratch(enum cuda_slot slot, size_t bytes);
uint64_t cuda_scratch_generation(void);
size_t   cuda_scratch_bytes(void);

#ifdef __cplusplus
}
#endif
#endif
