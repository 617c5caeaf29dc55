/* bill: adding up what a run will hold */
#include "recipes/bill.h"

#include "core/log.h"
#include "core/memory_use.h"
#include "core/threads.h"

#include <stdio.h>

/* Scratch of the kernels: packed panels of a thread and rows that are turned over (core/cpu/matmul.c); the
 * logits of some rows and words (autograd/ops/cross_entropy_head.c). */
enum { PANEL_BYTES = 256 << 10, ROWS_BYTES = 4 << 20, HEAD_ROWS = 512, HEAD_WORDS = 2048 };

/* Keys and values of one head with their gradients, a thread (autograd/ops/attention.c), a token. */
enum { HEAD_BYTES_TOKEN = 1 << 10 };

/* Pages of the program and its libraries that a run touches, the tape, files being written. */
enum { PROGRAM_BYTES = 8 << 20 };

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
                            .optimizer = t.optimizer, .step = t.step, .data = arena_mark(&s->setup) - peft_spare_bytes(s->p) +
                                    (size_t)memory_heap()};

    const size_t rows = x->o.pack < HEAD_ROWS ? (size_t)x->o.pack : HEAD_ROWS;
    b.scratch = (size_t)threads_count() * (PANEL_BYTES + (size_t)x->o.pack * HEAD_BYTES_TOKEN) + ROWS_BYTES +
                rows * HEAD_WORDS * sizeof(float);
    b.program = PROGRAM_BYTES;
    b.total = b.trunk + b.values + b.gradients + b.optimizer + b.step + b.scratch + b.data + b.program;
    return b;
}

status bill_check(const session *s, const trainer *x, size_t *total)
{
    const bill   b = bill_of(s, x);
    const size_t have = memory_free();

    *total = b.total;
    if (have == 0 || b.total <= have) {
        log_info("memory: %.0f MB in all (activations %.1f, trunk %.1f, gradients %.1f, optimizer %.1f)",
                 (double)b.total / 1e6, (double)b.step / 1e6, (double)b.trunk / 1e6,
                 (double)b.gradients / 1e6, (double)b.optimizer / 1e6);
        return STATUS_OK;
    }
    return fail(STATUS_MEMORY,
                "this run needs %.0f MB (activations %.0f, scratch %.0f, trunk %.0f, gradients %.0f, optimizer "
                "%.0f), %.0f MB are free; use a smaller data.pack, or train.recompute: block",
                (double)b.total / 1e6, (double)b.step / 1e6, (double)b.scratch / 1e6, (double)b.trunk / 1e6,
                (double)b.gradients / 1e6, (double)b.optimizer / 1e6, (double)have / 1e6);
}

void bill_print(const bill *b, FILE *out)
{
    const size_t have = memory_free();
    const struct {
        const char *name;
        size_t      bytes;
    } rows[] = {{"trunk (as stored, mapped)", b->trunk}, {"tuned values", b->values},
                {"gradients", b->gradients},             {"optimizer state", b->optimizer},
                {"activations of a step", b->step},      {"kernel scratch", b->scratch},
                {"data and names", b->data},             {"program and libraries", b->program},
                {"in all", b->total}};

    for (size_t i = 0; i < COUNT_OF(rows); i++)
        fprintf(out, "  %-28s %10.1f MB\n", rows[i].name, (double)rows[i].bytes / 1e6);
    if (have > 0)
        fprintf(out, "  %-28s %10.1f MB%s\n", "free on this machine now", (double)have / 1e6,
                b->total > have ? "   TOO LITTLE: train would refuse" : "");
}
