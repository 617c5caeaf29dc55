/* head: see the header */
#include "layers/head.h"

#include "core/json.h"
#include "core/text.h"

#include <stdio.h>
#include <string.h>

const char *head_name(head_kind kind)
{
    static const char *const names[] = {"none", "causal_lm", "masked_lm", "tag", "classify", "seq2seq", "span"};

    return names[kind];
}

/* The kind that the end of an architecture's name says. */
static bool kind_of(const char *architecture, head_kind *kind)
{
    static const struct {
        const char *end;
        head_kind   kind;
    } ends[] = {{"ForCausalLM", HEAD_CAUSAL},
                {"LMHeadModel", HEAD_CAUSAL},
                {"ForMaskedLM", HEAD_MASKED},
                {"ForPreTraining", HEAD_MASKED},
                {"ForTokenClassification", HEAD_TAG},
                {"ForSequenceClassification", HEAD_CLASSIFY},
                {"ForImageClassification", HEAD_CLASSIFY},
                {"ForConditionalGeneration", HEAD_SEQ2SEQ},
                {"ForQuestionAnswering", HEAD_SPAN},
                {"Model", HEAD_NONE}};

    for (size_t i = 0; i < COUNT_OF(ends); i++)
        if (text_ends(architecture, ends[i].end)) {
            *kind = ends[i].kind;
            return true;
        }
    return false;
}

status head_choose(const cJSON *config, const head_wish *wish, const head_layout *layouts, int n, const char *what,
                   const head_layout **out, bool *bare)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(config, "architectures");
    const cJSON *first = cJSON_IsArray(list) ? list->child : NULL;
    const char  *name = cJSON_IsString(first) ? first->valuestring : "";
    char         known[128] = "";
    head_kind    kind = wish->given ? wish->kind : layouts[0].kind;
    const bool   clear = wish->given || !name[0] || kind_of(name, &kind);

    *bare = kind == HEAD_NONE;
    for (int i = 0; i < n; i++) {
        if (clear && layouts[i].kind == kind) {
            *out = &layouts[i];
            return STATUS_OK;
        }
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "",
                 head_name(layouts[i].kind));
    }
    if (wish->given)
        return fail(STATUS_UNSUPPORTED, "%s: this model has no %s head, but these: %s", what, head_name(kind), known);
    return fail(STATUS_UNSUPPORTED, "%s: the architecture is '%.100s', must be one with a head of these: %s",
                what, name, known);
}

bool head_has_classes(head_kind kind)
{
    return kind == HEAD_TAG || kind == HEAD_CLASSIFY || kind == HEAD_SPAN;
}

status head_classes(const cJSON *config, const head_wish *wish, head_kind kind, const char *what, int64_t *classes)
{
    const cJSON *names = cJSON_GetObjectItemCaseSensitive(config, "id2label");

    *classes = 2;
    if (kind == HEAD_SPAN)
        return STATUS_OK;
    if (wish->given && wish->classes > 0) {
        *classes = wish->classes;
        return STATUS_OK;
    }
    if (cJSON_IsObject(names) && cJSON_GetArraySize(names) > 0) {
        *classes = cJSON_GetArraySize(names);
        return STATUS_OK;
    }
    return json_int(config, "num_labels", false, 1, INT32_MAX, classes, what);
}

var *head_features(tape *t, const model_head *h, var *x)
{
    if (h->dense) {
        tape_enter(t, "head.dense");
        x = h->act(t, site_linear(t, h->dense, x));
        tape_leave(t);
    }
    if (h->norm) {
        tape_enter(t, "head.norm");
        x = ag_layernorm(t, x, weight_var(t, h->norm), weight_var(t, h->norm_bias), h->eps);
        tape_leave(t);
    }
    return h->scale != 0 ? ag_scale(t, x, h->scale) : x;
}

var *head_logits(tape *t, const model_head *h, var *x)
{
    CHECK(h->out);
    x = head_features(t, h, x);
    tape_enter(t, "head");
    var *y = ag_softcap(t, site_linear(t, h->out, x), h->softcap);
    tape_leave(t);
    return y;
}

var *head_loss(tape *t, const model_head *h, var *x, var *targets, var **each)
{
    CHECK(h->out);
    if (h->out->hooks)
        return ag_cross_entropy(t, head_logits(t, h, x), targets, each);
    x = head_features(t, h, x);
    tape_enter(t, "head");
    var *loss = ag_cross_entropy_head(t, x, weight_var(t, h->out->weight), weight_var(t, h->out->bias),
                                      targets, h->softcap, each);
    tape_leave(t);
    return loss;
}
