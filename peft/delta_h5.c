/* delta_h5: sparse changes in an HDF5 file, with the names and the code of places that the authors' files have */
#include "peft/delta.h"

#include "core/hdf5_file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- reading ------------------------------------------------------------------------------------------------ */

enum { NAMES_MAX = 1 << 24, TENSORS_MAX = 1 << 16 };

/* Names joined by line ends; *n of them, which lie in the arena. */
static status read_names(arena *a, h5_file *f, const char *list, char ***names, int *n)
{
    bool   found;
    dtype  type;
    shape  s;
    char  *text;

    *n = 0;
    TRY(h5_find(f, list, &found, &type, &s));
    if (!found)
        return STATUS_OK;
    if (type != TYPE_U8 || s.n != 1 || s.d[0] > NAMES_MAX)
        return fail(STATUS_FORMAT, "%s: %s is %s %s, must be u8 with one size of at most %d", f->path, list,
                    dtype_name(type), shape_text(s), NAMES_MAX);
    TRY_TAKE(text, a, s.d[0] + 1);
    TRY(h5_get(f, list, TYPE_U8, s, text));
    text[s.d[0]] = '\0';
    TRY_TAKE(*names, a, TENSORS_MAX);
    for (char *p = text; *p;) {
        char *end = strchr(p, '\n');
        if (!end || end == p || *n == TENSORS_MAX)
            return fail(STATUS_FORMAT, "%s: %s must be at most %d names, each ended by a line end", f->path, list,
                        TENSORS_MAX);
        *end = '\0';
        (*names)[(*n)++] = p;
        p = end + 1;
    }
    return STATUS_OK;
}

/* The sizes under a name: i64 [1..5], each at least 1. */
static status read_size(h5_file *f, const char *name, shape *out)
{
    int64_t d[SHAPE_MAX], values = 1;
    bool    found;
    dtype   type;
    shape   s;

    TRY(h5_find(f, name, &found, &type, &s));
    if (!found || type != TYPE_I64 || s.n != 1 || s.d[0] < 1 || s.d[0] > SHAPE_MAX)
        return fail(STATUS_FORMAT, "%s: %s is missing or not i64 with 1..%d sizes", f->path, name, SHAPE_MAX);
    TRY(h5_get(f, name, TYPE_I64, s, d));
    *out = (shape){.n = (int)s.d[0]};
    for (int i = 0; i < out->n; i++) {
        if (d[i] < 1 || d[i] > INT32_MAX / values)
            return fail(STATUS_FORMAT, "%s: size %d of %s is %lld, must be 1..%lld", f->path, i, name, (long long)d[i],
                        (long long)(INT32_MAX / values));
        values *= d[i];
        out->d[i] = d[i];
    }
    return STATUS_OK;
}

/* An array of one size, at most so many values. */
static status read_array(arena *a, h5_file *f, const char *name, dtype want, int64_t most, int64_t *n, void **out)
{
    bool  found;
    dtype type;
    shape s;

    TRY(h5_find(f, name, &found, &type, &s));
    if (!found || type != want || s.n != 1 || s.d[0] < 1 || s.d[0] > most)
        return fail(STATUS_FORMAT, "%s: %s is missing or not %s with 1..%lld values", f->path, name, dtype_name(want),
                    (long long)most);
    *n = s.d[0];
    *out = arena_take(a, (size_t)*n, (size_t)dtype_block_bytes(want));
    return *out ? h5_get(f, name, want, s, *out) : STATUS_MEMORY;
}

static status check_finite(const float *v, int64_t n, const char *path, const char *name)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return fail(STATUS_NUMERIC, "%s: value %lld of %s is %g, must be finite", path, (long long)i, name,
                        (double)v[i]);
    return STATUS_OK;
}

static status read_coded(arena *a, h5_file *f, int number, const char *name, delta_tensor *out)
{
    char     key[64];
    int64_t  n, m, *order;
    int32_t *at;
    float   *by;
    void    *steps, *values;

    *out = (delta_tensor){.name = name};
    snprintf(key, sizeof key, "%d.size", number);
    TRY(read_size(f, key, &out->s));
    snprintf(key, sizeof key, "%d.index_steps", number);
    TRY(read_array(a, f, key, TYPE_I64, shape_count(out->s), &n, &steps));
    snprintf(key, sizeof key, "%d.values", number);
    TRY(read_array(a, f, key, TYPE_F32, n, &m, &values));
    if (m != n)
        return fail(STATUS_FORMAT, "%s: %s has %lld values for %lld places", f->path, name, (long long)m, (long long)n);
    TRY(check_finite(values, n, f->path, name));
    TRY_TAKE(at, a, n);
    TRY_TAKE(by, a, n);
    TRY_TAKE(order, a, n);
    TRY(delta_decode(out->s, steps, n, at, order, name));
    for (int64_t i = 0; i < n; i++)
        by[i] = ((const float *)values)[order[i]];
    out->n = n;
    out->at = at;
    out->by = by;
    return STATUS_OK;
}

static status read_dense(arena *a, h5_file *f, int number, const char *name, delta_dense *out)
{
    char    key[64];
    int64_t n;

    *out = (delta_dense){.name = name, .t = {.type = TYPE_F32}};
    snprintf(key, sizeof key, "abs.%d.size", number);
    TRY(read_size(f, key, &out->t.s));
    snprintf(key, sizeof key, "abs.%d", number);
    TRY(read_array(a, f, key, TYPE_F32, shape_count(out->t.s), &n, &out->t.v));
    if (n != shape_count(out->t.s))
        return fail(STATUS_FORMAT, "%s: %s has %lld values, must be %s", f->path, name, (long long)n,
                    shape_text(out->t.s));
    return check_finite(out->t.v, n, f->path, name);
}

static status read_h5(arena *a, h5_file *f, delta *d)
{
    char **names, *made_on;

    TRY_TAKE(made_on, a, 65);
    TRY(h5_get_text(f, "base_sha256", made_on, 65));
    d->fingerprint = made_on[0] ? made_on : NULL;
    TRY(read_names(a, f, "diffs", &names, &d->n));
    TRY_TAKE(d->of, a, d->n + 1);
    for (int i = 0; i < d->n; i++)
        TRY(read_coded(a, f, i, names[i], &d->of[i]));
    TRY(read_names(a, f, "abs", &names, &d->n_dense));
    TRY_TAKE(d->dense, a, d->n_dense + 1);
    for (int i = 0; i < d->n_dense; i++)
        TRY(read_dense(a, f, i, names[i], &d->dense[i]));
    return STATUS_OK;
}

status delta_read_h5(arena *a, const char *path, delta *out)
{
    h5_file f = {0};

    *out = (delta){.path = path};
    TRY(h5_open(&f, path));
    const status s = read_h5(a, &f, out);
    h5_close(&f);
    return s;
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

static status put_names(arena *a, h5_file *f, const char *list, const delta *d, bool dense)
{
    const int n = dense ? d->n_dense : d->n;
    size_t    bytes = 0;
    char     *text;

    if (n == 0)
        return STATUS_OK;
    for (int i = 0; i < n; i++)
        bytes += strlen(dense ? d->dense[i].name : d->of[i].name) + 1;
    TRY_TAKE(text, a, bytes + 1);
    char *p = text;
    for (int i = 0; i < n; i++)
        p += sprintf(p, "%s\n", dense ? d->dense[i].name : d->of[i].name);
    return h5_put(f, list, TYPE_U8, shape_1((int64_t)bytes), text);
}

static status put_size(h5_file *f, const char *name, shape s)
{
    return h5_put(f, name, TYPE_I64, shape_1(s.n), s.d);
}

/* What is larger than `least`, of a tensor. */
static status larger(arena *a, const delta_tensor *x, double least, delta_tensor *out)
{
    int32_t *at;
    float   *by;

    TRY_TAKE(at, a, x->n);
    TRY_TAKE(by, a, x->n);
    *out = (delta_tensor){.name = x->name, .s = x->s, .at = at, .by = by};
    for (int64_t i = 0; i < x->n; i++)
        if (fabs((double)x->by[i]) > least) {
            at[out->n] = x->at[i];
            by[out->n++] = x->by[i];
        }
    return STATUS_OK;
}

static status put_coded(arena *a, h5_file *f, int number, const delta_tensor *x)
{
    char     key[64];
    int64_t *steps, *order;
    float   *values;

    CHECK(x->s.n > 0);
    TRY_TAKE(steps, a, x->n);
    TRY_TAKE(order, a, x->n);
    TRY_TAKE(values, a, x->n);
    TRY(delta_code(x->s, x->at, x->n, steps, order));
    for (int64_t i = 0; i < x->n; i++)
        values[i] = x->by[order[i]];
    snprintf(key, sizeof key, "%d.size", number);
    TRY(put_size(f, key, x->s));
    snprintf(key, sizeof key, "%d.index_steps", number);
    TRY(h5_put(f, key, TYPE_I64, shape_1(x->n), steps));
    snprintf(key, sizeof key, "%d.values", number);
    return h5_put(f, key, TYPE_F32, shape_1(x->n), values);
}

static status put_all(arena *a, h5_file *f, const delta *d)
{
    char key[64];

    TRY(h5_put_text(f, "base_sha256", d->fingerprint ? d->fingerprint : ""));
    TRY(put_names(a, f, "diffs", d, false));
    for (int i = 0; i < d->n; i++)
        TRY(put_coded(a, f, i, &d->of[i]));
    TRY(put_names(a, f, "abs", d, true));
    for (int i = 0; i < d->n_dense; i++) {
        const tensor *t = &d->dense[i].t;
        snprintf(key, sizeof key, "abs.%d.size", i);
        TRY(put_size(f, key, t->s));
        snprintf(key, sizeof key, "abs.%d", i);
        TRY(h5_put(f, key, TYPE_F32, shape_1(shape_count(t->s)), t->v));
    }
    return STATUS_OK;
}

status delta_write(arena *a, const delta *d, double least, const char *path)
{
    delta   kept = *d;
    h5_file f = {0};

    TRY_TAKE(kept.of, a, d->n + 1);
    kept.n = 0;
    for (int i = 0; i < d->n; i++) {
        TRY(larger(a, &d->of[i], least, &kept.of[kept.n]));
        kept.n += kept.of[kept.n].n > 0;
    }
    TRY(h5_create(&f, path));
    const status put = put_all(a, &f, &kept), finished = h5_finish(&f);
    return put == STATUS_OK ? finished : put;
}
