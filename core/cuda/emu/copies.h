/* copies: asynchronous copies to shared memory, as late as the program allows.
 *
 * When a copy begins, NaN stands where it will go; the bytes are read and written when the thread waits
 * for their group. So a reader that does not wait sees NaN, and so does one who has not read the last
 * contents yet. A thread that ends with copies it never waited for stops the program. */
#ifndef CORE_CUDA_EMU_COPIES_H
#define CORE_CUDA_EMU_COPIES_H

#include "core/cuda/emu/fibers.h"

namespace emu {

/* bytes: 4 or 16, both places at a multiple of it. !there: zeros, and `from` is not read. */
void copy_later(void *to, const void *from, size_t bytes, bool there);
/* Closes the running thread's group. */
void copies_commit();
/* Does the copies of all groups but the newest `newest`. */
void copies_wait(int newest);
/* The running thread ends. */
void copies_end();

} // namespace emu

#endif
