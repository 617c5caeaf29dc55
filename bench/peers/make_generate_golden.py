#!/usr/bin/env python3
"""Golden numbers of generating, from transformers: processed logits, greedy texts, texts of beam search.

    bench/peers/make_generate_golden.py [OUT]       default: tests/golden/generate

Writes OUT/sampling.json, rows of logits before and after transformers' processors, OUT/texts.json, what
`model.generate` answers with the small trunks of tests/golden/trunks in float64, and OUT/beams.json, the same with
beams, where float32 must answer the same. Needs torch, transformers, numpy."""
import json
import pathlib
import sys

import numpy as np
import torch
import transformers
from transformers.generation import logits_process as processors

ABOUT = ("made by bench/peers/make_generate_golden.py with "
         f"transformers {transformers.__version__}, torch {torch.__version__}")
TRUNKS = pathlib.Path(__file__).parents[2] / "tests/golden/trunks"
WORDS = 40
SETTINGS = [
    {}, {"penalty": 1.3}, {"penalty": 0.8}, {"no_repeat": 1}, {"no_repeat": 2}, {"no_repeat": 3, "penalty": 1.1},
    {"temperature": 0.7}, {"temperature": 1.0, "top_k": 7}, {"temperature": 1.3, "top_p": 0.6},
    {"temperature": 1.0, "min_p": 0.1}, {"temperature": 2.0, "top_k": 40, "top_p": 0.9, "min_p": 0.05},
    {"penalty": 1.2, "no_repeat": 2, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.02},
    {"temperature": 1.0, "top_p": 1e-6}, {"temperature": 1.0, "min_p": 1.0},
]
# trunk, prompts, settings of `generate`
CASES = [
    ("linear_biases", {}), ("linear_biases", {"repetition_penalty": 1.4}), ("qwen3", {"no_repeat_ngram_size": 2}),
    ("t5_relu", {}), ("t5_unscaled", {}), ("t5_unscaled", {"repetition_penalty": 1.3}),
]
# trunk, tokens that end an answer, settings of `generate`
BEAMS = [
    ("linear_biases", [], {"num_beams": 3}),
    ("linear_biases", [66, 86], {"num_beams": 4}),
    ("linear_biases", [66, 86], {"num_beams": 4, "early_stopping": "never", "length_penalty": 2.0}),
    ("linear_biases", [44, 66, 18], {"num_beams": 2, "length_penalty": -1.0}),
    ("qwen3", [57], {"num_beams": 5, "length_penalty": 0.3, "repetition_penalty": 1.2}),
    ("qwen3", [57, 62, 91], {"num_beams": 3, "no_repeat_ngram_size": 2}),
    ("t5_unscaled", [1, 7, 51], {"num_beams": 3, "early_stopping": True}),
    ("t5_unscaled", [5], {"num_beams": 6, "length_penalty": 0.0, "early_stopping": "never"}),
] + [(trunk, ends, {"num_beams": 3, "length_penalty": penalty, "early_stopping": early})
     for trunk, ends, penalty in (("linear_biases", [57, 72, 22], 1.5), ("qwen3", [57, 47, 1], 1.5),
                                  ("t5_relu", [56, 48, 11], 1.0))
     for early in (False, True, "never")]   # three texts each
PROMPTS = [[7, 3, 59], [11, 4, 5, 6, 20, 33, 8], [9, 8, 7, 6, 5, 4, 3] * 5]
TOKENS = 28     # the second prompt grows beyond a page


def process(settings, seen, logits):
    chain = [("penalty", processors.RepetitionPenaltyLogitsProcessor),
             ("no_repeat", processors.NoRepeatNGramLogitsProcessor),
             ("temperature", processors.TemperatureLogitsWarper), ("top_k", processors.TopKLogitsWarper),
             ("top_p", processors.TopPLogitsWarper), ("min_p", processors.MinPLogitsWarper)]
    for name, kind in chain:
        if name in settings:
            logits = kind(settings[name])(seen, logits)
    return logits


def sampling():
    r = np.random.default_rng(5)
    rows = []
    for settings in SETTINGS:
        for seen in ([3], [5, 9, 5, 7, 1, 5, 9], [int(x) for x in r.integers(0, 6, 40)]):
            before = torch.tensor(np.round(r.standard_normal((1, WORDS)) * 3, 3), dtype=torch.float32)
            after = process(settings, torch.tensor([seen]), before.clone())
            rows.append({"settings": settings, "seen": seen, "before": [round(x, 3) for x in before[0].tolist()],
                         "after": [round(x, 6) if np.isfinite(x) else None for x in after[0].tolist()]})
    return rows


def open_model(trunk, dtype):
    config = transformers.AutoConfig.from_pretrained(TRUNKS / trunk)
    return getattr(transformers, config.architectures[0]).from_pretrained(TRUNKS / trunk, dtype=dtype).eval()


def answer(model, ids, ends, settings):
    out = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                         do_sample=False, max_new_tokens=TOKENS, pad_token_id=0, eos_token_id=ends or None,
                         use_cache=False, return_dict_in_generate=True, output_scores=True, **settings)
    return [int(x) for x in out.sequences[0, 1 if model.config.is_encoder_decoder else len(ids):]], out


def texts():
    cases = []
    for trunk, settings in CASES:
        model = open_model(trunk, torch.float64)
        rows = [{"prompt": ids, "ids": answer(model, ids, [], settings)[0]} for ids in PROMPTS]
        cases.append({"trunk": trunk, "settings": settings, "tokens": TOKENS, "answers": rows})
    return cases


def beams():
    cases = []
    for trunk, ends, settings in BEAMS:
        rows = []
        for ids in PROMPTS:
            new, out = answer(open_model(trunk, torch.float64), ids, ends, settings)
            assert new == answer(open_model(trunk, torch.float32), ids, ends, settings)[0], (trunk, ids)
            ended = new[-1] in ends
            rows.append({"prompt": ids, "ids": new[:len(new) - ended], "ended": ended,
                         "score": round(float(out.sequences_scores[0]), 6)})
        cases.append({"trunk": trunk, "settings": settings, "tokens": TOKENS, "ends": ends, "answers": rows})
    return cases


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else TRUNKS.parent / "generate")
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in (("sampling", sampling()), ("texts", texts()), ("beams", beams())):
        lines = ",\n".join(json.dumps(row) for row in rows)
        (out / f"{name}.json").write_text(f'{{"about": "{ABOUT}", "cases": [\n{lines}\n]}}\n')


main()
