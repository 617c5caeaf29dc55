/* tokenizer_convert: metadata of a GGUF file to tokenizer.json and tokenizer_config.json
 *
 * The texts are written as they come: no tree of a vocabulary is built. */
#include "core/json.h"
#include "core/log.h"
#include "core/utf8.h"
#include "data/tokenizer_convert.h"
#include "data/tokenizer_pieces.h"
#include "data/tokenizer_ways.h"

#include <string.h>

#define MARK "\xE2\x96\x81" /* for a blank */

typedef struct source {
    arena           *a;
    const gguf      *g;
    const token_way *way;    /* NULL: SentencePiece's BPE */
    tokenizer       *pieces; /* that, opened */
    gguf_text       *tokens, *merges;
    int64_t         *types, n, n_merges, n_types, bos, eos, pad, unknown;
    bool             add_bos, add_eos, prefix;
    const char      *chat_template;
} source;

static status find_way(source *s)
{
    const char *path = s->g->map.path, *model, *name;

    TRY(gguf_string(s->a, s->g, "tokenizer.ggml.model", true, &model));
    s->prefix = true;
    TRY(gguf_bool(s->g, "tokenizer.ggml.add_space_prefix", false, &s->prefix));
    if (strcmp(model, "llama") == 0)
        return tokenizer_open(s->a, path, &s->pieces);
    if (strcmp(model, "gpt2") != 0)
        return fail(STATUS_UNSUPPORTED,
                    "%s: tokenizer.ggml.model is \"%.80s\", known: gpt2 (byte-level BPE) and llama "
                    "(SentencePiece's BPE)", path, model);
    TRY(gguf_string(s->a, s->g, "tokenizer.ggml.pre", true, &name));
    for (size_t i = 0; i < COUNT_OF(token_ways); i++)
        if (strcmp(token_ways[i].name, name) == 0) {
            s->way = &token_ways[i];
            return STATUS_OK;
        }
    return fail(STATUS_UNSUPPORTED, "%s: tokenizer.ggml.pre is \"%.80s\", known: " TOKEN_WAY_NAMES, path,
                name);
}

static status read_source(source *s)
{
    const gguf *g = s->g;

    TRY(find_way(s));
    TRY(gguf_texts(s->a, g, "tokenizer.ggml.tokens", true, &s->tokens, &s->n));
    if (s->way)
        TRY(gguf_texts(s->a, g, "tokenizer.ggml.merges", true, &s->merges, &s->n_merges));
    TRY(gguf_ints(s->a, g, "tokenizer.ggml.token_type", false, &s->types, &s->n_types));
    if (s->n_types && s->n_types != s->n)
        return fail(STATUS_FORMAT, "%s: tokenizer.ggml.token_type has %lld values, must have %lld",
                    g->map.path, (long long)s->n_types, (long long)s->n);
    s->bos = s->eos = s->pad = s->unknown = -1;
    s->add_bos = s->way ? s->way->add_bos : true;
    TRY(gguf_int(g, "tokenizer.ggml.bos_token_id", false, 0, s->n - 1, &s->bos));
    TRY(gguf_int(g, "tokenizer.ggml.eos_token_id", false, 0, s->n - 1, &s->eos));
    TRY(gguf_int(g, "tokenizer.ggml.padding_token_id", false, 0, s->n - 1, &s->pad));
    TRY(gguf_int(g, "tokenizer.ggml.unknown_token_id", false, 0, s->n - 1, &s->unknown));
    TRY(gguf_bool(g, "tokenizer.ggml.add_bos_token", false, &s->add_bos));
    TRY(gguf_bool(g, "tokenizer.ggml.add_eos_token", false, &s->add_eos));
    if ((s->add_bos && s->bos < 0) || (s->add_eos && s->eos < 0))
        return fail(STATUS_FORMAT, "%s: a token is to be added to a text, its id is missing", g->map.path);
    return gguf_string(s->a, g, "tokenizer.chat_template", false, &s->chat_template);
}

static void quoted(const source *s, file_writer *w, gguf_text t)
{
    const size_t mark = arena_mark(s->a);
    const char  *text = json_quote(s->a, t.v, t.n);

    if (text)
        file_write(w, text, strlen(text));
    else
        w->error = STATUS_MEMORY;
    arena_rewind(s->a, mark);
}

static void quoted_string(const source *s, file_writer *w, const char *text)
{
    quoted(s, w, (gguf_text){text, strlen(text)});
}

static int64_t type_of(const source *s, int64_t i)
{
    return s->n_types ? s->types[i] : SPM_NORMAL;
}

static void write_added(const source *s, file_writer *w)
{
    const char *comma = "";

    file_printf(w, " \"added_tokens\": [");
    for (int64_t i = 0; i < s->n; i++) {
        const int64_t type = type_of(s, i);
        if (type < SPM_UNKNOWN || type > SPM_USER_DEFINED)
            continue;
        file_printf(w, "%s\n  {\"id\": %lld, \"content\": ", comma, (long long)i);
        quoted(s, w, s->tokens[i]);
        file_printf(w,
                    ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
                    "\"special\": %s}",
                    type == SPM_USER_DEFINED ? "false" : "true");
        comma = ",";
    }
    file_printf(w, "\n ],\n");
}

static void write_cutting(const source *s, file_writer *w)
{
    const token_way *way = s->way;

    if (s->pieces) {
        file_printf(w, " \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [%s{\"type\": \"Replace\", "
                       "\"pattern\": {\"String\": \" \"}, \"content\": \"" MARK "\"}]},\n \"pre_tokenizer\": null,\n",
                    s->prefix ? "{\"type\": \"Prepend\", \"prepend\": \"" MARK "\"}, " : "");
        return;
    }
    file_printf(w, " \"normalizer\": %s,\n \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [",
                way->nfc ? "{\"type\": \"NFC\"}" : "null");
    if (way->digits)
        file_printf(w, "{\"type\": \"Digits\", \"individual_digits\": true}, ");
    if (way->pattern) {
        file_printf(w, "{\"type\": \"Split\", \"pattern\": {\"Regex\": ");
        quoted_string(s, w, way->pattern);
        file_printf(w, "}, \"behavior\": \"Isolated\", \"invert\": false}, ");
    }
    file_printf(w, "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
                   "\"use_regex\": %s}]},\n", way->pattern ? "false" : "true");
}

static void write_special(const source *s, file_writer *w, int64_t id, const char *end)
{
    file_printf(w, "{\"SpecialToken\": {\"id\": ");
    quoted(s, w, s->tokens[id]);
    file_printf(w, ", \"type_id\": 0}}%s", end);
}

static void write_known(const source *s, file_writer *w, int64_t id, const char *before)
{
    file_printf(w, "%s", before);
    quoted(s, w, s->tokens[id]);
    file_printf(w, ": {\"id\": ");
    quoted(s, w, s->tokens[id]);
    file_printf(w, ", \"ids\": [%lld], \"tokens\": [", (long long)id);
    quoted(s, w, s->tokens[id]);
    file_printf(w, "]}");
}

static void write_template(const source *s, file_writer *w)
{
    static const char *const texts[] = {"A", "B"};

    if (!s->add_bos && !s->add_eos && s->pieces) {
        file_printf(w, " \"post_processor\": null,\n");
        return;
    }
    if (!s->add_bos && !s->add_eos) {
        file_printf(w, " \"post_processor\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
                       "\"trim_offsets\": false, \"use_regex\": true},\n");
        return;
    }
    file_printf(w, " \"post_processor\": {\"type\": \"TemplateProcessing\"");
    for (int pair = 0; pair < 2; pair++) {
        file_printf(w, ", \"%s\": [", pair ? "pair" : "single");
        for (int i = 0; i <= pair; i++) {
            file_printf(w, "%s", i ? ", " : "");
            if (s->add_bos)
                write_special(s, w, s->bos, ", ");
            file_printf(w, "{\"Sequence\": {\"id\": \"%s\", \"type_id\": %d}}%s", texts[i], i,
                        s->add_eos ? ", " : "");
            if (s->add_eos)
                write_special(s, w, s->eos, "");
        }
        file_printf(w, "]");
    }
    file_printf(w, ", \"special_tokens\": {");
    if (s->add_bos)
        write_known(s, w, s->bos, "");
    if (s->add_eos && !(s->add_bos && s->eos == s->bos))
        write_known(s, w, s->eos, s->add_bos ? ", " : "");
    file_printf(w, "}},\n");
}

static void write_head(const source *s, file_writer *w)
{
    if (s->pieces) {
        file_printf(w, " \"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": "
                       "{\"String\": \"" MARK "\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, "
                       "{\"type\": \"Fuse\"}%s]},\n"
                       " \"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": ",
                    s->prefix ? ", {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}" : "");
        quoted(s, w, s->tokens[s->pieces->spm.unknown]);
        file_printf(w, ", \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": true, "
                       "\"byte_fallback\": true, \"ignore_merges\": false, \"vocab\": {");
        return;
    }
    file_printf(w,
                " \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, "
                "\"use_regex\": true},\n"
                " \"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, "
                "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": false, "
                "\"byte_fallback\": false, \"ignore_merges\": %s, \"vocab\": {",
                s->way->ignore_merges ? "true" : "false");
}

static status write_merges(const source *s, file_writer *w)
{
    for (int64_t i = 0; i < s->n_merges; i++) {
        size_t bad;
        if (!utf8_valid(s->merges[i].v, s->merges[i].n, &bad))
            return fail(STATUS_FORMAT, "%s: merge %lld is not valid UTF-8", s->g->map.path, (long long)i);
        file_printf(w, "%s\n   ", i ? "," : "");
        quoted(s, w, s->merges[i]);
    }
    return STATUS_OK;
}

/* What scores merge, as a list. */
static status write_pairs(const source *s, file_writer *w)
{
    piece_merge *merges;
    int64_t      n, lost;

    TRY(pieces_merges(s->a, s->pieces, &merges, &n, &lost));
    for (int64_t i = 0; i < n; i++) {
        file_printf(w, "%s\n   [", i ? "," : "");
        quoted(s, w, s->tokens[merges[i].left]);
        file_printf(w, ", ");
        quoted(s, w, s->tokens[merges[i].right]);
        file_printf(w, "]");
    }
    if (lost)
        log_warn("%s: %lld pieces are not made of two others, so that no list of merges reaches them", s->g->map.path,
                 (long long)lost);
    return STATUS_OK;
}

static status write_model(const source *s, file_writer *w)
{
    const char *comma = "";

    write_head(s, w);
    for (int64_t i = 0; i < s->n; i++) {
        size_t bad;
        if (type_of(s, i) == SPM_UNUSED)
            continue;
        if (!utf8_valid(s->tokens[i].v, s->tokens[i].n, &bad))
            return fail(STATUS_FORMAT, "%s: token %lld is not valid UTF-8", s->g->map.path, (long long)i);
        file_printf(w, "%s\n   ", comma);
        quoted(s, w, s->tokens[i]);
        file_printf(w, ": %lld", (long long)i);
        comma = ",";
    }
    file_printf(w, "\n  }, \"merges\": [");
    TRY(s->pieces ? write_pairs(s, w) : write_merges(s, w));
    file_printf(w, "\n  ]}\n}\n");
    return STATUS_OK;
}

static status write_tokenizer(const source *s, file_writer *w)
{
    file_printf(w, "{\n \"version\": \"1.0\",\n \"truncation\": null,\n \"padding\": null,\n");
    write_added(s, w);
    write_cutting(s, w);
    write_template(s, w);
    return write_model(s, w);
}

static void write_name(const source *s, file_writer *w, const char *key, int64_t id)
{
    if (id < 0)
        return;
    file_printf(w, ",\n \"%s\": ", key);
    quoted(s, w, s->tokens[id]);
}

static status write_config(const source *s, file_writer *w)
{
    file_printf(
        w, "{\n \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n \"clean_up_tokenization_spaces\": false");
    write_name(s, w, "bos_token", s->bos);
    write_name(s, w, "eos_token", s->eos);
    write_name(s, w, "pad_token", s->pad);
    write_name(s, w, "unk_token", s->unknown);
    if (s->chat_template) {
        file_printf(w, ",\n \"chat_template\": ");
        quoted_string(s, w, s->chat_template);
    }
    file_printf(w, "\n}\n");
    return STATUS_OK;
}

static status write_file(const source *s, const char *folder, const char *name,
                         status (*write)(const source *s, file_writer *w))
{
    const char *path = path_join(s->a, folder, name);
    file_writer w;

    if (!path)
        return STATUS_MEMORY;
    TRY(file_writer_open(&w, path));
    const status e = write(s, &w);
    if (e == STATUS_OK)
        return file_writer_close(&w, true);
    char text[1024];
    snprintf(text, sizeof text, "%s", status_text());
    file_writer_close(&w, false);
    return fail(e, "%s", text);
}

static status write_files(source *s, const char *folder)
{
    TRY(read_source(s));
    TRY(write_file(s, folder, "tokenizer.json", write_tokenizer));
    return write_file(s, folder, "tokenizer_config.json", write_config);
}

status tokenizer_from_gguf(arena *a, const gguf *g, const char *folder)
{
    source s = {.a = a, .g = g};

    if (!gguf_find(g, "tokenizer.ggml.model"))
        return STATUS_OK;
    const status e = write_files(&s, folder);
    tokenizer_close(s.pieces);
    return e;
}
