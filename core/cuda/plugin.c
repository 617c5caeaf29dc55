/* plugin: the table of functions that core/device_plugin.h describes, on the CUDA runtime */
#include "core/device_plugin.h"

#include "core/cuda/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool fine(void)
{
    return !cuda_failure()[0];
}

/* ---- the device ------------------------------------------------------------------------------------- */

static int count(void)
{
    int               n = 0;
    const cudaError_t code = cudaGetDeviceCount(&n);

    if (code == cudaErrorInsufficientDriver)
        cuda_fail("there is no NVIDIA driver, or it is older than this build's CUDA");
    else if (code == cudaErrorNoDevice || (code == cudaSuccess && n == 0))
        cuda_fail("there is no NVIDIA GPU that the driver knows");
    else
        cuda_check(code, "cudaGetDeviceCount");
    return fine() ? n : -1;
}

static size_t memory_free(void)
{
    size_t free = 0, total = 0;

    return cudaMemGetInfo(&free, &total) == cudaSuccess ? free : 0;
}

static int attribute(enum cudaDeviceAttr which, int number)
{
    int value = 0;

    cuda_check(cudaDeviceGetAttribute(&value, which, number), "cudaDeviceGetAttribute");
    return value;
}

static void describe(int number, device_info *info)
{
    struct cudaDeviceProp properties;

    if (cuda_check(cudaGetDeviceProperties(&properties, number), "cudaGetDeviceProperties"))
        snprintf(info->name, sizeof info->name, "%.120s", properties.name);
    info->processors = cuda.processors = attribute(cudaDevAttrMultiProcessorCount, number);
    info->capability = cuda.capability = 10 * attribute(cudaDevAttrComputeCapabilityMajor, number) +
                                         attribute(cudaDevAttrComputeCapabilityMinor, number);
    cuda_check(cudaDriverGetVersion(&info->driver), "cudaDriverGetVersion");
    cuda_check(cudaRuntimeGetVersion(&info->runtime), "cudaRuntimeGetVersion");
    cuda_check(cudaMemGetInfo(&info->free, &info->memory), "cudaMemGetInfo");
}

static bool open_device(int number, device_info *info)
{
    memset(info, 0, sizeof *info);
    cuda.number = number;
    if (!cuda_check(cudaSetDevice(number), "cudaSetDevice"))
        return false;
    describe(number, info);
    if (fine() && info->capability < 80 && strncmp(info->name, "emulated", 8) != 0)
        cuda_fail("%s has compute capability %d.%d, must be 8.0 or more", info->name, info->capability / 10,
                  info->capability % 10);
    if (fine())
        cuda_check(cudaStreamCreateWithFlags(&cuda.stream, cudaStreamNonBlocking), "cudaStreamCreate");
    if (fine() && !products_open())
        return false;
    cuda.rows_step = DEVICE_ROWS_STEP;
    cuda.open = fine();
    info->products = products_version();
    const size_t now = memory_free();
    info->context = info->free > now ? info->free - now : 0;
    return cuda.open;
}

static void close_device(void)
{
    if (!cuda.open)
        return;
    products_close();
    for (int i = 0; i < SCRATCH_SLOTS; i++) {
        cudaFree(cuda.scratch[i]);
        cuda.scratch[i] = NULL;
        cuda.scratch_size[i] = cuda.scratch_wanted[i] = 0;
    }
    cudaStreamDestroy(cuda.stream);
    cuda.open = false;
}

/* ---- memory ------------------------------------------------------------------------------------------ */

static void *take(size_t bytes)
{
    void *p = NULL;

    if (!fine())
        return NULL;
    const cudaError_t code = cudaMalloc(&p, bytes);
    if (code == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* it is forgotten: the program says what there was no memory for */
        return NULL;
    }
    return cuda_check(code, "cudaMalloc") ? p : NULL;
}

static void give(void *p)
{
    cudaFree(p);
}

static void move(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, const char *what)
{
    if (bytes > 0 && fine())
        cuda_check(cudaMemcpyAsync(to, from, bytes, kind, cuda.stream), what);
}

static void wait_for_all(void)
{
    if (!fine())
        return;
    const cudaError_t code = cudaStreamSynchronize(cuda.stream);
    if (code != cudaSuccess)
        cuda_fail("at or before %s: %s (%s)", cuda.kernel, cudaGetErrorString(code), cudaGetErrorName(code));
}

/* Pageable memory is copied before the call returns; see "API synchronization behavior" of the runtime. */
static void upload(void *to, const void *from, size_t bytes)
{
    move(to, from, bytes, cudaMemcpyHostToDevice, "copying to the device");
}

static void download(void *to, const void *from, size_t bytes)
{
    move(to, from, bytes, cudaMemcpyDeviceToHost, "copying from the device");
    wait_for_all();
}

static void copy(void *to, const void *from, size_t bytes)
{
    if (!cuda.measuring)
        move(to, from, bytes, cudaMemcpyDeviceToDevice, "copying on the device");
}

static void zero(void *p, size_t bytes)
{
    if (bytes > 0 && fine() && !cuda.measuring)
        cuda_check(cudaMemsetAsync(p, 0, bytes, cuda.stream), "clearing memory");
}

/* ---- graphs ------------------------------------------------------------------------------------------- */

static void graph_begin(void)
{
    if (fine())
        cuda.capturing = cuda_check(cudaStreamBeginCapture(cuda.stream, cudaStreamCaptureModeThreadLocal),
                                    "cudaStreamBeginCapture");
}

static void *graph_end(void)
{
    cudaGraph_t     graph = NULL;
    cudaGraphExec_t exec = NULL;

    if (!cuda.capturing)
        return NULL;
    cuda.capturing = false;
    if (!cuda_check(cudaStreamEndCapture(cuda.stream, &graph), "cudaStreamEndCapture"))
        return NULL;
    cuda_check(cudaGraphInstantiate(&exec, graph, 0), "cudaGraphInstantiate");
    cudaGraphDestroy(graph);
    return fine() ? (void *)exec : NULL;
}

static void graph_run(void *graph)
{
    snprintf(cuda.kernel, sizeof cuda.kernel, "a CUDA graph");
    if (fine())
        cuda_check(cudaGraphLaunch((cudaGraphExec_t)graph, cuda.stream), "cudaGraphLaunch");
}

static void graph_close(void *graph)
{
    if (graph)
        cudaGraphExecDestroy((cudaGraphExec_t)graph);
}

/* ---- the table ----------------------------------------------------------------------------------- */

static void measure(bool on)
{
    cuda.measuring = on;
}

static void rows_step(int n)
{
    cuda.rows_step = n;
}

__attribute__((visibility("default"))) const device_plugin *cambium_device_plugin(void)
{
    static const device_plugin table = {
        .abi = DEVICE_ABI, .count = count, .open = open_device, .close = close_device, .failure = cuda_failure,
        .memory_free = memory_free, .take = take, .give = give, .upload = upload, .download = download,
        .zero = zero, .copy = copy, .wait = wait_for_all, .graph_begin = graph_begin, .graph_end = graph_end,
        .graph_run = graph_run, .graph_close = graph_close, .scratch_bytes = cuda_scratch_bytes,
        .scratch_generation = cuda_scratch_generation, .measure = measure, .rows_step = rows_step,
        .noise = cuda_noise, .probe = cuda_probe};

    return &table;
}
