/* the emulated device against known answers; tests/test_emu_faults.cc has what it must catch */
#include "tests/with_emu.h"

#include <cmath>

#include <vector>

/* ---- indices and orders -------------------------------------------------------------------------------- */

static __global__ void write_indices(unsigned *out)
{
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    const unsigned threads = blockDim.x * blockDim.y * blockDim.z;

    out[block * threads + thread] = block * 1000 + thread;
}

START_TEST(every_thread_of_every_block_runs_once)
{
    emu_device            d;
    emu_values<unsigned>  out(24 * 30);

    LAUNCH(write_indices, dim3(2, 3, 4), dim3(5, 3, 2), 0, out.there);
    const std::vector<unsigned> got = out.back();
    for (unsigned i = 0; i < got.size(); i++)
        ck_assert_uint_eq(got[i], i / 30 * 1000 + i % 30);
}
END_TEST

/* Each thread appends its number; not what a kernel may do, but it shows who runs when. */
static __global__ void who_runs(int *list, int *n)
{
    list[(*n)++] = (int)(blockIdx.x * blockDim.x + threadIdx.x);
}

static std::vector<int> order_of(const char *how)
{
    emu_values<int> list(12), n(std::vector<int>{0});

    setenv("CAMBIUM_EMU_ORDER", how, 1);
    LAUNCH(who_runs, 3, 4, 0, list.there, n.there);
    unsetenv("CAMBIUM_EMU_ORDER");
    return list.back();
}

START_TEST(threads_run_in_the_order_that_is_asked_for)
{
    emu_device d;

    if (EMU_TSAN)
        SKIP("%s: it races on purpose", __func__);
    const std::vector<int> forward = order_of("forward"), backward = order_of("backward"), dice = order_of("random");
    for (int i = 0; i < 12; i++) {
        ck_assert_int_eq(forward[(size_t)i], i);
        ck_assert_int_eq(backward[(size_t)i], 11 - i);
    }
    ck_assert(dice != forward && dice != backward);
    for (int i = 0; i < 12; i++)
        ck_assert_int_eq(std::count(dice.begin(), dice.end(), i), 1);
}
END_TEST

/* ---- barriers -------------------------------------------------------------------------------------------- */

static __global__ void turn_over(const float *x, float *y)
{
    DYNAMIC_SHARED(float, tile);
    const int n = (int)blockDim.x, i = (int)threadIdx.x;

    tile[i] = x[i];
    __syncthreads();
    y[i] = tile[n - 1 - i];
}

static __global__ void turn_over_twice(const float *x, float *y)
{
    __shared__ float tile[1024];
    const int        n = (int)blockDim.x, i = (int)threadIdx.x;

    tile[i] = x[i];
    __syncthreads();
    const float other = tile[n - 1 - i];
    __syncthreads();
    tile[i] = other;
    __syncthreads();
    y[i] = tile[n - 1 - i];
}

START_TEST(a_barrier_waits_for_all_threads)
{
    emu_device         d;
    std::vector<float> x(1024);

    for (size_t i = 0; i < x.size(); i++)
        x[i] = (float)i;
    emu_values<float> there(x), y(x.size());
    for (const char *how : emu_orders) {
        setenv("CAMBIUM_EMU_ORDER", how, 1);
        LAUNCH(turn_over, 1, 1024, 1024 * sizeof(float), there.there, y.there);
        ck_assert(y.back() == std::vector<float>(x.rbegin(), x.rend()));
        LAUNCH(turn_over_twice, 1, 1024, 0, there.there, y.there);
        ck_assert(y.back() == x);
    }
    unsetenv("CAMBIUM_EMU_ORDER");
}
END_TEST

static __global__ void votes(int *count, int *any, int *none)
{
    const int i = (int)threadIdx.x;

    count[i] = __syncthreads_count(i % 3 == 0);
    any[i] = __syncthreads_or(i == 77);
    none[i] = __syncthreads_or(i > 1000);
}

START_TEST(a_barrier_counts_votes)
{
    emu_device      d;
    emu_values<int> count(100), any(100), none(100);

    LAUNCH(votes, 1, 100, 0, count.there, any.there, none.there);
    ck_assert(count.back() == std::vector<int>(100, 34));
    ck_assert(any.back() == std::vector<int>(100, 1));
    ck_assert(none.back() == std::vector<int>(100, 0));
}
END_TEST

static __global__ void some_leave(int *count)
{
    if (threadIdx.x % 4 == 1)
        return;
    count[threadIdx.x] = __syncthreads_count(1);
}

START_TEST(a_barrier_does_not_wait_for_threads_that_ended)
{
    emu_device      d;
    emu_values<int> count(std::vector<int>(128, -1));

    for (const char *how : emu_orders) {
        setenv("CAMBIUM_EMU_ORDER", how, 1);
        LAUNCH(some_leave, 1, 128, 0, count.there);
        const std::vector<int> got = count.back();
        for (int i = 0; i < 128; i++)
            ck_assert_int_eq(got[(size_t)i], i % 4 == 1 ? -1 : 96);
    }
    unsetenv("CAMBIUM_EMU_ORDER");
}
END_TEST

/* ---- warps ------------------------------------------------------------------------------------------------- */

static __global__ void shuffles(int *out)
{
    const int lane = (int)threadIdx.x;

    out[lane] = __shfl_xor_sync(~0u, lane, 5);
    out[32 + lane] = __shfl_up_sync(~0u, lane, 3);
    out[64 + lane] = __shfl_down_sync(~0u, lane, 3);
    out[96 + lane] = __shfl_sync(~0u, 100 + lane, 7);
    out[128 + lane] = __shfl_sync(~0u, lane, (lane * 11 + 1) % 32);
    out[160 + lane] = (int)__ballot_sync(~0u, lane % 5 == 0);
}

START_TEST(lanes_exchange_values)
{
    emu_device      d;
    emu_values<int> out(192);
    int             fives = 0;

    for (int i = 0; i < 32; i += 5)
        fives |= 1 << i;
    for (const char *how : emu_orders) {
        setenv("CAMBIUM_EMU_ORDER", how, 1);
        LAUNCH(shuffles, 1, 32, 0, out.there);
        const std::vector<int> got = out.back();
        for (int i = 0; i < 32; i++) {
            const int *g = &got[(size_t)i];
            ck_assert_int_eq(g[0], i ^ 5);
            ck_assert_int_eq(g[32], i >= 3 ? i - 3 : i);
            ck_assert_int_eq(g[64], i < 29 ? i + 3 : i);
            ck_assert_int_eq(g[96], 107);
            ck_assert_int_eq(g[128], (i * 11 + 1) % 32);
            ck_assert_int_eq(g[160], fives);
        }
    }
    unsetenv("CAMBIUM_EMU_ORDER");
}
END_TEST

/* Sums of the lower and the upper half of each warp, with two types and a mask of all lanes in between. */
static __global__ void halves(float *out, double *all)
{
    const int      lane = (int)threadIdx.x % 32;
    const unsigned mask = lane < 16 ? 0xffffu : 0xffff0000u;
    float          x = (float)threadIdx.x;
    double         y = x;

    for (int bits = 8; bits; bits >>= 1)
        x += __shfl_xor_sync(mask, x, bits);
    __syncwarp(mask);
    for (int bits = 16; bits; bits >>= 1)
        y += __shfl_xor_sync(~0u, y, bits);
    out[threadIdx.x] = x;
    all[threadIdx.x] = y;
}

START_TEST(masks_divide_a_warp)
{
    emu_device         d;
    emu_values<float>  out(64);
    emu_values<double> all(64);

    for (const char *how : emu_orders) {
        setenv("CAMBIUM_EMU_ORDER", how, 1);
        LAUNCH(halves, 1, 64, 0, out.there, all.there);
        const std::vector<float>  got = out.back();
        const std::vector<double> sums = all.back();
        for (int i = 0; i < 64; i++) {
            const int first = i / 16 * 16, warp = i / 32 * 32;
            ck_assert(got[(size_t)i] == (float)(16 * first + 120));
            ck_assert(sums[(size_t)i] == 32 * warp + 496);
        }
    }
    unsetenv("CAMBIUM_EMU_ORDER");
}
END_TEST

static __global__ void lanes_in_turn(int *out)
{
    __shared__ int tile[32];
    const int      lane = (int)threadIdx.x;

    for (int i = 0; i < 32; i++) {
        if (lane == i)
            tile[i] = i ? tile[i - 1] + i : 0;
        __syncwarp();
    }
    out[lane] = tile[31 - lane];
}

START_TEST(a_warp_barrier_orders_memory)
{
    emu_device      d;
    emu_values<int> out(32);

    LAUNCH(lanes_in_turn, 1, 32, 0, out.there);
    const std::vector<int> got = out.back();
    for (int i = 0; i < 32; i++)
        ck_assert_int_eq(got[(size_t)i], (31 - i) * (32 - i) / 2);
}
END_TEST

/* ---- memory --------------------------------------------------------------------------------------------------- */

static __global__ void leave_in_shared(float *out, bool write)
{
    DYNAMIC_SHARED(float, tile);
    __shared__ float fixed[32];

    if (write)
        tile[threadIdx.x] = fixed[threadIdx.x] = 1;
    out[blockIdx.x * 64 + threadIdx.x] = tile[threadIdx.x];
    out[blockIdx.x * 64 + 32 + threadIdx.x] = fixed[threadIdx.x];
}

START_TEST(shared_memory_that_nobody_wrote_is_nan)
{
    emu_device        d;
    emu_values<float> out(128);

    LAUNCH(leave_in_shared, 2, 32, 32 * sizeof(float), out.there, true);
    ck_assert(out.back() == std::vector<float>(128, 1));
    LAUNCH(leave_in_shared, 2, 32, 32 * sizeof(float), out.there, false);
    for (const float x : out.back())
        ck_assert(std::isnan(x));
}
END_TEST

START_TEST(device_memory_that_nobody_wrote_is_nan)
{
    emu_device        d;
    emu_values<float> out(1000);

    for (const float x : out.back())
        ck_assert(std::isnan(x));
}
END_TEST

START_TEST(the_host_cannot_touch_device_memory)
{
    emu_device        d;
    emu_values<float> x(std::vector<float>(10, 1.0f));

    if (EMU_ASAN || EMU_TSAN)
        SKIP("%s: under a sanitizer it lies on the heap", __func__);
    const emu_end read = emu_child([&] { printf("%g\n", (double)*(volatile float *)x.there); });
    ck_assert_int_eq(read.signal, SIGSEGV);
    const emu_end written = emu_child([&] { *(volatile float *)x.there = 2; });
    ck_assert_int_eq(written.signal, SIGSEGV);
    ck_assert(x.back() == std::vector<float>(10, 1.0f));
}
END_TEST

START_TEST(the_device_is_as_large_as_it_says)
{
    setenv("CAMBIUM_EMU_MEMORY", "67108864", 1);
    emu_device d;
    void      *a, *b;

    ck_assert_uint_eq(d.info.memory, 64 << 20);
    ck_assert_int_eq(cudaMalloc(&a, 20 << 20), cudaSuccess);
    ck_assert_int_eq(cudaMalloc(&b, 40 << 20), cudaErrorMemoryAllocation);
    ck_assert_int_eq(cudaGetLastError(), cudaErrorMemoryAllocation);
    ck_assert_int_eq(cudaGetLastError(), cudaSuccess);
    ck_assert_int_eq(cudaFree(a), cudaSuccess);
    ck_assert_int_eq(cudaMalloc(&b, 20 << 20), cudaSuccess);
    cudaFree(b);
}
END_TEST

/* ---- graphs ------------------------------------------------------------------------------------------------------ */

static __global__ void add_one(int *x)
{
    x[threadIdx.x] += 1;
}

START_TEST(a_graph_is_kept_and_then_run)
{
    emu_device      d;
    emu_values<int> x(std::vector<int>{0, 10}), y(2);
    void           *no = nullptr;

    d.f->graph_begin();
    LAUNCH(add_one, 1, 2, 0, x.there);
    LAUNCH(add_one, 1, 2, 0, x.there);
    d.f->copy(y.there, x.there, 2 * sizeof(int));
    ck_assert_int_eq(cudaMalloc(&no, 8), cudaErrorStreamCaptureUnsupported);
    ck_assert_int_eq(cudaFree(y.there), cudaErrorStreamCaptureUnsupported);
    ck_assert_int_eq(cudaStreamSynchronize(cuda_stream()), cudaErrorStreamCaptureUnsupported);
    cudaGetLastError();
    void *graph = d.f->graph_end();
    ck_assert_ptr_nonnull(graph);
    ck_assert(x.back() == (std::vector<int>{0, 10}));
    d.f->graph_run(graph);
    d.f->graph_run(graph);
    d.f->wait();
    ck_assert(y.back() == (std::vector<int>{4, 14}));
    d.f->graph_close(graph);
    ck_assert_str_eq(d.f->failure(), "");
}
END_TEST

TESTS(emu, every_thread_of_every_block_runs_once, threads_run_in_the_order_that_is_asked_for,
      a_barrier_waits_for_all_threads, a_barrier_counts_votes,
      a_barrier_does_not_wait_for_threads_that_ended, lanes_exchange_values, masks_divide_a_warp,
      a_warp_barrier_orders_memory, shared_memory_that_nobody_wrote_is_nan,
      device_memory_that_nobody_wrote_is_nan, the_host_cannot_touch_device_memory,
      the_device_is_as_large_as_it_says, a_graph_is_kept_and_then_run)
