/* golden tokenizers: a folder with tokenizer.json (or .gz), cases.json, and perhaps pairs.json and
 * chat.json (golden/tokenizers/README.md) */
#include "tests/with_golden_tokenizer.h"

#include "core/file.h"
#include "data/chat.h"
#include "data/process.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cJSON *get(const cJSON *o, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(o, key);
}

/* ---- one encoding
 * ------------------------------------------------------------------------------------ */

static bool same_ids(const token_list *got, const cJSON *want)
{
    int64_t i = 0;

    if (!cJSON_IsArray(want) || got->n != cJSON_GetArraySize(want))
        return false;
    for (const cJSON *id = want->child; id; id = id->next, i++)
        if (got->ids[i] != id->valueint)
            return false;
    return true;
}

static bool same_offsets(const token_list *got, const cJSON *want)
{
    int64_t i = 0;

    if (!cJSON_IsArray(want) || got->n != cJSON_GetArraySize(want))
        return false;
    for (const cJSON *pair = want->child; pair; pair = pair->next, i++)
        if (cJSON_GetArraySize(pair) != 2 || got->begin[i] != (uint32_t)pair->child->valueint ||
            got->end[i] != (uint32_t)pair->child->next->valueint)
            return false;
    return true;
}

static bool same_bytes(const uint8_t *got, int64_t n, const cJSON *want)
{
    int64_t i = 0;

    if (!cJSON_IsArray(want) || n != cJSON_GetArraySize(want))
        return false;
    for (const cJSON *v = want->child; v; v = v->next, i++)
        if (got[i] != v->valueint)
            return false;
    return true;
}

static status same_text(golden *g, const tokenizer *t, const token_list *ids, bool skip,
                        const cJSON *want, bool *same)
{
    const char *text;
    char *got;
    size_t n, size;

    TRY(json_text(g->a, want, &text, &n));
    TRY(tokenizer_decode(t, g->a, ids->ids, ids->n, skip, &got, &size));
    *same = size == n && memcmp(got, text, n) == 0;
    return STATUS_OK;
}

/* What of a case differs, NULL when nothing does. */
static status compare_text(golden *g, const tokenizer *t, const cJSON *c, const char **why)
{
    const cJSON *with = get(c, "decoded_with_special");
    const char *text;
    size_t length;
    token_list got;
    bool plain, special;

    TRY(json_text(g->a, get(c, "text"), &text, &length));
    TRY(tokenizer_encode(t, g->a, text, length, cJSON_IsTrue(get(c, "add_special")), &got));
    TRY(same_text(g, t, &got, true, get(c, "decoded"), &plain));
    TRY(same_text(g, t, &got, false, with ? with : get(c, "decoded"), &special));
    *why = !same_ids(&got, get(c, "ids"))           ? "ids"
           : !same_offsets(&got, get(c, "offsets")) ? "offsets"
           : !plain                                 ? "decoded"
           : !special                               ? "decoded_with_special"
                                                    : NULL;
    return STATUS_OK;
}

static status compare_pair(golden *g, const tokenizer *t, const cJSON *c, const char **why)
{
    const char *a, *b;
    size_t n, m;
    token_list got;

    TRY(json_text(g->a, get(c, "a"), &a, &n));
    TRY(json_text(g->a, get(c, "b"), &b, &m));
    TRY(tokenizer_encode_pair(t, g->a, a, n, b, m, true, &got));
    *why = !same_ids(&got, get(c, "ids"))                       ? "ids"
           : !same_bytes(got.types, got.n, get(c, "type_ids"))  ? "type_ids"
           : !same_bytes(got.special, got.n, get(c, "special")) ? "special"
                                                                : NULL;
    return STATUS_OK;
}

/* ---- conversations
 * ----------------------------------------------------------------------------------- */

static status compare_spans(golden *g, const token_list *ids, const chat_span *spans, int64_t n,
                            const cJSON *want, bool *same)
{
    const cJSON *span = want ? want->child : NULL;

    (void)g;
    *same = cJSON_GetArraySize(want) == n;
    for (int64_t i = 0; *same && i < n; i++, span = span->next) {
        int64_t begin = 0, end;
        while (begin < ids->n && ids->begin[begin] < spans[i].begin)
            begin++;
        for (end = begin; end < ids->n && ids->end[end] <= spans[i].end; end++)
            continue;
        *same = cJSON_GetArraySize(span) == 2 && begin == span->child->valueint &&
                end == span->child->next->valueint;
    }
    return STATUS_OK;
}

static status compare_chat(golden *g, const tokenizer *t, const cJSON *c, const char **why)
{
    const char *template_text = tokenizer_chat_template(t), *want;
    const bool prompt = cJSON_IsTrue(get(c, "add_generation_prompt"));
    const int32_t bos = tokenizer_bos(t), eos = tokenizer_eos(t);
    chat_extras extras = {0};
    char *text;
    size_t n, m;
    token_list ids;
    chat_span *spans;
    int64_t n_spans;
    bool same;

    if (!template_text)
        return fail(STATUS_FORMAT, "chat.json is there, but no chat template");
    extras.bos_token = bos >= 0 ? tokenizer_token(t, bos, &n) : NULL;
    extras.eos_token = eos >= 0 ? tokenizer_token(t, eos, &n) : NULL;
    TRY(chat_render(g->a, template_text, strlen(template_text), get(c, "messages"), prompt, &extras,
                    &text, &n));
    TRY(json_text(g->a, get(c, "text"), &want, &m));
    TRY(tokenizer_encode(t, g->a, text, n, false, &ids));
    *why = n != m || memcmp(text, want, n) != 0 ? "text"
           : !same_ids(&ids, get(c, "ids"))     ? "ids"
                                                : NULL;
    if (*why)
        return STATUS_OK;
    TRY(chat_render_spans(g->a, template_text, strlen(template_text), get(c, "messages"), &extras,
                          &text, &n, &spans, &n_spans));
    TRY(compare_spans(g, &ids, spans, n_spans, get(c, "assistant_token_spans"), &same));
    *why = same ? NULL : "assistant_token_spans";
    return STATUS_OK;
}

/* ---- lists of them
 * ------------------------------------------------------------------------------------- */

typedef status (*comparer)(golden *g, const tokenizer *t, const cJSON *c, const char **why);

static status compare_list(golden *g, const tokenizer *t, const cJSON *list, const char *what,
                           comparer compare)
{
    const size_t mark = arena_mark(g->a);
    int wrong = 0, n = 0;
    char first[128] = "", text[192];

    for (const cJSON *c = list->child; c; c = c->next, n++) {
        const char *why = NULL;
        TRY_IN(compare(g, t, c, &why), "in %s %d", what, n);
        arena_rewind(g->a, mark);
        if (why && wrong++ == 0) {
            const cJSON *kind = get(c, "category");
            snprintf(first, sizeof first, ", first the %s of number %d (%.40s)", why, n,
                     cJSON_IsString(kind) ? kind->valuestring : what);
        }
    }
    if (n == 0)
        return fail(STATUS_FORMAT, "there are no %s", what);
    snprintf(text, sizeof text, "%d %s%s", n, what, first);
    golden_exact(g, text, wrong);
    return STATUS_OK;
}

static status compare_file(golden *g, const tokenizer *t, const char *path, const char *what,
                           comparer compare)
{
    cJSON *root;
    const cJSON *list;

    TRY(json_read(path, &root));
    list = cJSON_IsArray(root) ? root : get(root, "cases");
    const status s = cJSON_IsArray(list)
                         ? compare_list(g, t, list, what, compare)
                         : fail(STATUS_FORMAT, "%s: must hold a list of cases", path);
    cJSON_Delete(root);
    return s;
}

status golden_tokenizer_texts(golden *g, const tokenizer *t, const char *cases)
{
    return compare_file(g, t, cases, "texts", compare_text);
}

/* ---- the folder
 * ------------------------------------------------------------------------------------------ */

status golden_folder_make(char path[64])
{
    strcpy(path, "/tmp/cambium-golden-XXXXXX");
    return mkdtemp(path) ? STATUS_OK : fail(STATUS_IO, "%s: cannot be made", path);
}

/* tokenizer.json.gz unpacked into `to`, with what may lie beside it. */
static status unpack(golden *g, const char *folder, const char *to)
{
    static const char *const beside[] = {"chat_template.jinja", "tokenizer_config.json"};
    const char *from = path_join(g->a, folder, "tokenizer.json.gz");
    const char *const argv[] = {"gzip", "-dc", from, NULL};
    int code = 0;
    char *text;
    size_t n;

    if (!from)
        return STATUS_MEMORY;
    TRY(process_run(argv, golden_path(to, "log"), golden_path(to, "tokenizer.json"), &code));
    if (code != 0)
        return fail(STATUS_FORMAT, "%s: gzip cannot unpack it", from);
    for (size_t i = 0; i < COUNT_OF(beside); i++)
        if (golden_has(folder, beside[i])) {
            TRY(file_read(g->a, golden_path(folder, beside[i]), 64u << 20, &text, &n));
            TRY(file_replace(golden_path(to, beside[i]), text, n));
        }
    return STATUS_OK;
}

static status open_tokenizer(golden *g, const char *folder, tokenizer **out)
{
    char to[64];

    if (!golden_has(folder, "tokenizer.json.gz"))
        return tokenizer_open(g->a, folder, out);
    TRY(golden_folder_make(to));
    status s = unpack(g, folder, to);
    if (s == STATUS_OK)
        s = tokenizer_open(g->a, to, out);
    if (s != STATUS_OK) { /* what it says, without the folder that goes away */
        const char *text = strstr(status_text(), to);
        text = arena_printf(g->a, "%s", text ? text + strlen(to) + 1 : status_text());
        folder_remove_tree(to);
        return fail(s, "%s: %s", golden_path(folder, "tokenizer.json.gz"), text ? text : "");
    }
    return folder_remove_tree(to);
}

bool golden_tokenizer(golden *g, const char *folder)
{
    static const struct {
        const char *file, *what;
        comparer compare;
    } parts[] = {{"cases.json", "texts", compare_text},
                 {"pairs.json", "pairs", compare_pair},
                 {"chat.json", "conversations", compare_chat}};
    const size_t mark = arena_mark(g->a);
    tokenizer *t = NULL;

    if (!golden_has(folder, "cases.json") &&
        !(golden_has(folder, "pairs.json") || golden_has(folder, "chat.json")))
        return false;
    golden_begin(g, folder, "tokenizer");
    const status s = open_tokenizer(g, folder, &t);
    if (s != STATUS_OK)
        golden_end(g, s);
    for (size_t i = 0; s == STATUS_OK && i < COUNT_OF(parts); i++) {
        if (!golden_has(folder, parts[i].file))
            continue;
        golden_begin(g, folder, parts[i].what);
        golden_end(g, compare_file(g, t, golden_path(folder, parts[i].file), parts[i].what,
                                   parts[i].compare));
    }
    tokenizer_close(t);
    arena_rewind(g->a, mark);
    return true;
}
