/* arena: memory by lifetime.
 *
 * An arena is a stretch of address space that is reserved at once and grows as it is used; nobody
 * frees a piece. Who opens an arena closes it. The program's arenas are named after how long they
 * live: model (the frozen trunk), tuned (modules and optimizer state), step (activations), work
 * (scratch of a step), setup (reading recipes and files). Memory is zero when taken for the first
 * time and unspecified after a rewind. Not thread-safe: one arena, one thread. */
#ifndef CORE_ARENA_H
#define CORE_ARENA_H

#include "core/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct arena {
    const char *name;
    uint8_t    *base;
    size_t      used;
    size_t      peak;  /* largest `used` since it was opened */
    size_t      limit; /* bytes that may be used at most */
} arena;

/* Reserves `limit` bytes of address space (no memory yet). name must outlive the arena. */
status arena_open(arena *a, const char *name, size_t limit);

/* Gives everything back; an arena that was never opened (all zero) may be closed too. */
void arena_close(arena *a);

/* count * size bytes at a 64-byte boundary, or NULL after fail(STATUS_MEMORY) when that is more
 * than the limit or overflows. count 0 gives a valid pointer. */
void *arena_take(arena *a, size_t count, size_t size);

/* The same bytes again, as a copy; strings get a final NUL byte. NULL as above. */
void *arena_copy(arena *a, const void *from, size_t bytes);
char *arena_string(arena *a, const char *from, size_t length);
char *arena_printf(arena *a, const char *format, ...) PRINTF_LIKE(2, 3);

/* What was taken after a mark is given back by the rewind. */
size_t arena_mark(const arena *a);
void   arena_rewind(arena *a, size_t mark);

/* Gives the memory back to the system and keeps the addresses; all contents are lost (zero). For memory
 * that waits while something else needs its own, such as a step's while prompts are answered. */
void arena_vacate(arena *a);

/* Takes an array into `pointer`, or passes STATUS_MEMORY up. */
#define TRY_TAKE(pointer, arena_, count)                                                           \
    do {                                                                                           \
        if (((pointer) = arena_take((arena_), (size_t)(count), sizeof *(pointer))) == NULL)        \
            return STATUS_MEMORY;                                                                  \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
