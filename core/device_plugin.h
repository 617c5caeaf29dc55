/* device_plugin: what a device's plug-in offers to core/device.c, as a table of functions.
 *
 * A plug-in is a shared object (libcambium_cuda.so, libcambium_emu.so) that is opened when a run wants its
 * device and links against nothing of the program. It has one device at a time. Calls do not fail one by
 * one: the first failure is kept, later calls do nothing, failure() gives its text. Work is done in the
 * order of the calls; only download and wait wait for it. Kernels are further symbols of the plug-in:
 * see device_symbol. */
#ifndef CORE_DEVICE_PLUGIN_H
#define CORE_DEVICE_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* rows_step that plug-ins open with */
enum { DEVICE_ABI = 1, DEVICE_ROWS_STEP = 128 };

typedef struct device_info {
    char   name[128];
    int    number, count;
    size_t memory, free;          /* bytes; free before anything was taken */
    size_t context;               /* bytes that opening it took */
    int    processors, capability; /* 90: compute capability 9.0 */
    int    driver, runtime, products; /* versions: 13000 is 13.0; of cuBLASLt */
} device_info;

/* What a probe measures; each costs some tenths of a second. */
enum { PROBE_F32 = 1, PROBE_BF16 = 2, PROBE_BANDWIDTH = 4, PROBE_ERROR = 8 };

/* What was not measured is 0. */
typedef struct device_probe {
    double f32, bf16;  /* FLOP/s of a large product, a multiply-add is 2 */
    double bandwidth;  /* bytes/s, read and written, of a copy on the device */
    double error;      /* of some sums of an f32 product, relative to the sum of the sizes of their terms */
} device_probe;

typedef struct device_plugin {
    int abi;
    /* Number of devices that can be used; -1 with a failure: no driver, no device. */
    int (*count)(void);
    bool (*open)(int number, device_info *info);
    void (*close)(void);
    const char *(*failure)(void); /* "" while all went well */
    size_t (*memory_free)(void);

    void *(*take)(size_t bytes); /* at a 256-byte boundary; NULL: not enough, which is no failure */
    void (*give)(void *p);
    void (*upload)(void *to, const void *from, size_t bytes); /* `from` may change at once */
    void (*download)(void *to, const void *from, size_t bytes);
    void (*zero)(void *p, size_t bytes);
    void (*copy)(void *to, const void *from, size_t bytes);
    void (*wait)(void);

    /* What is launched between begin and end is kept, not done. NULL from end: it
     * failed, and failure() says why. */
    void (*graph_begin)(void);
    void *(*graph_end)(void);
    void (*graph_run)(void *graph);
    void (*graph_close)(void *graph);

    /* Scratch of operations: its bytes, and a number that changes when it has moved. While measuring,
     * operations launch nothing and only say how much they would need. */
    size_t (*scratch_bytes)(void);
    uint64_t (*scratch_generation)(void);
    void (*measure)(bool on);
    /* Bounds of rows in use are rounded up to a multiple of n, so that few graphs serve all runs; 1: exact, for
     * tests that run kernels without a tape, whose graphs are made for DEVICE_ROWS_STEP. */
    void (*rows_step)(int n);

    /* p[n] = normal numbers with this deviation, f32 or bf16: weights to measure with. */
    void (*noise)(void *p, bool narrow, size_t n, uint64_t seed, float deviation);
    /* Measures the device: `what` of PROBE_... */
    void (*probe)(unsigned what, device_probe *out);
} device_plugin;

/* The one symbol that is looked for first. */
const device_plugin *cambium_device_plugin(void);

#ifdef __cplusplus
}
#endif
#endif
