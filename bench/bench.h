/* bench: what every measurement works with.
 *
 * A bench is one file and one row in benches.def. It hands pieces of work to bench_time, which
 * warms up, then repeats them for a while, each repetition right behind a probe of the machine, and
 * keeps a figure: the median with the fastest and the slowest, and the share of what the probe
 * beside it reached. Figures are printed as they come; bench_save writes them as JSON and Markdown.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "core/arena.h"
#include "core/keys.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bench_settings {
    bool        help, list, quick, save, json;
    bool        child; /* start and memory call themselves: do one run and report it */
    double      seconds;
    const char *base, *only, *threads, *results, *recipe, *file, *device, *precision;
    int64_t     tokens, rank;
    int64_t     steps; /* of a child */
} bench_settings;

typedef enum ceiling_kind {
    CEILING_NONE,
    CEILING_FMA,
    CEILING_PAIRS,
    CEILING_BANDWIDTH
} ceiling_kind;

/* One repetition. */
typedef struct reading {
    double seconds;
    double amount; /* in the figure's unit, times seconds: GFLOP for GFLOP/s */
    double work;   /* GFLOP or GB, what the ceiling counts; 0: amount */
} reading;

/* One line of a result. Values are better when larger, unless the unit is "ms" or "MB". */
typedef struct figure {
    const char *what, *unit, *note; /* note "" or a remark */
    int         threads, n;         /* repetitions */
    double      value, best, worst; /* of repetitions: median, and both ends */
    double      probe;              /* median of the probes beside them, GFLOP/s or GB/s; 0: none */
    double      share;              /* median of work / seconds / probe; 0: none */
} figure;

enum { FIGURES_MAX = 4096, THREADS_MAX = 16 };

typedef struct bench {
    arena         *a;    /* names, results */
    arena          work; /* of one measurement; rewound behind it */
    const char    *name, *command;
    bench_settings o;
    int            argc; /* as called */
    char         **argv;
    FILE          *out;
    int            n_counts, counts[THREADS_MAX]; /* numbers of threads to measure with */
    figure        *v;
    int            n;
    int            most_threads;    /* of counts; set outside of bench_time */
    int            machine_threads; /* what a run would take */
} bench;

/* A piece of work. run does it once and says how long it took (the rest it does is not counted). */
typedef struct timed {
    const char  *what, *unit;
    ceiling_kind ceiling;
    bool         beside; /* the probe stands beside the figure, which is no share of it */
    int          threads;
    status     (*run)(void *context, reading *r);
    void        *context;
    bool         inverse; /* the figure is seconds / amount, in ms */
} timed;

/* Measures and keeps a figure, printed at once; *out (may be NULL) is where it lies. Leaves out,
 * and says NULL for, what --only does not select. */
status bench_time(bench *b, const timed *c, figure **out);

/* The same with each number of threads that is asked for. */
status bench_time_threads(bench *b, timed c);

/* Keeps and prints a figure that was come by otherwise. */
status bench_keep(bench *b, const figure *f, figure **out);
/* A single value, with all threads. */
status bench_keep_one(bench *b, const char *what, const char *unit, double value, figure **out);

/* Sorts v[n] and returns its middle. */
double bench_median(double *v, int n);

/* Adds a remark to a figure and prints it below; f NULL: nothing. */
status bench_note(bench *b, figure *f, const char *format, ...) PRINTF_LIKE(3, 4);

/* True when --only selects `what`. */
bool bench_wants(const bench *b, const char *what);

double bench_now(void); /* seconds of a steady clock, the same for all processes */
/* GFLOP/s or GB/s; where there are no bf16 pairs, multiply-adds. While a device is open: that device's, of
 * products in the precision it runs in. */
double ceiling_probe(ceiling_kind c, int threads);
bool   ceiling_has_pairs(void);

/* bench/result.c: title, table and files. */
void   bench_title(const bench *b);
void   bench_print(const bench *b, const figure *f);
void   bench_json(const bench *b, FILE *out);
status bench_save(const bench *b);

#define BENCH(name, help) status bench_##name(bench *b);
#include "bench/benches.def"
#undef BENCH

#ifdef __cplusplus
}
#endif
#endif
