/* bill: adding up what a run will hold */
#include "recipes/bill.h"

#include "core/log.h"
#include "core/threads.h"

#include <stdio.h>

/* Scratch of the kernels, a thread: packed panels of the products; and once the logits of a piece of the
 * vocabulary (autograd/ops/cross_entropy_head.c). */
enum { PANEL_BYTES = 3 << 20, VOCABULARY_PIECE = 2048 };

static size_t trunk_bytes(const session *s)
{
    size_t bytes = 0;

    for (int i = 0; i < s->m.n_tensors; i++)
        bytes += tensor_bytes(&s->m.tensors[i].value);
    return bytes;
}

bill bill_of(const session *s, const trainer *x)
{
    const trainer_bill t = trainer_memory(x);
    bill               b = {.trunk = trunk_bytes(s), .values = t.values, .gradients = t.gradients,
                            .optimizer = t.optimizer, .step = t.step, .data = arena_mark(&s->setup)};

    b.scratch = (size_t)threads_count() * PANEL_BYTES +
                (size_t)x->o.pack * VOCABULARY_PIECE * sizeof(float);
    b.total = b.trunk + b.values + b.gradients + b.optimizer + b.step + b.scratch + b.data;
    return b;
}

/* MemAvailable, or a cgroup's limit when that is smaller; 0 when neither can be read. */
static size_t free_memory(void)
{
    FILE              *f = fopen("/proc/meminfo", "r");
    char               line[128];
    unsigned long long kb = 0, limit = 0, used = 0;

    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu kB", &kb) == 1)
            break;
    if (f)
        fclose(f);

    FILE *most = fopen("/sys/fs/cgroup/memory.max", "r"), *now = fopen("/sys/fs/cgroup/memory.current", "r");
    if (most && now && fscanf(most, "%llu", &limit) == 1 && fscanf(now, "%llu", &used) == 1 &&
        limit > used && limit - used < kb * 1024)
        kb = (limit - used) / 1024;
    if (most)
        fclose(most);
    if (now)
        fclose(now);
    return (size_t)kb * 1024;
}

status bill_check(const session *s, const trainer *x, size_t *total)
{
    const bill   b = bill_of(s, x);
    const size_t have = free_memory();

    *total = b.total;
    if (have == 0 || b.total <= have) {
        log_info("memory: %.0f MB in all (activations %.0f, trunk %.0f, gradients %.0f, optimizer %.0f)",
                 (double)b.total / 1e6, (double)b.step / 1e6, (double)b.trunk / 1e6,
                 (double)b.gradients / 1e6, (double)b.optimizer / 1e6);
        return STATUS_OK;
    }
    return fail(STATUS_MEMORY,
                "this run needs %.0f MB (activations %.0f, trunk %.0f, gradients %.0f, optimizer %.0f), "
                "%.0f MB are free; use a smaller data.pack, or train.recompute: block",
                (double)b.total / 1e6, (double)b.step / 1e6, (double)b.trunk / 1e6,
                (double)b.gradients / 1e6, (double)b.optimizer / 1e6, (double)have / 1e6);
}

void bill_print(const bill *b, FILE *out)
{
    const struct {
        const char *name;
        size_t      bytes;
    } rows[] = {{"trunk (as stored, mapped)", b->trunk}, {"tuned values", b->values},
                {"gradients", b->gradients},             {"optimizer state", b->optimizer},
                {"activations of a step", b->step},      {"kernel scratch", b->scratch},
                {"data and names", b->data},             {"in all", b->total}};

    for (size_t i = 0; i < COUNT_OF(rows); i++)
        fprintf(out, "  %-28s %10.1f MB\n", rows[i].name, (double)rows[i].bytes / 1e6);
}
