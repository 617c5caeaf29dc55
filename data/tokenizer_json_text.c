/* tokenizer_json_text: the normalizer and the pre-tokenizer of tokenizer.json */
#include "data/base64.h"
#include "data/tokenizer_json.h"

#include <string.h>

/* ---- normalizer ---- */

static status normalizer_sequence(json_reader *r, const cJSON *o, int depth)
{
    return json_read_list(r, o, "normalizers", depth, json_read_normalizer);
}

#define NORMALIZER(name, kind_)                                                                    \
    static status normalizer_##name(json_reader *r, const cJSON *o, int depth)                     \
    {                                                                                              \
        (void)o, (void)depth;                                                                      \
        return normalizer_add(r->t, (normalizer){.kind = kind_});                                  \
    }
NORMALIZER(nfc, NORMALIZE_NFC)
NORMALIZER(nfd, NORMALIZE_NFD)
NORMALIZER(nfkc, NORMALIZE_NFKC)
NORMALIZER(nfkd, NORMALIZE_NFKD)
NORMALIZER(lowercase, NORMALIZE_LOWERCASE)
NORMALIZER(strip_accents, NORMALIZE_STRIP_MARKS)
NORMALIZER(nmt, NORMALIZE_NMT)
NORMALIZER(byte_level, NORMALIZE_BYTES)
#undef NORMALIZER

static status normalizer_strip(json_reader *r, const cJSON *o, int depth)
{
    normalizer n = {.kind = NORMALIZE_STRIP};

    (void)depth;
    TRY(json_bool(o, "strip_left", true, &n.left, r->what));
    TRY(json_bool(o, "strip_right", true, &n.right, r->what));
    return normalizer_add(r->t, n);
}

static status normalizer_bert(json_reader *r, const cJSON *o, int depth)
{
    bool clean = true, chinese = true, lower = true, strip;

    (void)depth;
    TRY(json_bool(o, "clean_text", true, &clean, r->what));
    TRY(json_bool(o, "handle_chinese_chars", true, &chinese, r->what));
    TRY(json_bool(o, "lowercase", true, &lower, r->what));
    strip = lower;
    TRY(json_bool(o, "strip_accents", false, &strip, r->what));
    return normalizer_add_bert(r->t, clean, chinese, strip, lower);
}

static status normalizer_prepend(json_reader *r, const cJSON *o, int depth)
{
    normalizer n = {.kind = NORMALIZE_PREPEND};

    (void)depth;
    TRY(json_kept_member(r, o, "prepend", "normalizer Prepend", &n.text, &n.n));
    return n.n > 0 ? normalizer_add(r->t, n) : STATUS_OK;
}

static status normalizer_replace(json_reader *r, const cJSON *o, int depth)
{
    normalizer n = {.kind = NORMALIZE_REPLACE};
    pcre2_code *pattern;

    (void)depth;
    TRY(json_pattern(r, o, "normalizer Replace", &pattern));
    TRY(json_kept_member(r, o, "content", "normalizer Replace", &n.text, &n.n));
    n.pattern = pattern;
    return normalizer_add(r->t, n);
}

static status normalizer_precompiled(json_reader *r, const cJSON *o, int depth)
{
    normalizer n = {.kind = NORMALIZE_CHARSMAP};
    const cJSON *text = json_member(o, "precompiled_charsmap");
    charsmap *map;
    char *bytes;
    size_t size;

    (void)depth;
    if (!cJSON_IsString(text))
        return fail(STATUS_FORMAT, "%s: precompiled_charsmap must be text in base64", r->what);
    TRY_IN(base64_decode(r->a, text->valuestring, strlen(text->valuestring), &bytes, &size),
           "in precompiled_charsmap of %s", r->what);
    TRY(charsmap_open(r->a, r->what, bytes, size, &map));
    n.map = map;
    return normalizer_add(r->t, n);
}

status json_read_normalizer(json_reader *r, const cJSON *o, int depth)
{
    static const part_kind kinds[] = {
        {"NFC", "type,", normalizer_nfc},
        {"NFD", "type,", normalizer_nfd},
        {"NFKC", "type,", normalizer_nfkc},
        {"NFKD", "type,", normalizer_nfkd},
        {"Lowercase", "type,", normalizer_lowercase},
        {"Strip", "type,strip_left,strip_right,", normalizer_strip},
        {"StripAccents", "type,", normalizer_strip_accents},
        {"BertNormalizer", "type,clean_text,handle_chinese_chars,strip_accents,lowercase,",
         normalizer_bert},
        {"Nmt", "type,", normalizer_nmt},
        {"Prepend", "type,prepend,", normalizer_prepend},
        {"Replace", "type,pattern,content,", normalizer_replace},
        {"Precompiled", "type,precompiled_charsmap,", normalizer_precompiled},
        {"ByteLevel", "type,", normalizer_byte_level},
        {"Sequence", "type,normalizers,", normalizer_sequence}};

    return json_read_part(r, o, "normalizer", kinds, COUNT_OF(kinds), depth);
}

/* ---- pre-tokenizer ---- */

static status pre_sequence(json_reader *r, const cJSON *o, int depth)
{
    return json_read_list(r, o, "pretokenizers", depth, json_read_pretokenizer);
}

static status pre_byte_level(json_reader *r, const cJSON *o, int depth)
{
    tokenizer *t = r->t;
    bool prefix = true, trim = true, regex = true;

    (void)depth;
    TRY(json_bool(o, "add_prefix_space", true, &prefix, r->what));
    TRY(json_bool(o, "trim_offsets", false, &trim, r->what));
    TRY(json_bool(o, "use_regex", false, &regex, r->what));
    if (prefix)
        TRY(pre_add(t, (pre_step){.kind = PRE_BLANK}));
    if (regex)
        TRY(pre_add_split(t, PATTERN_GPT2, strlen(PATTERN_GPT2), false, SPLIT_ISOLATED, false));
    return pre_add(t, (pre_step){.kind = PRE_BYTES});
}

static status read_behavior(json_reader *r, const cJSON *o, const char *part, split_behavior *out)
{
    static const char *const behaviors[] = {"Isolated", "Removed", "MergedWithPrevious",
                                            "MergedWithNext", "Contiguous"};
    const char *behavior;

    TRY(json_string(o, "behavior", true, &behavior, r->what));
    for (size_t i = 0; i < COUNT_OF(behaviors); i++)
        if (strcmp(behavior, behaviors[i]) == 0) {
            *out = (split_behavior)i;
            return STATUS_OK;
        }
    return fail(STATUS_FORMAT,
                "%s: pre_tokenizer %s: behavior is \"%.80s\", must be Isolated, Removed, "
                "MergedWithPrevious, MergedWithNext or Contiguous",
                r->what, part, behavior);
}

static status pre_split(json_reader *r, const cJSON *o, int depth)
{
    pre_step step = {.kind = PRE_PATTERN};
    pcre2_code *pattern;

    (void)depth;
    TRY(read_behavior(r, o, "Split", &step.behavior));
    TRY(json_bool(o, "invert", false, &step.invert, r->what));
    TRY(json_pattern(r, o, "pre_tokenizer Split", &pattern));
    step.pattern = pattern;
    return pre_add(r->t, step);
}

static status pre_digits(json_reader *r, const cJSON *o, int depth)
{
    bool individual = false;

    (void)depth;
    TRY(json_bool(o, "individual_digits", false, &individual, r->what));
    return pre_add(r->t, (pre_step){.kind = PRE_CLASS,
                                    .is = unicode_is_number,
                                    .behavior = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS});
}

static status pre_punctuation(json_reader *r, const cJSON *o, int depth)
{
    pre_step step = {.kind = PRE_CLASS, .is = unicode_is_punctuation, .behavior = SPLIT_ISOLATED};

    (void)depth;
    if (json_member(o, "behavior"))
        TRY(read_behavior(r, o, "Punctuation", &step.behavior));
    return pre_add(r->t, step);
}

static status pre_bert(json_reader *r, const cJSON *o, int depth)
{
    (void)o, (void)depth;
    return pre_add_bert(r->t);
}

static status pre_whitespace(json_reader *r, const cJSON *o, int depth)
{
    (void)o, (void)depth;
    return pre_add(r->t,
                   (pre_step){.kind = PRE_WORDS, .behavior = SPLIT_REMOVED, .invert = true});
}

static status pre_whitespace_split(json_reader *r, const cJSON *o, int depth)
{
    (void)o, (void)depth;
    return pre_add(r->t, (pre_step){.kind = PRE_CLASS,
                                    .is = unicode_is_space,
                                    .behavior = SPLIT_REMOVED});
}

static status pre_delimiter(json_reader *r, const cJSON *o, int depth)
{
    pre_step step = {.kind = PRE_CHARACTER, .behavior = SPLIT_REMOVED};

    (void)depth;
    TRY(json_character(r, o, "delimiter", "pre_tokenizer CharDelimiterSplit",
                       &step.character));
    return pre_add(r->t, step);
}

static status pre_fixed_length(json_reader *r, const cJSON *o, int depth)
{
    int64_t n = 0;

    (void)depth;
    TRY(json_int(o, "length", true, 1, INT32_MAX, &n, r->what));
    return pre_add(
        r->t, (pre_step){.kind = PRE_LENGTH, .length = (size_t)n, .behavior = SPLIT_ISOLATED});
}

status json_prepend_scheme(json_reader *r, const cJSON *o, prepend_scheme *out)
{
    static const char *const schemes[] = {"always", "first", "never"};
    const char *scheme = NULL;
    bool add = true;

    *out = PREPEND_ALWAYS;
    TRY(json_bool(o, "add_prefix_space", false, &add, r->what));
    TRY(json_string(o, "prepend_scheme", false, &scheme, r->what));
    if (!add)
        *out = PREPEND_NEVER;
    for (size_t i = 0; scheme && i < COUNT_OF(schemes); i++)
        if (strcmp(scheme, schemes[i]) == 0) {
            if (!add && i != PREPEND_NEVER)
                return fail(STATUS_FORMAT,
                            "%s: Metaspace: add_prefix_space is false and prepend_scheme \"%s\"",
                            r->what, scheme);
            *out = (prepend_scheme)i;
            return STATUS_OK;
        }
    return !scheme ? STATUS_OK
                   : fail(STATUS_FORMAT,
                          "%s: Metaspace: prepend_scheme is \"%.80s\", must be always, first or "
                          "never",
                          r->what, scheme);
}

static status pre_metaspace(json_reader *r, const cJSON *o, int depth)
{
    prepend_scheme scheme;
    uint32_t mark;
    bool split = true;

    (void)depth;
    TRY(json_character(r, o, "replacement", "pre_tokenizer Metaspace", &mark));
    TRY(json_prepend_scheme(r, o, &scheme));
    TRY(json_bool(o, "split", false, &split, r->what));
    return pre_add_metaspace(r->t, mark, scheme, split);
}

status json_read_pretokenizer(json_reader *r, const cJSON *o, int depth)
{
    static const part_kind kinds[] = {
        {"ByteLevel", "type,add_prefix_space,trim_offsets,use_regex,", pre_byte_level},
        {"Split", "type,pattern,behavior,invert,", pre_split},
        {"Digits", "type,individual_digits,", pre_digits},
        {"Metaspace", "type,replacement,str_rep,add_prefix_space,prepend_scheme,split,",
         pre_metaspace},
        {"BertPreTokenizer", "type,", pre_bert},
        {"Punctuation", "type,behavior,", pre_punctuation},
        {"Whitespace", "type,", pre_whitespace},
        {"WhitespaceSplit", "type,", pre_whitespace_split},
        {"CharDelimiterSplit", "type,delimiter,", pre_delimiter},
        {"FixedLength", "type,length,", pre_fixed_length},
        {"Sequence", "type,pretokenizers,", pre_sequence}};

    return json_read_part(r, o, "pre_tokenizer", kinds, COUNT_OF(kinds), depth);
}
