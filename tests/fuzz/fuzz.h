/* fuzz: files that are almost right are given to a reader until the time is up.
 *
 * Inputs are made from a pool of seeds by a fixed sequence of random numbers: the same seed gives the same
 * inputs. What reaches another message than all inputs before joins the pool, so that the next ones begin
 * there. The reader must return, with STATUS_OK or with a text that names the file; must not need more memory
 * than its arena; and must not take seconds. Faults of memory are found by the sanitizers that the program is
 * built with; the input then lies where the message says. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "core/arena.h"

typedef struct fuzz_reader {
    const char        *name, *file; /* the file's name: readers go by its end */
    status           (*read)(arena *a, const char *path);
    const char *const *words;       /* what is put into inputs, ends with NULL */
    size_t             memory;      /* bytes of its arena */
} fuzz_reader;

typedef struct fuzz_pool fuzz_pool;

fuzz_pool *fuzz_open(const fuzz_reader *r);
void       fuzz_add(fuzz_pool *p, const void *bytes, size_t n);
void       fuzz_add_file(fuzz_pool *p, const char *path);

/* Runs for that many seconds and prints what was done. The seeds themselves must be accepted. Ends the test
 * with a message when the reader breaks a rule. */
void fuzz_run(fuzz_pool *p, double seconds);

/* Folder of the reader's inputs, for further files that it wants beside them. */
const char *fuzz_folder(const fuzz_pool *p);

#endif
