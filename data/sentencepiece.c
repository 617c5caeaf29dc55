/* sentencepiece: a tokenizer from a SentencePiece model (a ModelProto message, usually
 * tokenizer.model or spiece.model) and the tokenizer_config.json beside it.
 *
 * The text is treated as SentencePiece itself does it. What a checkpoint adds to that (a different
 * numbering, tokens around the text) is known by the tokenizer_class of tokenizer_config.json, so
 * the classes are listed here; a model without that file stands alone and adds nothing. */
#include "core/file.h"
#include "core/json.h"
#include "data/protobuf.h"
#include "data/spm.h"
#include "data/tokenizer_json.h"

#include <stdio.h>
#include <string.h>

/* What a class of tokenizer does with a model; a name ends before "Fast". */
typedef struct spm_class {
    const char *name;
    bool bos, eos;
    bool fairseq; /* <s> <pad> </s> <unk>, then the pieces from the fourth on, then <mask> */
} spm_class;

static const spm_class classes[] = {{"LlamaTokenizer", .bos = true},
                                    {"CodeLlamaTokenizer", .bos = true},
                                    {"GemmaTokenizer", .bos = true},
                                    {"T5Tokenizer", .eos = true},
                                    {"MT5Tokenizer", .eos = true},
                                    {"XLMRobertaTokenizer", .bos = true, .eos = true, .fairseq = true}};

typedef struct spm_reader {
    arena *a;
    tokenizer *t;
    file_map map;
    cJSON *config; /* tokenizer_config.json, NULL: none */
    const char *config_path;
    const spm_class *class; /* NULL: no config */
    spm_source s;
    const char *bos, *eos; /* texts of the pieces */
} spm_reader;

/* ---- the message ---- */

static status read_piece(const protobuf *p, const protobuf_field *field, spm_piece *out)
{
    protobuf in = protobuf_inside(p, field);
    protobuf_field f;
    bool more;

    *out = (spm_piece){.v = "", .type = SPM_NORMAL};
    for (;;) {
        TRY(protobuf_next(&in, &f, &more));
        if (!more)
            return STATUS_OK;
        if (f.number == 1) {
            TRY(protobuf_need(&in, &f, PROTOBUF_BYTES, "the text of a piece"));
            out->v = (const char *)f.v;
            out->n = f.n;
        } else if (f.number == 2) {
            TRY(protobuf_need(&in, &f, PROTOBUF_32, "the score of a piece"));
            out->score = protobuf_float(&f);
        } else if (f.number == 3) {
            TRY(protobuf_need(&in, &f, PROTOBUF_VARINT, "the type of a piece"));
            out->type = f.value < 256 ? (int64_t)f.value : 256;
        }
    }
}

static status read_text(spm_reader *r, const protobuf *p, const protobuf_field *f, const char *name,
                        const char **out)
{
    TRY(protobuf_need(p, f, PROTOBUF_BYTES, name));
    *out = arena_string(r->a, (const char *)f->v, f->n);
    return *out ? STATUS_OK : STATUS_MEMORY;
}

static status read_trainer(spm_reader *r, const protobuf *p, const protobuf_field *field)
{
    protobuf in = protobuf_inside(p, field);
    protobuf_field f;
    bool more;

    for (;;) {
        TRY(protobuf_next(&in, &f, &more));
        if (!more)
            return STATUS_OK;
        if (f.number == 46)
            TRY(read_text(r, &in, &f, "bos_piece", &r->bos));
        if (f.number == 47)
            TRY(read_text(r, &in, &f, "eos_piece", &r->eos));
        if (f.number != 3 && f.number != 24 && f.number != 35)
            continue;
        TRY(protobuf_need(&in, &f, PROTOBUF_VARINT, "a number of the trainer's"));
        if (f.number == 3 && f.value != 1 && f.value != 2)
            return fail(STATUS_UNSUPPORTED,
                        "%s: model_type is %llu, known: 1 (unigram) and 2 (BPE)", p->what,
                        (unsigned long long)f.value);
        if (f.number == 3)
            r->s.bpe = f.value == 2;
        else
            *(f.number == 24 ? &r->s.at_end : &r->s.byte_fallback) = f.value != 0;
    }
}

static status read_normalizer(spm_reader *r, const protobuf *p, const protobuf_field *field)
{
    protobuf in = protobuf_inside(p, field);
    protobuf_field f;
    bool more;

    for (;;) {
        TRY(protobuf_next(&in, &f, &more));
        if (!more)
            return STATUS_OK;
        if (f.number == 2) {
            TRY(protobuf_need(&in, &f, PROTOBUF_BYTES, "precompiled_charsmap"));
            r->s.charsmap = arena_copy(r->a, f.v, f.n);
            r->s.n_charsmap = f.n;
            if (!r->s.charsmap)
                return STATUS_MEMORY;
        }
        if (f.number < 3 || f.number > 5)
            continue;
        TRY(protobuf_need(&in, &f, PROTOBUF_VARINT, "a switch of the normaliser's"));
        if (f.number == 5 && f.value == 0)
            return fail(STATUS_UNSUPPORTED, "%s: escape_whitespaces is off, must be on", p->what);
        if (f.number != 5)
            *(f.number == 3 ? &r->s.prefix : &r->s.collapse) = f.value != 0;
    }
}

static status count_pieces(protobuf p, int64_t *n)
{
    protobuf_field f;
    bool more;

    for (*n = 0;; *n += f.number == 1) {
        TRY(protobuf_next(&p, &f, &more));
        if (!more)
            return STATUS_OK;
    }
}

static status read_message(spm_reader *r)
{
    protobuf p = {r->t->what, r->map.v, r->map.v, r->map.v + r->map.bytes};
    protobuf_field f;
    bool more;

    r->s.prefix = r->s.collapse = true; /* where the message says nothing */
    r->bos = "<s>";
    r->eos = "</s>";
    TRY(count_pieces(p, &r->s.n));
    TRY_TAKE(r->s.pieces, r->a, r->s.n);
    r->s.n = 0;
    for (;;) {
        TRY(protobuf_next(&p, &f, &more));
        if (!more)
            return STATUS_OK;
        if (f.number >= 1 && f.number <= 3)
            TRY(protobuf_need(&p, &f, PROTOBUF_BYTES, "a part of the model"));
        if (f.number == 1)
            TRY_IN(read_piece(&p, &f, &r->s.pieces[r->s.n++]), "in piece %lld",
                   (long long)r->s.n - 1);
        else if (f.number == 2)
            TRY(read_trainer(r, &p, &f));
        else if (f.number == 3)
            TRY(read_normalizer(r, &p, &f));
    }
}

/* ---- what the checkpoint adds ---- */

static status known_class(spm_reader *r, const char *name)
{
    char known[256] = "";
    const size_t n = strlen(name), fast = n > 4 && strcmp(name + n - 4, "Fast") == 0 ? 4 : 0;

    for (size_t i = 0; i < COUNT_OF(classes); i++) {
        if (strlen(classes[i].name) == n - fast && memcmp(classes[i].name, name, n - fast) == 0) {
            r->class = &classes[i];
            return STATUS_OK;
        }
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "",
                 classes[i].name);
    }
    return fail(STATUS_UNSUPPORTED,
                "%s: tokenizer_class is \"%.80s\"; what it makes of %s is known for %s; a "
                "tokenizer.json beside it says it for every class",
                r->config_path, name, r->t->what, known);
}

/* The numbering of fairseq: three of SentencePiece's own go, four and a mask come. */
static status renumber(spm_reader *r)
{
    static const spm_piece first[] = {{"<s>", 3, 0, SPM_CONTROL},
                                      {"<pad>", 5, 0, SPM_CONTROL},
                                      {"</s>", 4, 0, SPM_CONTROL},
                                      {"<unk>", 5, 0, SPM_UNKNOWN}};
    const spm_piece mask = {"<mask>", 6, 0, SPM_CONTROL};
    spm_piece *pieces;

    if (r->s.n < 3)
        return fail(STATUS_FORMAT, "%s: %lld pieces, %s needs 3", r->t->what, (long long)r->s.n,
                    r->class->name);
    TRY_TAKE(pieces, r->a, r->s.n + 2);
    memcpy(pieces, first, sizeof first);
    memcpy(pieces + 4, r->s.pieces + 3, (size_t)(r->s.n - 3) * sizeof *pieces);
    pieces[r->s.n + 1] = mask;
    r->s.pieces = pieces;
    r->s.n += 2;
    r->bos = "<s>";
    r->eos = "</s>";
    return STATUS_OK;
}

/* <s> A </s> and <s> A </s> </s> B </s>, all of type 0. */
static status fairseq_template(spm_reader *r)
{
    tokenizer *t = r->t;
    const template_item items[] = {{t->bos, 0, 0}, {-1, 0, 0}, {t->eos, 0, 0},
                                   {t->eos, 0, 0}, {-1, 1, 0}, {t->eos, 0, 0}};

    t->single.v = t->pair.v = arena_copy(r->a, items, sizeof items);
    t->single.n = 3;
    t->pair.n = 6;
    return t->pair.v ? STATUS_OK : STATUS_MEMORY;
}

static status read_config(spm_reader *r)
{
    const char *class = NULL;

    r->config_path = beside_file(r->a, r->t->what, "tokenizer_config.json");
    if (!r->config_path)
        return STATUS_MEMORY;
    if (!path_exists(r->config_path))
        return STATUS_OK;
    TRY(json_read(r->config_path, &r->config));
    TRY(json_string(r->config, "tokenizer_class", true, &class, r->config_path));
    TRY(known_class(r, class));
    r->s.more = config_added_size(r->config, &r->s.more_bytes);
    return STATUS_OK;
}

static status read_all(spm_reader *r)
{
    tokenizer *t = r->t;

    TRY(read_config(r));
    TRY(read_message(r));
    if (r->class && r->class->fairseq)
        TRY(renumber(r));
    TRY(spm_build(r->a, t, &r->s));
    t->bos = vocabulary_find(&t->words, r->bos, strlen(r->bos));
    t->eos = vocabulary_find(&t->words, r->eos, strlen(r->eos));
    if (!r->class)
        return STATUS_OK;
    TRY(config_add_tokens(r->a, t, r->config, r->config_path));
    if (r->class->fairseq)
        return fairseq_template(r);
    bool bos = r->class->bos, eos = r->class->eos;
    TRY(json_bool(r->config, "add_bos_token", false, &bos, r->config_path));
    TRY(json_bool(r->config, "add_eos_token", false, &eos, r->config_path));
    TRY(tokenizer_read_config(r->a, t->what, t)); /* it may name other ones */
    return spm_template(r->a, t, bos, eos);
}

status tokenizer_read_spm(arena *a, const char *path, tokenizer *t)
{
    spm_reader r = {.a = a, .t = t};

    TRY(file_map_open(&r.map, path));
    const status s = read_all(&r);
    cJSON_Delete(r.config);
    file_map_close(&r.map);
    return s;
}
