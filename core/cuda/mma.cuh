/* mma: products of bf16 on tensor cores, and what feeds them: matrix loads and copies that go on beside
 * the computation. Under nvcc these are PTX instructions (sm_80); for g++ they have twins that work lane by
 * lane (emu/fibers.h, emu/copies.h). All lanes of a warp call together, but for the copies.
 *
 * Who has what of a product, with g = lane / 4 and t = lane % 4; a pair is two values in one register, the
 * one with the smaller index in the lower half:
 *
 *     a [16, 16]   a[0] (g, 2t), a[1] (g + 8, 2t), a[2] (g, 2t + 8), a[3] (g + 8, 2t + 8): pairs along k
 *     b [16, 8]    b[0] (2t, g), b[1] (2t + 8, g): pairs along k
 *     d [16, 8]    d[0] d[1] (g, 2t), d[2] d[3] (g + 8, 2t) */
#ifndef CORE_CUDA_MMA_CUH
#define CORE_CUDA_MMA_CUH

#include "core/cuda/dialect.cuh"

#ifndef __CUDACC__
#include "core/cuda/emu/copies.h"
#endif

#ifdef __CUDACC__

static __device__ __forceinline__ unsigned shared_address(const void *p)
{
    return (unsigned)__cvta_generic_to_shared(p);
}

/* d += a b */
static __device__ __forceinline__ void mma_bf16(float *d, const unsigned *a, const unsigned *b)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Four matrices of 8 x 8 from shared memory: lane 8 i + r says where row r of matrix i begins (16 bytes);
 * r[i] is the pair (g, 2t) of matrix i. */
static __device__ __forceinline__ void ldmatrix_x4(unsigned *r, const bf16 *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* The same of the matrices turned over: r[i] is (2t, g) and (2t + 1, g) of what lies there. */
static __device__ __forceinline__ void ldmatrix_x4_turned(unsigned *r, const bf16 *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* Begins to copy 16 bytes from global to shared memory, zeros if they are not `there` (then `from` is not
 * read). Both at 16-byte boundaries. What was at `to` is lost at once. */
static __device__ __forceinline__ void copy_async_16(void *to, const void *from, bool there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
}

/* The same with 4 bytes. */
static __device__ __forceinline__ void copy_async_4(void *to, const void *from, bool there)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(there ? 4 : 0)
                 : "memory");
}

/* Makes one group of the thread's copies since the last one. */
static __device__ __forceinline__ void copy_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits for all of the thread's groups but the newest N; other threads see them after a barrier. */
template <int N> static __device__ __forceinline__ void copy_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* Two numbers rounded into a pair. */
static __device__ __forceinline__ unsigned pair_of(float low, float high)
{
    unsigned pair;

    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

/* 2^x within 2 units in the last place; what is not a normal number is 0 */
static __device__ __forceinline__ float power_of_2(float x)
{
    float y;

    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#else

namespace emu {

static inline float pair_half(unsigned pair, int high)
{
    return __uint_as_float(high ? pair & 0xffff0000u : pair << 16);
}

/* Rows that the lanes name, as the instruction deals them out. */
static inline void deal_matrices(unsigned *r, const bf16 *row, bool turned)
{
    const int   g = at.number % WARP / 4, t = at.number % WARP % 4;
    const slot *given = gather(~0u, slot{{(uint64_t)(uintptr_t)row, 0}});

    for (int i = 0; i < 4; i++) {
        bf16 pair[2];
        for (int half = 0; half < 2; half++) {
            const bf16 *there = (const bf16 *)(uintptr_t)given[8 * i + (turned ? 2 * t + half : g)].words[0];
            if ((uintptr_t)there % 16)
                die("a row of a matrix load is not at a 16-byte boundary");
            pair[half] = there[turned ? g : 2 * t + half];
        }
        memcpy(&r[i], pair, sizeof pair);
    }
}

} // namespace emu

static inline void mma_bf16(float *d, const unsigned *a, const unsigned *b)
{
    const int        g = emu::at.number % 32 / 4, t = emu::at.number % 32 % 4;
    unsigned         as[4][4], bs[2][4][2]; /* of rows g and g + 8; of columns 2t and 2t + 1 */
    emu::slot        mine = {};
    const emu::slot *given;

    memcpy(&mine, a, 4 * sizeof *a);
    given = emu::gather(~0u, mine);
    memcpy(as, given + 4 * g, sizeof as);
    memcpy(&mine, b, 2 * sizeof *b);
    given = emu::gather(~0u, mine);
    for (int column = 0; column < 2; column++)
        for (int i = 0; i < 4; i++)
            memcpy(bs[column][i], given + 4 * (2 * t + column) + i, sizeof bs[column][i]);
    for (int i = 0; i < 4; i++) {
        float sum = 0;
        for (int k = 0; k < 16; k++)
            sum += emu::pair_half(as[k % 8 / 2][i / 2 + k / 8 * 2], k % 2) *
                   emu::pair_half(bs[i % 2][k % 8 / 2][k / 8], k % 2);
        d[i] += sum;
    }
}

static inline void ldmatrix_x4(unsigned *r, const bf16 *row)
{
    emu::deal_matrices(r, row, false);
}

static inline void ldmatrix_x4_turned(unsigned *r, const bf16 *row)
{
    emu::deal_matrices(r, row, true);
}

static inline void copy_async_16(void *to, const void *from, bool there)
{
    emu::copy_later(to, from, 16, there);
}

static inline void copy_async_4(void *to, const void *from, bool there)
{
    emu::copy_later(to, from, 4, there);
}

static inline void copy_async_commit()
{
    emu::copies_commit();
}

template <int N> static inline void copy_async_wait()
{
    emu::copies_wait(N);
}

static inline unsigned pair_of(float low, float high)
{
    return (unsigned)__float2bfloat16(low).bits | (unsigned)__float2bfloat16(high).bits << 16;
}

static inline float power_of_2(float x)
{
    const float y = exp2f(x);

    return y < 0x1p-126f ? 0 : y;
}

#endif

#endif
