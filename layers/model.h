/* model: a frozen trunk, opened from weights, recorded on tapes.
 *
 * A family is one file in layers/models and one row in layers/models.def. The trunk's matrices stay as
 * they are stored (mapped, quantised); norm weights and biases are expanded once. */
#ifndef LAYERS_MODEL_H
#define LAYERS_MODEL_H

#include "core/patches.h"
#include "layers/head.h"
#include "layers/weights.h"

typedef struct model model;

/* A token stream on a tape: N rows of all sequences one after another. */
typedef struct stream {
    var *ids;       /* i32 [N]; NULL in a stream of images */
    var *patches;   /* of images: [P, values of a patch] .. */
    var *places;    /* .. and i32 [N], the row of each token's patch, -1: it is a class token */
    var *positions; /* i32 [N], within the sequence, from the model's first_position on */
    var *types;     /* i32 [N], kind of a token; NULL unless the model has `types` */
    var *samples;   /* i32 [N], number of the sample, for dropout; NULL: no dropout */
    var *q_offsets; /* i32 [S + 1] */
    var *tasks;     /* i32 [S], number of each sequence's task; NULL unless model_tasks says that hooks want it */
    var *whole;     /* i32 [2]: 0 and the rows in use, as if all were one sequence */
    /* with a cache; else NULL and keys are the stream's own */
    var *k_offsets, *q_start, *blocks, *slots;
    const struct kv_cache *cache;
    struct stream *source; /* the encoder's stream, of the same sequences; NULL unless the model `has_source`. With a
                              cache its slots, k_offsets and blocks say where the cache has what the decoder reads of
                              it; ids NULL: it has that already */
    /* out: what enters block 0, what leaves every block, after the final norm (a family without one leaves
     * NULL there); NULL: not wanted */
    var **hidden; /* [layers + 2]; of a source [source_layers + 2] */
} stream;

/* Keys and values of every layer in pages of 32 rows: k[l], v[l] are [pages * 32, kv_heads * D]. source_k, source_v:
 * those that a decoder makes of its source. */
typedef struct kv_cache {
    int     layers;
    tensor *k, *v, *source_k, *source_v;
} kv_cache;

typedef struct model_family {
    const char *name; /* model_type in config.json */
    status (*open)(arena *a, model *m); /* reads m->source->config, fills the rest */
    var *(*hidden)(model *m, tape *t, stream *s); /* -> [N, C], after the final norm; m->rows names the stream's
                                                     rows, and is the family's to change for a source's */
} model_family;

struct model {
    const model_family *family;
    const weights      *source;
    dtype               real; /* of expanded weights: the tape's type */
    const char         *prefix; /* of the trunk's names in the checkpoint, "bert."; NULL: none. Files may
                                   lack or have it, whatever the architecture */
    int64_t             layers, width, words, kv_width, heads, kv_heads, head_size;
    int64_t             positions;       /* tokens that a sequence may have */
    bool                position_table;  /* a longer one cannot be computed at all */
    int32_t             first_position;  /* of a sequence's first token; when it is above 0 .. */
    int32_t             pad;             /* .. this token has position `pad` and is not counted */
    int64_t             types;           /* kinds of tokens; 0: not told apart */
    bool                sees_all;        /* a token sees those behind it: not causal */
    bool                has_source;      /* an encoder of source_layers blocks reads a stream of its own */
    int64_t             source_layers;
    int32_t             begin;           /* its decoder's first token; and `pad` stands for what is no target */
    patch_grid          image;           /* what it reads are images; channels 0: tokens */
    site               *sites;
    int                 n_sites;
    model_weight       *tensors; /* every weight that the family asked for */
    int                 n_tensors, max_tensors;
    head_wish           wish;
    bool                opens_head;      /* what is asked for now is a part of the head */
    model_head          head;
    row_names           rows;             /* of the stream being recorded, for hooks */
    void               *state;            /* the family's own */
};

/* real: TYPE_F32, or TYPE_F64 for proofs. The weights must outlive the model. Unknown families are
 * refused with the list of known ones; a missing or misshapen tensor by name. */
status model_open(arena *a, const weights *w, dtype real_type, model *out);

/* The same with a head of the caller's wish; of one with classes, what is missing in the file, or has another number
 * of them there, is made, and marked `fresh`. */
status model_open_for(arena *a, const weights *w, dtype real_type, const head_wish *wish, model *out);

/* Records the trunk: [N, C] after the final norm. */
var *model_hidden(model *m, tape *t, stream *s);

/* What modules put in front of every sequence: virtual tokens, whose ids are 0 and whose rows the embedding's hooks
 * make, and before those positions of keys and values. Both are counted by the positions of a stream. */
typedef struct model_front {
    int32_t tokens, positions;
} model_front;
model_front model_in_front(const model *m);

/* Labels of those tokens, [tokens], -100 where there is none; NULL when no module has any. */
status model_front_labels(arena *a, const model *m, const int32_t **labels);

/* Tasks that modules tell apart, the smallest number of them; 0: none does. */
int32_t model_tasks(const model *m);

/* Refuses the number of a task that a module does not have. */
status model_check_task(const model *m, int64_t task);

/* The embedding of words; the first of a model's, which may also have some of positions and types. */
site *model_words(const model *m);

/* Sum of the losses at target rows: rows i32 [T] into hidden, targets i32 [T]; *each: by row. */
var *model_loss(model *m, tape *t, var *hidden, var *rows, var *targets, var **each);

/* For families: the tensor of that name with exactly this shape; with `expand` as values of the
 * model's real type, else as stored. need false: *out is NULL when there is none. Asking twice gives
 * the same weight. A name that the file lacks is also looked for without or with the model's prefix, and
 * with the old endings .gamma and .beta. */
status model_tensor(arena *a, model *m, const char *name, shape want, bool expand, bool need,
                    model_weight **out);

/* The same for a tensor that has other sizes in the checkpoint, but as many values in the same order. */
status model_tensor_as(arena *a, model *m, const char *name, shape on_disk, shape want, bool expand,
                       model_weight **out);

/* Fills one site: looks `checkpoint`.weight (and .bias if with_bias) up. */
status model_site(arena *a, model *m, site *s, site_kind kind, const char *name,
                  const char *checkpoint, int block, int64_t in, int64_t out, bool with_bias);

/* The next place of m->sites, for one of these functions to fill; the family made room. A linear site's number names
 * it for random numbers, so a family keeps their order. */
site *model_next_site(model *m);

/* The next site is a LayerNorm of the model's width, with a bias. */
status model_layernorm(arena *a, model *m, const char *name, const char *checkpoint, int block, site **out);

/* The same for a norm of `width` values. */
status model_norm(arena *a, model *m, site *s, const char *name, const char *checkpoint, int block,
                  int64_t width, bool with_bias);

/* The same for a table of rows, which stays as it is stored. */
status model_embedding(arena *a, model *m, site *s, const char *name, const char *checkpoint, int64_t rows,
                       int64_t width);

/* The same for a table of another shape in the checkpoint, which is its own name. */
status model_table_as(arena *a, model *m, site *s, const char *name, const char *checkpoint, shape on_disk,
                      int64_t rows, int64_t width);

/* The same for a weight that the checkpoint has as [in, out]: the site's is a turned copy. */
status model_site_turned(arena *a, model *m, site *s, const char *name, const char *checkpoint, int block,
                         int64_t in, int64_t out);

/* Appends the places of a block that have no weights: keys and values in front, what attention adds to the stream, what
 * the mlp adds. attn, mlp: what the checkpoint calls those two. After the model's widths are set. */
enum { PLACES_PER_BLOCK = 3 };
typedef struct block_places {
    site *kv, *after_attn, *after_mlp;
} block_places;
status model_places(arena *a, model *m, int block, const char *attn, const char *mlp, block_places *out);

/* Appends the sites of a head, two at most, and fills m->head. tied: the embedding, whose weight the last product of
 * a head of words shares, or NULL; act: the config's activation. */
status model_open_head(arena *a, model *m, const head_layout *layout, model_weight *tied, activation *act, double eps);

/* The parts of the model that belong to the head for its classes, as PEFT names them in modules_to_save, and those
 * that were made: up to HEAD_PARTS names. Their number. */
enum { HEAD_PARTS = 4 };
int model_head_parts(arena *a, const model *m, const char *names[HEAD_PARTS]);

/* The weight is one of the head's. */
bool model_in_head(const model *m, const model_weight *w);

/* By its name in the file; NULL when there is none. */
model_weight *model_find(model *m, const char *name);

#endif
