/* the emulated device against known answers, and faults of kernels that it must catch: each one in a child
 * process whose last words are compared. What only a sanitizer sees is tested in its build. */
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

/* ---- faults of a kernel ------------------------------------------------------------------------------------------ */

/* The child must have been stopped by the emulator, with this text and the kernel's name. */
static void check_stopped(const emu_end &end, const char *kernel, const char *text)
{
    ck_assert_msg(end.signal == SIGABRT || end.signal == SIGSEGV || end.code != 0, "%s: it was not stopped", kernel);
    ck_assert_msg(strstr(end.text.c_str(), text) && strstr(end.text.c_str(), kernel), "%s said \"%s\", not \"%s\"",
                  kernel, end.text.c_str(), text);
}

static __global__ void no_barrier(const float *x, float *y)
{
    DYNAMIC_SHARED(float, tile);
    const int n = (int)blockDim.x, i = (int)threadIdx.x;

    tile[i] = x[i];
    y[i] = tile[n - 1 - i];
}

START_TEST(fault_a_missing_barrier_shows_between_orders)
{
    emu_device         d;
    emu_values<float>  x(std::vector<float>(64, 1.0f)), y(64);
    std::vector<float> first;
    int                other = 0;

    if (EMU_TSAN)
        SKIP("%s: fault_races has it", __func__);
    for (const char *how : emu_orders) {
        setenv("CAMBIUM_EMU_ORDER", how, 1);
        LAUNCH(no_barrier, 1, 64, 64 * sizeof(float), x.there, y.there);
        const std::vector<float> got = y.back();
        if (first.empty())
            first = got;
        other += memcmp(first.data(), got.data(), 64 * sizeof(float)) != 0;
    }
    unsetenv("CAMBIUM_EMU_ORDER");
    ck_assert_int_eq(other, 2);
}
END_TEST

static __global__ void blocks_depend(int *x)
{
    x[blockIdx.x + 1] = x[blockIdx.x] + 1;
}

START_TEST(fault_blocks_that_depend_show_between_orders)
{
    emu_device      d;
    emu_values<int> x(std::vector<int>(9, 0)), y(std::vector<int>(9, 0));

    LAUNCH(blocks_depend, 8, 1, 0, x.there);
    setenv("CAMBIUM_EMU_ORDER", "backward", 1);
    LAUNCH(blocks_depend, 8, 1, 0, y.there);
    unsetenv("CAMBIUM_EMU_ORDER");
    ck_assert(x.back() != y.back());
}
END_TEST

static __global__ void two_barriers(int *x)
{
    if (threadIdx.x < 16)
        __syncthreads();
    else
        __syncthreads();
    x[threadIdx.x] = 1;
}

static __global__ void barrier_and_collective(int *x)
{
    if (threadIdx.x < 32)
        __syncthreads();
    x[threadIdx.x] = threadIdx.x < 32 ? 0 : __shfl_xor_sync(~0u, 1, 1);
    if (threadIdx.x == 40)
        return;
    if (threadIdx.x >= 32)
        x[0] = __shfl_xor_sync(~0u, 1, 1);
    __syncthreads();
}

static __global__ void a_lane_has_left(int *x)
{
    if (threadIdx.x == 3)
        return;
    x[threadIdx.x] = __shfl_xor_sync(~0u, 1, 1);
}

static __global__ void a_lane_elsewhere(int *x)
{
    if (threadIdx.x != 3)
        x[threadIdx.x] = __shfl_xor_sync(~0u, 1, 1);
    __syncthreads();
}

static __global__ void not_in_the_mask(int *x)
{
    x[threadIdx.x] = (int)__ballot_sync(0xffu, 1);
}

static __global__ void from_outside_the_mask(int *x)
{
    if (threadIdx.x < 8)
        x[threadIdx.x] = __shfl_sync(0xffu, 1, 9);
}

static __global__ void nothing(int *x)
{
    (void)x;
}

START_TEST(fault_barriers_that_do_not_meet)
{
    emu_device      d;
    emu_values<int> x(64);

    for (const char *how : emu_orders) {
        setenv("CAMBIUM_EMU_ORDER", how, 1);
        check_stopped(emu_child([&] { LAUNCH(two_barriers, 1, 32, 0, x.there); }), "two_barriers",
                      "threads of the block wait at different barriers");
        check_stopped(emu_child([&] { LAUNCH(barrier_and_collective, 1, 64, 0, x.there); }),
                      "barrier_and_collective", "lane that has ended or is not there");
        check_stopped(emu_child([&] { LAUNCH(a_lane_elsewhere, 1, 32, 0, x.there); }), "a_lane_elsewhere",
                      "threads wait at a barrier or collective that the others never reach");
    }
    unsetenv("CAMBIUM_EMU_ORDER");
}
END_TEST

START_TEST(fault_collectives_with_wrong_lanes)
{
    emu_device      d;
    emu_values<int> x(64);

    check_stopped(emu_child([&] { LAUNCH(a_lane_has_left, 1, 32, 0, x.there); }), "a_lane_has_left",
                  "the mask of a collective names a lane that has ended or is not there");
    check_stopped(emu_child([&] { LAUNCH(shuffles, 1, 31, 0, x.there); }), "shuffles",
                  "the mask of a collective names a lane that has ended or is not there");
    check_stopped(emu_child([&] { LAUNCH(not_in_the_mask, 1, 32, 0, x.there); }), "not_in_the_mask",
                  "a lane calls a collective whose mask does not name it");
    check_stopped(emu_child([&] { LAUNCH(from_outside_the_mask, 1, 32, 0, x.there); }), "from_outside_the_mask",
                  "a shuffle reads a lane that the mask does not name");
}
END_TEST

START_TEST(fault_launches_that_no_gpu_takes)
{
    emu_device      d;
    emu_values<int> x(64);

    check_stopped(emu_child([&] { LAUNCH(nothing, 1, dim3(2048), 0, x.there); }), "nothing",
                  "a block must have 1 to 1024 threads");
    check_stopped(emu_child([&] { LAUNCH(nothing, 0, 32, 0, x.there); }), "nothing", "a grid must be 1 to");
    check_stopped(emu_child([&] { LAUNCH(nothing, dim3(1, 70000), 32, 0, x.there); }), "nothing",
                  "a grid must be 1 to");
    check_stopped(emu_child([&] { LAUNCH(nothing, 1, 32, 228 << 10, x.there); }), "nothing",
                  "more than 227 KB of shared memory");
}
END_TEST

/* ---- faults that the address sanitizer sees ------------------------------------------------------------------------ */

static __global__ void write_at(char *p, int i)
{
    if (threadIdx.x == 7)
        p[i] = 1;
}

static __global__ void read_at(const char *p, int i, char *out)
{
    if (threadIdx.x == 7)
        *out = p[i];
}

static __global__ void write_dynamic(int i)
{
    DYNAMIC_SHARED(char, tile);

    tile[i] = 1;
}

static __device__ __attribute__((noinline)) void put(char *p, int i)
{
    p[i] = 1;
}

static __global__ void write_static(int i)
{
    __shared__ char before[64], tile[60], behind[64];

    put(before, 0);
    put(behind, 0);
    put(tile, i);
}

START_TEST(fault_past_the_end)
{
    emu_device       d;
    emu_values<char> x(1001), out(1);
    const char      *overflow = "AddressSanitizer: heap-buffer-overflow";

    if (!EMU_ASAN)
        SKIP("%s: the address sanitizer's build sees it", __func__);
    LAUNCH(write_at, 1, 32, 0, x.there, 1000);
    LAUNCH(write_dynamic, 1, 1, 100, 99);
    LAUNCH(write_static, 1, 1, 0, 59);
    check_stopped(emu_child([&] { LAUNCH(write_at, 1, 32, 0, x.there, 1001); }), "write_at", overflow);
    check_stopped(emu_child([&] { LAUNCH(write_at, 1, 32, 0, x.there, -1); }), "write_at", overflow);
    check_stopped(emu_child([&] { LAUNCH(read_at, 1, 32, 0, x.there, 1001, out.there); }), "read_at", overflow);
    check_stopped(emu_child([&] { LAUNCH(write_dynamic, 1, 1, 100, 100); }), "write_dynamic",
                  "AddressSanitizer: use-after-poison");
    check_stopped(emu_child([&] { LAUNCH(write_static, 1, 1, 0, 60); }), "write_static",
                  "AddressSanitizer: global-buffer-overflow");
    d.f->give(x.release());
    check_stopped(emu_child([&] { LAUNCH(write_at, 1, 32, 0, x.gone, 0); }), "write_at",
                  "AddressSanitizer: heap-use-after-free");
}
END_TEST

/* ---- faults that the thread sanitizer sees ------------------------------------------------------------------------- */

static __global__ void race_in_shared(int *out)
{
    __shared__ int last;

    last = (int)threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = last;
}

static __global__ void race_in_global(int *out)
{
    out[threadIdx.x / 2] = (int)threadIdx.x;
}

static __global__ void shuffle_is_no_barrier(int *out)
{
    __shared__ int tile[32];

    tile[threadIdx.x] = 1;
    out[threadIdx.x] = __shfl_xor_sync(~0u, 1, 1);
    out[threadIdx.x] += tile[threadIdx.x ^ 1];
}

static void check_race(const emu_end &end, const char *kernel)
{
    ck_assert_msg(strstr(end.text.c_str(), "ThreadSanitizer: data race") && strstr(end.text.c_str(), kernel),
                  "%s: no race in \"%s\"", kernel, end.text.c_str());
}

START_TEST(fault_races)
{
    emu_device        d;
    emu_values<float> x(std::vector<float>(64, 1.0f)), y(64);
    emu_values<int>   out(64);

    if (!EMU_TSAN)
        SKIP("%s: the thread sanitizer's build sees it", __func__);
    check_race(emu_child([&] { LAUNCH(no_barrier, 1, 64, 64 * sizeof(float), x.there, y.there); }), "no_barrier");
    check_race(emu_child([&] { LAUNCH(race_in_shared, 1, 64, 0, out.there); }), "race_in_shared");
    check_race(emu_child([&] { LAUNCH(race_in_global, 1, 64, 0, out.there); }), "race_in_global");
    check_race(emu_child([&] { LAUNCH(shuffle_is_no_barrier, 1, 32, 0, out.there); }), "shuffle_is_no_barrier");
    const emu_end good = emu_child([&] { LAUNCH(turn_over, 1, 64, 64 * sizeof(float), x.there, y.there); });
    ck_assert_msg(good.text.find("data race") == std::string::npos, "%s", good.text.c_str());
}
END_TEST

TESTS(emu, every_thread_of_every_block_runs_once, threads_run_in_the_order_that_is_asked_for,
      a_barrier_waits_for_all_threads, a_barrier_counts_votes, a_barrier_does_not_wait_for_threads_that_ended,
      lanes_exchange_values, masks_divide_a_warp, a_warp_barrier_orders_memory,
      shared_memory_that_nobody_wrote_is_nan, device_memory_that_nobody_wrote_is_nan,
      the_host_cannot_touch_device_memory, the_device_is_as_large_as_it_says, a_graph_is_kept_and_then_run,
      fault_a_missing_barrier_shows_between_orders, fault_blocks_that_depend_show_between_orders,
      fault_barriers_that_do_not_meet, fault_collectives_with_wrong_lanes, fault_launches_that_no_gpu_takes,
      fault_past_the_end, fault_races)
