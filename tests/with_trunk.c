/* with_trunk: small random trunks */
#include "tests/with_trunk.h"

#include "core/rng.h"
#include "tests/helpers.h"

static const char config[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 48, \"intermediate_size\": 80, "
    "\"num_hidden_layers\": 3, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
    "\"vocab_size\": 128, \"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-5, "
    "\"tie_word_embeddings\": true, \"attention_bias\": true, \"mlp_bias\": true, "
    "\"initializer_range\": 0.3}";

void small_open(small *s, uint64_t seed)
{
    small_open_as(s, config, seed);
}

void small_open_as(small *s, const char *json, uint64_t seed)
{
    memset(s, 0, sizeof *s);
    MUST(arena_open(&s->memory, "small", (size_t)1 << 30));
    MUST(arena_open(&s->tuned, "tuned", (size_t)1 << 28));
    s->w = (weights){.path = "small", .random = true, .seed = seed, .config = cJSON_Parse(json)};
    ck_assert_ptr_nonnull(s->w.config);
    MUST(model_open(&s->memory, &s->w, TYPE_F32, &s->m));
    MUST(peft_open(&s->memory, &s->m, seed, &s->p));
}

void small_close(small *s)
{
    weights_close(&s->w);
    arena_close(&s->memory);
    arena_close(&s->tuned);
}

/* The texts of "[a, b]". */
static key_texts texts(small *s, const char *list)
{
    const char **v = arena_take(&s->memory, strlen(list), sizeof *v);
    int          n = 0;

    for (const char *p = list + strspn(list, "[ "); *p && *p != ']'; p += strspn(p, ", ")) {
        const size_t length = strcspn(p, ",]");
        v[n++] = arena_string(&s->memory, p, length);
        p += length;
    }
    return (key_texts){n, v};
}

/* Presets as the recipe reader would give them: numbers, no, the first choice. */
static void preset(small *s, const key *k, char *options)
{
    if (!k->preset)
        return;
    if (strcmp(k->preset, "!") == 0) {
        ck_assert(k->kind == KEY_TEXTS);
        *(key_texts *)(options + k->offset) = texts(s, "[9, 3, 127]"); /* tokens */
        return;
    }
    if (k->kind == KEY_INT)
        *(int64_t *)(options + k->offset) = atoll(k->preset);
    else if (k->kind == KEY_REAL)
        *(double *)(options + k->offset) = atof(k->preset);
    else if (k->kind == KEY_BOOL)
        *(bool *)(options + k->offset) = k->preset[0] == 'y' || k->preset[0] == 't';
    else if (k->kind == KEY_CHOICE || k->kind == KEY_TEXT)
        *(const char **)(options + k->offset) = k->preset;
    else if (k->kind == KEY_TEXTS)
        *(key_texts *)(options + k->offset) = texts(s, k->preset);
}

/* Number i of "none|all|lora_only". */
static const char *choice(small *s, const char *choices, int i)
{
    while (i-- > 0)
        choices = strchr(choices, '|') + 1;
    return arena_string(&s->memory, choices, strcspn(choices, "|"));
}

void *small_options(small *s, const peft_method *m, const char *const *names, const double *values)
{
    char *options = arena_take(&s->memory, 1, m->keys->size);
    memset(options, 0, m->keys->size);
    for (int i = 0; i < m->keys->n; i++) {
        const key *k = &m->keys->keys[i];
        preset(s, k, options);
        for (int n = 0; names && names[n]; n++) {
            if (strcmp(names[n], k->name) != 0)
                continue;
            if (k->kind == KEY_INT)
                *(int64_t *)(options + k->offset) = (int64_t)values[n];
            else if (k->kind == KEY_BOOL)
                *(bool *)(options + k->offset) = values[n] != 0;
            else if (k->kind == KEY_CHOICE)
                *(const char **)(options + k->offset) = choice(s, k->choices, (int)values[n]);
            else
                *(double *)(options + k->offset) = values[n];
        }
    }
    return options;
}

void small_add(small *s, const char *method, const char *pattern, const char *const *names,
               const double *values)
{
    const peft_method *m = peft_find(method);

    ck_assert_ptr_nonnull(m);
    MUST(peft_add(s->p, "main", m, small_options(s, m, names, values), &pattern, 1, true));
    MUST(peft_allocate(s->p, &s->tuned));
}

void small_stir(small *s, uint64_t seed)
{
    for (int i = 0; i < s->p->n_tuned; i++)
        if (s->p->tensors[i].value.type == TYPE_F32 && !s->p->tensors[i].start.unsaved)
            rng_fill_normal(rng_key_for(seed, s->p->tensors[i].name), 0, 0.2f,
                            s->p->tensors[i].value.v, shape_count(s->p->tensors[i].value.s));
}

trace_result small_trace(small *s, const trace_options *o)
{
    cJSON       *sequences = cJSON_Parse("[{\"ids\": [1, 5, 9, 100, 7, 3, 127, 0]}, "
                                         "{\"ids\": [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21]}]");
    trace_result r;

    for (int i = 0; i < 2 && model_tasks(&s->m) > 1; i++)
        cJSON_AddNumberToObject(cJSON_GetArrayItem(sequences, i), "task", s->p->task >= 0 ? s->p->task : i);
    MUST(trace_run(&s->memory, &s->m, s->p, sequences, "small", o, &r));
    cJSON_Delete(sequences);
    return r;
}
