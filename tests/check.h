/* check: the Check library, plus what this project adds to it.
 *
 * One file tests/test_<part>.c is one program: a few START_TEST ... END_TEST, then
 *
 *     TESTS(part, test_one, test_two)
 *
 * which makes main(). `test_part NAME` runs only the tests whose name contains NAME; tests that take
 * minutes begin with SLOW(), which skips them unless CAMBIUM_SLOW is set. A skipped test prints a
 * line "SKIP part: why" that tests/run counts; it never passes in silence. */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <check.h>
#undef fail /* Check's old name for ck_abort; here it is core/status.h's function */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/device.h"
#include "core/status.h"

/* Ends the running test as skipped, with a reason. */
#define SKIP(...)                                                                                  \
    do {                                                                                           \
        printf("SKIP %s: ", __FILE__);                                                             \
        printf(__VA_ARGS__);                                                                       \
        printf("\n");                                                                              \
        fflush(stdout);                                                                            \
        return;                                                                                    \
    } while (0)
#define SLOW()                                                                                     \
    do {                                                                                           \
        if (!getenv("CAMBIUM_SLOW"))                                                               \
            SKIP("%s is slow: ./cambium test --slow runs it", __func__);                           \
    } while (0)

/* A call must succeed, or fail with a text that contains `part`. */
#define MUST(call) ck_assert_msg((call) == STATUS_OK, "%s: %s", #call, status_text())
#define MUST_FAIL(call, part)                                                                      \
    do {                                                                                           \
        status_clear();                                                                            \
        ck_assert_msg((call) != STATUS_OK, "%s did not fail", #call);                              \
        ck_assert_msg(strstr(status_text(), part) != NULL, "%s said \"%s\", not \"%s\"", #call,    \
                      status_text(), part);                                                        \
    } while (0)

/* ../shared/golden, or $CAMBIUM_GOLDEN; NULL when absent: then the test must SKIP. */
static inline const char *golden_folder(void)
{
    const char *folder = getenv("CAMBIUM_GOLDEN");

    if (!folder)
        folder = SOURCE_FOLDER "/../shared/golden";

    FILE *f = fopen(folder, "r");
    if (!f)
        return NULL;
    fclose(f);
    return folder;
}

/* CAMBIUM_DEVICE=cuda: every test begins with that device open, so that its tapes run there. */
static inline void open_tests_device(void)
{
    device     *d;
    const char *name = getenv("CAMBIUM_DEVICE");

    if (name)
        ck_assert_msg(device_open(name, TYPE_F32, &d) == STATUS_OK, "%s", status_text());
}

static inline void close_tests_device(void)
{
    device_close(device_current());
}

static inline int run_tests(const char *part, const TTest *const *tests, int n, const char *only)
{
    Suite *suite = suite_create(part);
    TCase *group = tcase_create(part);

    setvbuf(stdout, NULL, _IOLBF, 0); /* the process of a failed test ends without flushing */
    if (strncmp(part, "cuda", 4) != 0) /* those open it themselves */
        tcase_add_checked_fixture(group, open_tests_device, close_tests_device);
    tcase_set_timeout(group, getenv("CAMBIUM_SLOW") ? 7200 : 900);
    for (int i = 0; i < n; i++)
        if (!only || strstr(tests[i]->name, only))
            tcase_add_test(group, tests[i]);
    suite_add_tcase(suite, group);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner), run = srunner_ntests_run(runner);
    printf("%s: %d passed, %d failed\n", part, run - failed, failed);
    srunner_free(runner);
    return failed != 0;
}

#define TESTS(part, ...)                                                                           \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        const TTest *const tests[] = {__VA_ARGS__};                                                \
        return run_tests(#part, tests, (int)(sizeof tests / sizeof tests[0]),                      \
                         argc > 1 ? argv[1] : NULL);                                               \
    }
#endif
