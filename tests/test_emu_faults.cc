/* faults of kernels that the emulated device must catch: each one in a child process whose last words are
 * compared. What only a sanitizer sees is tested in its build. */
#include "tests/with_emu.h"

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

static __global__ void with_barrier(const float *x, float *y)
{
    DYNAMIC_SHARED(float, tile);
    const int n = (int)blockDim.x, i = (int)threadIdx.x;

    tile[i] = x[i];
    __syncthreads();
    y[i] = tile[n - 1 - i];
}

START_TEST(a_missing_barrier_shows_between_orders)
{
    emu_device         d;
    emu_values<float>  x(std::vector<float>(64, 1.0f)), y(64);
    std::vector<float> first;
    int                other = 0;

    if (EMU_TSAN)
        SKIP("%s: races has it", __func__);
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

START_TEST(blocks_that_depend_show_between_orders)
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

static __global__ void all_lanes(int *x)
{
    x[threadIdx.x] = __shfl_xor_sync(~0u, 1, 1);
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

START_TEST(barriers_that_do_not_meet)
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

START_TEST(collectives_with_wrong_lanes)
{
    emu_device      d;
    emu_values<int> x(64);

    check_stopped(emu_child([&] { LAUNCH(a_lane_has_left, 1, 32, 0, x.there); }), "a_lane_has_left",
                  "the mask of a collective names a lane that has ended or is not there");
    check_stopped(emu_child([&] { LAUNCH(all_lanes, 1, 31, 0, x.there); }), "all_lanes",
                  "the mask of a collective names a lane that has ended or is not there");
    check_stopped(emu_child([&] { LAUNCH(not_in_the_mask, 1, 32, 0, x.there); }), "not_in_the_mask",
                  "a lane calls a collective whose mask does not name it");
    check_stopped(emu_child([&] { LAUNCH(from_outside_the_mask, 1, 32, 0, x.there); }), "from_outside_the_mask",
                  "a shuffle reads a lane that the mask does not name");
}
END_TEST

START_TEST(launches_that_no_gpu_takes)
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

START_TEST(past_the_end)
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

START_TEST(races)
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
    const emu_end good = emu_child([&] { LAUNCH(with_barrier, 1, 64, 64 * sizeof(float), x.there, y.there); });
    ck_assert_msg(good.text.find("data race") == std::string::npos, "%s", good.text.c_str());
}
END_TEST

TESTS(emu_faults, a_missing_barrier_shows_between_orders, blocks_that_depend_show_between_orders,
      barriers_that_do_not_meet, collectives_with_wrong_lanes, launches_that_no_gpu_takes,
      past_the_end, races)
