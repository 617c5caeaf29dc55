/* peft: modules that are trained on a frozen trunk.
 *
 * A method is a struct of functions in one file and one row in peft/methods.def. A module is one use of a
 * method: a name, options, and the sites it sits on. All tuned values of a run lie in one flat buffer,
 * their gradients in another of the same layout. */
#ifndef PEFT_PEFT_H
#define PEFT_PEFT_H

#include "core/keys.h"
#include "core/safetensors.h"
#include "layers/model.h"

#include <math.h>

typedef struct peft peft;

/* How a fresh tensor starts. */
typedef enum tuned_init {
    INIT_VALUE,   /* everywhere `size` */
    INIT_UNIFORM, /* in +-size */
    INIT_ABOVE,   /* in 0 .. size */
    INIT_NORMAL,  /* with deviation `size` */
    INIT_COPY,    /* of `from`, expanded */
    INIT_MADE     /* by `make` from `context` */
} tuned_init;

typedef struct tuned_start {
    tuned_init    how;
    double        size;
    const tensor *from;
    const void   *context;
    status (*make)(arena *work, const void *context, const tensor *value);
    bool unsaved; /* of a fixed one: the start makes the same every time, the file leaves it out */
    bool kept;    /* such a one that training changes: a checkpoint has it beside the optimizer's state */
} tuned_start;

extern const tuned_start START_ZERO, START_ONE; /* everywhere 0, and 1 */

/* torch's Linear: kaiming_uniform with a = sqrt 5, for a weight with `in` columns. */
tuned_start start_linear(int64_t in);

typedef struct tuned {
    const char   *name;  /* in the adapter file: "base_model.model.<site>.lora_A.weight" */
    const char   *also;  /* a second name there for the same values, or NULL */
    int           module;
    bool          fixed; /* part of the adapter, and of its file, that is never trained: random projections */
    bool          aside; /* in encoder.safetensors beside the adapter's file: it makes what that holds */
    tuned_start   start;
    int64_t       below[2]; /* whole numbers: what those of the first and second row are below; else 0 */
    int64_t       first; /* place in the flat buffers (of fixed ones: in their own), in values; a multiple of 16; -1:
                            in none */
    tensor        value, grad;
    struct tuned *rest;   /* a fixed one that lies behind it in the same tensor of the file, or NULL: in further rows; */
    bool          beside; /* with this in further columns. Its start is unsaved, and holds where the file has none */
    model_weight *place; /* trunk tensor that it stands in for while modules are attached, or NULL */
    tensor        kept;  /* what the trunk has there */
    const struct tuned_part *part; /* of one that stands in: which of its values are trained; NULL: none of them, or all */
} tuned;

/* Chosen values of a trunk's tensor. */
typedef struct tuned_part {
    weight_part w;
    tuned      *places, *start, *values; /* i32 [n], counted over the whole tensor; what the trunk has there; trained */
} tuned_part;

enum peft_trait {
    PEFT_IDENTITY_AT_START = 1, /* a fresh module changes no output bit */
    PEFT_MERGES = 2,            /* a site with it is one linear map: weight and bias */
    PEFT_FILE = 4,              /* Hugging Face PEFT reads and writes the same file */
    PEFT_HOLDS_GRADIENT = 8, /* takes some of what it computes as constant: its gradient is no derivative */
    PEFT_STEPS = 16,         /* changes values after an optimizer step */
    PEFT_SEES = 32           /* its start sees what samples of the data give to its sites */
};

/* What open and attach work with. */
typedef struct peft_attach {
    peft       *p;
    int         module;
    const site *s;      /* NULL: beside the sites */
    void       *shared; /* what open made */
    site_hook  *hook;   /* attach may change which of the method's functions sit here */
} peft_attach;

/* It has this name in the file. */
bool tuned_is(const tuned *x, const char *name);

/* Adds one tuned tensor at the site being attached: "base_model.model.<site>.<suffix>" with a suffix as in
 * "lora_A.weight"; beside the sites "base_model.<suffix>". */
status peft_tuned(const peft_attach *at, const char *suffix, shape s, tuned_start start, tuned **out);

/* The same under this name alone. */
status peft_tuned_alone(const peft_attach *at, const char *name, shape s, tuned_start start, tuned **out);

/* The same for a tensor that is never trained. */
status peft_fixed(const peft_attach *at, const char *suffix, shape s, tuned_start start, tuned **out);

/* The same for n places in a matrix [rows, columns], as i32 [2, n]: in the order of rows and then columns,
 * none twice. `make` makes them. */
status peft_places(const peft_attach *at, const char *suffix, int64_t n, int64_t rows, int64_t columns,
                   tuned_start start, tuned **out);

/* The same for n places among `of` values: i32 [n], rising. */
status peft_flat_places(const peft_attach *at, const char *suffix, int64_t n, int64_t of, tuned_start start, tuned **out);

/* Tunes n values of a trunk's tensor, those at `places`, which are rising and outlive the module: while modules are
 * attached an f32 copy of the tensor stands in its place, into which every forward run puts them. The file has, under the
 * tensor's full name, .places, .start (what the trunk had there) and .values; places count in the order of our weights,
 * [out, in]. */
status peft_part(const peft_attach *at, model_weight *w, const int32_t *places, int64_t n);

/* Puts the trained values of parts into the copies here, where only runs on a device or none have. */
void peft_settle(const peft *p);

/* Tunes a copy of a trunk's tensor, as f32, in its place, under its own full name or, with `name`, that one. The
 * same module's second call for a tensor does nothing; another module's is refused. */
status peft_in_place(peft *p, int module, model_weight *w, const char *name);

/* Another tensor of this type in the place of a trunk's while modules are attached: `start` makes it. It is never
 * trained, in no file, and not in the flat buffers. */
status peft_instead(const peft_attach *at, model_weight *w, dtype type, tuned_start start, tuned **out);

/* The module trains the tensor already. */
bool peft_placed(const peft *p, int module, const model_weight *w);

/* What after_step works with; values and gradients are in host memory. */
typedef struct peft_step {
    int64_t      step, steps; /* the number of the optimizer step, from 0; all steps of the run */
    const float *gradients;   /* flat, as the optimizer took them once multiplied by `factor` */
    double       factor;
} peft_step;

/* What a start sees: one sample's inputs at a site. */
typedef struct peft_inputs {
    arena       *a;    /* lives until all values are made */
    const float *x;    /* [rows, s->in] */
    int64_t      rows, most_rows; /* of this sample, of any */
    int64_t      sample;          /* its number: 0, 1, .. */
    void        *same; /* the state at a site that has the same inputs and sees them before this one, or NULL */
} peft_inputs;

/* What starts need before the first step and give back. */
typedef struct peft_start_cost {
    int    sites;  /* with weights that are decomposed or quantised */
    size_t each;   /* bytes at the costliest site, one after another; */
    size_t all;    /* bytes that are kept until all have started */
    double flops;  /* of the decompositions, in f64 */
} peft_start_cost;

/* What modules add to the mean loss of a step: weight * value, value [1], of each. */
typedef struct peft_losses {
    int n, most;
    struct peft_loss {
        var   *value;
        double weight;
    } *v;
} peft_losses;

void peft_add_loss(peft_losses *l, var *value, double weight);

/* Terms of the loss that depend on activations: hooks give them while the main computation is recorded. A value [1] is
 * a sum over all rows that another one of their sequence follows; its mean over these, times `weight`, is added to the
 * mean loss of a training step. Evaluation leaves them out. */
typedef struct peft_terms {
    int n, most;
    struct peft_loss *v;
} peft_terms;

typedef struct peft_method {
    const char       *name;
    uint32_t          sites; /* site_kind bits it can sit on */
    uint32_t          traits;
    uint32_t (*traits_with)(const void *options); /* where options change them; NULL: traits */
    bool              everywhere; /* sits on all sites of its kinds; files name no targets */
    const key_table  *keys; /* its options */
    const char       *help; /* one sentence with the paper */
    const char       *peft_type; /* in adapter_config.json; NULL: the name, in capitals */
    /* PEFT's target_modules for a model type, as JSON, when the file leaves them out; NULL: those of LoRA. */
    const char *(*default_targets)(const char *family);
    /* Before the first site: what its n sites share. May be NULL. */
    status (*open)(const peft_attach *at, const void *options, const site *const *sites, int n, void **shared);
    /* Takes place at a site: registers tensors, makes the state for the hooks. */
    status (*attach)(const peft_attach *at, const void *options, void **state);
    /* After the last site: what it trains beside its sites. May be NULL. */
    status (*beside)(peft *p, int module, const void *options);
    /* Adds what the start costs at a site. NULL: nothing worth a word. */
    void (*start_cost)(const site *s, const void *options, peft_start_cost *c);
    /* With PEFT_SEES, before values are made: as many samples as `samples` says, one after another. */
    int64_t (*samples)(const void *options);
    status (*see)(const site *s, void *state, const peft_inputs *in);
    /* Hooks of layers/site.h; NULL where the method does nothing. */
    var *(*input)(tape *t, const site *s, void *state, var *x);
    var *(*weight)(tape *t, const site *s, void *state, var *w);
    var *(*product)(tape *t, const site *s, void *state, var *x, var *y);
    var *(*forward)(tape *t, const site *s, void *state, var *x, var *y);
    void (*kv)(tape *t, const site *s, void *state, var **k, var **v, var **offsets);
    /* What the file holds as "prompt_embeddings" in the place of tensors that lie aside; NULL: nothing lies aside.
     * And options of a file with such tensors. Both may be NULL. */
    var *(*result)(tape *t, void *state);
    void (*with_encoder)(void *options);
    /* Adds to the loss what is a function of tuned values alone, on a tape of its own that runs once a step:
     * at most one value for each tuned tensor. May be NULL. */
    void (*extra_loss)(tape *t, const peft *p, int module, const void *options, peft_losses *l);
    /* With PEFT_STEPS, after each optimizer step: masks, budgets, bounds. */
    status (*after_step)(peft *p, int module, const void *options, const peft_step *s);
    /* w [out, in] and b [out] (NULL: none), with what sat down before already in them, become what the module
     * makes of them. NULL: found by computing unit vectors, for every method that is linear in x. */
    status (*merge)(const site *s, const void *state, float *w, float *b);
    /* Values it trains at a site: the closed formula; and in all beside its sites, NULL for none. */
    int64_t (*count)(const site *s, const void *options);
    int64_t (*count_beside)(const peft *p, int module, const void *options);
    /* adapter_config.json: adds the method's fields, and reads them back. fan_in_fan_out, where PEFT has it, is
     * written as false: the caller knows how the trunk's weights lie. */
    status (*write_config)(const void *options, cJSON *config);
    status (*read_config)(const cJSON *config, arena *a, void *options, const char *what);
    /* For a file that others read as a plainer module than the trained one: what the trained one was, for the file
     * to remember (NULL: no more than it says), and the options of such a file when it is trained further. Both may
     * be NULL. */
    const char *(*trained_as)(const void *options);
    status (*train_as)(arena *a, void *options, const char *was, const char *what);
    /* What the file's tensors say and the configuration does not. May be NULL. */
    status (*read_shapes)(const safetensors *f, void *options, const char *what);
} peft_method;

/* A hook that a module hangs beside those of its sites. */
typedef struct peft_extra {
    site_hook hook;
    site     *s;
    status (*merge)(const site *s, const void *state, float *w);
} peft_extra;

typedef struct module {
    const char        *name;
    const peft_method *method;
    const void        *options;
    bool               trains;
    bool               routed; /* a router computes in its place: its hooks are not hung */
    const int         *over;   /* of a router: the modules that it decides between, in their order */
    int                n_over;
    const char        *folder; /* where a router's folder says that it lies; NULL: not said */
    int                n_sites;
    const site       **at;
    site_hook         *hooks;
    site             **hung;
    peft_extra        *extra;
    int                n_extra;
    /* beside its sites: parts of the trunk trained whole, by ends of their names, tied ones together or not; rows of
     * the embedding (peft/whole.c) */
    const char *const *whole;
    int                n_whole;
    bool               tie;
    int64_t            whole_values;
    const int32_t     *tokens;
    int64_t            n_tokens;
} module;

struct peft {
    arena   *a; /* structure; lives as long as the run */
    model   *m;
    uint64_t seed;
    int      n_modules, n_tuned;
    module  *modules;
    tuned   *tensors;
    int32_t  task;    /* whose weights merging makes where modules tell tasks apart; -1: not said */
    int64_t  size;    /* values in a flat buffer, padding included */
    int64_t  trained; /* values trained, padding not included */
    float   *values;  /* NULL until peft_allocate */
    tensor   all, all_gradients; /* the flat buffers as one tensor, for what reads many tuned tensors at once */
    peft_terms *terms; /* where hooks put terms of the loss while it is recorded; NULL: nobody wants them */
    int64_t  fixed_size; /* the same for values that are never trained */
    float   *fixed_values;
};

enum { PEFT_EXTRA_MAX = 8, PEFT_MODULES_MAX = 256, PEFT_TUNED_MAX = 1 << 16 };

/* Finds a method; NULL when there is none. peft_methods lists all; *n their number. */
const peft_method        *peft_find(const char *name);
const peft_method *const *peft_methods(int *n);

/* What the method promises with these options. */
uint32_t peft_traits(const peft_method *method, const void *options);

status peft_open(arena *a, model *m, uint64_t seed, peft **out);

/* Bytes of the arena that are kept for further tensors: addresses that no memory stands behind. */
size_t peft_spare_bytes(const peft *p);

/* Adds a module on the sites that the patterns select. Options must outlive it. */
status peft_add(peft *p, const char *name, const peft_method *method, const void *options,
                const char *const *patterns, int n_patterns, bool trains);

/* The same on the sites i with match[i]: `like` has the module's name, method and options, and what else it begins
 * with. */
status peft_add_at(peft *p, const module *like, const bool *match);

/* After peft_add, for a module of any method: trains copies of all tensors of the trunk that belong to a part whose name
 * ends with one of these (PEFT's modules_to_save: "norm" is also the end of "input_layernorm"), in their place. Of two
 * uses of one weight only the named one changes, unless tie. The names of classifiers that PEFT lists unasked may be
 * absent. */
status peft_tune_whole(peft *p, int module, const char *const *names, int n, bool tie);

/* The same for rows of the embedding (trainable_token_indices); a tied head reads them too. */
status peft_tune_tokens(peft *p, int module, const int32_t *ids, int64_t n);

/* Values of both together. */
int64_t peft_whole_count(const peft *p, int module);

/* A tied head gets a weight of its own, which stays as it is while the embedding is trained. */
status peft_untie(peft *p);

/* One of two tied uses of a weight was trained alone: no merged folder can say that. */
bool peft_parts_tied(const peft *p);

/* Hangs one more hook with this state; taken off and put back with the module's others. */
status peft_hang(peft *p, int module, const site *s, const peft_extra *like, void *state);

/* What peft_allocate will need beside what it takes, and bytes of weights that it puts in the trunk's place. */
peft_start_cost peft_cost_of_start(const peft *p);
size_t          peft_instead_bytes(const peft *p);

/* Takes the flat value buffer and starts every tensor: a function of seed, module and tensor name only. */
status peft_allocate(peft *p, arena *memory);

/* Tuned values that live on a device: here and back again. Nothing to do where they have no twin there. */
status peft_pull(const peft *p);
status peft_push(const peft *p);

/* Points all gradients into a flat buffer of p->size values; the next tape run adds there. */
void peft_use_gradients(peft *p, float *flat);

/* The tensor on the tape: a parameter, or frozen when it is fixed or its module does not train. */
var *peft_var(tape *t, const peft *p, tuned *x);

/* The same as a value for the operations that make a weight of others. */
var *peft_value(tape *t, const peft *p, tuned *x);

/* x with a share of its values set to zero, where the recording trains: the mask is the site's own. */
var *peft_dropout(tape *t, const peft *p, const site *s, var *x, double share);

/* What the training modules add to the loss. The list lies in `a`. */
status peft_extra_loss(tape *t, const peft *p, arena *a, peft_losses *l);

/* Before and after the main computation is recorded: hooks put their terms into l, whose list lies in `a`. */
status peft_terms_begin(peft *p, arena *a, peft_terms *l);
void   peft_terms_end(peft *p);
/* For hooks: value may have been recorded in vain where nobody wants terms, so ask p->terms before. */
void peft_add_term(const peft *p, var *value, double weight);

/* All tuned values on the tape as one [size] tensor: a parameter, or frozen. */
var *peft_all_values(tape *t, peft *p, bool trained);

/* True when a training module wants peft_after_step, which asks each that does. */
bool   peft_steps(const peft *p);
status peft_after_step(peft *p, const peft_step *s);

/* Takes modules off the sites, or puts them back: "off means off". */
void peft_detach(peft *p);
void peft_attach_again(peft *p);

/* w [out, in] and b [out] (NULL: none) of a site, as f32, become those that compute alone what the site and its
 * modules compute together: peft/merge.c. */
status peft_merged(const peft *p, const site *s, float *w, float *b);

/* The tuned values in the place of the trunk's tensor of that name; NULL when it has its own. */
const tensor *peft_stand_in(const peft *p, const char *name);

/* A module does something at the site, or at the trunk's tensor there. */
bool peft_changes(const peft *p, const site *s);

/* The module sits on the site. */
bool peft_sits(const peft *p, int module, const site *s);

/* ---- files: peft/adapter.c ------------------------------------------------------------------- */

/* What is written beside the tensors: how to find and check the base. */
typedef struct adapter_info {
    const char *base;        /* base_model_name_or_path */
    const char *fingerprint; /* SHA-256 of the trunk, or NULL: not checked */
    const char *origin;      /* of the one that `compose` made it of; NULL: it is no such trunk */
    const char *task_type;   /* "CAUSAL_LM"; NULL: one that PEFT has no name for */
    key_texts   labels;      /* names of the head's classes, or n 0 */
    const char *step;        /* of the run that made it, as a number; or NULL */
} adapter_info;

/* Writes adapter_config.json and adapter_model.safetensors of one module into an existing folder. Refuses
 * values that are not finite, by name. */
status adapter_save(const peft *p, int module, const char *folder, const adapter_info *info);

/* Reads a folder's adapter_config.json: method, options, and the checkpoint names of the sites that its
 * target_modules, exclude_modules and layers_to_transform select in this model, ready for peft_add. */
status adapter_read_config(arena *a, const char *folder, const model *m, const peft_method **method,
                           void **options, const char *const **sites, int *n_sites);

/* Adds the module that a folder's adapter_config.json describes, whole copies included. */
status adapter_add(peft *p, const char *folder, const char *name, bool trains);

/* Where the module lies in a run's folder of adapters: there if it is the only one or a router, else in a folder
 * below with its name. */
status adapter_folder(const peft *p, int module, const char *folder, char *path, size_t room);

/* Fills the module's tensors from the folder: every tensor must be there, with its shape, and nothing
 * else. `info->fingerprint` is compared with the file's unless one of them is absent. */
status adapter_load(peft *p, int module, const char *folder, const adapter_info *info);

/* The head for classes that the adapter brings (SEQ_CLS, TOKEN_CLS and QUESTION_ANS of PEFT's task types), or that it is
 * of a bare trunk (FEATURE_EXTRACTION), whatever the base has; else not given. */
status adapter_head(arena *a, const char *folder, head_wish *out);

/* Names of the classes that the folder's file remembers, in order; n 0: none. */
status adapter_labels(arena *a, const char *folder, key_texts *out);

/* The step that the folder's file says; -1 when it says none. */
status adapter_step(arena *a, const char *folder, int64_t *step);

#endif
