/* copies: a list of the begun copies of each thread of the block */
#include "core/cuda/emu/copies.h"

#include <cstring>
#include <vector>

namespace emu {

namespace {

struct copy {
    void       *to;
    const void *from;
    size_t      bytes;
    bool        there;
    int         group;
};
struct list {
    std::vector<copy> begun;
    int               group; /* that is open */
};
list lists[THREADS_MAX];

} // namespace

void copy_later(void *to, const void *from, size_t bytes, bool there)
{
    list &l = lists[at.number];

    if ((uintptr_t)to % bytes || (there && (uintptr_t)from % bytes))
        die("an asynchronous copy is not at a boundary of its size");
    memset(to, 0xff, bytes);
    l.begun.push_back(copy{to, from, bytes, there, l.group});
}

void copies_commit()
{
    lists[at.number].group++;
}

void copies_wait(int newest)
{
    list  &l = lists[at.number];
    size_t done = 0;

    for (; done < l.begun.size() && l.begun[done].group < l.group - newest; done++) {
        const copy &c = l.begun[done];
        if (c.there)
            memcpy(c.to, c.from, c.bytes);
        else
            memset(c.to, 0, c.bytes);
    }
    l.begun.erase(l.begun.begin(), l.begun.begin() + (ptrdiff_t)done);
}

void copies_end()
{
    if (!lists[at.number].begun.empty())
        die("a thread ends with asynchronous copies that it never waited for");
}

} // namespace emu
