/* with_convert: see with_convert.h */
#include "tests/with_convert.h"

#include "core/file.h"

arena setup;
char  folder[64];

void convert_begin(void)
{
    MUST(arena_open(&setup, "setup", (size_t)1 << 32));
    test_folder(folder);
}

void convert_end(void)
{
    MUST(folder_remove_tree(folder));
    arena_close(&setup);
}

const char *here(const char *name)
{
    return path_join(&setup, folder, name);
}

status try_convert(const char *from, const char *to, const char *type, const char *base, double shard)
{
    const convert_request q = {.from = from, .to = to, .type = type, .base = base, .shard = shard};
    FILE                 *out = fopen("/dev/null", "w");
    const status          s = command_convert(&q, out);

    fclose(out);
    return s;
}

const char *converted(const char *from, const char *to, const char *type)
{
    const char *path = here(to);

    MUST(try_convert(from, path, type, NULL, 5000));
    return path;
}
