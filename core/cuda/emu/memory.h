/* memory: the emulated device's memory, apart from the host's.
 *
 * Outside of kernels and copies it cannot be read or written, so that host code that follows a device
 * pointer stops at once, as it would with a GPU. Under the sanitizers every allocation has red zones
 * instead. CAMBIUM_EMU_MEMORY=bytes is the size of the device, 16 GB if not set. */
#ifndef CORE_CUDA_EMU_MEMORY_H
#define CORE_CUDA_EMU_MEMORY_H

#include <cstddef>

namespace emu {

void  *memory_take(size_t bytes); /* NULL: the device is full */
void   memory_give(void *p);
size_t memory_total();
size_t memory_used();

/* While one of these lives, device memory is open. */
struct memory_open {
    memory_open();
    ~memory_open();
};

} // namespace emu

#endif
