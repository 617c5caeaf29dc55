/* quant_write: blocks of 256 values whose groups have scales of their own (q4_k, q6_k)
 *
 * First each group gets the step (and minimum) that suits it best; then the steps become whole multiples of
 * one half-precision number, neighbours of the nearest multiple are tried too, and last that number is fitted
 * to what was chosen. */
#include "core/quant_fit.h"

#include <string.h>

enum { BLOCK = 256, G4 = 8, G6 = 16 }; /* groups of q4_k (of 32 values) and of q6_k (of 16) */

/* A value's weight: how far it lies from zero, and what is usual in its block. */
static void weights_of(const floats16 *x, floats16 *w)
{
    floats16 sum = {0};

    for (int i = 0; i < BLOCK / 16; i++)
        sum += x[i] * x[i];
    const float usual = sqrtf(sum16(sum) / BLOCK);
    for (int i = 0; i < BLOCK / 16; i++)
        w[i] = usual + absolute16(x[i]);
}

static float largest(const float *v, int n)
{
    float most = 0;

    for (int i = 0; i < n; i++)
        most = fabsf(v[i]) > fabsf(most) ? v[i] : most;
    return most;
}

/* ---- q4_k: d s q - dmin m ------------------------------------------------------------------------ */

typedef struct block4 {
    float d, dmin;
    int   s[G4], m[G4];
} block4;

static ALWAYS_INLINE floats16 levels4(floats16 x, float step, float min)
{
    return step > 0 ? clamp16(nearest16((x + min) * (1 / step)), 0, 15) : (floats16){0};
}

static float group_error4(const floats16 *x, const floats16 *w, float step, float min)
{
    floats16 sum = {0};

    for (int i = 0; i < 2; i++) {
        const floats16 e = step * levels4(x[i], step, min) - min - x[i];
        sum += w[i] * e * e;
    }
    return sum16(sum);
}

/* The best step and minimum (not below 0) for the levels that a guess gives. */
static void fit_group4(const floats16 *x, const floats16 *w, float *step, float *min)
{
    floats16 ws = {0}, q1 = {0}, qq = {0}, xs = {0}, xq = {0};

    for (int i = 0; i < 2; i++) {
        const floats16 q = levels4(x[i], *step, *min), wq = w[i] * q;
        ws += w[i];
        q1 += wq;
        qq += wq * q;
        xs += w[i] * x[i];
        xq += wq * x[i];
    }
    const float n = sum16(ws), a = sum16(q1), b = sum16(qq), c = sum16(xs), e = sum16(xq);
    const float det = n * b - a * a;
    if (det > 0) {
        *step = (n * e - a * c) / det;
        *min = (a * e - b * c) / det;
    }
    if (!(det > 0) || *min < 0) {
        *min = 0;
        *step = b > 0 ? e / b : 0;
    }
}

static void search_group4(const floats16 *x, const floats16 *w, float *step, float *min)
{
    float least = 0, most = 0, best;

    for (int i = 0; i < 32; i++) {
        const float v = x[i / 16][i % 16];
        least = fminf(least, v);
        most = i ? fmaxf(most, v) : v;
    }
    *min = -least;
    *step = fmaxf(most - least, 0) / 15;
    if (*step == 0)
        return;
    best = group_error4(x, w, *step, *min);
    for (int t = 0; t <= 20; t++) {
        float s = (most - least) / (14 + 0.1f * (float)t), m = -least;
        fit_group4(x, w, &s, &m);
        const float error = group_error4(x, w, s, m);
        if (error < best) {
            best = error;
            *step = s;
            *min = m;
        }
    }
}

/* Whole multiples of d and dmin near a group's step and minimum. */
static float choose_multiples4(const floats16 *x, const floats16 *w, float step, float min, block4 *b, int g)
{
    const int near_s = b->d > 0 ? (int)clamp(nearest(step / b->d), 0, 63) : 0;
    const int near_m = b->dmin > 0 ? (int)clamp(nearest(min / b->dmin), 0, 63) : 0;
    float     best = INFINITY;

    for (int s = near_s > 0 ? near_s - 1 : 0; s <= near_s + 1 && s <= 63; s++)
        for (int m = near_m > 0 ? near_m - 1 : 0; m <= near_m + 1 && m <= 63; m++) {
            const float error = group_error4(x, w, b->d * (float)s, b->dmin * (float)m);
            if (error < best) {
                best = error;
                b->s[g] = s;
                b->m[g] = m;
            }
        }
    return best;
}

/* d and dmin fitted to the levels and multiples of a block. */
static void fit_block4(const floats16 *x, const floats16 *w, block4 *b)
{
    float aa = 0, am = 0, mm = 0, ax = 0, mx = 0;

    for (int g = 0; g < G4; g++)
        for (int i = 2 * g; i < 2 * g + 2; i++) {
            const float    s = (float)b->s[g], m = (float)b->m[g];
            const floats16 a = s * levels4(x[i], b->d * s, b->dmin * m), wa = w[i] * a;
            aa += sum16(wa * a);
            am += sum16(wa) * m;
            mm += sum16(w[i]) * m * m;
            ax += sum16(wa * x[i]);
            mx += sum16(w[i] * x[i]) * m;
        }
    const float det = aa * mm - am * am; /* x ~ d a - dmin m */
    if (det > 1e-6f * aa * mm) {
        const float d = (ax * mm - mx * am) / det, dmin = (ax * am - mx * aa) / det;
        if (d > 0 && dmin >= 0) {
            b->d = half_not_zero(d);
            b->dmin = half_not_zero(dmin);
        }
    } else if (aa > 0 && mm == 0)
        b->d = half_not_zero(ax / aa);
}

static float choose_all4(const floats16 *x, const floats16 *w, const float *step, const float *min, block4 *b)
{
    float error = 0;

    for (int g = 0; g < G4; g++)
        error += choose_multiples4(x + 2 * g, w + 2 * g, step[g], min[g], b, g);
    return error;
}

static void search_block4(const floats16 *x, block4 *b)
{
    floats16 w[BLOCK / 16];
    float    step[G4], min[G4];

    weights_of(x, w);
    for (int g = 0; g < G4; g++)
        search_group4(x + 2 * g, w + 2 * g, &step[g], &min[g]);
    b->d = half_not_zero(largest(step, G4) / 63);
    b->dmin = half_not_zero(largest(min, G4) / 63);
    float error = choose_all4(x, w, step, min, b);
    for (int again = 0; again < 2; again++) {
        block4 other = *b;
        fit_block4(x, w, &other);
        const float e = choose_all4(x, w, step, min, &other);
        if (!(e < error))
            break;
        error = e;
        *b = other;
    }
}

/* ---- values that a block of q4_k has exactly ------------------------------------------------------ */

/* How a group's values may have come about: (v - least) / step are whole numbers 0..k for step = u / c and
 * k = c k0. */
typedef struct grid {
    float least, u;
    int   k0; /* 0: all values are equal and not above 0 */
} grid;

static bool near_whole(float x)
{
    return fabsf(x - nearest(x)) < 0.01f;
}

static bool whole_multiples(const float *x, int n, float least, float u)
{
    for (int i = 0; i < n; i++)
        if (!near_whole((x[i] - least) / u))
            return false;
    return true;
}

static bool find_grid4(const float *x, grid *g)
{
    float most = x[0];

    g->least = x[0];
    for (int i = 1; i < 32; i++) {
        g->least = fminf(g->least, x[i]);
        most = fmaxf(most, x[i]);
    }
    g->k0 = 0;
    if (most == g->least && most <= 0)
        return true;
    if (most == g->least)
        g->least = 0;
    for (g->k0 = 1; g->k0 <= 15; g->k0++) {
        g->u = (most - g->least) / (float)g->k0;
        if (whole_multiples(x, 32, g->least, g->u))
            return true;
    }
    return false;
}

/* v is a whole multiple 0..most of d, as exactly as f32 can tell; *s the multiple. */
static bool is_multiple(float v, float d, float slack, int most, int *s)
{
    const float r = d > 0 ? nearest(fminf(v / d, 1e6f)) : 0;

    *s = (int)r;
    return r <= (float)most && fabsf(r * d - v) <= slack;
}

/* The block's numbers for a known d and dmin: each group takes the first pair of multiples that fits. */
static bool settle4(const grid *g, block4 *b)
{
    for (int i = 0; i < G4; i++) {
        bool found = false;
        for (int c = 1; !found && c <= (g[i].k0 ? 15 / g[i].k0 : 1); c++) {
            const float u = g[i].k0 ? g[i].u / (float)c : 0;
            if (!is_multiple(u, b->d, 1e-5f * u, 63, &b->s[i]))
                continue;
            for (int from = 0; !found && from <= 15 - c * g[i].k0; from++) {
                const float min = (float)from * (b->d * (float)b->s[i]) - g[i].least;
                found =
                    min >= -1e-6f * fabsf(g[i].least) &&
                    is_multiple(fmaxf(min, 0), b->dmin, 2e-6f * (fabsf(g[i].least) + 15 * u), 63, &b->m[i]);
            }
        }
        if (!found)
            return false;
    }
    return true;
}

static bool same4(const float *x, const block4 *b);

/* dmin for a known d: a multiple of it is the minimum of the group that lies lowest. */
static bool find_dmin4(const float *x, const grid *g, block4 *b)
{
    int low = 0;

    b->dmin = 0;
    if (settle4(g, b) && same4(x, b))
        return true;
    for (int i = 1; i < G4; i++)
        low = g[i].least < g[low].least ? i : low;
    for (int c = 1; c <= (g[low].k0 ? 15 / g[low].k0 : 1); c++)
        for (int from = 0; from <= 15 - c * g[low].k0; from++) {
            const float min = (float)from * (g[low].k0 ? g[low].u / (float)c : 0) - g[low].least;
            for (int m = 63; min > 0 && m > 0; m--) {
                b->dmin = half(min / (float)m);
                if (fabsf(b->dmin * (float)m - min) <= 1e-5f * min && settle4(g, b) && same4(x, b))
                    return true;
            }
        }
    return false;
}

static bool exact_block4(const float *x, block4 *b)
{
    grid g[G4];
    int  top = -1;

    for (int i = 0; i < G4; i++) {
        if (!find_grid4(x + 32 * i, &g[i]))
            return false;
        if (g[i].k0 && (top < 0 || g[i].u > g[top].u))
            top = i;
    }
    b->d = 0;
    if (top < 0)
        return find_dmin4(x, g, b);
    for (int c = 1; c <= 15 / g[top].k0; c++)
        for (int s = 63; s > 0; s--) {
            const float u = g[top].u / (float)c;
            b->d = half(u / (float)s);
            if (b->d > 0 && fabsf(b->d * (float)s - u) <= 1e-5f * u && find_dmin4(x, g, b))
                return true;
        }
    return false;
}

static void pack4(const float *x, const block4 *b, uint8_t *to)
{
    memset(to, 0, BYTES_Q4_K);
    put_half(to, b->d);
    put_half(to + 2, b->dmin);
    for (int g = 0; g < G4; g++) {
        const float step = b->d * (float)b->s[g], min = b->dmin * (float)b->m[g];
        uint8_t    *scales = to + 4;
        if (g < 4) {
            scales[g] |= (uint8_t)b->s[g];
            scales[g + 4] |= (uint8_t)b->m[g];
        } else {
            scales[g + 4] = (uint8_t)((b->s[g] & 15) | (b->m[g] & 15) << 4);
            scales[g - 4] |= (uint8_t)(b->s[g] >> 4 << 6);
            scales[g] |= (uint8_t)(b->m[g] >> 4 << 6);
        }
        for (int i = 0; i < 32; i++) {
            const int q = step != 0 ? (int)clamp(nearest((x[32 * g + i] + min) / step), 0, 15) : 0;
            to[16 + g / 2 * 32 + i] |= (uint8_t)(q << (g % 2 * 4));
        }
    }
}

static bool same4(const float *x, const block4 *b)
{
    uint8_t block[BYTES_Q4_K];
    float   back[BLOCK];

    pack4(x, b, block);
    block_q4_k(block, back);
    for (int i = 0; i < BLOCK; i++)
        if (back[i] != x[i])
            return false;
    return true;
}

void block_write_q4_k(const float *x, uint8_t *to)
{
    floats16 v[BLOCK / 16];
    float    turned[BLOCK];
    block4   b = {0};

    for (int i = 0; i < BLOCK; i++)
        turned[i] = -x[i];
    if (exact_block4(x, &b)) {
        pack4(x, &b, to);
        return;
    }
    if (exact_block4(turned, &b)) { /* both numbers below zero */
        b.d = -b.d;
        b.dmin = -b.dmin;
    } else {
        memcpy(v, x, sizeof v);
        search_block4(v, &b);
    }
    pack4(x, &b, to);
}

/* ---- q6_k: d s (q - 32) --------------------------------------------------------------------------- */

typedef struct block6 {
    float d;
    int   s[G6];
} block6;

static ALWAYS_INLINE floats16 levels6(floats16 x, float step)
{
    return step != 0 ? clamp16(nearest16(x * (1 / step)), -32, 31) : (floats16){0};
}

static float group_error6(floats16 x, floats16 w, float step)
{
    const floats16 e = step * levels6(x, step) - x;

    return sum16(w * e * e);
}

static float fit_group6(floats16 x, floats16 w, float step)
{
    const floats16 q = levels6(x, step);
    const float    qq = sum16(w * q * q);

    return qq > 0 ? sum16(w * q * x) / qq : 0;
}

static float search_group6(floats16 x, floats16 w)
{
    float most = 0, step, best;

    for (int i = 0; i < 16; i++)
        most = fabsf(x[i]) > fabsf(most) ? x[i] : most;
    if (most == 0)
        return 0;
    step = -most / 32;
    best = group_error6(x, w, step);
    for (int t = -9; t <= 9; t++) {
        const float s = fit_group6(x, w, -most / (32 + 0.1f * (float)t)), error = group_error6(x, w, s);
        if (error < best) {
            best = error;
            step = s;
        }
    }
    return step;
}

static float choose_all6(const floats16 *x, const floats16 *w, const float *step, block6 *b)
{
    float error = 0;

    for (int g = 0; g < G6; g++) {
        const int near = b->d != 0 ? (int)clamp(nearest(step[g] / b->d), -128, 127) : 0;
        float     best = INFINITY;
        for (int s = near - 1; s <= near + 1; s++) {
            const float e = s < -128 || s > 127 ? INFINITY : group_error6(x[g], w[g], b->d * (float)s);
            if (e < best) {
                best = e;
                b->s[g] = s;
            }
        }
        error += best;
    }
    return error;
}

static void fit_block6(const floats16 *x, const floats16 *w, block6 *b)
{
    float aa = 0, ax = 0;

    for (int g = 0; g < G6; g++) {
        const floats16 a = (float)b->s[g] * levels6(x[g], b->d * (float)b->s[g]);
        aa += sum16(w[g] * a * a);
        ax += sum16(w[g] * a * x[g]);
    }
    if (aa > 0)
        b->d = half_not_zero(ax / aa);
}

static void search_block6(const floats16 *x, block6 *b)
{
    floats16 w[BLOCK / 16];
    float    step[G6];

    weights_of(x, w);
    for (int g = 0; g < G6; g++)
        step[g] = search_group6(x[g], w[g]);
    b->d = half_not_zero(largest(step, G6) / -128);
    float error = choose_all6(x, w, step, b);
    for (int again = 0; again < 2; again++) {
        block6 other = *b;
        fit_block6(x, w, &other);
        const float e = choose_all6(x, w, step, &other);
        if (!(e < error))
            break;
        error = e;
        *b = other;
    }
}

static void pack6(const float *x, const block6 *b, uint8_t *to)
{
    memset(to, 0, BYTES_Q6_K);
    put_half(to + 208, b->d);
    for (int g = 0; g < G6; g++) {
        const float step = b->d * (float)b->s[g];
        to[192 + g] = (uint8_t)(int8_t)b->s[g];
        for (int i = 0; i < 16; i++) {
            const int q = 32 + (int)(step != 0 ? clamp(nearest(x[16 * g + i] / step), -32, 31) : 0);
            to[g / 8 * 64 + g % 4 * 16 + i] |= (uint8_t)((q & 15) << (g / 4 % 2 * 4));
            to[128 + g / 8 * 32 + g % 2 * 16 + i] |= (uint8_t)(q >> 4 << (g / 2 % 4 * 2));
        }
    }
}

static bool same6(const float *x, const block6 *b)
{
    uint8_t block[BYTES_Q6_K];
    float   back[BLOCK];

    pack6(x, b, block);
    block_q6_k(block, back);
    for (int i = 0; i < BLOCK; i++)
        if (back[i] != x[i])
            return false;
    return true;
}

/* Values of a group are whole multiples of u, the farthest k0 times. */
static bool find_grid6(const float *x, grid *g)
{
    const float most = fabsf(largest(x, 16));

    *g = (grid){0};
    if (most == 0)
        return true;
    for (g->k0 = 1; g->k0 <= 32; g->k0++) {
        g->u = most / (float)g->k0;
        if (whole_multiples(x, 16, 0, g->u))
            return true;
    }
    return false;
}

/* A group takes the multiple of d, of either sign, with which all its levels are in range. */
static bool settle6(const float *x, const grid *g, block6 *b)
{
    for (int i = 0; i < G6; i++) {
        bool found = g[i].k0 == 0;
        int  s = 0;
        b->s[i] = 0;
        for (int c = 1; !found && c <= 32 / g[i].k0; c++) {
            const float u = g[i].u / (float)c;
            if (!is_multiple(u, fabsf(b->d), 1e-5f * u, 128, &s))
                continue;
            for (int side = 0; !found && side < 2; side++) {
                const int   own = side ? -s : s;
                const float step = b->d * (float)own;
                found = own >= -128 && own <= 127 && own != 0;
                for (int k = 0; found && k < 16; k++)
                    found = nearest(x[16 * i + k] / step) <= 31;
                b->s[i] = own;
            }
        }
        if (!found)
            return false;
    }
    return true;
}

static bool exact_block6(const float *x, block6 *b)
{
    grid g[G6];
    int  top = -1;

    for (int i = 0; i < G6; i++) {
        if (!find_grid6(x + 16 * i, &g[i]))
            return false;
        if (g[i].k0 && (top < 0 || g[i].u > g[top].u))
            top = i;
    }
    b->d = 0;
    if (top < 0)
        return settle6(x, g, b);
    for (int c = 1; c <= 32 / g[top].k0; c++)
        for (int s = 128; s > 0; s--) {
            const float u = g[top].u / (float)c;
            b->d = half(u / (float)s);
            if (b->d == 0 || fabsf(b->d * (float)s - u) > 1e-5f * u)
                continue;
            if (settle6(x, g, b) && same6(x, b))
                return true;
            b->d = -b->d;
            if (settle6(x, g, b) && same6(x, b))
                return true;
        }
    return false;
}

void block_write_q6_k(const float *x, uint8_t *to)
{
    floats16 v[BLOCK / 16];
    block6   b = {0};

    if (!exact_block6(x, &b)) {
        memcpy(v, x, sizeof v);
        search_block6(v, &b);
    }
    pack6(x, &b, to);
}
