/* fibers: the scheduler. A switch saves the callee's registers on the stack and changes the stack. */
#include "core/cuda/emu/fibers.h"

#include "core/cuda/emu/copies.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
extern "C" {
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void  __tsan_switch_to_fiber(void *fiber, unsigned flags);
void  __tsan_acquire(void *address);
void  __tsan_release(void *address);
}
#define UNCHECKED __attribute__((noinline, no_sanitize("thread")))
#else
#define UNCHECKED
#endif

namespace emu {

/* Where the linker puts all __shared__ variables; nowhere if there is none. */
extern "C" {
__attribute__((weak, visibility("hidden"))) extern unsigned char __start_emu_shared[], __stop_emu_shared[];
}

coordinates    at;
unsigned char *dynamic_shared;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t STACK = 256 << 10;
#else
constexpr size_t STACK = 64 << 10;
#endif
enum { GUARD = 4096, MASKS = 8, SHARED_MAX = 227 << 10, SHARED_ALIGN = 128 };

struct fiber {
    void      *sp, *stack;
    void      *fake;  /* address sanitizer's */
    void      *tsan;
    const int *waits; /* NULL: ready */
    int        generation;
    int        thread; /* that runs on it now */
    bool       done;
};

/* Lanes that meet under one mask. Values are kept for two meetings, so that one meeting is enough for an
 * exchange: whoever comes to the next one has read the last. */
struct meeting {
    unsigned mask;
    int      generation, arrived;
    slot     slots[2][WARP];
};

struct warp {
    unsigned alive;
    meeting  m[MASKS];
};

struct scheduler {
    const char                  *name;
    const std::function<void()> *body;
    fiber                        fibers[THREADS_MAX];
    warp                         warps[THREADS_MAX / WARP];
    int                          order[THREADS_MAX];
    int                          n_threads, next, alive, current; /* current: fiber */
    void                        *main_sp, *main_fake, *main_tsan;
    const void                  *main_stack;
    size_t                       main_bytes;
    int                          generation, arrived, votes[2]; /* of the block's barrier */
    const char                  *file;
    int                          line;
    char                         how; /* the first letter of CAMBIUM_EMU_ORDER */
    uint64_t                     dice;
};
scheduler S;

extern "C" void cambium_emu_switch(void **save, void *to);
asm(R"(.text
.type cambium_emu_switch,@function
cambium_emu_switch:
    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
    ret
.size cambium_emu_switch,.-cambium_emu_switch
)");

UNCHECKED void set_thread(int number)
{
    at.number = number;
    at.thread.x = (unsigned)number % at.block_size.x;
    at.thread.y = (unsigned)number / at.block_size.x % at.block_size.y;
    at.thread.z = (unsigned)number / (at.block_size.x * at.block_size.y);
}

UNCHECKED void release(void *p)
{
    (void)p;
#if defined(__SANITIZE_THREAD__)
    __tsan_release(p);
#endif
}

UNCHECKED void acquire(void *p)
{
    (void)p;
#if defined(__SANITIZE_THREAD__)
    __tsan_acquire(p);
#endif
}

UNCHECKED void resume(int i)
{
    fiber &f = S.fibers[i];

    S.current = i;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&S.main_fake, f.stack, STACK);
#endif
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(f.tsan, 1); /* 1: the switch itself orders nothing */
#endif
    cambium_emu_switch(&S.main_sp, f.sp);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(S.main_fake, nullptr, nullptr);
#endif
}

UNCHECKED void yield_to_main(bool ends)
{
    fiber &f = S.fibers[S.current];

    (void)ends;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(ends ? nullptr : &f.fake, S.main_stack, S.main_bytes);
#endif
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(S.main_tsan, 1);
#endif
    cambium_emu_switch(&f.sp, S.main_sp);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(f.fake, &S.main_stack, &S.main_bytes);
#endif
}

/* Gives the CPU away until *generation is another one. */
UNCHECKED void wait_for_change(const int *generation)
{
    const int before = *generation;

    while (*generation == before) {
        fiber &f = S.fibers[S.current];
        f.waits = generation;
        f.generation = before;
        f.thread = at.number;
        yield_to_main(false);
        set_thread(f.thread);
        f.waits = nullptr;
    }
}

UNCHECKED void open_barrier()
{
    S.arrived = 0;
    S.votes[(S.generation + 1) & 1] = 0;
    S.generation++;
}

/* A thread after the other, until none is left; under the thread sanitizer one only. */
UNCHECKED void run_threads()
{
    for (;;) {
        const int number = S.order[S.next++];

        set_thread(number);
        acquire(&S.name);
        (*S.body)();
        copies_end();
        S.alive--;
        S.warps[number / WARP].alive &= ~(1u << number % WARP);
        if (S.arrived && S.arrived == S.alive) /* threads that ended are not waited for */
            open_barrier();
#if defined(__SANITIZE_THREAD__)
        release(&S.alive);
        break;
#else
        if (S.next >= S.n_threads)
            break;
#endif
    }
    S.fibers[S.current].done = true;
    yield_to_main(true);
    __builtin_unreachable();
}

extern "C" UNCHECKED void cambium_emu_begin()
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &S.main_stack, &S.main_bytes);
#endif
    run_threads();
}

UNCHECKED void open_fiber(fiber &f)
{
    if (!f.stack) {
        char *memory = (char *)mmap(nullptr, STACK + GUARD, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED || mprotect(memory, GUARD, PROT_NONE) != 0)
            die("no memory for the stack of a thread");
        f.stack = memory + GUARD;
    }
#if defined(__SANITIZE_ADDRESS__)
    ASAN_UNPOISON_MEMORY_REGION(f.stack, STACK);
#endif
#if defined(__SANITIZE_THREAD__)
    if (!f.tsan)
        f.tsan = __tsan_create_fiber(0);
#endif
    uintptr_t *sp = (uintptr_t *)((char *)f.stack + STACK);
    *--sp = 0;
    *--sp = (uintptr_t)&cambium_emu_begin;
    for (int i = 0; i < 6; i++)
        *--sp = 0;
    f.sp = sp;
    f.done = false;
    f.waits = nullptr;
    f.fake = nullptr;
}

UNCHECKED void choose_order()
{
    const int n = S.n_threads;

    for (int i = 0; i < n; i++)
        S.order[i] = S.how == 'b' ? n - 1 - i : i;
    for (int i = n - 1; S.how == 'r' && i > 0; i--) {
        S.dice = S.dice * 6364136223846793005u + 1442695040888963407u;
        std::swap(S.order[i], S.order[(S.dice >> 33) % (uint64_t)(i + 1)]);
    }
}

/* What nobody wrote is NaN. Red zones lie between the variables: no memset, which a sanitizer checks. */
#if defined(__SANITIZE_ADDRESS__)
__attribute__((noinline, no_sanitize("address"), optimize("no-tree-loop-distribute-patterns")))
#elif defined(__SANITIZE_THREAD__)
__attribute__((noinline, no_sanitize("thread"), optimize("no-tree-loop-distribute-patterns")))
#endif
void fill_static()
{
    for (unsigned char *p = __start_emu_shared; p < __stop_emu_shared; p++)
        *p = 0xff;
}

UNCHECKED void open_block(size_t shared)
{
    const int n = S.n_threads;

    S.alive = n;
    S.next = S.arrived = S.generation = S.votes[0] = S.votes[1] = 0;
    choose_order();
    for (int i = 0; i * WARP < n; i++) {
        warp &w = S.warps[i];
        w.alive = n - i * WARP < WARP ? (1u << (n - i * WARP)) - 1 : ~0u;
        for (meeting &m : w.m)
            m.mask = 0, m.generation = m.arrived = 0;
    }
    memset(dynamic_shared, 0xff, shared);
    fill_static();
}

UNCHECKED void run_block(size_t shared)
{
    int fibers = 0;

    open_block(shared);
    release(&S.name);
    for (;;) {
        bool ran = false, any = false;
        for (int i = 0; i < fibers; i++) {
            fiber &f = S.fibers[i];
            if (f.done)
                continue;
            any = true;
            if (f.waits && *f.waits == f.generation)
                continue;
            ran = true;
            resume(i);
        }
        while (S.next < S.n_threads) {
            open_fiber(S.fibers[fibers]);
            any = ran = true;
            resume(fibers++);
        }
        if (!any)
            break;
        if (!ran)
            die("threads wait at a barrier or collective that the others never reach");
    }
    acquire(&S.alive);
}

UNCHECKED meeting &meeting_of(unsigned mask)
{
    warp &w = S.warps[at.number / WARP];

    if (!(mask >> at.number % WARP & 1))
        die("a lane calls a collective whose mask does not name it");
    if (mask & ~w.alive)
        die("the mask of a collective names a lane that has ended or is not there");
    for (meeting &m : w.m)
        if (m.mask == mask || !m.mask) {
            m.mask = mask;
            return m;
        }
    die("more than 8 different masks in a warp");
}

UNCHECKED void meet(meeting &m)
{
    if (++m.arrived == __builtin_popcount(m.mask)) {
        m.arrived = 0;
        m.generation++;
    } else
        wait_for_change(&m.generation);
}

} // namespace

void die(const char *what)
{
    fprintf(stderr, "emulated kernel %s, block (%u,%u,%u), thread %d: %s\n", S.name, at.block.x,
            at.block.y, at.block.z, at.number, what);
    abort();
}

UNCHECKED int barrier(int vote, const char *file, int line)
{
    const int generation = S.generation;

    if (!S.arrived)
        S.file = file, S.line = line;
    else if (S.line != line || strcmp(S.file, file) != 0) {
        fprintf(stderr, "barriers at %s:%d and %s:%d\n", S.file, S.line, file, line);
        die("threads of the block wait at different barriers");
    }
    S.votes[generation & 1] += vote;
    release(&S.generation);
    if (++S.arrived == S.alive)
        open_barrier();
    else
        wait_for_change(&S.generation);
    acquire(&S.generation);
    return S.votes[generation & 1];
}

UNCHECKED void warp_barrier(unsigned mask)
{
    meeting &m = meeting_of(mask);

    release(&m);
    meet(m);
    acquire(&m);
}

UNCHECKED const slot *gather(unsigned mask, slot mine)
{
    meeting &m = meeting_of(mask);
    slot    *slots = m.slots[m.generation & 1];

    slots[at.number % WARP] = mine;
    meet(m);
    return slots;
}

UNCHECKED slot exchange(unsigned mask, slot mine, int lane)
{
    if (!(mask >> lane & 1))
        die("a shuffle reads a lane that the mask does not name");
    return gather(mask, mine)[lane];
}

UNCHECKED unsigned ballot(unsigned mask, bool vote)
{
    meeting &m = meeting_of(mask);
    slot    *slots = m.slots[m.generation & 1];
    unsigned all = 0;

    slots[at.number % WARP].words[0] = vote;
    meet(m);
    for (int i = 0; i < WARP; i++)
        if (mask >> i & 1)
            all |= (unsigned)slots[i].words[0] << i;
    return all;
}

UNCHECKED void run(const char *name, dim3 grid, dim3 block, size_t shared,
                   const std::function<void()> &body)
{
    const size_t room = (shared + SHARED_ALIGN - 1) / SHARED_ALIGN * SHARED_ALIGN + SHARED_ALIGN;

    S.name = name;
    S.body = &body;
    S.n_threads = (int)(block.x * block.y * block.z);
    S.how = getenv("CAMBIUM_EMU_ORDER") ? getenv("CAMBIUM_EMU_ORDER")[0] : 'f';
    at.grid_size = grid;
    at.block_size = block;
    at.block = uint3{0, 0, 0};
    at.number = 0;
    if (S.n_threads < 1 || S.n_threads > THREADS_MAX)
        die("a block must have 1 to 1024 threads");
    if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
        die("a grid must be 1 to 2147483647 x 65535 x 65535");
    if (shared > SHARED_MAX)
        die("more than 227 KB of shared memory");
    dynamic_shared = (unsigned char *)aligned_alloc(SHARED_ALIGN, room);
    if (!dynamic_shared)
        die("no memory for shared memory");
#if defined(__SANITIZE_ADDRESS__)
    ASAN_POISON_MEMORY_REGION(dynamic_shared + shared, room - shared);
#endif
#if defined(__SANITIZE_THREAD__)
    S.main_tsan = __tsan_get_current_fiber();
#endif
    const uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z;
    for (uint64_t i = 0; i < blocks; i++) {
        const uint64_t n = S.how == 'b' ? blocks - 1 - i : i;
        at.block = uint3{(unsigned)(n % grid.x), (unsigned)(n / grid.x % grid.y), (unsigned)(n / grid.x / grid.y)};
        run_block(shared);
    }
#if defined(__SANITIZE_ADDRESS__)
    ASAN_UNPOISON_MEMORY_REGION(dynamic_shared, room);
#endif
    free(dynamic_shared);
    dynamic_shared = nullptr;
}

} // namespace emu
