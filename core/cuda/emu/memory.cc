/* memory: one stretch of addresses, opened and closed as a whole; or the sanitizers' allocator */
#include "core/cuda/emu/memory.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <sys/mman.h>

namespace emu {

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool APART = false;
#else
constexpr bool APART = true;
#endif
constexpr size_t RESERVED = (size_t)1 << 40, GUARD = 4096;
/* More than this is left open: closing costs time for every page. Up to FILLED_MAX what nobody wrote is NaN. */
constexpr size_t CLOSED_MAX = 64 << 20, FILLED_MAX = 8 << 20;

std::map<char *, size_t> taken; /* with the guard behind it */
char                    *base, *top;
size_t                   used;
int                      depth;

size_t pages(size_t bytes)
{
    return (bytes + GUARD - 1) / GUARD * GUARD + GUARD;
}

void protect(int how)
{
    if (APART && base && top > base && (used <= CLOSED_MAX || how != PROT_NONE))
        mprotect(base, (size_t)(top - base), how);
}

/* The first gap that is large enough, or the end. */
char *find(size_t bytes)
{
    char *at = base;

    for (const auto &t : taken) {
        if ((size_t)(t.first - at) >= bytes)
            return at;
        at = t.first + t.second;
    }
    return at;
}

} // namespace

size_t memory_total()
{
    const char *text = getenv("CAMBIUM_EMU_MEMORY");

    return text ? strtoull(text, nullptr, 10) : (size_t)16 << 30;
}

size_t memory_used()
{
    return used;
}

void *memory_take(size_t bytes)
{
    const size_t room = pages(bytes);

    if (used + room > memory_total())
        return nullptr;
    used += room;
    if (!APART) {
        void *p = nullptr;
        if (posix_memalign(&p, 256, bytes) != 0) /* not aligned_alloc: it rounds up, and hides the end */
            return nullptr;
        taken[(char *)p] = room;
        memset(p, 0xff, bytes < FILLED_MAX ? bytes : 0);
        return p;
    }
    if (!base) {
        base = top = (char *)mmap(nullptr, RESERVED, PROT_NONE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED)
            return base = top = nullptr, nullptr;
    }
    char *at = find(room);
    taken[at] = room;
    if (at + room > top)
        top = at + room;
    memory_open open;
    memset(at, 0xff, room < FILLED_MAX ? room : 0);
    return at;
}

void memory_give(void *p)
{
    const auto it = taken.find((char *)p);

    if (it == taken.end())
        return;
    used -= it->second;
    taken.erase(it);
    if (!APART)
        free(p);
}

memory_open::memory_open()
{
    if (depth++ == 0)
        protect(PROT_READ | PROT_WRITE);
}

memory_open::~memory_open()
{
    if (--depth == 0)
        protect(PROT_NONE);
}

} // namespace emu
