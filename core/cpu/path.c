/* path: the instruction sets of this build, and the choice among them */
#include "core/cpu/path.h"

#include "core/cpu/matmul.h"
#include "core/log.h"
#include "core/quant.h"

#include <stdlib.h>
#include <string.h>

#define DECLARE(isa)                                                                               \
    extern const tile_row tile_rows_##isa[];                                                       \
    void                  pack_columns_##isa(const pack_group *g);                                 \
    void copy_rows_##isa(const void *a, dtype type, int64_t lda, bool turned, int64_t m, int64_t k, \
                         float *out, int64_t ldo);                                                 \
    void quant_expand_##isa(dtype t, const void *blocks, int64_t n, float *out);                   \
    void dot_rows_##isa(const dot_args *d);
#define SET(text, isa, lanes_, width_, strip_)                                                     \
    {.name = text, .lanes = lanes_, .width = width_, .strip = strip_, .rows = tile_rows_##isa,     \
     .pack = pack_columns_##isa, .pack_strip = pack_columns_##isa, .copy_rows = copy_rows_##isa,   \
     .expand = quant_expand_##isa,                                                                 \
     .dot = dot_rows_##isa}

typedef struct path_row {
    tile_set tiles;
    bool (*runs)(void);
    bool pairs;
} path_row;

static bool always(void)
{
    return true;
}

DECLARE(base)
#if defined(__x86_64__)
DECLARE(avx2)
DECLARE(avx512)

extern const tile_row tile_rows_pairs[];
void                  pack_columns_pairs(const pack_group *g);

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static bool has_avx512bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
}
#endif

/* Best first. */
static const path_row paths[] = {
#if defined(__x86_64__)
    {SET("avx512bf16", avx512, 16, 48, 16), has_avx512bf16, true},
    {SET("avx512", avx512, 16, 48, 16), has_avx512, false},
    {SET("avx2", avx2, 8, 16, 12), has_avx2, false},
    {SET("sse2", base, 4, 8, 6), always, false},
#else
    {SET("generic", base, 4, 8, 6), always, false},
#endif
};

static const path_row *chosen;

static const path_row *find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(paths); i++)
        if ((!name || strcmp(paths[i].tiles.name, name) == 0) && paths[i].runs())
            return &paths[i];
    return NULL;
}

static const path_row *choice(void)
{
    if (!chosen) {
        const char *name = getenv("CAMBIUM_ISA");
        chosen = find(name && *name ? name : NULL);
        if (!chosen) {
            chosen = find(NULL);
            log_warn("CAMBIUM_ISA is '%s', which this CPU or build lacks; using %s", name,
                     chosen->tiles.name);
        }
    }
    return chosen;
}

const tile_set *path_tiles(void)
{
    return &choice()->tiles;
}

bool path_runs(const char *name)
{
    return find(name) != NULL;
}

const tile_set *path_pairs(void)
{
#if defined(__x86_64__)
    static const tile_set pairs = {.name = "avx512bf16", .lanes = 16, .width = 48, .strip = 16, .rows = tile_rows_pairs,
                                   .pack = pack_columns_pairs, .pack_strip = pack_columns_avx512,
                                   .copy_rows = copy_rows_avx512,
                                   .expand = quant_expand_avx512};
    return choice()->pairs ? &pairs : NULL;
#else
    return NULL;
#endif
}

const char *matmul_path(void)
{
    return choice()->tiles.name;
}

int matmul_paths(const char *names[8])
{
    int n = 0;

    for (size_t i = 0; i < COUNT_OF(paths); i++)
        if (paths[i].runs())
            names[n++] = paths[i].tiles.name;
    return n;
}

bool matmul_use(const char *name)
{
    const path_row *found = find(name);

    if (found)
        chosen = found;
    return found != NULL;
}
