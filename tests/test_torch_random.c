/* torch_random: numbers that torch gives */
#include "tests/helpers.h"

#include "peft/torch_random.h"

#include <math.h>

/* torch.manual_seed(0); torch.rand(4) */
START_TEST(uniform_values_are_torchs)
{
    static const float want[] = {0.4962565899f, 0.7682217956f, 0.0884774327f, 0.1320304871f};
    float              got[4];
    torch_random       r;

    torch_seed(&r, 0);
    torch_uniform(&r, 1, got, 4);
    for (int i = 0; i < 4; i++)
        ck_assert_msg(fabsf((got[i] + 1) / 2 - want[i]) < 1e-7f, "value %d is %.10g", i,
                      (double)(got[i] + 1) / 2);
}
END_TEST

/* A whole permutation holds every number once, and begins like a shorter one; places of golden/peft's
 * fourierft. */
START_TEST(permutations_are_torchs)
{
    static const int64_t want[] = {1895, 2184, 627, 1613, 879, 1125};
    enum { N = 2304 };
    int64_t      got[N], few[6];
    bool         seen[N] = {false};
    arena        a;
    torch_random r;

    MUST(arena_open(&a, "test", (size_t)1 << 24));
    torch_seed(&r, 777);
    MUST(torch_permutation(&r, &a, N, 6, few));
    torch_seed(&r, 777);
    MUST(torch_permutation(&r, &a, N, N, got));
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(few[i], want[i]);
        ck_assert_int_eq(got[i], want[i]);
    }
    for (int i = 0; i < N; i++) {
        ck_assert(got[i] >= 0 && got[i] < N && !seen[got[i]]);
        seen[got[i]] = true;
    }
    torch_seed(&r, 777);
    MUST_FAIL(torch_permutation(&r, &a, (int64_t)1 << 32, 6, few), "not below 214748364");
    arena_close(&a);
}
END_TEST

/* PEFT's randlora_A of rank 6 for weights of 48, key 0: golden/peft/forward/randlora. */
START_TEST(narrow_values_are_torchs)
{
    static const float want[] = {-0.01312255859375f, 0.94140625f, -1.4375f, -1.2890625f, -0.67578125f};
    const torch_start  start = {.bound = 1 / sqrt(48.0), .bf16_normalised = true};
    float              got[6 * 48];
    const tensor       value = {.s = shape_3(6, 1, 48), .type = TYPE_F32, .v = got};

    MUST(torch_make(NULL, &start, &value));
    for (int i = 0; i < 5; i++)
        ck_assert_msg(got[i] == want[i], "value %d is %.10g, must be %.10g", i, (double)got[i], (double)want[i]);
}
END_TEST

TESTS(torch_random, narrow_values_are_torchs, uniform_values_are_torchs, permutations_are_torchs)
