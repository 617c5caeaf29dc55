/* memory_use: how much memory this process holds, as the system counts it. */
#ifndef CORE_MEMORY_USE_H
#define CORE_MEMORY_USE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Resident bytes now and at most so far (VmRSS, VmHWM); allocates nothing. -1 where the system does
 * not say. Either pointer may be NULL. */
void memory_use(int64_t *now, int64_t *peak);

/* Bytes that the system would still give: MemAvailable, or what a cgroup's limit leaves when that is
 * less; 0 when neither can be read. */
size_t memory_free(void);

/* Bytes that malloc has handed out and not got back; 0 where the C library does not say. */
int64_t memory_heap(void);

/* Resets the peak to what is resident now; false where the system does not allow it. */
int memory_peak_reset(void);

#ifdef __cplusplus
}
#endif
#endif
