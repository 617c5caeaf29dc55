/* attention_flash: attention in bf16 on tensor cores, for packed sequences and heads of 64, 96 and 128; what
 * it does not do (pages, caps, bias tables) is attention_plain.cuh's.
 *
 * FlashAttention-2 (Dao 2023): a block has a tile of one sequence's queries and one head, and walks over
 * tiles of keys with an online softmax; backward makes scores again from the log-sum-exp. dq has a block for
 * a tile of queries; dk and dv have one for a tile of keys, which walks over the queries of all heads that
 * read it: each sum is made by one warp in order, no atomics. Tiles are copied while the one before is
 * computed.
 *
 * Exponents are of 2: with c = scale log2(e), p = 2^(c q.k - lse log2(e)). */
#ifndef AUTOGRAD_OPS_ATTENTION_FLASH_CUH
#define AUTOGRAD_OPS_ATTENTION_FLASH_CUH

#include "autograd/ops/attention_plain.cuh"
#include "autograd/ops/shared_tile.cuh"

enum { FLASH_WARPS = 4, FLASH_THREADS = FLASH_WARPS * WARP_LANES, FLASH_KEYS = 64, FLASH_QUERIES = 64 };
#define LOG2_E 1.4426950408889634f
#define LN_2 0.69314718055994531f

/* Kernels are templates over D, the size of a head; M: a warp has 16 M rows; PART: columns of scores that it
 * has in registers at a time, a part of a tile. */

/* ---- tiles -------------------------------------------------------------------------------------------- */

/* Rows first .. last of sequence s, counted in the sequence, of n rows; row: of the first one in memory. */
struct flash_tile {
    int s, first, last, n, row;
};

/* The tile-th tile of `size` rows, when sequence s has the numbers from offsets[s] / size + s on: enough for
 * its rows, and found without a list. There are flash_tiles() of them; false: this one is empty. */
static __device__ __forceinline__ bool find_tile(const attention_view &w, const int32_t *offsets, int tile,
                                                 int size, flash_tile *t)
{
    int lo = 0, hi = w.sequences();

    if (hi < 1)
        return false;
    while (hi - lo > 1) {
        const int middle = (lo + hi) / 2;
        if (offsets[middle] / size + middle <= tile)
            lo = middle;
        else
            hi = middle;
    }
    t->s = lo;
    t->n = offsets[lo + 1] - offsets[lo];
    t->first = (tile - offsets[lo] / size - lo) * size;
    t->last = (t->first + size < t->n ? t->first + size : t->n) - 1;
    t->row = offsets[lo] + t->first;
    return t->first >= 0 && t->first < t->n;
}

/* An upper bound: the numbers of rows and of sequences stand on the device. */
static inline unsigned flash_tiles(const attention_view &w, int64_t rows, int size)
{
    return (unsigned)(rows / size + w.capacity - 1);
}

/* What queries at positions from .. to, to >= from, see of n keys: some of them keys lo .. hi, all of them
 * keys all_lo .. all_hi. */
struct flash_sight {
    int lo, hi, all_lo, all_hi;

    __device__ __forceinline__ bool some(int first, int last) const
    {
        return first <= hi && last >= lo;
    }
    __device__ __forceinline__ bool all(int first, int last) const
    {
        return first >= all_lo && last <= all_hi;
    }
};

static __device__ __forceinline__ flash_sight sight_of(const attention_view &w, int from, int to, int n)
{
    flash_sight x;

    w.range(from, n, &x.lo, &x.all_hi);
    w.range(to, n, &x.all_lo, &x.hi);
    return x;
}

/* The same for the rows of a tile from its row `row` on, `rows` at most; no rows see nothing. */
static __device__ __forceinline__ flash_sight sight_of_rows(const attention_view &w, const flash_tile &t,
                                                            int row, int rows, int n)
{
    const int first = t.first + row, last = first + rows - 1 < t.last ? first + rows - 1 : t.last;

    if (first > last)
        return flash_sight{0, -1, 0, -1};
    return sight_of(w, w.position(t.s, first), w.position(t.s, last), n);
}

/* This thread's values of a product: rows lane_row() and 8 on, columns lane_column() and the next. */
static __device__ __forceinline__ int lane_row()
{
    return threadIdx.x % WARP_LANES / 4;
}

static __device__ __forceinline__ int lane_column()
{
    return threadIdx.x % 4 * 2;
}

/* f(i, r, n, e) for each value c[i][n][e] of a product: of rows r = 0, 1 of i. */
template <int M, int N, class F> static __device__ __forceinline__ void each_of(F f)
{
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                f(i, e / 2, n, e);
}

/* Scores of keys that a query does not see become -infinity: position: of the first query; key: the first. */
template <int M, int N>
static __device__ __forceinline__ void hide_keys(const attention_view &w, float (&s)[M][N][4], int position,
                                                 int key, int keys)
{
    each_of<M, N>([&](int i, int r, int n, int e) {
        const int j = key + 8 * n + lane_column() + e % 2;
        int       lo, hi;
        w.range(position + 16 * i + 8 * r + lane_row(), keys, &lo, &hi);
        if (j < lo || j > hi)
            s[i][n][e] = -INFINITY;
    });
}

/* ---- forward ------------------------------------------------------------------------------------------ */

/* s becomes p = 2^(c s - m), with m the largest c s so far; sums of the p and o follow. */
template <int M, int N, int O>
static __device__ __forceinline__ void soften(float (&s)[M][N][4], float c, float (&m)[M][2],
                                              float (&sum)[M][2], float (&o)[M][O][4])
{
    float base[M][2];

#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float top = -INFINITY;
#pragma unroll
            for (int n = 0; n < N; n++)
                top = fmaxf(top, fmaxf(s[i][n][2 * r], s[i][n][2 * r + 1]));
            top = fmaxf(m[i][r], c * row_max(top));
            base[i][r] = top == -INFINITY ? 0 : top;
            const float shrink = power_of_2(m[i][r] - base[i][r]);
            m[i][r] = top;
            sum[i][r] *= shrink;
#pragma unroll
            for (int n = 0; n < O; n++) {
                o[i][n][2 * r] *= shrink;
                o[i][n][2 * r + 1] *= shrink;
            }
        }
    each_of<M, N>([&](int i, int r, int n, int e) {
        s[i][n][e] = power_of_2(c * s[i][n][e] - base[i][r]);
        sum[i][r] += s[i][n][e];
    });
}

/* y = o / sum, lse = ln sum + m */
template <int D, int M>
static __device__ __forceinline__ void store_outputs(const attention_view &w, const flash_tile &t, int h,
                                                     int row, const float (&m)[M][2],
                                                     const float (&sums)[M][2],
                                                     const float (&o)[M][D / 8][4], bf16 *y, float *lse)
{
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int     at = row + 16 * i + 8 * r + lane_row();
            const int64_t item = (int64_t)(t.row + at) * w.H + h;
            const float   sum = row_sum(sums[i][r]), inverse = sum > 0 ? 1 / sum : 0;
            if (t.first + at > t.last)
                continue;
            if (lane_column() == 0)
                lse[item] = sum > 0 ? LN_2 * m[i][r] + logf(sum) : -INFINITY;
#pragma unroll
            for (int n = 0; n < D / 8; n++)
                store_pair(y + item * D + 8 * n + lane_column(), o[i][n][2 * r] * inverse,
                           o[i][n][2 * r + 1] * inverse);
        }
}

/* A block for a tile of 16 M FLASH_WARPS queries and a head, late tiles first: under a causal mask they have
 * most to do. A warp has 16 M of the queries. */
template <int D, int M, int PART>
static __global__ void __launch_bounds__(FLASH_THREADS)
    flash_forward(attention_view w, const bf16 *q, const bf16 *k, const bf16 *v, bf16 *y, float *lse)
{
    constexpr int ROWS = 16 * M * FLASH_WARPS, STAGE = FLASH_KEYS * tile_row(D);
    DYNAMIC_SHARED(bf16, sq);
    bf16      *sk = sq + ROWS * tile_row(D), *sv = sk + 2 * STAGE;
    const int  h = blockIdx.x % w.H, row = threadIdx.x / WARP_LANES * 16 * M;
    float      m[M][2], sum[M][2] = {}, o[M][D / 8][4];
    flash_tile t;

    if (!find_tile(w, w.q_offsets, (int)((gridDim.x - 1 - blockIdx.x) / w.H), ROWS, &t))
        return;
    const int         keys = w.keys(t.s), stride = w.Hk * D;
    const int64_t     head = (int64_t)w.k_offsets[t.s] * stride + h / w.G * D;
    const int64_t     first = (int64_t)t.row * w.H + h;
    const flash_sight block = sight_of_rows(w, t, 0, ROWS, keys);
    const flash_sight mine = sight_of_rows(w, t, row, 16 * M, keys);
    const int         from = block.lo / FLASH_KEYS * FLASH_KEYS;

    clear_product(o);
    for (int i = 0; i < M; i++)
        m[i][0] = m[i][1] = -INFINITY;
    const auto copy_keys = [&](int key) {
        const int     stage = key / FLASH_KEYS % 2 * STAGE;
        const int64_t at = head + (int64_t)key * stride;
        copy_tile<FLASH_KEYS, D, FLASH_THREADS>(sk + stage, k + at, stride, keys - key);
        copy_tile<FLASH_KEYS, D, FLASH_THREADS>(sv + stage, v + at, stride, keys - key);
        copy_async_commit();
    };
    if (from <= block.hi) {
        copy_tile<ROWS, D, FLASH_THREADS>(sq, q + first * D, w.H * D, t.n - t.first);
        copy_keys(from);
    }
    for (int key = from; key <= block.hi; key += FLASH_KEYS) {
        const int stage = key / FLASH_KEYS % 2 * STAGE;
        copy_async_wait<0>();
        __syncthreads(); /* the tile is there, and nobody reads the one before */
        if (key + FLASH_KEYS <= block.hi)
            copy_keys(key + FLASH_KEYS);
#pragma unroll 1
        for (int j = 0; j < FLASH_KEYS; j += PART) {
            float s[M][PART / 8][4];
            if (!mine.some(key + j, key + j + PART - 1))
                continue;
            clear_product(s);
            multiply_rows<D>(s, sq + row * tile_row(D), sk + stage + j * tile_row(D));
            if (!mine.all(key + j, key + j + PART - 1))
                hide_keys(w, s, w.position(t.s, t.first + row), key + j, keys);
            soften(s, (float)w.scale * LOG2_E, m, sum, o);
            multiply_weights(o, s, sv + stage + j * tile_row(D));
        }
    }
    store_outputs<D>(w, t, h, row, m, sum, o, y, lse);
}

/* ---- backward: dq ------------------------------------------------------------------------------------- */

/* s becomes ds / scale = p (dp - shift), with p = 2^(c s - lse) and 0 where s is -infinity */
template <int M, int N>
static __device__ __forceinline__ void score_gradients(float (&s)[M][N][4], const float (&dp)[M][N][4],
                                                       float c, const float (&lse)[M][2],
                                                       const float (&shift)[M][2])
{
    each_of<M, N>([&](int i, int r, int n, int e) {
        const float p = power_of_2(c * s[i][n][e] - lse[i][r]);
        s[i][n][e] = s[i][n][e] == -INFINITY ? 0 : p * (dp[i][n][e] - shift[i][r]);
    });
}

/* dx += scale c, dx with `stride` values from row to row and `rows` rows */
template <int D, int M>
static __device__ __forceinline__ void add_rows(bf16 *dx, int64_t stride, int rows,
                                                const float (&c)[M][D / 8][4], float scale)
{
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const int at = 16 * i + 8 * r + lane_row();
#pragma unroll
            for (int n = 0; n < D / 8; n++)
                if (at < rows)
                    add_pair(dx + at * stride + 8 * n + lane_column(), scale * c[i][n][2 * r],
                             scale * c[i][n][2 * r + 1]);
        }
}

template <int D, int M, int PART>
static __global__ void __launch_bounds__(FLASH_THREADS)
    flash_backward_q(attention_view w, const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *dy,
                     const float *lse, const float *shift, bf16 *dq)
{
    constexpr int ROWS = 16 * M * FLASH_WARPS, STAGE = FLASH_KEYS * tile_row(D);
    DYNAMIC_SHARED(bf16, sq);
    bf16      *sy = sq + ROWS * tile_row(D), *sk = sy + ROWS * tile_row(D), *sv = sk + 2 * STAGE;
    const int  h = blockIdx.x % w.H, row = threadIdx.x / WARP_LANES * 16 * M;
    float      lses[M][2], shifts[M][2], sums[M][D / 8][4];
    flash_tile t;

    if (!find_tile(w, w.q_offsets, (int)((gridDim.x - 1 - blockIdx.x) / w.H), ROWS, &t))
        return;
    const int         keys = w.keys(t.s), stride = w.Hk * D;
    const int64_t     head = (int64_t)w.k_offsets[t.s] * stride + h / w.G * D;
    const int64_t     first = (int64_t)t.row * w.H + h;
    const flash_sight block = sight_of_rows(w, t, 0, ROWS, keys);
    const flash_sight mine = sight_of_rows(w, t, row, 16 * M, keys);
    const int         from = block.lo / FLASH_KEYS * FLASH_KEYS;
    const auto        copy_keys = [&](int key) {
        const int     stage = key / FLASH_KEYS % 2 * STAGE;
        const int64_t at = head + (int64_t)key * stride;
        copy_tile<FLASH_KEYS, D, FLASH_THREADS>(sk + stage, k + at, stride, keys - key);
        copy_tile<FLASH_KEYS, D, FLASH_THREADS>(sv + stage, v + at, stride, keys - key);
        copy_async_commit();
    };

    if (from > block.hi)
        return;
    copy_tile<ROWS, D, FLASH_THREADS>(sq, q + first * D, w.H * D, t.n - t.first);
    copy_tile<ROWS, D, FLASH_THREADS>(sy, dy + first * D, w.H * D, t.n - t.first);
    copy_keys(from);
    clear_product(sums);
#pragma unroll
    for (int i = 0; i < 2 * M; i++) {
        const int  at = row + 8 * i + lane_row();
        const bool there = t.first + at <= t.last;
        lses[i / 2][i % 2] = there ? LOG2_E * lse[first + at * w.H] : 0;
        shifts[i / 2][i % 2] = there ? shift[first + at * w.H] : 0;
    }
    for (int key = from; key <= block.hi; key += FLASH_KEYS) {
        const int stage = key / FLASH_KEYS % 2 * STAGE;
        copy_async_wait<0>();
        __syncthreads(); /* the tile is there, and nobody reads the one before */
        if (key + FLASH_KEYS <= block.hi)
            copy_keys(key + FLASH_KEYS);
#pragma unroll 1
        for (int j = 0; j < FLASH_KEYS; j += PART) {
            float s[M][PART / 8][4], dp[M][PART / 8][4];
            if (!mine.some(key + j, key + j + PART - 1))
                continue;
            clear_product(s);
            clear_product(dp);
            multiply_rows<D>(s, sq + row * tile_row(D), sk + stage + j * tile_row(D));
            multiply_rows<D>(dp, sy + row * tile_row(D), sv + stage + j * tile_row(D));
            if (!mine.all(key + j, key + j + PART - 1))
                hide_keys(w, s, w.position(t.s, t.first + row), key + j, keys);
            score_gradients(s, dp, (float)w.scale * LOG2_E, lses, shifts);
            multiply_weights(sums, s, sk + stage + j * tile_row(D));
        }
    }
    add_rows<D>(dq + (first + (int64_t)row * w.H) * D, w.H * D, t.n - t.first - row, sums, (float)w.scale);
}

/* ---- backward: dk and dv ------------------------------------------------------------------------------ */

/* A tile of queries in shared memory. */
template <int D> struct flash_queries {
    bf16  q[FLASH_QUERIES * tile_row(D)], dy[FLASH_QUERIES * tile_row(D)];
    float lse[FLASH_QUERIES], shift[FLASH_QUERIES];
};

/* Turned scores s [keys, queries] become p, dp becomes ds / scale; lse and shift: of the queries. Those past
 * the sequence have zeros for all values, and add nothing. */
template <int M, int N>
static __device__ __forceinline__ void turned_gradients(float (&s)[M][N][4], float (&dp)[M][N][4], float c,
                                                        const float *lse, const float *shift)
{
    each_of<M, N>([&](int i, int, int n, int e) {
        const int   query = 8 * n + lane_column() + e % 2;
        const float p = power_of_2(c * s[i][n][e] - LOG2_E * lse[query]);
        dp[i][n][e] = s[i][n][e] == -INFINITY ? 0 : p * (dp[i][n][e] - shift[query]);
        s[i][n][e] = s[i][n][e] == -INFINITY ? 0 : p;
    });
}

/* hide_keys for turned scores */
template <int M, int N>
static __device__ __forceinline__ void hide_keys_turned(const attention_view &w, float (&s)[M][N][4],
                                                        int position, int key, int keys)
{
    each_of<M, N>([&](int i, int r, int n, int e) {
        const int j = key + 16 * i + 8 * r + lane_row();
        int       lo, hi;
        w.range(position + 8 * n + lane_column() + e % 2, keys, &lo, &hi);
        if (j < lo || j > hi)
            s[i][n][e] = -INFINITY;
    });
}

/* A block for a tile of 16 FLASH_WARPS keys and a key head: a warp has 16 of the keys, as many as its
 * registers hold two sums of. */
template <int D, int PART>
static __global__ void __launch_bounds__(FLASH_THREADS)
    flash_backward_kv(attention_view w, const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *dy,
                      const float *lse, const float *shift, bf16 *dk, bf16 *dv)
{
    constexpr int ROWS = 16 * FLASH_WARPS;
    DYNAMIC_SHARED(bf16, sk);
    bf16             *sv = sk + ROWS * tile_row(D);
    flash_queries<D> *stages = reinterpret_cast<flash_queries<D> *>(sv + ROWS * tile_row(D));
    const int         hk = blockIdx.x % w.Hk, row = threadIdx.x / WARP_LANES * 16;
    float             sums_k[1][D / 8][4], sums_v[1][D / 8][4];
    flash_tile        t;

    if (!find_tile(w, w.k_offsets, (int)(blockIdx.x / w.Hk), ROWS, &t))
        return;
    /* query i, at position i + start, sees key j if i + start >= j and < j + window */
    const int     start = w.position(t.s, 0), queries = w.q_offsets[t.s + 1] - w.q_offsets[t.s];
    const int     earliest = w.causal || w.window ? t.first - start : 0;
    const int     latest = w.window ? t.last + w.window - 1 - start : queries - 1;
    const int     from = earliest > 0 ? earliest / FLASH_QUERIES : 0;
    const int     tiles = (latest < queries ? latest : queries - 1) / FLASH_QUERIES + 1 - from;
    const int     steps = latest < 0 || queries < 1 || tiles < 1 ? 0 : tiles * w.G;
    const int64_t first = (int64_t)t.row * w.Hk + hk;
    const auto    copy_queries = [&](int step) {
        flash_queries<D> *x = stages + step % 2;
        const int         i = (from + step % tiles) * FLASH_QUERIES, rows = queries - i;
        const int64_t     at = (int64_t)(w.q_offsets[t.s] + i) * w.H + hk * w.G + step / tiles;
        copy_tile<FLASH_QUERIES, D, FLASH_THREADS>(x->q, q + at * D, w.H * D, rows);
        copy_tile<FLASH_QUERIES, D, FLASH_THREADS>(x->dy, dy + at * D, w.H * D, rows);
        for (int r = threadIdx.x; r < FLASH_QUERIES; r += FLASH_THREADS) {
            copy_async_4(x->lse + r, lse + at + (int64_t)r * w.H, r < rows);
            copy_async_4(x->shift + r, shift + at + (int64_t)r * w.H, r < rows);
        }
        copy_async_commit();
    };

    if (steps == 0)
        return;
    copy_tile<ROWS, D, FLASH_THREADS>(sk, k + first * D, w.Hk * D, t.n - t.first);
    copy_tile<ROWS, D, FLASH_THREADS>(sv, v + first * D, w.Hk * D, t.n - t.first);
    copy_queries(0);
    clear_product(sums_k);
    clear_product(sums_v);
    for (int step = 0; step < steps; step++) {
        const flash_queries<D> *x = stages + step % 2;
        const int i = (from + step % tiles) * FLASH_QUERIES, key = t.first + row;
        copy_async_wait<0>();
        __syncthreads(); /* the tile is there, and nobody reads the one before */
        if (step + 1 < steps)
            copy_queries(step + 1);
#pragma unroll 1
        for (int part = i; part < i + FLASH_QUERIES && part < queries && key <= t.last; part += PART) {
            const int         end = part + PART < queries ? part + PART : queries, at = part - i;
            const flash_sight sight = sight_of(w, start + part, start + end - 1, t.n);
            float             s[1][PART / 8][4], dp[1][PART / 8][4];
            if (!sight.some(key, key + 15))
                continue;
            clear_product(s);
            clear_product(dp);
            multiply_rows<D>(s, sk + row * tile_row(D), x->q + at * tile_row(D));
            multiply_rows<D>(dp, sv + row * tile_row(D), x->dy + at * tile_row(D));
            if (!sight.all(key, key + 15))
                hide_keys_turned(w, s, start + part, key, t.n);
            turned_gradients(s, dp, (float)w.scale * LOG2_E, x->lse + at, x->shift + at);
            multiply_weights(sums_v, s, x->dy + at * tile_row(D));
            multiply_weights(sums_k, dp, x->q + at * tile_row(D));
        }
    }
    const int64_t at = (first + (int64_t)row * w.Hk) * D;
    if (dk)
        add_rows<D>(dk + at, w.Hk * D, t.n - t.first - row, sums_k, (float)w.scale);
    if (dv)
        add_rows<D>(dv + at, w.Hk * D, t.n - t.first - row, sums_v, 1); /* may be dk */
}

/* ---- launches ----------------------------------------------------------------------------------------- */

template <int D, int M, int PART> static void flash_forward_launch(const op_args *a, const attention_view &w)
{
    constexpr int    ROWS = 16 * M * FLASH_WARPS;
    const size_t     shared = (size_t)(ROWS + 4 * FLASH_KEYS) * tile_row(D) * sizeof(bf16);
    const int64_t    N = op_bound(a->in[0]);
    const unsigned   blocks = flash_tiles(w, N, ROWS) * (unsigned)w.H;

    if (N > 0 && blocks > 0)
        LAUNCH((flash_forward<D, M, PART>), blocks, FLASH_THREADS, shared, w, op_values<bf16>(a->in[0]),
               op_values<bf16>(a->in[1]), op_values<bf16>(a->in[2]), op_values<bf16>(a->out[0]),
               op_values<float>(a->out[1]));
}

template <int D, int M> static void flash_backward_launch(const op_args *a, const attention_view &w)
{
    constexpr int  ROWS = 16 * M * FLASH_WARPS, KEYS = 16 * FLASH_WARPS;
    const int64_t  N = op_bound(a->in[0]), keys = op_bound(a->in[1]);
    const bf16    *q = op_values<bf16>(a->in[0]), *k = op_values<bf16>(a->in[1]);
    const bf16    *v = op_values<bf16>(a->in[2]);
    const bf16    *dy = op_values<bf16>(a->gout[0]);
    const float   *lse = op_values<float>(a->out[1]);
    const unsigned for_q = flash_tiles(w, N, ROWS) * (unsigned)w.H;
    const unsigned for_k = flash_tiles(w, keys, KEYS) * (unsigned)w.Hk;
    const size_t   shared_q = (size_t)(2 * ROWS + 4 * FLASH_KEYS) * tile_row(D) * sizeof(bf16);
    const size_t   shared_k = (size_t)(2 * KEYS) * tile_row(D) * sizeof(bf16) + 2 * sizeof(flash_queries<D>);

    if (N == 0 || keys == 0 || for_q == 0)
        return;
    float *shift = plain_shifts<bf16>(a, w);
    if (a->gin[0])
        LAUNCH((flash_backward_q<D, M, 32>), for_q, FLASH_THREADS, shared_q, w, q, k, v, dy, lse, shift,
               op_values<bf16>(a->gin[0]));
    if (a->gin[1] || a->gin[2])
        LAUNCH((flash_backward_kv<D, 32>), for_k, FLASH_THREADS, shared_k, w, q, k, v, dy, lse, shift,
               op_values<bf16>(a->gin[1]), op_values<bf16>(a->gin[2]));
}

/* False: nothing was done, it is plain attention's. */
static bool attention_flash_forward(const op_args *a, const attention_view &w)
{
    if (w.blocks || w.cap > 0 || !(w.scale > 0) || a->in[7])
        return false;
    switch (w.D) {
    case 64: flash_forward_launch<64, 2, 64>(a, w); return true;
    case 96: flash_forward_launch<96, 2, 32>(a, w); return true;
    case 128: flash_forward_launch<128, 2, 32>(a, w); return true;
    default: return false;
    }
}

static bool attention_flash_backward(const op_args *a, const attention_view &w)
{
    if (w.blocks || w.cap > 0 || !(w.scale > 0) || a->in[7] || !a->gout[0])
        return false;
    switch (w.D) {
    case 64: flash_backward_launch<64, 2>(a, w); return true;
    case 96: flash_backward_launch<96, 1>(a, w); return true;
    case 128: flash_backward_launch<128, 1>(a, w); return true;
    default: return false;
    }
}

/* Other types than bf16 */
template <class T> struct attention_flash {
    static bool forward(const op_args *, const attention_view &)
    {
        return false;
    }
    static bool backward(const op_args *, const attention_view &)
    {
        return false;
    }
};
template <> struct attention_flash<bf16> {
    static bool forward(const op_args *a, const attention_view &w)
    {
        return attention_flash_forward(a, w);
    }
    static bool backward(const op_args *a, const attention_view &w)
    {
        return attention_flash_backward(a, w);
    }
};

#endif
