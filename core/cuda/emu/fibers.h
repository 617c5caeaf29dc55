/* fibers: a block's threads on one CPU thread.
 *
 * A kernel is called once for every CUDA thread, each on a stack of its own; a thread that waits at a
 * barrier or a warp collective gives the CPU to the next one. Blocks run one after another. What a GPU
 * does not promise shows:
 *
 *   CAMBIUM_EMU_ORDER=forward|backward|random   the order in which threads of a block run; backward: also
 *                                               that of blocks
 *   shared memory that nobody wrote             NaN
 *   a barrier that some threads do not reach, a collective with lanes missing: the program stops with
 *   the kernel's name, block and thread
 *
 * Under the thread sanitizer every CUDA thread is a fiber that only barriers order against the others: a
 * race of two threads of a block is reported, in shared or global memory. Under the address sanitizer shared
 * arrays have red zones like all others. */
#ifndef CORE_CUDA_EMU_FIBERS_H
#define CORE_CUDA_EMU_FIBERS_H

#include <cstddef>
#include <cstdint>
#include <functional>

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c)
    {
    }
};

namespace emu {

enum { WARP = 32, THREADS_MAX = 1024 };

/* The running thread; set before it gets the CPU. */
struct coordinates {
    uint3 thread, block;
    dim3  block_size, grid_size;
    int   number; /* of the thread in its block */
};
extern coordinates at;
extern unsigned char *dynamic_shared;

/* Runs the kernel: body once for every thread of every block, `shared` bytes of dynamic shared memory. */
void run(const char *name, dim3 grid, dim3 block, size_t shared, const std::function<void()> &body);

/* Stops the program: what is wrong, in which kernel, block and thread. */
[[noreturn]] void die(const char *what);

/* Waits for all threads of the block that have not ended; returns the sum of their votes. The place tells
 * barriers apart: threads that meet at different ones are an error. */
int barrier(int vote, const char *file, int line);

/* Waits for the lanes of the mask. Orders their memory. */
void warp_barrier(unsigned mask);

/* What a lane gives to the others. */
struct slot {
    uint64_t words[2];
};

/* Every lane of the mask gives a slot, and gets that of a lane. Does not order memory, nor does ballot. */
slot     exchange(unsigned mask, slot mine, int lane);
/* The same with all of them: WARP slots, until the lanes' next meeting but one. */
const slot *gather(unsigned mask, slot mine);
unsigned ballot(unsigned mask, bool vote);

} // namespace emu

#endif
