/* probe: what this device reaches: a large product in bf16 and f32, a copy, and whether a product is right */
#include "core/cuda/product.h"
#include "core/cuda/state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { REPEAT_MAX = 64, SAMPLES = 500 };

/* Sizes: small where the device is emulated. */
typedef struct probe_sizes {
    int64_t product, test, copy;
    double  seconds; /* to spend on each measurement */
} probe_sizes;

static probe_sizes sizes(void)
{
    return cuda.capability >= 80 && cuda.processors > 2 ? (probe_sizes){8192, 512, (int64_t)1 << 30, 0.3}
                                                        : (probe_sizes){64, 48, 1 << 20, 0.01};
}

typedef struct work {
    cuda_product product;
    void        *to, *from;
    size_t       bytes;
} work;

static void run(const work *w)
{
    if (w->bytes)
        cuda_check(cudaMemcpyAsync(w->to, w->from, w->bytes, cudaMemcpyDeviceToDevice, cuda.stream), "probe: a copy");
    else
        cuda_multiply(&w->product);
}

/* Seconds of one run, by the device's own clock: the best of some stretches. */
static double time_of(const work *w, double budget)
{
    cudaEvent_t from = NULL, to = NULL;
    double      best = INFINITY, spent = 0;

    if (!cuda_check(cudaEventCreate(&from), "cudaEventCreate") ||
        !cuda_check(cudaEventCreate(&to), "cudaEventCreate"))
        return INFINITY;
    run(w);
    for (int i = 0; i < REPEAT_MAX && spent < budget && !cuda_failure()[0]; i++) {
        float milliseconds = 0;
        cuda_check(cudaEventRecord(from, cuda.stream), "cudaEventRecord");
        run(w);
        cuda_check(cudaEventRecord(to, cuda.stream), "cudaEventRecord");
        cuda_check(cudaEventSynchronize(to), "cudaEventSynchronize");
        cuda_check(cudaEventElapsedTime(&milliseconds, from, to), "cudaEventElapsedTime");
        spent += 1e-3 * (double)milliseconds;
        if (1e-3 * (double)milliseconds < best)
            best = 1e-3 * (double)milliseconds;
    }
    cudaEventDestroy(from);
    cudaEventDestroy(to);
    return best;
}

static cuda_product square(int64_t n, dtype type, const void *a, const void *b, void *c)
{
    return (cuda_product){.m = n, .n = n, .k = n, .a = a, .b = b, .c = c, .type = type, .type_c = type, .lda = n,
                          .ldb = n, .ldc = n, .b_turned = true, .alpha = 1};
}

static void probe_speed(const probe_sizes *s, unsigned what, uint8_t *memory, device_probe *out)
{
    const size_t third = (size_t)(s->product * s->product) * 4;
    const double flops = 2.0 * (double)s->product * (double)s->product * (double)s->product;
    work         w = {.to = memory, .from = memory + s->copy, .bytes = (size_t)s->copy};

    if (what & PROBE_BANDWIDTH)
        out->bandwidth = 2.0 * (double)s->copy / time_of(&w, s->seconds);
    w = (work){.product = square(s->product, TYPE_BF16, memory, memory + third, memory + 2 * third)};
    if (what & PROBE_BF16)
        out->bf16 = flops / time_of(&w, s->seconds);
    w.product = square(s->product, TYPE_F32, memory, memory + third, memory + 2 * third);
    if (what & PROBE_F32)
        out->f32 = flops / time_of(&w, s->seconds);
}

/* Some values of an f32 product against sums in double. */
static void probe_error(const probe_sizes *s, uint8_t *memory, device_probe *out)
{
    const int64_t n = s->test;
    const size_t  bytes = (size_t)(n * n) * sizeof(float);
    float        *x = malloc(3 * bytes), *w = x + n * n, *y = w + n * n;
    uint32_t      dice = 1;

    if (!x) {
        cuda_fail("probe: no memory");
        return;
    }
    for (int64_t i = 0; i < 2 * n * n; i++) {
        dice = dice * 1664525u + 1013904223u;
        x[i] = (float)(dice >> 8) * 0x1p-23f - 1;
    }
    cuda_check(cudaMemcpyAsync(memory, x, 2 * bytes, cudaMemcpyHostToDevice, cuda.stream), "probe: copying");
    const cuda_product p = square(n, TYPE_F32, memory, memory + bytes, memory + 2 * bytes);
    cuda_multiply(&p);
    cuda_check(cudaMemcpyAsync(y, memory + 2 * bytes, bytes, cudaMemcpyDeviceToHost, cuda.stream), "probe: copying");
    cuda_check(cudaStreamSynchronize(cuda.stream), "probe: a product");
    for (int i = 0; i < SAMPLES; i++) {
        const int64_t r = i * 37 % n, c = i * 101 % n;
        double        sum = 0, size = 0;
        for (int64_t k = 0; k < n; k++) {
            sum += (double)x[r * n + k] * w[c * n + k];
            size += fabs((double)x[r * n + k] * w[c * n + k]);
        }
        out->error = fmax(out->error, fabs(sum - (double)y[r * n + c]) / size);
    }
    free(x);
}

void cuda_probe(unsigned what, device_probe *out)
{
    const probe_sizes s = sizes();
    const size_t      products = 3 * (size_t)(s.product * s.product) * 4, copies = 2 * (size_t)s.copy;
    const size_t      bytes = products > copies ? products : copies;
    void             *memory = NULL;

    memset(out, 0, sizeof *out);
    cuda_begin_operation("probe");
    if (!cuda_check(cudaMalloc(&memory, bytes), "probe: cudaMalloc"))
        return;
    cuda_check(cudaMemsetAsync(memory, 0, bytes, cuda.stream), "probe: clearing memory");
    probe_speed(&s, what, memory, out);
    if (what & PROBE_ERROR)
        probe_error(&s, memory, out);
    cudaFree(memory);
    cuda_begin_operation(NULL);
}
