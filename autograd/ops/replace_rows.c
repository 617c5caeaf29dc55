/* replace_rows: y[n] = table[r] where row n has a place r = map[keys[n]] in 0 .. R-1, else x[n]
 *
 * Without a map r = keys[n] - first; without keys the key is n itself.
 *
 * dx[n]     += dy[n] where x stayed
 * dtable[r] += sum over the rows n with place r of dy[n] */
#include "autograd/ops/kernel.h"

status op_replace_rows_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *keys = a->in[2], *map = a->in[3];

    TRY(op_want_matrix("replace_rows", "x", a->in[0]));
    TRY(op_want_matrix("replace_rows", "table", a->in[1]));
    if (a->in[1]->s.d[1] != a->in[0]->s.d[1])
        return fail(STATUS_SHAPE, "replace_rows: the table is %s, x has %lld columns", shape_text(a->in[1]->s),
                    (long long)a->in[0]->s.d[1]);
    if (keys)
        TRY(op_want_ints("replace_rows", "keys", keys, shape_1(a->in[0]->s.d[0])));
    if (map)
        TRY(op_want_ints("replace_rows", "map", map, shape_1(keys ? map->s.d[0] : a->in[0]->s.d[0])));
    if (!keys && !map)
        return fail(STATUS_SHAPE, "replace_rows: keys or a map must be given");
    *out = a->in[0]->s;
    *n_aux = 0;
    return STATUS_OK;
}

/* The place of row n in the table; negative: none. */
static int64_t place_of(const op_args *a, int64_t n)
{
    const int32_t *keys = a->in[2] ? a->in[2]->v : NULL, *map = a->in[3] ? a->in[3]->v : NULL;
    const int64_t  key = keys ? keys[n] : n;

    if (map)
        CHECK(key >= 0 && key < a->in[3]->s.d[0]);
    const int64_t r = map ? map[key] : key - a->attr->replace_rows.first;
    return r < a->in[1]->s.d[0] ? r : -1;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = a->out[0]->s.d[1];
    const real   *x = a->in[0]->v, *table = a->in[1]->v;
    real         *y = a->out[0]->v; /* may be x */

    for (int64_t n = from; n < to; n++) {
        const int64_t r = place_of(a, n);
        if (r >= 0)
            memcpy(y + n * C, table + r * C, (size_t)C * sizeof *y);
        else if (y != x)
            memcpy(y + n * C, x + n * C, (size_t)C * sizeof *y);
    }
}

void op_replace_rows_fwd_cpu(const op_args *a)
{
    op_over(a, rows_in_use(a->in[0]), op_piece_rows(a->out[0]->s.d[1]), forward);
}

/* Columns from .. to-1: rows are added in their order, whatever the number of threads. */
static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t C = shape_last(a->gout[0]->s), N = rows_in_use(a->gout[0]);
    const real   *dy = a->gout[0]->v;
    real         *dx = op_value(a->gin[0]), *dtable = op_value(a->gin[1]);

    for (int64_t n = 0; n < N; n++) {
        const int64_t r = place_of(a, n);
        real *RESTRICT to_row = r >= 0 ? dtable : dx;
        const int64_t  row = (r >= 0 ? r : n) * C;
        for (int64_t c = from; to_row && c < to; c++)
            to_row[row + c] += dy[n * C + c];
    }
}

void op_replace_rows_bwd_cpu(const op_args *a)
{
    op_over(a, shape_last(a->gout[0]->s), PIECE_COLUMNS, backward);
}
