#include "data/tokenizer_parts.h"
status tokenizer_read_gguf(arena *a, const char *path, tokenizer *t)
{
    (void)a, (void)t;
    return fail(STATUS_UNSUPPORTED, "%s: no", path);
}
