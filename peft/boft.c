/* boft: W' = (s * W) (B_F ... B_1)^T, s [out] scaling the rows and B_i = P_i D_i P_i^T, D_i block-diagonal of
 * (I - Q)(I + Q)^-1 with Q = (R - R^T) / 2, R [F, blocks, h, h] (Liu et al. 2024). P_i mixes neighbouring
 * groups of 2^(i-1) blocks; P_1 leaves all in its place. Here the input is turned block by block, and W stays
 * as it is.
 *
 * PEFT uses more than one factor only where its own CUDA extension is at hand, and without it writes files of
 * one factor whatever butterfly_factors says: a file's tensors say how many there are. */
#include "peft/fields.h"
#include "peft/peft.h"

#include "core/json.h"
#include "core/text.h"

typedef struct boft_options {
    int64_t block_size, blocks, factors;
} boft_options;

#define AT(member) offsetof(boft_options, member)
static const key boft_keys[] = {
    {.name = "block_size", .kind = KEY_INT, .offset = AT(block_size), .preset = "4", .lo = 0, .hi = 65536,
     .unit = "channels", .help = "Channels of a block, a divisor of the input. 0: blocks says it."},
    {.name = "blocks", .kind = KEY_INT, .offset = AT(blocks), .preset = "0", .lo = 0, .hi = 65536,
     .help = "Number of blocks, a divisor of the input. 0: block_size says it."},
    {.name = "butterfly_factors", .kind = KEY_INT, .offset = AT(factors), .preset = "1", .lo = 1, .hi = 16,
     .help = "Number of block rotations, each between channels twice as far apart."},
};
static const key_table boft_table = KEY_TABLE("boft", boft_keys, boft_options);

typedef struct boft_state {
    peft   *p;
    tuned  *r, *s;
    int64_t blocks, factors;
    tensor *channels; /* [factors]: for rotate; the first is not used */
} boft_state;

static status plan_site(const boft_options *o, const site *s, int64_t *size)
{
    const int64_t mixed = (int64_t)1 << (o->factors - 1); /* blocks that the last factor mixes */

    if ((o->block_size == 0) == (o->blocks == 0))
        return fail(STATUS_USAGE,
                    "boft: block_size is %lld and blocks %lld; one of them must be 0, the other not",
                    (long long)o->block_size, (long long)o->blocks);
    if (s->in % (o->blocks ? o->blocks : o->block_size) != 0)
        return fail(STATUS_SHAPE, "boft: %lld channels cannot be cut into blocks by %lld", (long long)s->in,
                    (long long)(o->blocks ? o->blocks : o->block_size));
    *size = o->blocks ? s->in / o->blocks : o->block_size;
    if (o->factors > 1 && (*size % 2 != 0 || s->in / *size % mixed != 0))
        return fail(STATUS_SHAPE,
                    "boft: %lld factors need blocks of an even size, %lld of them or a multiple; there "
                    "are %lld of %lld channels",
                    (long long)o->factors, (long long)mixed, (long long)(s->in / *size), (long long)*size);
    return STATUS_OK;
}

/* Where the places of factor f's blocks lie. It sorts each stretch of 2^f blocks by halves of a block: the
 * even halves before the odd ones; place p of them is the half that came p-th. */
static void place_channels(int64_t in, int64_t size, int64_t f, int32_t *channels)
{
    const int64_t half = size / 2, halves = (int64_t)2 << f, stretch = halves * half;

    for (int64_t c = 0; c < in; c++) {
        const int64_t at = c % stretch,
                      i = at / half; /* perm[c] is place 2 i of the even ones, or an odd one */
        const int64_t from = i < halves / 2 ? 2 * i : 2 * (i - halves / 2) + 1;
        channels[c - at + from * half + at % half] = (int32_t)c;
    }
}

static status boft_attach(const peft_attach *at, const void *options, void **state)
{
    const boft_options *o = options;
    boft_state         *b;
    int64_t             size;

    TRY(plan_site(o, at->s, &size));
    TRY_TAKE(b, at->p->a, 1);
    *b = (boft_state){.p = at->p, .blocks = at->s->in / size, .factors = o->factors};
    TRY_TAKE(b->channels, at->p->a, o->factors);
    for (int64_t f = 1; f < o->factors; f++) {
        int32_t *channels;
        TRY_TAKE(channels, at->p->a, at->s->in);
        place_channels(at->s->in, size, f, channels);
        b->channels[f] = (tensor){.s = shape_1(at->s->in), .type = TYPE_I32, .v = channels};
    }
    const shape r = {4, {o->factors, b->blocks, size, size}};
    TRY(peft_tuned(at, "boft_R", r, START_ZERO, &b->r));
    TRY(peft_tuned(at, "boft_s", shape_2(at->s->out, 1), START_ONE, &b->s));
    *state = b;
    return STATUS_OK;
}

static var *boft_input(tape *t, const site *s, void *state, var *x)
{
    const boft_state *b = state;

    (void)s;
    tape_weight_begin(t);
    var *r = ag_cayley(t, peft_var(t, b->p, b->r), 0, 0);
    tape_weight_end(t);
    for (int64_t f = b->factors - 1; f >= 0; f--)
        x = ag_rotate(t, x, r, f > 0 ? tape_tensor(t, &b->channels[f]) : NULL, f * b->blocks, b->blocks);
    return x;
}

static var *boft_product(tape *t, const site *s, void *state, var *x, var *y)
{
    const boft_state *b = state;

    (void)s, (void)x;
    return ag_affine(t, y, peft_var(t, b->p, b->s), NULL);
}

static int64_t boft_count(const site *s, const void *options)
{
    const boft_options *o = options;
    int64_t             size;

    return plan_site(o, s, &size) == STATUS_OK ? o->factors * s->in * size + s->out : -1;
}

static status boft_write_config(const void *options, cJSON *config)
{
    const boft_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "BOFT");
    cJSON_AddNumberToObject(config, "boft_block_size", (double)o->block_size);
    cJSON_AddBoolToObject(config, "fan_in_fan_out", false);
    cJSON_AddNumberToObject(config, "boft_block_num", (double)o->blocks);
    cJSON_AddNumberToObject(config, "boft_n_butterfly_factor", (double)o->factors);
    return STATUS_OK;
}

static status boft_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    static const char *const off[] = {"boft_dropout", "bias", NULL};
    boft_options            *o = options;

    (void)a;
    *o = (boft_options){.block_size = 4, .factors = 1};
    TRY(fields_refuse(config, off, what));
    TRY(json_int(config, "boft_block_size", false, 0, 1 << 30, &o->block_size, what));
    TRY(json_int(config, "boft_block_num", false, 0, 1 << 30, &o->blocks, what));
    return json_int(config, "boft_n_butterfly_factor", false, 1, 16, &o->factors, what);
}

static status boft_read_shapes(const safetensors *f, void *options, const char *what)
{
    boft_options *o = options;

    for (int i = 0; i < f->n; i++) {
        const safetensors_entry *e = &f->e[i];
        if (!text_ends(e->name, ".boft_R"))
            continue;
        if (e->t.s.n != 4 || e->t.s.d[0] < 1 || e->t.s.d[0] > o->factors)
            return fail(STATUS_FORMAT, "%s: tensor %s is %s, must hold 1 to %lld factors", what, e->name,
                        shape_text(e->t.s), (long long)o->factors);
        o->factors = e->t.s.d[0];
        break;
    }
    return STATUS_OK;
}

const peft_method peft_boft = {
    .name = "boft",
    .sites = SITE_LINEAR,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES | PEFT_FILE,
    .keys = &boft_table,
    .help = "Turns input channels by a product of sparse rotations, and scales the output (Liu et al. 2024).",
    .attach = boft_attach,
    .input = boft_input,
    .product = boft_product,
    .count = boft_count,
    .write_config = boft_write_config,
    .read_config = boft_read_config,
    .read_shapes = boft_read_shapes,
};
