/* state: the one open device of the plug-in. Private to core/cuda. */
#ifndef CORE_CUDA_STATE_H
#define CORE_CUDA_STATE_H

#include "core/cuda/runtime.h"
#include "core/device_plugin.h"

typedef struct cuda_state {
    bool         open, measuring, capturing;
    int          number, processors, capability, rows_step;
    cudaStream_t stream;
    const char  *operation;   /* the newest, for messages */
    char         kernel[128]; /* the newest launch: "rope backward: each_value" */
    void        *scratch[SCRATCH_SLOTS];
    size_t       scratch_size[SCRATCH_SLOTS], scratch_wanted[SCRATCH_SLOTS];
    uint64_t     generation;
} cuda_state;

extern cuda_state cuda;

/* noise.cu */
#ifdef __cplusplus
extern "C"
#endif
void cuda_noise(void *p, bool narrow, size_t n, uint64_t seed, float deviation);

/* probe.c */
void cuda_probe(unsigned what, device_probe *out);

/* product.c */
bool products_open(void);
void products_close(void);
int  products_version(void);

#endif
