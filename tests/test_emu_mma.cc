/* emu_mma: tensor-core products, matrix loads and asynchronous copies on the emulated device, against plain
 * C; numbers are small and whole, so that every sum is exact; and the mistakes that the emulator must find */
#include "tests/with_emu.h"

#include "autograd/ops/shared_tile.cuh"

#include <functional>

static void on_a_block(int threads, size_t shared, const std::function<void()> &kernel)
{
    for (const char *order : emu_orders) {
        setenv("CAMBIUM_EMU_ORDER", order, 1);
        emu::run("test", dim3(1), dim3((unsigned)threads), shared, kernel);
    }
    unsetenv("CAMBIUM_EMU_ORDER");
}

/* A warp must stop the program with this text. */
static void stops(const char *why, const std::function<void()> &kernel)
{
    const emu_end e = emu_child([&] { emu::run("test", dim3(1), dim3(32), 0, kernel); });

    ck_assert_int_eq(e.signal, SIGABRT);
    ck_assert_msg(e.text.find(why) != std::string::npos, "%s", e.text.c_str());
}

static float whole(int i)
{
    return (float)(i * 7 % 11 - 5);
}

enum { ROWS = 64, WIDTH = 64 };

/* A tile [ROWS, WIDTH] whose value (r, c) is whole(r * step + c), at a 16-byte boundary. */
struct numbered_tile {
    alignas(16) bf16 v[ROWS * tile_row(WIDTH)];

    explicit numbered_tile(int step)
    {
        for (int i = 0; i < ROWS * tile_row(WIDTH); i++)
            v[i] = __float2bfloat16(NAN); /* the padding must not be read */
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < WIDTH; c++)
                v[r * tile_row(WIDTH) + c] = __float2bfloat16(whole(r * step + c));
    }
    float at(int r, int c) const
    {
        return __bfloat162float(v[r * tile_row(WIDTH) + c]);
    }
};

/* The product that the warp's lanes hold is `want`(row, column), added to 1 a value. */
template <int M, int N>
static void is_product(const float (&c)[M][N][4], const std::function<float(int, int)> &want)
{
    const int g = (int)threadIdx.x % 32 / 4, t = (int)threadIdx.x % 4;

    for (int i = 0; i < M; i++)
        for (int n = 0; n < N; n++)
            for (int e = 0; e < 4; e++)
                ck_assert(c[i][n][e] == 1 + want(16 * i + g + e / 2 * 8, 8 * n + 2 * t + e % 2));
}

template <int M, int N> static void set_ones(float (&c)[M][N][4])
{
    for (int i = 0; i < M * N * 4; i++)
        (&c[0][0][0])[i] = 1;
}

START_TEST(a_product_is_the_sum_of_products)
{
    on_a_block(64, 0, [] { /* two warps: each its own */
        const int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4, warp = (int)threadIdx.x / 32;
        unsigned  a[4], b[2];
        float     d[1][1][4] = {{{1, 1, 1, 1}}};
        for (int i = 0; i < 4; i++) {
            const int row = g + i % 2 * 8, k = 2 * t + i / 2 * 8;
            a[i] = pair_of(whole(row * 16 + k + warp), whole(row * 16 + k + 1 + warp));
        }
        for (int i = 0; i < 2; i++) {
            const int k = 2 * t + 8 * i;
            b[i] = pair_of(whole(k * 8 + g), whole((k + 1) * 8 + g));
        }
        mma_bf16(d[0][0], a, b);
        is_product(d, [=](int row, int column) {
            float sum = 0;
            for (int k = 0; k < 16; k++)
                sum += whole(row * 16 + k + warp) * (column < 8 ? whole(k * 8 + column) : 0);
            return sum;
        });
    });
}
END_TEST

START_TEST(matrices_are_dealt_out)
{
    const numbered_tile x(5);

    on_a_block(32, 0, [&] {
        const int lane = (int)threadIdx.x, g = lane / 4, t = lane % 4;
        unsigned  r[4], turned[4];
        /* matrix i begins at row 8 i, column 16 i */
        const bf16 *row = x.v + lane * tile_row(WIDTH) + lane / 8 * 16;
        ldmatrix_x4(r, row);
        ldmatrix_x4_turned(turned, row);
        for (int i = 0; i < 4; i++) {
            ck_assert(r[i] == pair_of(x.at(8 * i + g, 16 * i + 2 * t), x.at(8 * i + g, 16 * i + 2 * t + 1)));
            ck_assert(turned[i] ==
                      pair_of(x.at(8 * i + 2 * t, 16 * i + g), x.at(8 * i + 2 * t + 1, 16 * i + g)));
        }
    });
}
END_TEST

START_TEST(tiles_are_multiplied)
{
    const numbered_tile x(3), y(6);

    on_a_block(32, 0, [&] {
        float c[2][4][4], w[2][4][4], d[2][8][4];
        set_ones(c); /* [32, 64] [32, 64]^T */
        multiply_rows<WIDTH>(c, x.v, y.v);
        is_product(c, [&](int row, int column) {
            float sum = 0;
            for (int k = 0; k < WIDTH; k++)
                sum += x.at(row, k) * y.at(column, k);
            return sum;
        });
        for (int i = 0; i < 2 * 4 * 4; i++) { /* w [32, 32]: whole(row + column) */
            const int row = i / 16 * 16 + (int)threadIdx.x / 4 + i % 4 / 2 * 8;
            (&w[0][0][0])[i] = whole(row + i / 4 % 4 * 8 + (int)threadIdx.x % 4 * 2 + i % 2);
        }
        set_ones(d);
        multiply_weights(d, w, y.v);
        is_product(d, [&](int row, int column) {
            float sum = 0;
            for (int k = 0; k < 32; k++)
                sum += whole(row + k) * y.at(k, column);
            return sum;
        });
        set_ones(c); /* columns 16 .. 47 of x, 8 .. 39 of y */
        multiply_turned<ROWS>(c, x.v + 16, tile_row(WIDTH), y.v + 8, tile_row(WIDTH));
        is_product(c, [&](int row, int column) {
            float sum = 0;
            for (int k = 0; k < ROWS; k++)
                sum += x.at(k, 16 + row) * y.at(k, 8 + column);
            return sum;
        });
    });
}
END_TEST

START_TEST(copies_are_there_after_the_wait)
{
    alignas(16) static const float from[3][4] = {{1, 2, 3, 4}, {5, 6, 7, 8}, {9, 10, 11, 12}};

    on_a_block(64, 64 * 4 * 16, [] {
        DYNAMIC_SHARED(float, shared);
        float *mine = shared + threadIdx.x * 16, *other = shared + (63 - threadIdx.x) * 16;
        mine[0] = mine[4] = 42;
        copy_async_16(mine, from[0], true);
        copy_async_commit();
        copy_async_16(mine + 4, from[1], false);
        copy_async_4(mine + 8, &from[2][3], true);
        copy_async_commit();
        copy_async_4(mine + 9, NULL, false);
        ck_assert(isnan(mine[0]) && isnan(mine[4]) && isnan(mine[8]));
        copy_async_wait<1>();
        ck_assert(mine[0] == 1 && mine[3] == 4 && isnan(mine[4]) && isnan(mine[8]));
        copy_async_wait<0>(); /* what is in no group is not waited for */
        ck_assert(mine[4] == 0 && mine[7] == 0 && mine[8] == 12 && isnan(mine[9]));
        copy_async_commit();
        copy_async_wait<0>();
        __syncthreads();
        ck_assert(other[0] == 1 && other[8] == 12 && other[9] == 0);
    });
}
END_TEST

START_TEST(mistakes_stop_the_program)
{
    alignas(16) static const float from[8] = {0};
    alignas(16) static float       to[32][4];
    alignas(16) static bf16        tile[8 * 16];

    const auto copy = [](float *there, const float *here) {
        copy_async_16(there, here, true);
        copy_async_commit();
        copy_async_wait<0>();
    };
    on_a_block(32, 0, [&] { copy(to[threadIdx.x], from); });
    stops("not at a boundary of its size", [&] { copy(to[threadIdx.x] + 1, from); });
    stops("not at a boundary of its size", [&] { copy(to[threadIdx.x], from + 1); });
    stops("that it never waited for", [] { copy_async_16(to[threadIdx.x], from, true); });
    const auto load = [](int ld) {
        unsigned r[4];
        ldmatrix_x4(r, tile + (int)threadIdx.x % 8 * ld);
    };
    on_a_block(32, 0, [&] { load(16); });
    stops("not at a 16-byte boundary", [&] { load(12); });
    stops("a lane that has ended", [&] {
        if (threadIdx.x != 5)
            load(16);
    });
}
END_TEST

START_TEST(numbers_are_rounded)
{
    for (int i = -2000; i <= 2000; i++) {
        const float    x = (float)i / 16.0f + 0x1p-7f, y = power_of_2(x);
        const unsigned pair = pair_of(x, -x);
        ck_assert(fabs(y - exp2((double)x)) <= 0x1p-22 * exp2((double)x));
        ck_assert((pair & 0xffff) == __float2bfloat16(x).bits && pair >> 16 == __float2bfloat16(-x).bits);
    }
    ck_assert(power_of_2(-INFINITY) == 0 && power_of_2(-140) == 0 && power_of_2(0) == 1);
}
END_TEST

TESTS(emu_mma, a_product_is_the_sum_of_products, matrices_are_dealt_out, tiles_are_multiplied,
      copies_are_there_after_the_wait, mistakes_stop_the_program, numbers_are_rounded)
