/* commands: what the program can do besides training. Results go to `out` (stdout), a line of JSON where
 * `json` is set; the rest is said through the log. */
#ifndef RECIPES_COMMANDS_H
#define RECIPES_COMMANDS_H

#include "recipes/prompts.h"
#include "recipes/recipe.h"

#include <stdio.h>

typedef struct generate_request {
    const char     *base, *adapter; /* adapter NULL: the bare trunk */
    prompt_source   prompts;
    const char     *system; /* a turn in front of every prompt; NULL: none */
    key_texts       stops;  /* texts that end an answer */
    int64_t         max_tokens, batch; /* batch: prompts that run together; max_tokens 0: of a chat, what has room */
    bool            chat;    /* instead of prompts: lines of stdin as turns of a conversation */
    int64_t         context; /* tokens that it may have; 0: 4096, or what the model has */
    int64_t         task;   /* of all prompts */
    bool            ignore_end, plain, json, force; /* plain: no chat template */
    bool            stream; /* print while it is made */
    sampler_options choose;
    beam_options    beams;
} generate_request;
status command_generate(const generate_request *q, FILE *out);

typedef struct trace_request {
    const char *base, *adapter, *ids, *out; /* ids: JSON with sequences; out: .safetensors */
    bool        hidden, force, json;
    const char *gradients; /* names with commas, or NULL */
    const char *pixels;    /* .safetensors with seqN.pixel_values, or NULL */
} trace_request;
status command_trace(const trace_request *q, FILE *out);

/* ids of stdin's text as a JSON line a text line; decode: the other way. */
status command_tokenize(const char *base, bool decode, FILE *in, FILE *out);

/* Loss (and answers, as the recipe says) on the recipe's test data, with a run's or another adapter. `what`
 * is a recipe or a run folder. task: of all samples; -1: their own. */
status command_eval(const char *what, const key_texts *overrides, const char *adapter, int64_t task, bool force,
                    bool json, FILE *out);

/* The recipe as resolved, sites, trainable table, memory bill, FLOPs, time estimate: of each phase of its procedure. */
status command_plan(recipe *r, bool json, FILE *out);

/* What a model, adapter, run or checkpoint holds. */
status command_inspect(const char *path, bool json, FILE *out);

/* Writes the base with the adapter merged into it as a folder in Hugging Face layout. type: "f32", "f16",
 * "bf16" or NULL: as the base stores it, f32 for quantised bases. task: whose weights an adapter of several tasks
 * gives; -1: not said. */
status command_merge(const char *base, const char *adapter, const char *folder, const char *type, int64_t task,
                     bool force, FILE *out);

/* The base with the sum of sparse deltas in its weights, in their order, as a folder in Hugging Face layout; or the sum
 * alone, when OUT ends with .h5. A delta is the folder of a sparse_delta module or such a file, with :WEIGHT behind it
 * if that is not 1. */
typedef struct compose_request {
    const char        *base, *out, *type; /* type: as merge's */
    const char *const *deltas;
    int                n;
    const char        *head; /* the delta whose head is taken, "none", or NULL: the first that has one */
    bool               force, json;
} compose_request;
status command_compose(const compose_request *q, FILE *out);

/* A trunk as a folder in Hugging Face layout or as a GGUF file (OUT ends with .gguf), or a LoRA adapter as a
 * folder or a GGUF file. */
typedef struct convert_request {
    const char *from, *to;
    const char *type; /* NULL: as stored; what is quantised becomes f32 in a folder */
    const char *base; /* of an adapter; NULL: what its config says */
    double      shard; /* MB a safetensors file may hold */
    bool        force;
} convert_request;
status command_convert(const convert_request *q, FILE *out);

/* What this machine offers and a short self-test with speeds. */
status command_doctor(bool json, FILE *out);

#endif
