/* leaf_sum: a binary counter of gradient buffers */
#include "recipes/leaf_sum.h"

#include "core/threads.h"
#include "optim/flat_kernels.h"

#include <string.h>

enum { PIECE = 16384 };

int leaf_sum_buffers(int64_t leaves)
{
    int n = 1;

    while (((int64_t)1 << (n - 1)) < leaves)
        n++;
    return n;
}

status leaf_sum_open(leaf_sum *s, arena *memory, int64_t size, int64_t leaves)
{
    *s = (leaf_sum){.size = size, .n_buffers = leaf_sum_buffers(leaves)};
    CHECK(s->n_buffers <= LEAF_LEVELS);
    for (int i = 0; i < s->n_buffers; i++)
        TRY_TAKE(s->buffer[i], memory, size);
    leaf_sum_start(s);
    return STATUS_OK;
}

void leaf_sum_start(leaf_sum *s)
{
    for (int i = 0; i < LEAF_LEVELS; i++)
        s->level[i] = -1;
    memset(s->used, 0, sizeof s->used);
    s->leaves = 0;
    s->current = -1;
}

typedef struct pass {
    float       *to;
    const float *a, *b;
    int64_t      size;
} pass;

static void zero_piece(void *context, int64_t piece)
{
    const pass   *p = context;
    const int64_t from = piece * PIECE, n = p->size - from < PIECE ? p->size - from : PIECE;

    memset(p->to + from, 0, (size_t)n * sizeof *p->to);
}

static void add_piece(void *context, int64_t piece)
{
    const pass   *p = context;
    const int64_t from = piece * PIECE, to = from + PIECE < p->size ? from + PIECE : p->size;

    for (int64_t i = from; i < to; i++)
        p->to[i] = p->a[i] + p->b[i];
}

static void run(leaf_sum *s, void (*body)(void *, int64_t), pass p)
{
    p.size = s->size;
    threads_run((s->size + PIECE - 1) / PIECE, body, &p);
}

static void zero(leaf_sum *s, float *buffer)
{
    float *there = flat_find(buffer);

    if (there)
        device_functions(device_current())->zero(there, (size_t)s->size * sizeof *there);
    else
        run(s, zero_piece, (pass){.to = buffer});
}

float *leaf_sum_begin(leaf_sum *s)
{
    CHECK(s->current < 0);
    for (int i = 0; i < s->n_buffers && s->current < 0; i++)
        if (!s->used[i])
            s->current = i;
    CHECK(s->current >= 0);
    s->used[s->current] = true;
    zero(s, s->buffer[s->current]);
    return s->buffer[s->current];
}

/* older + newer, into newer's buffer */
static void join(leaf_sum *s, int older, int newer)
{
    float *to = s->buffer[newer], *to_there = flat_find(to), *older_there = flat_find(s->buffer[older]);

    CHECK(!to_there == !older_there);
    if (to_there)
        flat_functions()->add(to_there, older_there, to_there, s->size);
    else
        run(s, add_piece, (pass){.to = to, .a = s->buffer[older], .b = to});
    s->used[older] = false;
}

void leaf_sum_end(leaf_sum *s, double loss)
{
    int at = s->current, level = 0;

    CHECK(at >= 0);
    for (; s->level[level] >= 0; level++) {
        join(s, s->level[level], at);
        loss = s->loss[level] + loss;
        s->level[level] = -1;
    }
    s->level[level] = at;
    s->loss[level] = loss;
    s->current = -1;
    s->leaves++;
}

float *leaf_sum_total(leaf_sum *s, double *loss)
{
    int at = -1;

    *loss = 0;
    for (int level = 0; level < LEAF_LEVELS; level++) {
        if (s->level[level] < 0)
            continue;
        if (at >= 0)
            join(s, s->level[level], at);
        *loss = at >= 0 ? s->loss[level] + *loss : s->loss[level];
        at = at >= 0 ? at : s->level[level];
        s->level[level] = -1;
    }
    CHECK(at >= 0);
    return s->buffer[at];
}
