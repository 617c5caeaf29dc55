/* runtime: the device that is open, the first failure, scratch */
#include "core/cuda/runtime.h"

#include "core/cuda/state.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

cuda_state cuda;

static char failure[512];

const char *cuda_failure(void)
{
    return failure;
}

void cuda_fail(const char *format, ...)
{
    va_list args;

    if (failure[0])
        return;
    va_start(args, format);
    vsnprintf(failure, sizeof failure, format, args);
    va_end(args);
}

bool cuda_check(cudaError_t code, const char *what)
{
    if (code != cudaSuccess)
        cuda_fail("%s: %s (%s)", what, cudaGetErrorString(code), cudaGetErrorName(code));
    return !failure[0];
}

cudaStream_t cuda_stream(void)
{
    return cuda.stream;
}

void cuda_begin_operation(const char *name)
{
    cuda.operation = name;
}

void cuda_fail_type(int is, int must)
{
    static const char *const names[] = {
#define TYPE(name, block, bytes, text) text,
#include "core/types.def"
#undef TYPE
    };

    if (cuda.measuring) /* frozen matrices are taken for weights of the trunk then, and nothing is read */
        return;
    cuda_fail("%s: a tensor is %s, must be %s (which inputs stay f32 in bf16: tests/with_device.c)",
              cuda.operation ? cuda.operation : "a kernel", names[is], names[must]);
}

bool cuda_begin_launch(const char *kernel)
{
    snprintf(cuda.kernel, sizeof cuda.kernel, "%s%s%s", cuda.operation ? cuda.operation : "",
             cuda.operation ? ": " : "", kernel);
    return !cuda.measuring && !failure[0];
}

void cuda_end_launch(void)
{
    const cudaError_t code = cudaGetLastError();

    if (code != cudaSuccess)
        cuda_fail("launch of %s: %s (%s)", cuda.kernel, cudaGetErrorString(code), cudaGetErrorName(code));
}

void cuda_allow_shared(const void *kernel, size_t bytes)
{
    cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes),
               "cudaFuncSetAttribute");
}

int cuda_rows_step(void)
{
    return cuda.rows_step;
}

int cuda_processors(void)
{
    return cuda.processors > 0 ? cuda.processors : 1;
}

/* ---- scratch ---------------------------------------------------------------------------------------- */

static size_t room(size_t bytes)
{
    const size_t step = (size_t)1 << 16;

    return (bytes + step - 1) / step * step;
}

static void grow(enum cuda_slot slot, size_t bytes)
{
    void *p = NULL;

    if (cuda.capturing) {
        cuda_fail("%s: its scratch grew while a graph was captured", cuda.kernel);
        return;
    }
    if (cuda.scratch[slot]) {
        cuda_check(cudaStreamSynchronize(cuda.stream), "cudaStreamSynchronize");
        cuda_check(cudaFree(cuda.scratch[slot]), "cudaFree");
        cuda.scratch[slot] = NULL;
        cuda.scratch_size[slot] = 0;
    }
    const cudaError_t code = cudaMalloc(&p, bytes);
    if (code == cudaErrorMemoryAllocation)
        cudaGetLastError();
    if (code != cudaSuccess) {
        cuda_fail("no %.0f MB of scratch for %s: %s; use a smaller data.pack", (double)bytes / 1e6,
                  cuda.kernel, cudaGetErrorString(code));
        return;
    }
    cuda.scratch[slot] = p;
    cuda.scratch_size[slot] = bytes;
    cuda.generation++;
}

void *cuda_scratch(enum cuda_slot slot, size_t bytes)
{
    const size_t want = room(bytes);

    if (want > cuda.scratch_wanted[slot])
        cuda.scratch_wanted[slot] = want;
    if (cuda.measuring)
        return NULL;
    if (cuda.scratch_size[slot] < want) /* at once as much as was measured: a step asks for it soon */
        grow(slot, cuda.scratch_wanted[slot]);
    return cuda.scratch[slot];
}

uint64_t cuda_scratch_generation(void)
{
    return cuda.generation;
}

size_t cuda_scratch_bytes(void)
{
    size_t bytes = 0;

    for (int i = 0; i < SCRATCH_SLOTS; i++)
        bytes += cuda.scratch_wanted[i];
    return bytes;
}
