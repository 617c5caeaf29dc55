/* golden: finding cases below a folder and comparing with them.
 *
 * A kind of case is one file tests/with_golden_<kind>.c with a function that looks at a folder and, when
 * it holds such cases, runs them. A case is one line of output and one count; a case that this
 * version cannot run (a trunk or method it does not have) is skipped with its reason. */
#ifndef TESTS_WITH_GOLDEN_H
#define TESTS_WITH_GOLDEN_H

#include "core/arena.h"
#include "core/safetensors.h"
#include "core/tensor.h"

typedef struct golden {
    arena *a; /* of one case; rewound between cases */
    int    passed, failed, skipped;
    char   name[1024]; /* of the case being run */
    double worst;      /* largest error of the case divided by its bound */
    char   what[256];  /* where that was */
    double error, bound;
} golden;

/* A case begins; then any number of comparisons; then it ends with the status of what was run. An
 * unsupported trunk, method or option ends as skipped. */
void golden_begin(golden *g, const char *folder, const char *name);
void golden_end(golden *g, status s);

/* |got - want| <= bound for one number, relative to |want| when `relative`. */
void golden_number(golden *g, const char *what, double got, double want, double bound, bool relative);

/* max |got - want| / scale <= bound, where scale is max |want|, or 1 when `absolute`. Shapes must agree
 * up to sizes of 1. */
void golden_tensor(golden *g, const char *what, const tensor *got, const safetensors_entry *want,
                   double bound, bool absolute);

/* Notes that something is missing or unequal that must not be. */
void golden_wrong(golden *g, const char *format, ...) PRINTF_LIKE(2, 3);

/* Handlers: true when the folder was theirs. */
#define GOLDEN_KINDS(X) X(trunk) X(peft)
#define GOLDEN_KIND(kind) bool golden_##kind(golden *g, const char *folder);
GOLDEN_KINDS(GOLDEN_KIND)
#undef GOLDEN_KIND

/* folder/name exists; the path in a static ring of four. */
const char *golden_path(const char *folder, const char *name);
bool        golden_has(const char *folder, const char *name);

#endif
