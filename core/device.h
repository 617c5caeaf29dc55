/* device: where computations run: the CPU, or what a plug-in brings.
 *
 * A process has one device, or none but the CPU: device_open makes it the current one, on which tapes that
 * are opened afterwards run. Values stay known by their address in host memory: a stretch of it may have a
 * twin on the device (device_hold); push copies it there, pull back. The tape finds twins by itself and
 * copies what has none at every run, so that code that computes on the CPU computes on a device unchanged.
 *
 * With `activations` bf16, twins of matrices and activations are bf16 while the program goes on seeing f32:
 * push and pull convert. */
#ifndef CORE_DEVICE_H
#define CORE_DEVICE_H

#include "core/device_plugin.h"
#include "core/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct device device;

/* name: "cuda" or "cuda:1"; activations: TYPE_F32, TYPE_BF16. Opening what is open already is fine: it stays until
 * it was closed as often. Fails with one line that says what is missing:
 * the plug-in file, a library that it needs, the driver, the device. CAMBIUM_CUDA_PLUGIN names another file. */
status device_open(const char *name, dtype activations, device **out);
void   device_close(device *d);

/* True when there is a plug-in file to open. */
bool device_has_plugin(void);

/* The open device, or NULL: the CPU. */
device *device_current(void);

const device_info   *device_about(const device *d);
const device_plugin *device_functions(const device *d);
dtype                device_activations(const device *d);
/* STATUS_DEVICE with the first failure, which names the kernel or call. Does not wait. */
status device_check(const device *d);
/* A symbol of the plug-in; CHECKs that it is there. */
void *device_symbol(const device *d, const char *name);

/* Memory on the device, taken in one piece: device_arena_take gives parts of it at 256-byte boundaries. */
typedef struct device_arena {
    device     *d;
    const char *name;
    uint8_t    *base;
    size_t      used, limit;
} device_arena;
status device_arena_open(device *d, device_arena *a, const char *name, size_t bytes);
void   device_arena_close(device_arena *a); /* its twins are forgotten */
void  *device_arena_take(device_arena *a, size_t bytes);
/* Bytes that a value takes there. */
size_t device_arena_room(size_t bytes);

/* Makes a twin, with unspecified contents, for a host tensor that must stay where it is; `as`: the type it
 * has on the device. Twins do not overlap. */
status device_hold(device_arena *a, const tensor *x, dtype as);
/* Copies a part of a host stretch that has a twin: values of x there and back. */
void device_push(device *d, const tensor *x);
void device_pull(device *d, tensor *x);
/* Where the value that lies at `host` lies on the device, and its type there; NULL: it has no twin. */
void *device_find(const device *d, const void *host, dtype *type);

/* Copies between host values and device memory of another real type: bf16 on the device, f32 here. */
void device_upload(device *d, void *to, dtype to_type, const void *from, dtype from_type, int64_t n);
void device_download(device *d, void *to, dtype to_type, const void *from, dtype from_type, int64_t n);

/* The type that a value of `type` has on the device as a weight: a matrix of plain numbers becomes what
 * activations are, vectors stay f32, quantised storage stays as it is. */
dtype device_weight_type(const device *d, const tensor *x);

#ifdef __cplusplus
}
#endif
#endif
