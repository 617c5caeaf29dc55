/* seq2seq: an encoder reads the prompt, a decoder learns the target and the end behind it: cross-entropy, mean over
 * all targets of a step */
#include "recipes/objective.h"

typedef struct seq2seq_options {
    int64_t source_length, source_pack;
} seq2seq_options;

#define AT(member) offsetof(seq2seq_options, member)
static const key rows[] = {
    {.name = "source_length", .kind = KEY_INT, .offset = AT(source_length), .preset = "0", .lo = 0, .hi = 1 << 24,
     .unit = "tokens", .help = "That a prompt may have, while data.length is the target's; 0: as data.length."},
    {.name = "source_pack", .kind = KEY_INT, .offset = AT(source_pack), .preset = "0", .lo = 0, .hi = 1 << 24,
     .unit = "tokens",
     .help = "Of prompts that a micro-batch may hold, while data.pack is of targets; 0: as data.pack."},
};
#undef AT

static status open_goal(goal *g, records *train, records *test)
{
    const seq2seq_options *o = g->options;
    char                   where[256];

    (void)test;
    if (train->v[0].pixels || train->v[0].n_words > 0)
        return fail(STATUS_USAGE, "%s: is no text", record_where(&train->v[0], where));
    g->samples = (whole_options){.kind = WHOLE_ANSWER, .place = TARGET_HERE, .source_length = o->source_length};
    g->source_pack = o->source_pack;
    return STATUS_OK;
}

static status begin(goal *g)
{
    g->samples.begin = g->s->m.begin;
    return STATUS_OK;
}

const objective objective_seq2seq = {
    .name = "seq2seq",
    .help = "Cross-entropy of a decoder's words, which sees what an encoder reads.",
    .keys = KEY_TABLE("seq2seq", rows, seq2seq_options),
    .task_type = "SEQ_2_SEQ_LM",
    .head = HEAD_SEQ2SEQ,
    .perplexity = true,
    .asks = true,
    .whole = true,
    .open = open_goal,
    .begin = begin,
};
