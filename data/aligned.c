/* aligned: texts that know where their bytes came from */
#include "core/utf8.h"
#include "data/tokenizer_parts.h"

#include <stdlib.h>
#include <string.h>

static bool continues(const char *text, size_t at)
{
    return ((uint8_t)text[at] & 0xC0) == 0x80;
}

void aligned_close(aligned_text *t)
{
    free(t->v);
    free(t->from);
    free(t->to);
    *t = (aligned_text){0};
}

size_t view_from(const text_view *in, size_t i)
{
    if (in->from)
        return in->from[i];
    while (i > 0 && continues(in->v, i))
        i--;
    return in->base + i;
}

size_t view_to(const text_view *in, size_t i)
{
    if (in->to)
        return in->to[i];
    do
        i++;
    while (i < in->n && continues(in->v, i));
    return in->base + i;
}

text_view view_part(const text_view *in, size_t begin, size_t end)
{
    return (text_view){.v = in->v + begin,
                       .n = end - begin,
                       .from = in->from ? in->from + begin : NULL,
                       .to = in->to ? in->to + begin : NULL,
                       .base = in->base + begin,
                       .origin = begin < end ? view_from(in, begin) : in->origin};
}

static status room(aligned_text *t, size_t n)
{
    TRY(grow(&t->v, &t->room, n, 1));
    TRY(grow(&t->from, &t->room_from, n, sizeof *t->from));
    return grow(&t->to, &t->room_to, n, sizeof *t->to);
}

rewriter rewrite_begin(const text_view *in, aligned_text *out)
{
    out->n = 0;
    return (rewriter){*in, 0, out};
}

/* The next k characters are done with. */
static void pass(rewriter *r, int32_t k)
{
    while (k-- > 0 && r->at < r->in.n)
        do
            r->at++;
        while (r->at < r->in.n && continues(r->in.v, r->at));
}

status rewrite_put(rewriter *r, uint32_t code, int32_t change)
{
    aligned_text *out = r->out;
    size_t from = r->in.origin, to = r->in.origin;
    size_t place = change > 0 ? r->at : r->at + 1; /* of the byte whose range it takes, + 1 */

    if (place > r->in.n)
        place = r->in.n;
    if (place > 0) {
        from = view_from(&r->in, place - 1);
        to = view_to(&r->in, place - 1);
    }
    if (change <= 0)
        pass(r, 1 - change);
    if (UNLIKELY(out->n + 4 > out->room || out->n + 4 > out->room_from ||
                 out->n + 4 > out->room_to))
        TRY(room(out, out->n + 4));
    const int n = utf8_put(code, out->v + out->n);
    for (int i = 0; i < n; i++) {
        out->from[out->n] = (uint32_t)from;
        out->to[out->n++] = (uint32_t)to;
    }
    return STATUS_OK;
}

status rewrite_copy(rewriter *r, size_t n)
{
    aligned_text *out = r->out;
    const text_view *in = &r->in;

    if (n == 0)
        return STATUS_OK;
    TRY(room(out, out->n + n));
    memcpy(out->v + out->n, in->v + r->at, n);
    if (in->from) {
        memcpy(out->from + out->n, in->from + r->at, n * sizeof *out->from);
        memcpy(out->to + out->n, in->to + r->at, n * sizeof *out->to);
    } else
        for (size_t at = r->at; at < r->at + n;) {
            const size_t begin = at;
            do
                at++;
            while (at < r->at + n && continues(in->v, at));
            for (size_t i = begin; i < at; i++) {
                out->from[out->n + i - r->at] = (uint32_t)(in->base + begin);
                out->to[out->n + i - r->at] = (uint32_t)(in->base + at);
            }
        }
    out->n += n;
    r->at += n;
    return STATUS_OK;
}

void rewrite_skip(rewriter *r, size_t n)
{
    r->at += n;
}

text_view rewrite_view(const rewriter *r)
{
    return (text_view){r->out->v, r->out->n, r->out->from, r->out->to, r->in.base, r->in.origin};
}

status aligned_same(const text_view *in, aligned_text *copy, text_view *out)
{
    TRY(grow(&copy->v, &copy->room, in->n, 1));
    memcpy(copy->v, in->v, in->n);
    copy->n = in->n;
    *out = *in;
    if (in->from) {
        TRY(room(copy, in->n));
        memcpy(copy->from, in->from, in->n * sizeof *copy->from);
        memcpy(copy->to, in->to, in->n * sizeof *copy->to);
        out->from = copy->from;
        out->to = copy->to;
    }
    out->v = copy->v;
    return STATUS_OK;
}
