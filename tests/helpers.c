/* helpers shared by test programs */
#include "tests/helpers.h"

#include <stdlib.h>

char *test_folder(char path[64])
{
    strcpy(path, "/tmp/cambium-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(path));
    return path;
}
