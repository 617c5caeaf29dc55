/* tokenizer_json_decoder: the decoder of tokenizer.json */
#include "data/tokenizer_json.h"

#include <string.h>

static status decoder_sequence(json_reader *r, const cJSON *o, int depth)
{
    return json_read_list(r, o, "decoders", depth, json_read_decoder);
}

static status decoder_byte_level(json_reader *r, const cJSON *o, int depth)
{
    (void)o, (void)depth;
    return decoder_add(r->t, (decoder){.kind = DECODE_BYTES});
}

static status decoder_byte_fallback(json_reader *r, const cJSON *o, int depth)
{
    (void)o, (void)depth;
    return decoder_add(r->t, (decoder){.kind = DECODE_BYTE_FALLBACK});
}

static status decoder_fuse(json_reader *r, const cJSON *o, int depth)
{
    (void)o, (void)depth;
    return decoder_add(r->t, (decoder){.kind = DECODE_FUSE});
}

static status decoder_wordpiece(json_reader *r, const cJSON *o, int depth)
{
    decoder d = {.kind = DECODE_WORDPIECE, .cleanup = true};

    (void)depth;
    TRY(json_kept_member(r, o, "prefix", "decoder WordPiece", &d.text, &d.n));
    TRY(json_bool(o, "cleanup", true, &d.cleanup, r->what));
    return decoder_add(r->t, d);
}

static status decoder_metaspace(json_reader *r, const cJSON *o, int depth)
{
    decoder d = {.kind = DECODE_METASPACE};
    prepend_scheme scheme;
    bool split = true;

    (void)depth;
    TRY(json_character(r, o, "replacement", "decoder Metaspace", &d.character));
    TRY(json_prepend_scheme(r, o, &scheme));
    TRY(json_bool(o, "split", false, &split, r->what));
    d.cleanup = scheme != PREPEND_NEVER;
    return decoder_add(r->t, d);
}

static status decoder_bpe(json_reader *r, const cJSON *o, int depth)
{
    decoder d = {.kind = DECODE_BPE};

    (void)depth;
    TRY(json_kept_member(r, o, "suffix", "decoder BPEDecoder", &d.text, &d.n));
    return decoder_add(r->t, d);
}

static status decoder_ctc(json_reader *r, const cJSON *o, int depth)
{
    decoder d = {.kind = DECODE_CTC, .cleanup = true};

    (void)depth;
    TRY(json_kept_member(r, o, "pad_token", "decoder CTC", &d.text, &d.n));
    TRY(json_kept_member(r, o, "word_delimiter_token", "decoder CTC", &d.second, &d.n_second));
    TRY(json_bool(o, "cleanup", true, &d.cleanup, r->what));
    return decoder_add(r->t, d);
}

static status decoder_strip(json_reader *r, const cJSON *o, int depth)
{
    decoder d = {.kind = DECODE_STRIP};

    (void)depth;
    TRY(json_character(r, o, "content", "decoder Strip", &d.character));
    TRY(json_int(o, "start", true, 0, INT32_MAX, &d.start, r->what));
    TRY(json_int(o, "stop", true, 0, INT32_MAX, &d.stop, r->what));
    return decoder_add(r->t, d);
}

static status decoder_replace(json_reader *r, const cJSON *o, int depth)
{
    decoder d = {.kind = DECODE_REPLACE};
    pcre2_code *pattern;

    (void)depth;
    TRY(json_pattern(r, o, "decoder Replace", &pattern));
    TRY(json_kept_member(r, o, "content", "decoder Replace", &d.text, &d.n));
    d.pattern = pattern;
    return decoder_add(r->t, d);
}

status json_read_decoder(json_reader *r, const cJSON *o, int depth)
{
    static const part_kind kinds[] = {
        {"ByteLevel", "type,add_prefix_space,trim_offsets,use_regex,", decoder_byte_level},
        {"WordPiece", "type,prefix,cleanup,", decoder_wordpiece},
        {"Metaspace", "type,replacement,str_rep,add_prefix_space,prepend_scheme,split,",
         decoder_metaspace},
        {"BPEDecoder", "type,suffix,", decoder_bpe},
        {"CTC", "type,pad_token,word_delimiter_token,cleanup,", decoder_ctc},
        {"Replace", "type,pattern,content,", decoder_replace},
        {"Strip", "type,content,start,stop,", decoder_strip},
        {"Fuse", "type,", decoder_fuse},
        {"ByteFallback", "type,", decoder_byte_fallback},
        {"Sequence", "type,decoders,", decoder_sequence}};

    return json_read_part(r, o, "decoder", kinds, COUNT_OF(kinds), depth);
}
