/* tokenizer: golden cases of the reference, hostile files, random damage, threads, long words */
#include "core/file.h"
#include "core/json.h"
#include "core/rng.h"
#include "core/threads.h"
#include "data/tokenizer.h"
#include "tests/helpers.h"

#include <sys/stat.h>
#include <unistd.h>

static arena files, work;

static void open_arenas(void)
{
    MUST(arena_open(&files, "model", (size_t)1 << 30));
    MUST(arena_open(&work, "work", (size_t)1 << 30));
}

static void close_arenas(void)
{
    arena_close(&files);
    arena_close(&work);
}

/* Path of a golden tokenizer, unpacked below `folder` where it is compressed. */
static char *golden_tokenizer(const char *golden, const char *name, const char *folder)
{
    char *path = arena_printf(&files, "%s/tokenizers/%s/tokenizer.json", golden, name);

    if (path_exists(path))
        return path;
    char *to = arena_printf(&files, "%s/tokenizer.json", folder);
    char *command = arena_printf(&files, "zcat '%s.gz' > '%s'", path, to);
    ck_assert_int_eq(system(command), 0);
    return to;
}

static cJSON *golden_json(const char *golden, const char *name, const char *file)
{
    cJSON *root;

    MUST(json_read(arena_printf(&files, "%s/tokenizers/%s/%s", golden, name, file), &root));
    return root;
}

static const cJSON *get(const cJSON *o, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(o, key);
}

static bool same_ids(const token_list *got, const cJSON *want)
{
    int64_t i = 0;

    if (got->n != cJSON_GetArraySize(want))
        return false;
    for (const cJSON *id = want->child; id; id = id->next, i++)
        if (got->ids[i] != id->valueint)
            return false;
    return true;
}

static bool same_offsets(const token_list *got, const cJSON *want)
{
    int64_t i = 0;

    for (const cJSON *pair = want->child; pair; pair = pair->next, i++)
        if (got->begin[i] != (uint32_t)pair->child->valueint ||
            got->end[i] != (uint32_t)pair->child->next->valueint)
            return false;
    return true;
}

static bool same_text(const tokenizer *t, const token_list *ids, bool skip, const cJSON *want)
{
    const char *text;
    char       *got;
    size_t      n, size;

    MUST(json_text(&work, want, &text, &n));
    MUST(tokenizer_decode(t, &work, ids->ids, ids->n, skip, &got, &size));
    return size == n && memcmp(got, text, n) == 0;
}

/* Prints the first few cases that differ; returns how many do. */
static int compare_cases(const tokenizer *t, const cJSON *cases, const char *name, bool offsets)
{
    int wrong = 0, n = 0;

    for (const cJSON *c = cases->child; c; c = c->next, n++) {
        const char *text;
        size_t      length;
        token_list  got;
        arena_rewind(&work, 0);
        MUST(json_text(&work, get(c, "text"), &text, &length));
        MUST(tokenizer_encode(t, &work, text, length, cJSON_IsTrue(get(c, "add_special")), &got));
        const cJSON *with = get(c, "decoded_with_special");
        const char  *why = !same_ids(&got, get(c, "ids"))                               ? "ids"
                           : offsets && !same_offsets(&got, get(c, "offsets"))          ? "offsets"
                           : !same_text(t, &got, true, get(c, "decoded"))               ? "decoded"
                           : !same_text(t, &got, false, with ? with : get(c, "decoded")) ? "special"
                                                                                         : NULL;
        if (why && wrong++ < 5) {
            printf("%s, case %d (%s): %s differ: %s\n", name, n, get(c, "category")->valuestring,
                   why, json_quote(&work, text, length));
            for (int64_t i = 0; i < got.n; i++)
                printf(" %d[%u,%u]", got.ids[i], got.begin[i], got.end[i]);
            printf("\n");
            fflush(stdout);
        }
    }
    ck_assert_int_eq(n, 515);
    return wrong;
}

static int compare_pairs(const tokenizer *t, const cJSON *pairs)
{
    int wrong = 0;

    for (const cJSON *c = pairs->child; c; c = c->next) {
        const char *a = get(c, "a")->valuestring, *b = get(c, "b")->valuestring;
        token_list  got;
        MUST(tokenizer_encode_pair(t, &work, a, strlen(a), b, strlen(b), true, &got));
        bool         same = same_ids(&got, get(c, "ids"));
        const cJSON *type = get(c, "type_ids")->child, *special = get(c, "special")->child;
        for (int64_t i = 0; same && i < got.n; i++, type = type->next, special = special->next)
            same = got.types[i] == type->valueint && got.special[i] == special->valueint;
        wrong += !same;
    }
    return wrong;
}

START_TEST(golden_cases)
{
    static const char *const names[] = {"bpe_gpt2", "bpe_llama3", "bpe_qwen2", "bpe_roberta",
                                        "smollm2"};
    const char              *golden = golden_folder();
    char                     folder[64];

    if (!golden)
        SKIP("no golden folder");
    open_arenas();
    test_folder(folder);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        tokenizer *t;
        MUST(tokenizer_open(&files, golden_tokenizer(golden, names[i], folder), &t));
        cJSON    *root = golden_json(golden, names[i], "cases.json");
        const int wrong = compare_cases(t, get(root, "cases"), names[i], true);
        ck_assert_msg(wrong == 0, "%s: %d of 515 cases differ", names[i], wrong);
        cJSON_Delete(root);
        root = golden_json(golden, names[i], "pairs.json");
        ck_assert_msg(compare_pairs(t, root) == 0, "%s: pairs differ", names[i]);
        cJSON_Delete(root);
        tokenizer_close(t);
    }
    MUST(folder_remove_tree(folder));
    close_arenas();
}
END_TEST

TESTS(tokenizer, golden_cases)
