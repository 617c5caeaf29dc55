/* doctor: what this machine offers, and whether the kernels compute correctly here */
#include "recipes/commands.h"

#include "core/clock.h"
#include "core/cpu/matmul.h"
#include "core/cpu/probe.h"
#include "core/device.h"
#include "core/file.h"
#include "core/memory_use.h"
#include "core/rng.h"
#include "core/threads.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

typedef struct findings {
    char    cpu[128], cache[256];
    bool    cache_ok;
    int     threads, n_paths;
    int64_t memory, free;
    const char *paths[8];
    double  fma, bf16, bandwidth, matmul, error;
    const device_info *gpu; /* NULL: none */
    device_probe       there;
    bool               gpu_fails;
    char               no_gpu[1024];
} findings;

static void read_cpu(findings *f)
{
    probe_name(f->cpu);
    f->memory = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    f->free = (int64_t)sysconf(_SC_AVPHYS_PAGES) * sysconf(_SC_PAGESIZE);
}

/* A product of the size of a 135M model's, timed, and some of its values against sums in double. */
static status test_matmul(arena *a, findings *f)
{
    enum { M = 512, N = 1536, K = 576 };
    float *x, *w, *y;
    double best = 1e9;

    TRY_TAKE(x, a, M * K);
    TRY_TAKE(w, a, N * K);
    TRY_TAKE(y, a, M * N);
    rng_fill_normal(rng_key_for(1, "doctor"), 0, 1, x, M * K);
    rng_fill_normal(rng_key_for(1, "doctor"), 1, 1, w, N * K);
    const matmul p = {.m = M, .n = N, .k = K, .a = x, .type_a = TYPE_F32, .lda = K, .b = w,
                      .type_b = TYPE_F32, .ldb = K, .b_turned = true, .c = y, .type_c = TYPE_F32,
                      .ldc = N, .alpha = 1};
    for (int i = 0; i < 40; i++) {
        const double from = clock_seconds();
        matmul_run(&p);
        if (clock_seconds() - from < best)
            best = clock_seconds() - from;
    }
    f->matmul = 2.0 * M * N * K / best / 1e9;
    for (int i = 0; i < 1000; i++) {
        const int m = i * 37 % M, n = i * 101 % N;
        double    sum = 0, size = 0;
        for (int k = 0; k < K; k++) {
            sum += (double)x[m * K + k] * w[n * K + k];
            size += fabs((double)x[m * K + k] * w[n * K + k]);
        }
        f->error = fmax(f->error, fabs(sum - (double)y[m * N + n]) / size);
    }
    return STATUS_OK;
}

/* A GPU is opened and measured; f->no_gpu says why there is none, or how it fails. */
static void look_for_gpu(findings *f)
{
    device *d;

    if (device_open("cuda", TYPE_F32, &d) == STATUS_OK) {
        f->gpu = device_about(d);
        device_functions(d)->probe(PROBE_F32 | PROBE_BF16 | PROBE_BANDWIDTH | PROBE_ERROR, &f->there);
        f->gpu_fails = device_check(d) != STATUS_OK;
    }
    if (!f->gpu || f->gpu_fails) {
        snprintf(f->no_gpu, sizeof f->no_gpu, "%s", status_cause());
        status_clear();
    }
}

static status look(arena *a, findings *f)
{
    char *cache = NULL;

    read_cpu(f);
    f->threads = threads_count();
    f->n_paths = matmul_paths(f->paths);
    f->cache_ok = cache_folder(a, &cache) == STATUS_OK && access(cache, W_OK) == 0;
    snprintf(f->cache, sizeof f->cache, "%s", cache ? cache : status_text());
    f->fma = probe_fma(f->threads);
    f->bf16 = probe_bf16(f->threads);
    f->bandwidth = probe_bandwidth(f->threads);
    look_for_gpu(f);
    return test_matmul(a, f);
}

static const char *verdict(double error)
{
    return error < 1e-5 ? "good" : "WRONG"; /* some hundred products: some hundred times 2^-24 at worst */
}

static void print_gpu(const findings *f, FILE *out)
{
    const device_info *g = f->gpu;

    if (!g) {
        fprintf(out, "GPU         none: %s\n", f->no_gpu);
        return;
    }
    fprintf(out, "GPU         %s, %.1f GB, %.1f GB free, compute capability %d.%d, %d multiprocessors%s\n", g->name,
            (double)g->memory / 1e9, (double)g->free / 1e9, g->capability / 10, g->capability % 10, g->processors,
            g->count > 1 ? ", the first of several" : "");
    fprintf(out, "libraries   CUDA driver %d.%d, runtime %d.%d, cuBLASLt %d\n", g->driver / 1000,
            g->driver % 1000 / 10, g->runtime / 1000, g->runtime % 1000 / 10, g->products);
    if (f->gpu_fails) {
        fprintf(out, "self-test   FAILED: %s\n", f->no_gpu);
        return;
    }
    fprintf(out, "probed      %.3g TFLOP/s bf16, %.3g TFLOP/s f32, %.4g GB/s\n", f->there.bf16 / 1e12,
            f->there.f32 / 1e12, f->there.bandwidth / 1e9);
    fprintf(out, "self-test   matrix product, largest error %.1e: %s\n", f->there.error, verdict(f->there.error));
}

static void print(const findings *f, FILE *out)
{
    fprintf(out, "CPU         %s, %d threads\n", f->cpu, f->threads);
    fprintf(out, "memory      %.1f GB, %.1f GB free\n", (double)f->memory / 1e9, (double)f->free / 1e9);
    fprintf(out, "kernels     %s (can run:", matmul_path());
    for (int i = 0; i < f->n_paths; i++)
        fprintf(out, " %s", f->paths[i]);
    fprintf(out, ")\nprobed      %.0f GFLOP/s f32", f->fma);
    if (f->bf16 > 0)
        fprintf(out, ", %.0f GFLOP/s bf16", f->bf16);
    fprintf(out, ", %.1f GB/s\n", f->bandwidth);
    fprintf(out, "self-test   matrix product %.0f GFLOP/s (%.0f %% of the probe), largest error %.1e: %s\n",
            f->matmul, 100 * f->matmul / f->fma, f->error, verdict(f->error));
    print_gpu(f, out);
    fprintf(out, "cache       %s%s\n", f->cache, f->cache_ok ? "" : " (cannot be written)");
}

static void print_json(const findings *f, FILE *out)
{
    fprintf(out, "{\"cpu\": \"%s\", \"threads\": %d, \"memory\": %lld, \"path\": \"%s\", "
            "\"gflops_f32\": %.1f, \"gflops_bf16\": %.1f, \"gb_per_second\": %.1f, "
            "\"matmul_gflops\": %.1f, \"matmul_error\": %.3g, \"cache\": \"%s\", \"cache_ok\": %s",
            f->cpu, f->threads, (long long)f->memory, matmul_path(), f->fma, f->bf16, f->bandwidth,
            f->matmul, f->error, f->cache, f->cache_ok ? "true" : "false");
    if (f->gpu)
        fprintf(out, ", \"gpu\": {\"name\": \"%s\", \"memory\": %zu, \"free\": %zu, \"capability\": %d, "
                "\"driver\": %d, \"runtime\": %d, \"cublaslt\": %d, \"tflops_bf16\": %.4g, \"tflops_f32\": %.4g, "
                "\"gb_per_second\": %.4g, \"error\": %.3g}",
                f->gpu->name, f->gpu->memory, f->gpu->free, f->gpu->capability, f->gpu->driver, f->gpu->runtime,
                f->gpu->products, f->there.bf16 / 1e12, f->there.f32 / 1e12, f->there.bandwidth / 1e9,
                f->there.error);
    fprintf(out, "}\n");
}

status command_doctor(bool json, FILE *out)
{
    arena    a;
    findings f = {0};

    TRY(arena_open(&a, "setup", (size_t)1 << 28));
    status s = look(&a, &f);
    if (s == STATUS_OK) {
        if (json)
            print_json(&f, out);
        else
            print(&f, out);
        if (!(f.error < 1e-5) || !(f.there.error < 1e-5))
            s = fail(STATUS_NUMERIC, "doctor: the matrix product is wrong on this machine%s (error %.1e)",
                     f.error < 1e-5 ? "'s GPU" : "", f.error < 1e-5 ? f.there.error : f.error);
    }
    if (s == STATUS_OK && f.gpu_fails)
        s = fail(STATUS_DEVICE, "doctor: the GPU does not work: %s", f.no_gpu);
    device_close(device_current());
    arena_close(&a);
    return s;
}
