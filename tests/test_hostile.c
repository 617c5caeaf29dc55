/* hostile: broken files are refused with a text that names them, quickly and in little memory; and
 * whatever bytes a file holds, the readers neither crash nor read outside it */
#include "tests/helpers.h"

#include "core/gguf.h"
#include "core/json.h"
#include "core/quant.h"
#include "core/safetensors.h"
#include "layers/weights.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static arena setup;

static void begin(void)
{
    MUST(arena_open(&setup, "setup", (size_t)1 << 30));
}

static const char *golden(const char *name)
{
    return arena_printf(&setup, "%s/hostile/%s", golden_folder(), name);
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static size_t peak_kilobytes(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (size_t)u.ru_maxrss;
}

/* Sums of what was read, so that no read is optimised away. */
static volatile double sink;

static void touch_tensor(const tensor *t)
{
    const int64_t  n = shape_count(t->s), some = dtype_block(t->type);
    const size_t   bytes = tensor_bytes(t);
    const uint8_t *v = t->v;
    float          out[256];
    double         sum = 0;

    for (size_t i = 0; i < bytes; i += i + 64 < bytes ? 64 : 1)
        sum += v[i];
    if (quant_is_real(t->type))
        for (int64_t i = 0; i + some <= n && i < 64 * some; i += some) {
            quant_expand(t->type, v + i / some * dtype_block_bytes(t->type), some, out);
            sum += out[0];
        }
    sink = sum;
}

static void touch_value(const gguf_value *v)
{
    int64_t   i = 0;
    uint64_t  u = 0;
    double    d = 0, sum = 0;
    bool      b = false;
    gguf_text t = {0};

    gguf_as_int(v, &i);
    gguf_as_u64(v, &u);
    gguf_as_double(v, &d);
    gguf_as_bool(v, &b);
    if (gguf_as_text(v, &t))
        for (size_t j = 0; j < t.n; j++)
            sum += t.v[j];
    sink = sum + (double)i + (double)u + d + b;
    if (v->kind == GGUF_ARRAY) {
        const uint8_t *at = NULL;
        gguf_value     item;
        while (gguf_next(v, &at, &item))
            touch_value(&item);
    }
}

/* Opens a file, reads all of it when it opens, and gives back the status. */
static status read_gguf(const char *path)
{
    gguf       g;
    gguf_text *texts;
    int64_t   *ints, n;

    TRY(gguf_open(&setup, path, &g));
    for (int64_t i = 0; i < g.n_pairs; i++) {
        touch_value(&g.pairs[i].value);
        ck_assert_ptr_eq(gguf_find(&g, g.pairs[i].key), &g.pairs[i].value);
        if (gguf_texts(&setup, &g, g.pairs[i].key, true, &texts, &n) == STATUS_OK && n)
            sink = (double)texts[n - 1].n;
        if (gguf_ints(&setup, &g, g.pairs[i].key, true, &ints, &n) == STATUS_OK && n)
            sink = (double)ints[n - 1];
    }
    for (int64_t i = 0; i < g.n_tensors; i++)
        touch_tensor(&g.tensors[i].t);
    gguf_close(&g);
    return STATUS_OK;
}

static status read_safetensors(const char *path)
{
    safetensors s;

    TRY(safetensors_open(&setup, path, &s));
    for (int i = 0; i < s.n; i++) {
        const uint8_t *v = s.e[i].v;
        for (size_t j = 0; j < s.e[i].bytes; j++)
            sink = v[j];
        if (!s.e[i].opaque)
            ck_assert_uint_eq(tensor_bytes(&s.e[i].t), s.e[i].bytes);
    }
    for (int i = 0; i < s.n_metadata; i++)
        sink = (double)strlen(s.metadata[i].value);
    safetensors_close(&s);
    return STATUS_OK;
}

static status read_trunk(const char *path)
{
    weights w;

    TRY(weights_open(&setup, path, &w));
    for (int i = 0; i < w.n; i++)
        touch_tensor(&w.w[i].t);
    weights_close(&w);
    return STATUS_OK;
}

/* Broken trunks that only a tokenizer can refuse: they lie in the tokenizer's metadata. */
static bool is_left_to_the_tokenizer(const char *file)
{
    static const char *const files[] = {"gguf_model/merge_unknown.gguf",
                                        "gguf_model/merge_one_part.gguf",
                                        "gguf_model/tokens_twice.gguf"};

    for (size_t i = 0; i < COUNT_OF(files); i++)
        if (strcmp(files[i], file) == 0)
            return true;
    return false;
}

/* All files of the manifest below `folder`. */
static void check_folder(const char *folder, status (*read)(const char *path), int want)
{
    const size_t before = peak_kilobytes();
    const cJSON *item;
    cJSON       *manifest;
    int          n = 0;

    MUST(json_read(golden("MANIFEST.json"), &manifest));
    cJSON_ArrayForEach(item, manifest)
    {
        const char  *file = cJSON_GetObjectItem(item, "file")->valuestring;
        const size_t mark = arena_mark(&setup);
        if (strncmp(file, folder, strlen(folder)) != 0)
            continue;
        const char  *path = golden(file);
        const double began = seconds();
        status_clear();
        const status s = read(path);
        if (is_left_to_the_tokenizer(file))
            ck_assert_msg(s == STATUS_OK, "%s: %s", file, status_text());
        else {
            ck_assert_msg(s != STATUS_OK, "%s was read, but: %s", file,
                          cJSON_GetObjectItem(item, "wrong")->valuestring);
            ck_assert_msg(strstr(status_text(), file) != NULL, "%s: the text is \"%s\"", file,
                          status_text());
            if (getenv("CAMBIUM_VERBOSE"))
                printf("%s\n", status_text());
        }
        ck_assert_msg(seconds() - began < 1, "%s took %.3f s", file, seconds() - began);
        ck_assert_msg(setup.peak < (size_t)4 << 20, "%s: %zu bytes of the arena", file, setup.peak);
        arena_rewind(&setup, mark);
        n++;
    }
    cJSON_Delete(manifest);
    ck_assert_int_ge(n, want);
#ifndef __SANITIZE_ADDRESS__
    ck_assert_uint_lt(peak_kilobytes() - before, 8 << 10);
#else
    (void)before;
#endif
}

START_TEST(good_files_are_read)
{
    if (!golden_folder())
        SKIP("no golden files");
    begin();
    MUST(read_gguf(golden("good/base.gguf")));
    MUST(read_gguf(golden("good/model.gguf")));
    MUST(read_trunk(golden("good/model.gguf")));
    MUST(read_safetensors(golden("good/base.safetensors")));
    arena_close(&setup);
}
END_TEST

START_TEST(broken_gguf_is_refused)
{
    if (!golden_folder())
        SKIP("no golden files");
    begin();
    check_folder("gguf/", read_gguf, 90);
    arena_close(&setup);
}
END_TEST

START_TEST(broken_safetensors_is_refused)
{
    if (!golden_folder())
        SKIP("no golden files");
    begin();
    check_folder("safetensors/", read_safetensors, 75);
    arena_close(&setup);
}
END_TEST

START_TEST(broken_gguf_trunk_is_refused)
{
    if (!golden_folder())
        SKIP("no golden files");
    begin();
    check_folder("gguf_model/", read_trunk, 26);
    arena_close(&setup);
}
END_TEST

/* A file in memory under a path. */
typedef struct ram_file {
    int  fd;
    char path[64];
} ram_file;

static void ram_open(ram_file *f)
{
    f->fd = memfd_create("cambium-test", MFD_CLOEXEC);
    ck_assert_int_ge(f->fd, 0);
    snprintf(f->path, sizeof f->path, "/proc/self/fd/%d", f->fd);
}

static void ram_set(const ram_file *f, const uint8_t *bytes, size_t n)
{
    ck_assert_int_eq(ftruncate(f->fd, 0), 0);
    ck_assert_int_eq((long)pwrite(f->fd, bytes, n, 0), (long)n);
}

/* Reads the file in memory: it opens or it is refused with a text; nothing else happens. */
static bool survives(const ram_file *f, status (*read)(const char *path))
{
    const size_t mark = arena_mark(&setup);

    status_clear();
    const status s = read(f->path);
    ck_assert(s == STATUS_OK || strstr(status_text(), f->path));
    arena_rewind(&setup, mark);
    return s == STATUS_OK;
}

static void flip_bytes(const char *name, status (*read)(const char *path))
{
    static const uint8_t masks[] = {0xFF, 0x01, 0x80};
    ram_file             f;
    char                *bytes;
    size_t               n;
    int                  read_anyway = 0;

    ram_open(&f);
    MUST(file_read(&setup, name, 1 << 20, &bytes, &n));
    for (size_t i = 0; i < n; i++)
        for (size_t m = 0; m < COUNT_OF(masks); m++) {
            bytes[i] = (char)(bytes[i] ^ masks[m]);
            ram_set(&f, (const uint8_t *)bytes, n);
            read_anyway += survives(&f, read);
            bytes[i] = (char)(bytes[i] ^ masks[m]);
        }
    for (size_t i = 0; i < n; i++) { /* cut at every length */
        ram_set(&f, (const uint8_t *)bytes, i);
        survives(&f, read);
    }
    ram_set(&f, (const uint8_t *)bytes, n);
    ck_assert(survives(&f, read));
    ck_assert_int_gt(read_anyway, 0); /* flips in the data */
    close(f.fd);
}

START_TEST(flipped_bytes_are_harmless)
{
    if (!golden_folder())
        SKIP("no golden files");
    begin();
    flip_bytes(golden("good/base.gguf"), read_gguf);
    flip_bytes(golden("good/model.gguf"), read_trunk);
    flip_bytes(golden("good/base.safetensors"), read_safetensors);
    arena_close(&setup);
}
END_TEST

static uint64_t next_random(uint64_t *state)
{
    /* xorshift64*: Marsaglia 2003, Vigna 2016 */
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1Du;
}

/* One of: bytes overwritten, a telling number put somewhere, a stretch copied, cut or doubled. */
static size_t mutate(uint64_t *r, uint8_t *v, size_t n, size_t room)
{
    static const uint64_t telling[] = {0,          1,          255,        1u << 31, 0xFFFFFFFFu,
                                       1ull << 32, 1ull << 61, 1ull << 63, ~0ull,    ~0ull - 7};
    const size_t          at = next_random(r) % n;
    const size_t          length = 1 + next_random(r) % (n - at < 64 ? n - at : 64);
    const uint64_t        number = telling[next_random(r) % COUNT_OF(telling)];

    switch (next_random(r) % 5) {
    case 0:
        for (size_t i = 0; i < length; i++)
            v[at + i] = (uint8_t)next_random(r);
        return n;
    case 1:
        memcpy(v + at, &number, n - at < 8 ? n - at : 8);
        return n;
    case 2:
        memmove(v + next_random(r) % (n - length + 1), v + at, length);
        return n;
    case 3:
        memmove(v + at, v + at + length, n - at - length);
        return n - length ? n - length : n;
    default:
        if (n + length > room)
            return n;
        memmove(v + at + length, v + at, n - at);
        return n + length;
    }
}

static void mutate_file(const char *name, status (*read)(const char *path), int times)
{
    uint64_t r = 0x9E3779B97F4A7C15u;
    ram_file f;
    char    *bytes;
    uint8_t *copy;
    size_t   n;

    ram_open(&f);
    MUST(file_read(&setup, name, 1 << 20, &bytes, &n));
    copy = arena_take(&setup, n + 1024, 1);
    ck_assert_ptr_nonnull(copy);
    for (int i = 0; i < times; i++) {
        size_t m = n;
        memcpy(copy, bytes, n);
        for (uint64_t k = 1 + next_random(&r) % 4; k > 0; k--)
            m = mutate(&r, copy, m, n + 1024);
        ram_set(&f, copy, m);
        survives(&f, read);
    }
    close(f.fd);
}

START_TEST(mutated_files_are_harmless)
{
    if (!golden_folder())
        SKIP("no golden files");
    begin();
    mutate_file(golden("good/base.gguf"), read_gguf, 2000);
    mutate_file(golden("good/model.gguf"), read_trunk, 2000);
    mutate_file(golden("good/base.safetensors"), read_safetensors, 2000);
    arena_close(&setup);
}
END_TEST

TESTS(hostile, good_files_are_read, broken_gguf_is_refused, broken_safetensors_is_refused,
      broken_gguf_trunk_is_refused, flipped_bytes_are_harmless, mutated_files_are_harmless)
