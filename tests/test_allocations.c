/* allocations: after the first step a run takes no memory: not from malloc, not from the system
 * tests/run: no asan, no device */
#include "tests/helpers.h"
#include "tests/with_adamw.h"
#include "tests/with_trunk.h"

#include "core/rng.h"
#include "core/threads.h"
#include "recipes/trainer.h"

#include <errno.h>
#include <sys/mman.h>

static long counted; /* allocations since the last reset, of all threads */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CAN_COUNT 1
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t align, size_t n);
extern void  __libc_free(void *p);
void        *malloc(size_t n)
{
    __atomic_fetch_add(&counted, 1, __ATOMIC_RELAXED);
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size)
{
    __atomic_fetch_add(&counted, 1, __ATOMIC_RELAXED);
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n)
{
    __atomic_fetch_add(&counted, 1, __ATOMIC_RELAXED);
    return __libc_realloc(p, n);
}
void *aligned_alloc(size_t align, size_t n)
{
    __atomic_fetch_add(&counted, 1, __ATOMIC_RELAXED);
    return __libc_memalign(align, n);
}
int posix_memalign(void **p, size_t align, size_t n)
{
    __atomic_fetch_add(&counted, 1, __ATOMIC_RELAXED);
    *p = __libc_memalign(align, n);
    return *p ? 0 : ENOMEM;
}
void free(void *p)
{
    __libc_free(p);
}
#else
#define CAN_COUNT 0
#endif

enum { SAMPLES = 40, STEPS = 8 };

/* Samples of 3 to 20 random tokens, every one a target. */
static void make_examples(arena *a, examples *x)
{
    *x = (examples){.longest = 20};
    x->v = arena_take(a, SAMPLES, sizeof *x->v);
    for (uint32_t i = 0; i < SAMPLES; i++) {
        const int32_t n = 3 + (int32_t)(i * 7 % 18);
        int32_t      *ids = arena_take(a, (size_t)n, sizeof *ids);
        for (int32_t k = 0; k < n; k++)
            ids[k] = (int32_t)(rng_philox(rng_key_for(1, "ids"), i, (uint32_t)k, 0, 0).r[0] % 128);
        x->v[x->n++] = (example){.n = n, .ids = ids, .labels = ids, .label = -1, .batch = -1};
        x->n_tokens += n;
    }
}

static void open_training(small *s, examples *x, packer *data, trainer *t, adamw_options *adamw)
{
    trainer_options o = {.schedule = {.schedule = "constant"}, .clip = {.clip = 1}, .steps = 1000,
                         .optimizer_options = adamw};

    small_open(s, 3);
    small_add(s, "lora", "all-linear", (const char *const[]){"rank", "dropout", NULL},
              (const double[]){4, 0.1});
    make_examples(&s->memory, x);
    MUST(packer_open(&s->memory, x,
                     &(pack_options){.pack = 64, .batch_tokens = 256, .shuffle = true, .seed = 1}, data));
    MUST(adamw_set(adamw, 1e-2, 1e-8, 0.01, &o.optimizer));
    o.pack = data->capacity;
    o.seqs = data->seqs_capacity;
    o.leaves = data->leaves_capacity;
    MUST(trainer_open(t, &s->memory, &s->tuned, &s->m, s->p, &o, false));
}

START_TEST(steps_after_the_first_allocate_nothing)
{
    small         s;
    examples      x;
    packer        data;
    trainer       t;
    adamw_options adamw;
    step_report   r;

    if (!CAN_COUNT)
        SKIP("a sanitizer has malloc for itself");
    open_training(&s, &x, &data, &t, &adamw);
    free(malloc(1));
    ck_assert_int_gt(counted, 0); /* the hook counts */
    MUST(trainer_step(&t, &data, 0, &r));
    const size_t used = s.memory.used + s.tuned.used + t.memory.used;
    status done = STATUS_OK; /* MUST itself allocates */
    counted = 0;
    for (int64_t i = 1; i < STEPS && done == STATUS_OK; i++)
        done = trainer_step(&t, &data, i, &r);
    const long seen = counted;
    MUST(done);
    ck_assert_msg(seen == 0, "%ld allocations in %d steps", seen, STEPS - 1);
    ck_assert_uint_eq(s.memory.used + s.tuned.used + t.memory.used, used);
    trainer_close(&t);
    small_close(&s);
}
END_TEST

/* The same steps with 1, 2 and 3 threads: equal bytes of values and losses. */
START_TEST(threads_do_not_change_a_bit)
{
    float *values[3];
    double losses[3];
    size_t bytes = 0;

    for (int i = 0; i < 3; i++) {
        small         s;
        examples      x;
        packer        data;
        trainer       t;
        adamw_options adamw;
        step_report   r;
        threads_set(i + 1);
        open_training(&s, &x, &data, &t, &adamw);
        for (int64_t k = 0; k < STEPS; k++)
            MUST(trainer_step(&t, &data, k, &r));
        bytes = (size_t)s.p->size * sizeof(float);
        values[i] = malloc(bytes);
        memcpy(values[i], s.p->values, bytes);
        losses[i] = r.loss;
        trainer_close(&t);
        small_close(&s);
    }
    threads_set(0);
    ck_assert_mem_eq(values[0], values[1], bytes);
    ck_assert_mem_eq(values[0], values[2], bytes);
    ck_assert(losses[0] == losses[1] && losses[0] == losses[2]);
    for (int i = 0; i < 3; i++)
        free(values[i]);
}
END_TEST

TESTS(allocations, steps_after_the_first_allocate_nothing, threads_do_not_change_a_bit)
