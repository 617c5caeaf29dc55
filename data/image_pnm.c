/* image_pnm: grey (P2, P5) and coloured (P3, P6) pictures of Netpbm, a number a value as text or as bytes */
#include "data/image.h"

typedef struct pnm {
    const char    *path;
    const uint8_t *v;
    size_t         n, at;
} pnm;

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Passes over space, and comments from # to the end of a line. */
static void skip(pnm *p)
{
    for (; p->at < p->n && (is_space(p->v[p->at]) || p->v[p->at] == '#'); p->at++)
        if (p->v[p->at] == '#')
            while (p->at + 1 < p->n && p->v[p->at] != '\n')
                p->at++;
}

static status read_number(pnm *p, const char *what, uint64_t lo, uint64_t hi, uint64_t *out)
{
    size_t from;

    skip(p);
    *out = 0;
    for (from = p->at; p->at < p->n && p->v[p->at] >= '0' && p->v[p->at] <= '9' && *out <= hi; p->at++)
        *out = *out * 10 + (uint64_t)(p->v[p->at] - '0');
    if (p->at == from)
        return fail(STATUS_FORMAT, "%s: %s must be a number, at byte %zu", p->path, what, from);
    if (*out < lo || *out > hi)
        return fail(STATUS_FORMAT, "%s: %s is %llu or more, must be %llu..%llu, at byte %zu", p->path, what,
                    (unsigned long long)*out, (unsigned long long)lo, (unsigned long long)hi, from);
    return STATUS_OK;
}

static uint8_t to_byte(uint64_t value, uint64_t most)
{
    return (uint8_t)((value * 255 + most / 2) / most);
}

static status next_value(pnm *p, bool text, uint64_t most, uint64_t *out)
{
    if (text)
        return read_number(p, "a value", 0, most, out);
    *out = p->v[p->at++];
    if (most > 255)
        *out = *out << 8 | p->v[p->at++];
    if (*out > most)
        return fail(STATUS_FORMAT, "%s: a value is %llu, must be 0..%llu, before byte %zu", p->path,
                    (unsigned long long)*out, (unsigned long long)most, p->at);
    return STATUS_OK;
}

static status read_values(pnm *p, bool text, bool grey, uint64_t most, image *out)
{
    const int64_t n = (int64_t)out->height * out->width * (grey ? 1 : 3);

    for (int64_t i = 0; i < n; i++) {
        uint64_t value;

        TRY(next_value(p, text, most, &value));
        for (int c = 0; c < (grey ? 3 : 1); c++)
            out->pixels[i * (grey ? 3 : 1) + c] = to_byte(value, most);
    }
    skip(p);
    if (p->at < p->n)
        return fail(STATUS_FORMAT, "%s: %zu bytes lie behind the image", p->path, p->n - p->at);
    return STATUS_OK;
}

status image_pnm(arena *a, const char *path, const uint8_t *v, size_t n, image *out)
{
    pnm            p = {path, v, n, 2};
    const uint8_t  kind = v[1];
    const bool     text = kind < '4', grey = kind == '2' || kind == '5';
    const uint64_t any = INT64_MAX / 16;
    uint64_t       width, height, most;

    if (kind == '1' || kind == '4' || kind == '7')
        return fail(STATUS_UNSUPPORTED, "%s: is a picture of kind P%c, must be P2, P3, P5 or P6", path, kind);
    TRY(read_number(&p, "the width", 1, any, &width));
    TRY(read_number(&p, "the height", 1, any, &height));
    TRY(read_number(&p, "the largest value", 1, 65535, &most));
    if (p.at == n || !is_space(v[p.at++]))
        return fail(STATUS_FORMAT, "%s: space must follow the largest value, at byte %zu", path, p.at);
    TRY(image_check(path, width, height, 0, 0));
    /* a value as text takes a digit, and a space but for the last */
    const uint64_t values = width * height * (grey ? 1 : 3);
    TRY(image_check(path, width, height, text ? 2 * values - 1 : values * (most > 255 ? 2 : 1), n - p.at));
    *out = (image){.height = (int32_t)height, .width = (int32_t)width};
    TRY_TAKE(out->pixels, a, width * height * 3);
    return read_values(&p, text, grey, most, out);
}
