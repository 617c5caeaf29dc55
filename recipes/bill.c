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

/* As it is stored: what stands in a weight's place is the modules', and what the files have in a part's is let go. */
static size_t trunk_bytes(const session *s)
{
    size_t bytes = 0;

    for (int i = 0; i < s->p->n_tuned; i++) {
        const tuned *x = &s->p->tensors[i];
        if (x->first < 0 && x->value.v && x->place->value.v == x->value.v)
            bytes += tensor_bytes(&x->kept) - tensor_bytes(&x->value);
        if (x->part && weights_mapped(&s->w, &x->kept))
            bytes -= tensor_bytes(&x->kept);
    }

    for (int i = 0; i < s->m.n_tensors; i++)
        bytes += tensor_bytes(&s->m.tensors[i].value);
    return bytes;
}

/* The second trunk that the loss reads, NULL: there is none. */
static const session *teacher_of(const trainer *x)
{
    return x->o.goal ? x->o.goal->teacher : NULL;
}

static void add_device(const session *s, const trainer *x, bill *b)
{
    const trainer_bill t = trainer_device_memory(x);
    const device_info *info = device_about(device_current());
    const session     *teacher = teacher_of(x);

    b->device = (struct bill_device){.trunk = session_device_bytes(s) + (teacher ? session_device_bytes(teacher) : 0),
                                     .gradients = t.gradients,
                                     .optimizer = t.optimizer, .step = t.step, .scratch = t.scratch,
                                     .context = info->context, .free = info->free};
    b->device.total = b->device.trunk + t.gradients + t.optimizer + t.step + t.scratch + info->context;
    b->gradients = t.gradients ? 0 : b->gradients; /* what lives there has only addresses here */
    b->optimizer = t.optimizer ? 0 : b->optimizer;
    b->scratch = 0;
}

bill bill_of(const session *s, const trainer *x)
{
    const trainer_bill t = trainer_memory(x);
    bill               b = {.trunk = trunk_bytes(s), .values = t.values + peft_instead_bytes(s->p),
                            .gradients = t.gradients, .optimizer = t.optimizer, .step = t.step,
                            .program = PROGRAM_BYTES};

    if (teacher_of(x))
        b.trunk += trunk_bytes(teacher_of(x));
    const size_t rows = x->o.pack < HEAD_ROWS ? (size_t)x->o.pack : HEAD_ROWS;
    b.data = arena_mark(&s->setup) - peft_spare_bytes(s->p) + (size_t)memory_heap();
    b.scratch = (size_t)threads_count() * (PANEL_BYTES + (size_t)x->o.pack * HEAD_BYTES_TOKEN) + ROWS_BYTES +
                rows * HEAD_WORDS * sizeof(float);
    if (device_current())
        add_device(s, x, &b);
    const peft_start_cost starts = peft_cost_of_start(s->p);
    const size_t          always = b.trunk + b.values + b.data + b.program;
    b.starts = starts.each + starts.all;
    b.running = always + b.gradients + b.optimizer + b.step + b.scratch;
    b.total = always + b.starts > b.running ? always + b.starts : b.running;
    return b;
}

static double mb(size_t bytes)
{
    return (double)bytes / 1e6;
}

static status check_device(const bill *b)
{
    const struct bill_device *d = &b->device;

    if (d->total <= d->free) {
        log_info("memory of the device: %.0f MB in all (activations %.1f, trunk %.1f, scratch %.1f, gradients %.1f, "
                 "optimizer %.1f)", mb(d->total), mb(d->step), mb(d->trunk), mb(d->scratch), mb(d->gradients),
                 mb(d->optimizer));
        return STATUS_OK;
    }
    return fail(STATUS_MEMORY,
                "this run needs %.0f MB of the device (activations %.0f, scratch %.0f, trunk %.0f, gradients %.0f, "
                "optimizer %.0f, driver and libraries %.0f), %.0f MB are free; use a smaller data.pack, or "
                "train.recompute: block",
                mb(d->total), mb(d->step), mb(d->scratch), mb(d->trunk), mb(d->gradients), mb(d->optimizer),
                mb(d->context), mb(d->free));
}

status bill_check(const session *s, const trainer *x, size_t *total)
{
    const bill   b = bill_of(s, x);
    const size_t have = memory_free();

    *total = b.total;
    if (have > 0 && b.running > have)
        return fail(STATUS_MEMORY,
                    "this run needs %.0f MB (activations %.0f, scratch %.0f, trunk %.0f, gradients %.0f, optimizer "
                    "%.0f), %.0f MB are free; use a smaller data.pack, or train.recompute: block",
                    mb(b.running), mb(b.step), mb(b.scratch), mb(b.trunk), mb(b.gradients), mb(b.optimizer),
                    mb(have));
    log_info("memory: %.0f MB in all (activations %.1f, trunk %.1f, gradients %.1f, optimizer %.1f)", mb(b.running),
             mb(b.step), mb(b.trunk), mb(b.gradients), mb(b.optimizer));
    if (b.device.total == 0)
        return STATUS_OK;
    *total = b.device.total;
    return check_device(&b);
}

typedef struct bill_row {
    const char *name;
    size_t      bytes;
} bill_row;

static void print_rows(const bill_row *rows, size_t n, FILE *out)
{
    for (size_t i = 0; i < n; i++)
        fprintf(out, "  %-28s %10.1f MB\n", rows[i].name, mb(rows[i].bytes));
}

static void print_free(const char *name, size_t have, size_t total, FILE *out)
{
    if (have > 0)
        fprintf(out, "  %-28s %10.1f MB%s\n", name, mb(have),
                total > have ? "   TOO LITTLE: train would refuse" : "");
}

void bill_print(const bill *b, FILE *out)
{
    const struct bill_device *d = &b->device;
    const bill_row rows[] = {{"trunk (as stored, mapped)", b->trunk}, {"tuned values", b->values},
                             {"gradients", b->gradients},             {"optimizer state", b->optimizer},
                             {"activations of a step", b->step},      {"kernel scratch", b->scratch},
                             {"data and names", b->data},             {"program and libraries", b->program},
                             {"in all", b->total}};
    const bill_row there[] = {{"trunk and tuned values", d->trunk},   {"gradients", d->gradients},
                              {"optimizer state", d->optimizer},      {"activations of a step", d->step},
                              {"kernel scratch", d->scratch},         {"driver and libraries", d->context},
                              {"in all", d->total}};

    print_rows(rows, COUNT_OF(rows) - 1, out);
    if (b->starts > 0)
        print_rows(&(bill_row){"for starts, given back", b->starts}, 1, out);
    print_rows(&rows[COUNT_OF(rows) - 1], 1, out);
    print_free("free on this machine now", memory_free(), b->total, out);
    if (d->total == 0)
        return;
    fprintf(out, "memory of the device\n");
    print_rows(there, COUNT_OF(there), out);
    print_free("free there", d->free, d->total, out);
}
