/* causal_lm: cross-entropy of the next token at target positions, mean over all targets of a step */
#include "recipes/objective.h"

const objective objective_causal_lm = {
    .name = "causal_lm",
    .help = "Cross-entropy of the next token at target positions.",
    .task_type = "CAUSAL_LM",
    .head = HEAD_CAUSAL,
    .perplexity = true,
    .asks = true,
};
