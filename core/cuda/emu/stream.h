/* stream: work is done at once, or put into the graph that is being captured */
#ifndef CORE_CUDA_EMU_STREAM_H
#define CORE_CUDA_EMU_STREAM_H

#include <cuda_runtime_api.h>

#include <functional>

namespace emu {

/* Does the work, or captures it; `kind` is for planted faults: "launch", "copy". */
cudaError_t submit_work(const char *kind, std::function<void()> work);

/* CAMBIUM_EMU_FAULT=KIND:N makes the N-th call of a kind fail, and all calls after it, as a lost device
 * does: launch, copy, wait, malloc (only that one); driver, device: 0 stands for every call. Counting begins
 * when the file CAMBIUM_EMU_FAULT_AFTER is there, if it is set. */
cudaError_t planted_fault(const char *kind);

} // namespace emu

#endif
