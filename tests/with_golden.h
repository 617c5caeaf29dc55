/* golden: finding cases below a folder and comparing with them.
 *
 * A kind of case is one file tests/with_golden_<kind>.c with a function that looks at a folder and,
 * when it holds such cases, runs them. A case is one line of output and one count; a case that this
 * version cannot run (a trunk or method it does not have) is skipped with its reason. */
#ifndef TESTS_WITH_GOLDEN_H
#define TESTS_WITH_GOLDEN_H

#include "core/arena.h"
#include "core/json.h"
#include "core/safetensors.h"
#include "core/tensor.h"

typedef struct golden {
    arena *a;                    /* of one case; handlers rewind it between cases */
    int passed, failed, skipped; /* a line each */
    bool wrong;                  /* golden_wrong was called in this case */
    char name[1024];             /* of the case being run */
    double worst;                /* largest error of the case divided by its bound */
    char what[256];              /* where that was */
    double error, bound;
} golden;

/* A case begins; then any number of comparisons; then it ends with the status of what was run. An
 * unsupported trunk, method or option ends as skipped. */
void golden_begin(golden *g, const char *folder, const char *name);
void golden_end(golden *g, status s);

/* |got - want| <= bound for one number, relative to |want| when `relative`. */
void golden_number(golden *g, const char *what, double got, double want, double bound,
                   bool relative);

/* `wrong` of the things called `what` differ where none may: "what" may say how many there are. */
void golden_exact(golden *g, const char *what, int64_t wrong);

/* max |got - want| / scale <= bound, where scale is max |want|, or 1 when `absolute`. Shapes must
 * agree up to sizes of 1. */
void golden_tensor(golden *g, const char *what, const tensor *got, const safetensors_entry *want,
                   double bound, bool absolute);

/* max |want| of real numbers, else 0. */
double golden_largest(const safetensors_entry *e);

/* A case that is known but not run, with its reason. */
void golden_skip(golden *g, const char *folder, const char *name, const char *format, ...)
    PRINTF_LIKE(4, 5);

/* Notes that something is missing or unequal that must not be; the first such note of a case is
 * kept. */
void golden_wrong(golden *g, const char *format, ...) PRINTF_LIKE(2, 3);

/* Handlers: true when the folder was theirs and nothing below it is looked at. */
#define GOLDEN_KINDS(X) X(trunk) X(peft) X(real) X(optim) X(tokenizer) X(gguf) X(hostile) \
    X(mhr) X(llm_adapters) X(smora) X(meteora) X(lt_sft) X(lae)
#define GOLDEN_KIND(kind) bool golden_##kind(golden *g, const char *folder);
GOLDEN_KINDS(GOLDEN_KIND)
#undef GOLDEN_KIND

/* Of the folder with real models: embeddings of MiniLM. */
void golden_minilm(golden *g, const char *folder);

/* A member of a case's JSON; what is missing or of another kind fails with the file's name. */
status golden_list(const cJSON *o, const char *key, const cJSON **out, const char *what);

/* Names in a folder, sorted, hidden ones left out; folders only when `folders`, else files only. */
status golden_names(arena *a, const char *folder, bool folders, char ***names, int *n);

/* folder/name exists; the path in a static ring of four. */
const char *golden_path(const char *folder, const char *name);
bool golden_has(const char *folder, const char *name);

#endif
