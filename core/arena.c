/* arena: reserved address space that the kernel fills page by page */
#include "core/arena.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { ARENA_ALIGN = 64 };

status arena_open(arena *a, const char *name, size_t limit)
{
    void *base = mmap(NULL, limit, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (base == MAP_FAILED)
        return fail(STATUS_MEMORY,
                    "arena %s: cannot reserve %.1f MB of addresses: %s; raise the limit on them (ulimit -v)",
                    name, (double)limit / 1e6, strerror(errno));
    *a = (arena){.name = name, .base = base, .limit = limit};
    return STATUS_OK;
}

void arena_close(arena *a)
{
    if (a->base)
        munmap(a->base, a->limit);
    *a = (arena){0};
}

void *arena_take(arena *a, size_t count, size_t size)
{
    const size_t at = (a->used + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    size_t       bytes, end;

    if (MUL_OVERFLOWS(count, size, &bytes) || ADD_OVERFLOWS(at, bytes, &end) || end > a->limit) {
        fail(STATUS_MEMORY, "arena %s: %zu values of %zu bytes wanted, %zu of %zu bytes are in use",
             a->name, count, size, a->used, a->limit);
        return NULL;
    }
    a->used = end;
    if (end > a->peak)
        a->peak = end;
    return a->base + at;
}

void *arena_copy(arena *a, const void *from, size_t bytes)
{
    void *to = arena_take(a, bytes, 1);

    if (to && bytes)
        memcpy(to, from, bytes);
    return to;
}

char *arena_string(arena *a, const char *from, size_t length)
{
    char *to = arena_take(a, length + 1, 1);

    if (to) {
        memcpy(to, from, length);
        to[length] = '\0';
    }
    return to;
}

char *arena_printf(arena *a, const char *format, ...)
{
    va_list args;
    int     length;

    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(length >= 0);

    char *to = arena_take(a, (size_t)length + 1, 1);
    if (to) {
        va_start(args, format);
        vsnprintf(to, (size_t)length + 1, format, args);
        va_end(args);
    }
    return to;
}

size_t arena_mark(const arena *a)
{
    return a->used;
}

void arena_rewind(arena *a, size_t mark)
{
    CHECK(mark <= a->used);
    a->used = mark;
}

void arena_vacate(arena *a)
{
    if (a->base)
        madvise(a->base, a->limit, MADV_DONTNEED);
}
