/* helpers shared by test programs */
#ifndef TESTS_HELPERS_H
#define TESTS_HELPERS_H

#include "tests/check.h"

/* Makes a fresh folder below /tmp and writes its path into path[64]; the test removes it. */
char *test_folder(char path[64]);
#endif
