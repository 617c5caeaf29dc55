/* probe: short trials on all threads at once */
#include "core/cpu/probe.h"

#include "core/cpu/path.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { TRIALS = 5, ROUNDS = 1 << 17 };

float ceiling_fma_base(int64_t rounds);
#if defined(__x86_64__)
float ceiling_fma_avx2(int64_t rounds);
float ceiling_fma_avx512(int64_t rounds);
float ceiling_pairs(int64_t rounds);
#endif

typedef float ceiling(int64_t rounds);

/* Multiply-adds a second of all threads; the trial in which they were fastest together. */
static double trial(ceiling *run, int64_t rounds, int threads)
{
    double best = 0;

    run(rounds / 8); /* wakes the wide units */
    for (int i = 0; i < TRIALS; i++) {
        double started = 0;
        float  sum = 0;
#pragma omp parallel num_threads(threads) reduction(+ : sum)
        {
#pragma omp barrier
#pragma omp master
            started = omp_get_wtime();
            sum += run(rounds);
        }
        const double rate = (double)rounds * threads / (omp_get_wtime() - started);
        best = rate > best && sum > 0 ? rate : best;
    }
    return best;
}

double probe_fma(int threads)
{
    const int lanes = path_tiles()->lanes;
    ceiling  *run = ceiling_fma_base;

#if defined(__x86_64__)
    if (lanes == 16)
        run = ceiling_fma_avx512;
    else if (lanes == 8)
        run = ceiling_fma_avx2;
#endif
    return 2e-9 * trial(run, ROUNDS, threads) * lanes * (lanes == 16 ? 24 : 12);
}

double probe_bf16(int threads)
{
#if defined(__x86_64__)
    if (path_pairs())
        return 2e-9 * trial(ceiling_pairs, ROUNDS, threads) * 24 * 32;
#endif
    (void)threads;
    return 0;
}

double probe_bandwidth(int threads)
{
    const size_t bytes = (size_t)256 << 20, step = (size_t)1 << 20;
    char        *v = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    double       best = 0;

    if (v == MAP_FAILED)
        return 0;
    memset(v, 1, bytes);
    for (int i = 0; i < TRIALS; i++) {
        const double started = omp_get_wtime();
        uint64_t     total = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : total)
        for (size_t at = 0; at < bytes; at += step) {
            const uint64_t *p = (const uint64_t *)(const void *)(v + at);
            uint64_t        sum[8] = {0};
            for (size_t k = 0; k < step / 8; k += 8)
                for (int l = 0; l < 8; l++)
                    sum[l] += p[k + (size_t)l];
            for (int l = 0; l < 8; l++)
                total += sum[l];
        }
        const double rate = (double)bytes / (omp_get_wtime() - started) * 1e-9;
        best = rate > best && total ? rate : best;
    }
    munmap(v, bytes);
    return best;
}
