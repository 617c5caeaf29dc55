/* runtime: a stand-in for the CUDA runtime's host calls */
#include "core/cuda/dialect.cuh"
#include "core/cuda/emu/memory.h"
#include "core/cuda/emu/stream.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>
#include <vector>

struct emu_stream {
    int unused;
};
struct emu_graph {
    std::vector<std::function<void()>> work;
};
struct emu_event {
    std::chrono::steady_clock::time_point when;
};

namespace {

emu_graph  *capturing;
cudaError_t sticky = cudaSuccess, last = cudaSuccess;

cudaError_t result(cudaError_t code)
{
    if (code != cudaSuccess)
        last = code;
    return code;
}

} // namespace

namespace emu {

cudaError_t planted_fault(const char *kind)
{
    static int  counts[8];
    static const char *const kinds[8] = {"launch", "copy", "wait", "malloc", "driver", "device"};
    static const cudaError_t codes[8] = {cudaErrorLaunchFailure, cudaErrorIllegalAddress, cudaErrorLaunchFailure,
                                         cudaErrorMemoryAllocation, cudaErrorInsufficientDriver, cudaErrorNoDevice};
    const char  *plan = getenv("CAMBIUM_EMU_FAULT");
    const size_t n = strlen(kind);

    if (sticky != cudaSuccess)
        return sticky;
    for (int i = 0; plan && i < 8 && kinds[i]; i++) {
        if (strcmp(kinds[i], kind) != 0 || strncmp(plan, kind, n) != 0 || plan[n] != ':')
            continue;
        const int   at = atoi(plan + n + 1);
        const char *after = getenv("CAMBIUM_EMU_FAULT_AFTER");
        if (after && access(after, F_OK) != 0)
            return cudaSuccess;
        if (++counts[i] != at && at != 0)
            return cudaSuccess;
        if (codes[i] >= 700)
            sticky = codes[i];
        return codes[i];
    }
    return cudaSuccess;
}

cudaError_t submit_work(const char *kind, std::function<void()> work)
{
    const cudaError_t fault = planted_fault(kind);

    if (fault != cudaSuccess)
        return result(fault);
    if (capturing)
        capturing->work.push_back(std::move(work));
    else {
        memory_open open;
        work();
    }
    return cudaSuccess;
}

void submit(const char *name, dim3 grid, dim3 block, size_t shared, std::function<void()> body)
{
    submit_work("launch", [=] { run(name, grid, block, shared, body); });
}

} // namespace emu

extern "C" {

cudaError_t cudaGetDeviceCount(int *count)
{
    const cudaError_t driver = emu::planted_fault("driver"), device = emu::planted_fault("device");

    if (driver != cudaSuccess)
        return result(driver);
    if (device != cudaSuccess)
        return result(device);
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    return result(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    (void)device;
    snprintf(properties->name, sizeof properties->name, "emulated on the CPU");
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    (void)device;
    *value = attribute == cudaDevAttrMultiProcessorCount ? 2 : attribute == cudaDevAttrComputeCapabilityMajor ? 8 : 0;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total)
{
    *total = emu::memory_total();
    *free = *total > emu::memory_used() ? *total - emu::memory_used() : 0;
    return sticky;
}

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    const cudaError_t fault = emu::planted_fault("malloc");

    *p = nullptr;
    if (capturing)
        return result(cudaErrorStreamCaptureUnsupported);
    if (fault != cudaSuccess)
        return result(fault);
    *p = emu::memory_take(bytes);
    return result(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void *p)
{
    if (capturing && p)
        return result(cudaErrorStreamCaptureUnsupported);
    emu::memory_give(p);
    return sticky;
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    *p = aligned_alloc(256, (bytes + 255) / 256 * 256 + 256);
    return result(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void *p)
{
    free(p);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    (void)kind, (void)stream;
    return emu::submit_work("copy", [=] { memmove(to, from, bytes); });
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    (void)stream;
    return emu::submit_work("copy", [=] { memset(to, value, bytes); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    (void)flags;
    *stream = new emu_stream();
    return sticky;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    delete stream;
    return sticky;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    (void)stream;
    return result(capturing ? cudaErrorStreamCaptureUnsupported : emu::planted_fault("wait"));
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    (void)stream, (void)mode;
    if (capturing)
        return result(cudaErrorStreamCaptureUnsupported);
    capturing = new emu_graph();
    return sticky;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    (void)stream;
    *graph = capturing;
    capturing = nullptr;
    return sticky;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
    (void)flags;
    *exec = new emu_graph(*graph);
    return sticky;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    const cudaError_t fault = emu::planted_fault("launch");

    (void)stream;
    if (fault != cudaSuccess)
        return result(fault);
    emu::memory_open open;
    for (const auto &work : exec->work)
        work();
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return sticky;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return sticky;
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    *event = new emu_event();
    return sticky;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    (void)stream;
    event->when = std::chrono::steady_clock::now();
    return sticky;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    (void)event;
    return sticky;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to)
{
    *milliseconds = std::chrono::duration<float, std::milli>(to->when - from->when).count();
    return sticky;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return sticky;
}

cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value)
{
    (void)function, (void)attribute;
    return result(value <= 227 << 10 ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t code = last;

    last = cudaSuccess;
    return code;
}

const char *cudaGetErrorName(cudaError_t error)
{
    switch (error) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInsufficientDriver: return "cudaErrorInsufficientDriver";
    case cudaErrorDevicesUnavailable: return "cudaErrorDevicesUnavailable";
    case cudaErrorNoDevice: return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorLaunchOutOfResources: return "cudaErrorLaunchOutOfResources";
    case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    }
    return "cudaErrorUnknown";
}

const char *cudaGetErrorString(cudaError_t error)
{
    switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
    case cudaErrorLaunchFailure: return "unspecified launch failure";
    default: return "an error of the stand-in";
    }
}

} // extern "C"
