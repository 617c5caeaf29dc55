/* example: records as token ids with labels */
#ifndef DATA_EXAMPLE_H
#define DATA_EXAMPLE_H

#include "data/source.h"
#include "data/template.h"
#include "data/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { LABEL_NONE = -100 }; /* not a target */

/* Where a target is predicted. */
typedef enum target_place {
    TARGET_NEXT,     /* labels[i] at row i - 1, so that labels[0] never counts */
    TARGET_HERE,     /* labels[i] at row i */
    TARGET_SEQUENCE, /* the sample's own label, at its first row */
    TARGET_LAST,     /* the same, at its last row */
    TARGET_SPAN,     /* the sample's own span, among all its rows */
    TARGET_MASKED,   /* `masked` of its rows, which are chosen anew in every epoch by whoever fills batches */
    TARGET_TEXTS     /* as TARGET_NEXT in each of its texts, but the loss is one of the sample: it counts as one */
} target_place;

/* The part of a text that a sample holds. */
typedef struct example_window {
    const record   *r;
    int64_t         number;      /* of the record among all of the examples */
    int32_t         first, n;    /* the sample's tokens first .. first + n - 1 are the text's */
    const uint32_t *begin, *end; /* [n] in the text's bytes */
} example_window;

typedef struct example {
    int32_t        n;
    const int32_t *ids;    /* [n]; NULL: an image */
    const int32_t *labels; /* [n] aligned with ids, unshifted; NULL: only the sample has one */
    const int32_t *types;  /* [n] kinds of tokens; NULL: all 0 */
    int32_t        n_texts; /* texts one after another, which become sequences of one micro-batch; 0: one text */
    const int32_t *ends;    /* [n_texts] where each ends in ids; NULL: one text */
    int32_t        n_source;
    const int32_t *source;  /* [n_source] what an encoder reads, while `ids` are the decoder's; NULL: nothing */
    const float   *patches; /* of an image (core/patches.h): n - 1 rows, behind that of a class token; ids is NULL */
    int32_t        task, label; /* label: class of the sample, -1 none */
    const float   *values;      /* [width of the examples] what is wanted of the sample, beside or instead of a class */
    int32_t        masked;
    int32_t        span[2];     /* the tokens that are its first and last, of TARGET_SPAN */
    const example_window *window; /* NULL unless the samples are windows */
    int64_t        batch;       /* given micro-batch, -1 none */
} example;

/* The examples of one source of a mixture. */
typedef struct example_part {
    int64_t first, n;
    double  weight;
} example_part;

typedef struct examples {
    int64_t            n;
    example           *v;
    int                n_parts; /* of a mixture, else 0 */
    example_part      *parts;   /* [n_parts] one after another */
    int64_t            n_tokens, n_targets; /* of all examples */
    int32_t            longest;             /* tokens of a text */
    int32_t            longest_source;      /* tokens of an encoder, 0: there is none */
    int64_t            n_cut, n_dropped;    /* what `overlong` did */
    int64_t            n_windowed;          /* records whose windows are here */
    bool               batched;
    target_place       place;
    int32_t            width; /* of `values`, 0: there are none */
    int64_t            patch; /* values of a patch of images, 0: there are none */
    int32_t            front; /* virtual tokens that the model puts in front of every one, beside `n` */
    const int32_t     *front_labels; /* [front] what is to be predicted of them (TARGET_NEXT); NULL: nothing */
    int                n_labels;
    const char *const *labels;
} examples;

/* What the loss of the sample is a sum over. */
int64_t example_targets(const example *e, target_place place);

/* Its texts, one at least, and where the i-th begins and ends in its ids. */
int32_t example_texts(const example *e);
int32_t example_begin(const example *e, int32_t i);
int32_t example_end(const example *e, int32_t i);

/* Encodes a piece of text into ids in the arena, without adding anything at its ends. */
typedef status (*encode_text)(void *context, arena *a, const char *text, size_t n, int32_t **ids,
                              int64_t *count);

/* One text or two (second NULL) with what the tokenizer adds to them, at most `max` tokens. */
typedef struct whole_text {
    const char *text, *second;
    size_t      length, second_length;
} whole_text;
typedef status (*encode_whole)(void *context, arena *a, const whole_text *x, int64_t max, token_list *out);

/* Makes e->patches and e->n of an image. */
typedef status (*encode_image)(void *context, arena *a, arena *work, const record *r, example *e);

typedef struct text_encoder {
    encode_text  encode;
    encode_whole whole;
    encode_image image;
    void        *context;
    int64_t      patch; /* values of a patch of images */
    int32_t      begin; /* id before every sample, -1: none; not with chat */
    int32_t      end;   /* id behind every sample, a target where the text before it is one; -1: none;
                           not with chat, whose template closes the turns itself */
} text_encoder;

/* The keys of `data:` that concern a single sample. */
typedef struct example_options {
    int64_t     length;   /* tokens a sample may have */
    const char *overlong; /* cut | drop | error */
    const char *loss_on;  /* target | assistant | all */
} example_options;
extern const key_table example_keys;

/* Makes the examples of all records; t is resolved first and may be NULL for the source's own wording, for
 * each part of a mixture anew. With t->rejected an example has two texts, the prompt with its target and with what is
 * rejected, and place TARGET_TEXTS; what `cut` leaves of the prompt is the same in both.
 * `work` is scratch and comes back as it was; encoder, t and chat may be NULL for the ids source.
 *
 * overlong cut: the longest field of the prompt is shortened, at a blank where one is near, until the
 * sample fits, so that the end of the prompt and the target stay whole; where that does not help (a
 * conversation, a long target) the sample's end is cut off, and a sample that loses all its targets is
 * dropped. Running text is cut into pieces of `length` tokens of which every token is a target. Counts
 * of both are in `out`. All dropped, or loss_on: target without any target and class, is an error. */
status examples_make(arena *a, arena *work, const records *r, const text_template *t,
                     const chat_renderer *chat, const text_encoder *encoder,
                     const example_options *o, examples *out);

/* ---- samples that are read as a whole (data/example_whole.c) ---- */

typedef enum whole_kind {
    WHOLE_TEXT,    /* the template's prompt, and with `pair` a second text behind it */
    WHOLE_WORDS,   /* a sentence by words, whose tags are labels of their first tokens */
    WHOLE_WINDOWS, /* two fields, the second as one sample or several that overlap, each with all of the first */
    WHOLE_ANSWER,  /* an encoder reads the prompt; a decoder learns the target and the end, behind its first token */
    WHOLE_IMAGE,
    WHOLE_TEXTS,   /* several texts, each a sequence of its own */
    WHOLE_PAIR     /* of examples_make: a prompt, its target and what is rejected */
} whole_kind;

typedef struct whole_options {
    whole_kind   kind;
    target_place place;
    int32_t      width; /* of values */
    /* WHOLE_TEXTS, without a template: wordings of the texts; of those from `needed` on a record has the ones whose
     * fields it has */
    int                n_texts, needed;
    const char *const *texts;
    /* WHOLE_PAIR: the wording where the template names none, and that of what is rejected */
    wording            pair;
    const char        *rejected;
    int64_t      source_length; /* WHOLE_ANSWER: tokens that the prompt may have; 0: as the options' length */
    int32_t      begin;         /* WHOLE_ANSWER: the decoder's first token */
    const char  *first, *second; /* WHOLE_WINDOWS: the fields, .. */
    int64_t      stride;         /* .. and tokens of the second that neighbours share */
    /* Sets what is wanted of a sample (label, values, masked); NULL: the record's label. */
    status     (*target)(void *context, arena *a, const record *r, example *e);
    void        *context;
} whole_options;

/* Makes the examples of all records (of the ids source as they are). Longer texts lose tokens at their end, the
 * longer of two first; words that are lost have no target, and a target that is cut keeps its end. t may be NULL: the
 * source's own wording, else the field `text`. */
status examples_whole(arena *a, arena *work, const records *r, const text_template *t, const text_encoder *encoder,
                      const example_options *o, const whole_options *w, examples *out);

/* For makers of examples. Ends a part of a mixture, whose examples begin at `first`; one of which nothing is left,
 * after `overlong: drop`, is an error. out->parts has room for it. */
status examples_part(const records *part, int64_t first, int64_t length, examples *out);
/* Counts what out->v holds; labels come from r. */
status examples_finish(const records *r, int64_t length, examples *out);

#ifdef __cplusplus
}
#endif
#endif
