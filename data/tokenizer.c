/* tokenizer: opening, and what the file says */
#include "data/tokenizer.h"

#include "core/file.h"
#include "core/text.h"
#include "data/tokenizer_parts.h"

#include <string.h>

status template_default(arena *a, tokenizer *t)
{
    TRY_TAKE(t->single.v, a, 1);
    TRY_TAKE(t->pair.v, a, 2);
    t->single.n = 1;
    t->pair.n = 2;
    t->single.v[0] = t->pair.v[0] = (template_item){.id = -1};
    t->pair.v[1] = (template_item){.id = -1, .text = 1, .type = 1};
    return STATUS_OK;
}

/* The file of a folder that says most; tokenizer.json when there is none, so that the message names
 * it. */
static char *inside(arena *a, const char *folder)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model", "spiece.model",
                                        "sentencepiece.bpe.model", "vocab.txt"};

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char *file = path_join(a, folder, names[i]);
        if (!file || path_exists(file))
            return file;
    }
    return path_join(a, folder, names[0]);
}

bool tokenizer_is_in(arena *a, const char *folder)
{
    const size_t mark = arena_mark(a);
    const char *file = inside(a, folder);
    const bool there = file && path_exists(file);

    arena_rewind(a, mark);
    return there;
}

static status read_file(arena *a, const char *file, tokenizer *t)
{
    return text_ends(file, ".gguf")    ? tokenizer_read_gguf(a, file, t)
           : text_ends(file, ".model") ? tokenizer_read_spm(a, file, t)
           : text_ends(file, ".txt")   ? tokenizer_read_vocab(a, file, t)
                                       : tokenizer_read_json(a, file, t);
}

status tokenizer_open(arena *a, const char *path, tokenizer **out)
{
    tokenizer *t;
    char *file = arena_string(a, path, strlen(path));

    *out = NULL;
    if (file && path_is_folder(path))
        file = inside(a, path);
    if (!file)
        return STATUS_MEMORY;
    TRY_TAKE(t, a, 1);
    *t = (tokenizer){.what = file, .bos = -1, .eos = -1};
    status s = template_default(a, t);
    if (s == STATUS_OK)
        s = read_file(a, file, t);
    if (s == STATUS_OK)
        s = added_tokens_index(a, t);
    if (s != STATUS_OK) {
        tokenizer_close(t);
        return s;
    }
    *out = t;
    return STATUS_OK;
}

void tokenizer_close(tokenizer *t)
{
    for (int i = 0; t && i < t->n_patterns; i++)
        pcre2_code_free(t->patterns[i]);
    if (t)
        t->n_patterns = 0;
}

int32_t tokenizer_size(const tokenizer *t)
{
    return t->words.n_ids;
}

int32_t tokenizer_id(const tokenizer *t, const char *token)
{
    const size_t n = strlen(token);
    const int32_t id = vocabulary_find(&t->words, token, n);

    for (size_t i = 0; id < 0 && i < t->added.n; i++)
        if (t->added.v[i].n == n && memcmp(t->added.v[i].text, token, n) == 0)
            return t->added.v[i].id;
    return id;
}

const char *tokenizer_token(const tokenizer *t, int32_t id, size_t *length)
{
    if (!vocabulary_has(&t->words, id))
        return NULL;
    *length = t->words.length[id];
    return t->words.bytes + t->words.at[id];
}

bool tokenizer_is_special(const tokenizer *t, int32_t id)
{
    return vocabulary_has(&t->words, id) && t->added.special[id];
}

int32_t tokenizer_bos(const tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const tokenizer *t)
{
    return t->eos;
}

const char *tokenizer_chat_template(const tokenizer *t)
{
    return t->chat_template;
}
