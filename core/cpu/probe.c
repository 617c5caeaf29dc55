/* probe: short trials on all threads at once */
#include "core/cpu/probe.h"

#include "core/clock.h"
#include "core/cpu/path.h"
#include "core/threads.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { TRIALS = 5, ROUNDS = 1 << 17, READ_PIECE = 1 << 20 };

float ceiling_fma_base(int64_t rounds);
#if defined(__x86_64__)
float ceiling_fma_avx2(int64_t rounds);
float ceiling_fma_avx512(int64_t rounds);
float ceiling_pairs(int64_t rounds);
#endif

typedef float ceiling(int64_t rounds);

typedef struct trial_job {
    ceiling     *run;
    int64_t      rounds;
    const char  *memory;
    _Atomic int  done;
} trial_job;

static void compute(void *context, int64_t piece)
{
    trial_job *j = context;

    (void)piece;
    j->done += j->run(j->rounds) > 0;
}

/* Rounds a second of all threads together, in the best of a few trials. */
static double trial(ceiling *run, int64_t rounds, int threads)
{
    const int before = threads_count();
    trial_job j = {.run = run, .rounds = rounds};
    double    best = 0;

    threads_set(threads);
    for (int i = 0; i < TRIALS; i++) {
        const double started = clock_seconds();
        threads_run(threads, compute, &j);
        const double rate = (double)rounds * threads / (clock_seconds() - started);
        best = rate > best && j.done ? rate : best;
    }
    threads_set(before);
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

/* Reads a piece of memory. */
static void read_piece(void *context, int64_t piece)
{
    trial_job      *j = context;
    const uint64_t *p = (const uint64_t *)(const void *)(j->memory + piece * READ_PIECE);
    uint64_t        sum[8] = {0}, total = 0;

    for (size_t k = 0; k < READ_PIECE / 8; k += 8)
        for (int l = 0; l < 8; l++)
            sum[l] += p[k + (size_t)l];
    for (int l = 0; l < 8; l++)
        total += sum[l];
    j->done += total != 0;
}

double probe_bandwidth(int threads)
{
    const size_t bytes = (size_t)256 << 20;
    const int    before = threads_count();
    char        *v = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    double       best = 0;

    if (v == MAP_FAILED)
        return 0;
    memset(v, 1, bytes);
    threads_set(threads);
    for (int i = 0; i < TRIALS; i++) {
        trial_job    j = {.memory = v};
        const double started = clock_seconds();
        threads_run((int64_t)(bytes / READ_PIECE), read_piece, &j);
        const double rate = (double)bytes / (clock_seconds() - started) * 1e-9;
        best = rate > best && j.done ? rate : best;
    }
    threads_set(before);
    munmap(v, bytes);
    return best;
}

void probe_name(char name[128])
{
    FILE *file = fopen("/proc/cpuinfo", "r");
    char  line[256];

    strcpy(name, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon && colon[1]) {
            snprintf(name, 128, "%.127s", colon + 2);
            name[strcspn(name, "\n")] = '\0';
            break;
        }
    }
    if (file)
        fclose(file);
}
