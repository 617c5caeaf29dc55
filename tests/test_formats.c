/* formats: safetensors, GGUF, half precision, digests; golden containers are tests/with_golden_gguf.c */
#include "tests/helpers.h"

#include "core/gguf.h"
#include "core/json.h"
#include "core/quant.h"
#include "core/safetensors.h"
#include "core/sha256.h"

#include <math.h>

static arena setup;

static void begin(void)
{
    MUST(arena_open(&setup, "setup", (size_t)1 << 30));
}

static const char *golden(const char *name)
{
    return arena_printf(&setup, "%s/%s", golden_folder(), name);
}

START_TEST(half_precision_rounds_to_even)
{
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = f16_to_f32((uint16_t)h), b = bf16_to_f32((uint16_t)h);
        if (isnan(f))
            ck_assert((h & 0x7C00) == 0x7C00 && (h & 0x3FF) && isnan(f16_to_f32(f32_to_f16(f))));
        else
            ck_assert_uint_eq(f32_to_f16(f), h);
        if (isnan(b))
            ck_assert(isnan(bf16_to_f32(f32_to_bf16(b))));
        else
            ck_assert_uint_eq(f32_to_bf16(b), h);
        /* midpoints between neighbours go to the even one; the last goes to infinity */
        if ((h & 0x7FFF) < 0x7C00) {
            const float next =
                (h & 0x7FFF) == 0x7BFF ? 65536 : fabsf(f16_to_f32((uint16_t)(h + 1)));
            const float middle = copysignf((fabsf(f) + next) / 2, f);
            ck_assert_uint_eq(f32_to_f16(middle), h & 1 ? h + 1 : h);
            ck_assert_uint_eq(f32_to_f16(nextafterf(middle, 0)), h);
            ck_assert_uint_eq(f32_to_f16(nextafterf(middle, copysignf(INFINITY, f))), h + 1);
        }
    }
    ck_assert_float_eq(f16_to_f32(0x0001), 0x1p-24f);
    ck_assert_float_eq(f16_to_f32(0x7BFF), 65504);
    ck_assert_uint_eq(f32_to_bf16(1.00390625f), 0x3F80); /* 1 + 2^-8: halfway, to even */
    ck_assert_uint_eq(f32_to_bf16(1.01171875f), 0x3F82); /* 1 + 3 * 2^-8 */
}
END_TEST

START_TEST(gguf_getters_say_what_is_wrong)
{
    gguf        g;
    int64_t     n = 5, count, *ints;
    double      d;
    bool        b = true;
    const char *text;
    gguf_text  *texts;
    float      *floats;

    if (!golden_folder())
        SKIP("no golden files");
    begin();
    MUST(gguf_open(&setup, golden("gguf/metadata.gguf"), &g));
    MUST(gguf_int(&g, "absent", false, 0, 9, &n));
    ck_assert_int_eq(n, 5);
    MUST_FAIL(gguf_int(&g, "absent", true, 0, 9, &n), "absent is missing");
    MUST(gguf_int(&g, "v.i8", true, -128, 127, &n));
    ck_assert_int_eq(n, -128);
    MUST_FAIL(gguf_int(&g, "v.i8", true, 0, 127, &n), "v.i8 is -128, must be 0..127");
    MUST_FAIL(gguf_int(&g, "v.u64", true, 0, 127, &n), "must be 0..127");
    MUST_FAIL(gguf_int(&g, "v.text", true, 0, 127, &n), "v.text is text, must be a whole number");
    MUST_FAIL(gguf_int(&g, "v.true", true, 0, 127, &n), "must be a whole number");
    MUST_FAIL(gguf_double(&g, "v.u8", true, &d), "must be a real number");
    MUST(gguf_bool(&g, "v.false", true, &b));
    ck_assert(!b);
    MUST_FAIL(gguf_string(&setup, &g, "v.nul", true, &text), "NUL");
    MUST(gguf_string(&setup, &g, "general.architecture", true, &text));
    ck_assert_str_eq(text, "test");
    MUST(gguf_texts(&setup, &g, "a.str", true, &texts, &count));
    ck_assert_int_eq(count, 5);
    ck_assert(texts[0].n == 0 && texts[3].n == 1 && texts[3].v[0] == '\n');
    MUST_FAIL(gguf_texts(&setup, &g, "a.i32", true, &texts, &count), "an array of an i32, must be");
    MUST(gguf_texts(&setup, &g, "absent", false, &texts, &count));
    ck_assert_int_eq(count, 0);
    MUST(gguf_ints(&setup, &g, "a.i16", true, &ints, &count));
    ck_assert(count == 2 && ints[0] == -32768 && ints[1] == 32767);
    MUST_FAIL(gguf_ints(&setup, &g, "a.u64", true, &ints, &count), "beyond 2^63");
    MUST(gguf_floats(&setup, &g, "a.f32", true, &floats, &count));
    ck_assert(count == 3 && floats[1] == -0.25f);
    gguf_close(&g);
    arena_close(&setup);
}
END_TEST

static char *read_all(const char *path, size_t *length)
{
    char *text;

    MUST(file_read(&setup, path, (size_t)1 << 26, &text, length));
    return text;
}

START_TEST(safetensors_round_trip)
{
    static float           f[6] = {1, -2, 3.5f, 0, 1e-40f, INFINITY};
    static uint16_t        h[3] = {0x3F80, 0xBF80, 1};
    static uint8_t         u[5] = {1, 2, 3, 4, 255};
    static int64_t         l[1] = {-1};
    static double          d[2] = {0.1, -0.0};
    const safetensors_item items[] = {
        {"z.bytes", {.s = shape_1(5), .type = TYPE_U8, .v = u}},
        {"a.weight", {.s = shape_2(2, 3), .type = TYPE_F32, .v = f}},
        {"quote\" \n\303\251", {.s = shape_1(3), .type = TYPE_BF16, .v = h}},
        {"scalar", {.s = {.n = 0}, .type = TYPE_I64, .v = l}},
        {"none", {.s = shape_2(0, 3), .type = TYPE_F32, .v = f}},
        {"double", {.s = shape_1(2), .type = TYPE_F64, .v = d}}};
    const safetensors_pair pairs[] = {{"format", "pt", 0}, {"a", "{\"rank\": 4}", 0}};
    safetensors_item       turned[6];
    safetensors            s;
    char                   folder[64];
    size_t                 n, m;

    begin();
    const char *path = path_join(&setup, test_folder(folder), "x.safetensors");
    const char *again = path_join(&setup, folder, "y.safetensors");
    MUST(safetensors_write(path, items, 6, pairs, 2));
    MUST(safetensors_open(&setup, path, &s));
    ck_assert_int_eq(s.n, 6);
    ck_assert_str_eq(s.e[0].name, "a.weight");
    for (int i = 0; i < 6; i++) {
        const safetensors_entry *e = safetensors_find(&s, items[i].name);
        ck_assert_ptr_nonnull(e);
        ck_assert(!e->opaque && e->t.type == items[i].t.type && shape_equal(e->t.s, items[i].t.s));
        ck_assert_uint_eq(e->bytes, tensor_bytes(&items[i].t));
        ck_assert(memcmp(e->v, items[i].t.v, e->bytes) == 0);
        ck_assert_uint_eq((uintptr_t)e->v % (uintptr_t)dtype_block_bytes(e->t.type), 0);
    }
    ck_assert_str_eq(safetensors_metadata(&s, "a"), "{\"rank\": 4}");
    ck_assert_str_eq(safetensors_metadata(&s, "format"), "pt");
    ck_assert_ptr_null(safetensors_metadata(&s, "b"));
    safetensors_close(&s);

    for (int i = 0; i < 6; i++)
        turned[i] = items[5 - i];
    const safetensors_pair swapped[] = {pairs[1], pairs[0]};
    MUST(safetensors_write(again, turned, 6, swapped, 2));
    const char *one = read_all(path, &n), *two = read_all(again, &m);
    ck_assert(n == m && memcmp(one, two, n) == 0);

    MUST(safetensors_write(again, NULL, 0, NULL, 0));
    MUST(safetensors_open(&setup, again, &s));
    ck_assert_int_eq(s.n, 0);
    ck_assert_ptr_null(safetensors_find(&s, "a"));
    safetensors_close(&s);

    MUST(folder_remove_tree(folder));
    arena_close(&setup);
}
END_TEST

START_TEST(safetensors_writer_refuses)
{
    static float     f[32];
    const tensor     t = {.s = shape_1(2), .type = TYPE_F32, .v = f};
    safetensors_item two[2] = {{"a", t}, {"a", t}};
    char             folder[64];

    begin();
    const char *path = path_join(&setup, test_folder(folder), "x.safetensors");
    MUST_FAIL(safetensors_write(path, two, 2, NULL, 0), "two tensors are named a");
    two[1].name = "__metadata__";
    MUST_FAIL(safetensors_write(path, two, 2, NULL, 0), "no name for a tensor");
    two[1].name = "\xff";
    MUST_FAIL(safetensors_write(path, two, 2, NULL, 0), "not valid UTF-8");
    two[1] = (safetensors_item){"q", {.s = shape_1(32), .type = TYPE_Q4_0, .v = f}};
    MUST_FAIL(safetensors_write(path, two, 2, NULL, 0), "q4_0, which the format cannot hold");
    ck_assert(!path_exists(path));
    MUST(folder_remove_tree(folder));
    arena_close(&setup);
}
END_TEST

START_TEST(sha256_is_the_standard_one)
{
    static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    char              hex[SHA256_HEX], folder[64];
    sha256            h;

    begin();
    MUST(sha256_bytes("abc", 3, hex)); /* FIPS 180-4's example */
    ck_assert_str_eq(hex, abc);
    MUST(sha256_open(&h));
    sha256_add(&h, "a", 1);
    sha256_add(&h, "bc", 2);
    sha256_close(&h, hex);
    ck_assert_str_eq(hex, abc);
    const char *path = path_join(&setup, test_folder(folder), "f");
    MUST(file_replace(path, "abc", 3));
    MUST(sha256_file(path, hex));
    ck_assert_str_eq(hex, abc);
    MUST_FAIL(sha256_file(folder, hex), folder);
    MUST(folder_remove_tree(folder));
    arena_close(&setup);
}
END_TEST

TESTS(formats, half_precision_rounds_to_even,
      gguf_getters_say_what_is_wrong, safetensors_round_trip,
      safetensors_writer_refuses, sha256_is_the_standard_one)
