/* example_words: a sentence by words as tokens, with tags at the first of each */
#include "data/example_maker.h"

#include <string.h>

/* The words with a blank between them, and where each ends. */
static status join_words(sample_maker *m, const record *r, whole_text *x, size_t **ends)
{
    size_t n = 0;
    char  *text;

    for (int i = 0; i < r->n_words; i++)
        n += r->words[i].length + 1;
    TRY_TAKE(text, m->work, n + 1);
    TRY_TAKE(*ends, m->work, r->n_words);
    n = 0;
    for (int i = 0; i < r->n_words; i++) {
        if (i > 0)
            text[n++] = ' ';
        memcpy(text + n, r->words[i].text, r->words[i].length);
        n += r->words[i].length;
        (*ends)[i] = n;
    }
    text[n] = '\0';
    *x = (whole_text){.text = text, .length = n};
    return STATUS_OK;
}

/* The tag of a word at its first token: the first that reaches into it. */
static void place_tags(const record *r, const size_t *ends, const token_list *list, int32_t *labels)
{
    int word = 0; /* the next without a token */

    for (int64_t i = 0; i < list->n; i++) {
        labels[i] = LABEL_NONE;
        if (list->special[i])
            continue;
        for (bool first = true; word < r->n_words && ends[word] - r->words[word].length < list->end[i]; word++) {
            labels[i] = first ? r->tags[word] : labels[i];
            first = false;
        }
    }
}

status sample_words(sample_maker *m, const record *r, example *e, bool *dropped)
{
    char       where[256];
    int32_t   *labels;
    whole_text x;
    token_list list;
    size_t    *ends;

    if (r->n_words == 0 || !r->tags)
        return fail(STATUS_USAGE, "%s: is no sentence of words with tags; the source conll gives them",
                    record_where(r, where));
    TRY(join_words(m, r, &x, &ends));
    TRY(sample_encode(m, r, &x, m->o->length, &list, dropped));
    if (*dropped)
        return STATUS_OK;
    TRY(sample_tokens(m, &list, e));
    TRY_TAKE(labels, m->a, list.n);
    place_tags(r, ends, &list, labels);
    e->labels = labels;
    return STATUS_OK;
}
