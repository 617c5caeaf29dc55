/* hostile: whatever bytes a file holds, the readers neither crash nor read outside it; golden broken files are
 * tests/with_golden_hostile.c */
#include "tests/helpers.h"
#include "tests/with_golden_hostile.h"

#include "core/file.h"

#include <fcntl.h>
#include <sys/mman.h>
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
static bool survives(const ram_file *f, status (*read)(arena *a, const char *path))
{
    const size_t mark = arena_mark(&setup);

    status_clear();
    const status s = read(&setup, f->path);
    ck_assert(s == STATUS_OK || strstr(status_text(), f->path));
    arena_rewind(&setup, mark);
    return s == STATUS_OK;
}

static void flip_bytes(const char *name, status (*read)(arena *a, const char *path))
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
    flip_bytes(golden("good/base.gguf"), hostile_gguf);
    flip_bytes(golden("good/model.gguf"), hostile_trunk);
    flip_bytes(golden("good/base.safetensors"), hostile_safetensors);
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

static void mutate_file(const char *name, status (*read)(arena *a, const char *path), int times)
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
    mutate_file(golden("good/base.gguf"), hostile_gguf, 2000);
    mutate_file(golden("good/model.gguf"), hostile_trunk, 2000);
    mutate_file(golden("good/base.safetensors"), hostile_safetensors, 2000);
    arena_close(&setup);
}
END_TEST

TESTS(hostile, flipped_bytes_are_harmless, mutated_files_are_harmless)
