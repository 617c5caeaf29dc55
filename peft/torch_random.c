/* torch_random: MT19937 and what torch makes of it */
#include "peft/torch_random.h"

#include "core/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 624, AHEAD = 397 };

void torch_seed(torch_random *r, uint64_t seed)
{
    r->state[0] = (uint32_t)seed;
    for (uint32_t i = 1; i < WORDS; i++)
        r->state[i] = 1812433253u * (r->state[i - 1] ^ r->state[i - 1] >> 30) + i;
    r->at = WORDS;
}

static uint32_t next(torch_random *r)
{
    uint32_t *s = r->state;

    if (r->at == WORDS) {
        for (int i = 0; i < WORDS; i++) {
            const uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % WORDS] & 0x7fffffffu);
            s[i] = s[(i + AHEAD) % WORDS] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        r->at = 0;
    }
    uint32_t y = s[r->at++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

void torch_uniform(torch_random *r, float bound, float *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        v[i] = (float)(next(r) & 0xffffffu) * 0x1p-24f * (bound - -bound) + -bound;
}

/* Numbers of the permutation that are no longer where they were: an open hash from place to number. */
typedef struct moved {
    int64_t *place, *number;
    int64_t  size; /* a power of two */
} moved;

static int64_t slot_of(const moved *m, int64_t place)
{
    int64_t i = (int64_t)((uint64_t)place * 0x9e3779b97f4a7c15u >> 20) & (m->size - 1);

    while (m->place[i] >= 0 && m->place[i] != place)
        i = (i + 1) & (m->size - 1);
    return i;
}

static int64_t number_at(const moved *m, int64_t place)
{
    const int64_t i = slot_of(m, place);

    return m->place[i] < 0 ? place : m->number[i];
}

status torch_permutation(torch_random *r, arena *a, int64_t n, int64_t k, int64_t *out)
{
    const size_t mark = arena_mark(a);
    moved        m = {.size = 64};

    if (n >= UINT32_MAX / 20)
        return fail(STATUS_UNSUPPORTED,
                    "%lld places are not below %d: from there on torch draws in another way, which "
                    "is not in this version",
                    (long long)n, (int)(UINT32_MAX / 20));
    while (m.size < 4 * k)
        m.size *= 2;
    TRY_TAKE(m.place, a, m.size);
    TRY_TAKE(m.number, a, m.size);
    memset(m.place, 0xff, (size_t)m.size * sizeof *m.place);
    for (int64_t i = 0; i < k; i++) {
        const int64_t other = i < n - 1 ? i + (int64_t)next(r) % (n - i) : i;
        const int64_t was = number_at(&m, i), slot = slot_of(&m, other);
        out[i] = number_at(&m, other);
        m.place[slot] = other;
        m.number[slot] = was;
    }
    arena_rewind(a, mark);
    return STATUS_OK;
}

static float narrow(float x)
{
    return bf16_to_f32(f32_to_bf16(x));
}

/* A value that is rounded to the upper end, which is none of them, becomes the lower one. Then all are divided by
 * torch's std(), with n - 1 below the root. */
static void make_bf16(float *v, int64_t n, float bound)
{
    double sum = 0, squares = 0;

    for (int64_t i = 0; i < n; i++) {
        v[i] = narrow(v[i]) == narrow(bound) ? narrow(-bound) : narrow(v[i]);
        sum += v[i];
    }
    for (int64_t i = 0; i < n; i++)
        squares += (v[i] - sum / (double)n) * (v[i] - sum / (double)n);
    const float deviation = narrow((float)sqrt(squares / (double)(n - 1)));
    for (int64_t i = 0; i < n; i++)
        v[i] = narrow(v[i] / deviation);
}

status torch_make(arena *work, const void *context, const tensor *value)
{
    const torch_start *s = context;
    torch_random       r;

    (void)work;
    torch_seed(&r, s->seed);
    for (int64_t i = 0; i < s->skip; i++)
        next(&r);
    torch_uniform(&r, (float)s->bound, value->v, shape_count(value->s));
    if (s->bf16_normalised)
        make_bf16(value->v, shape_count(value->s), (float)s->bound);
    return STATUS_OK;
}

static int ascending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

status torch_make_places(arena *work, const void *context, const tensor *value)
{
    const torch_places *p = context;
    const int64_t       n = value->s.d[1];
    const size_t        mark = arena_mark(work);
    int32_t            *v = value->v;
    int64_t            *flat;
    torch_random        r;

    TRY_TAKE(flat, work, n);
    torch_seed(&r, p->seed);
    TRY(torch_permutation(&r, work, p->rows * p->columns, n, flat));
    qsort(flat, (size_t)n, sizeof *flat, ascending);
    for (int64_t i = 0; i < n; i++) {
        v[i] = (int32_t)(flat[i] / p->columns);
        v[n + i] = (int32_t)(flat[i] % p->columns);
    }
    arena_rewind(work, mark);
    return STATUS_OK;
}
