/* probe: the machine's ceilings, measured. A figure of speed stands beside one of these, taken in the
 * same run: machines differ, and two virtual cores may share a real one. */
#ifndef CORE_CPU_PROBE_H
#define CORE_CPU_PROBE_H

#ifdef __cplusplus
extern "C" {
#endif

/* GFLOP/s of f32 multiply-adds with the widest vectors that the products' path uses, operands in
 * registers, all threads at once; the best of a few short trials. About 0.05 s. */
double probe_fma(int threads);

/* GFLOP/s of bf16 pairs (dpbf16); 0 where the path has none. */
double probe_bf16(int threads);

/* GB/s of reading memory that no cache holds. About 0.2 s and 256 MB. */
double probe_bandwidth(int threads);

/* The CPU's name as the system gives it; "unknown". */
void probe_name(char name[128]);

#ifdef __cplusplus
}
#endif
#endif
