#!/usr/bin/env python3
"""Every method's folder in Hugging Face PEFT: trains each recipe of recipes/methods for a few steps on a small random
llama, loads the adapter with PEFT, and compares logits with `cambium trace`.

    PYTHON bench/peers/check_methods.py [--cambium build/cambium] [NAME...]       NAME: of recipes/methods, default: all

Prints a line a recipe; fails when a logit differs by more than 1e-4 of the largest. Recipes whose method PEFT does not
have are named and left out. Run from the repository's root; needs torch, transformers, peft, safetensors."""
import argparse
import pathlib
import sys
import tempfile
import warnings

import torch
import transformers
from common import SEQUENCES, WITH_TASKS, make_base, trace, train_method
from peft import PeftModel

NOT_IN_PEFT = ["meteora", "task", "mean", "bitfit", "full", "bottleneck_houlsby", "bottleneck_parallel",
               "bottleneck_pfeiffer", "bottleneck_series", "llm_adapters_parallel", "llm_adapters_series", "smora"]
NEEDS_GPU = {"loftq": "PEFT quantises the weights with bitsandbytes, which wants a GPU"}
CHANGED = {"boft": ["modules.main.butterfly_factors=1"]}  # more of them only with PEFT's CUDA extension
REMADE = ["randlora"]  # PEFT makes the projections anew from the seed, and warns that they are missing
def with_tasks(model):
    return any(c.peft_type in ("POLY", "MULTITASK_PROMPT_TUNING") for c in model.peft_config.values())


def theirs(base, adapter, tasks):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    said = [str(w.message) for w in seen if "key" in str(w.message).lower()]
    out = []
    for ids, task in zip(SEQUENCES, tasks):
        extra = {"task_ids": torch.tensor([task])} if with_tasks(model) else {}
        with torch.no_grad():
            out.append(model(input_ids=torch.tensor([ids]), **extra).logits[0, -len(ids):])
    return out, said


def check(cambium, base, name, folder):
    adapter = train_method(cambium, base, name, folder, CHANGED.get(name, []))
    tasks = [i % 2 for i in range(len(SEQUENCES))] if name in WITH_TASKS else [0] * len(SEQUENCES)
    ours = trace(cambium, base, folder, tasks, adapter)
    want, said = theirs(base, adapter, tasks)
    worst = max((w - ours[f"seq{i}.logits"][-len(w):]).abs().max().item() for i, w in enumerate(want))
    return worst / max(w.abs().max().item() for w in want), [] if name in REMADE else said


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--cambium", default="build/cambium")
    p.add_argument("names", nargs="*")
    o = p.parse_args()
    names = o.names or sorted(x.stem for x in pathlib.Path("recipes/methods").glob("*.yaml"))
    failed = 0
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as tmp:
        base = pathlib.Path(tmp) / "base"
        make_base(base, "tests/data/tiny_llama.json")
        for name in names:
            if name in NOT_IN_PEFT or name in NEEDS_GPU:
                print(f"{name}: left out: {NEEDS_GPU.get(name, 'PEFT has no such method')}")
                continue
            folder = pathlib.Path(tmp) / name
            folder.mkdir()
            try:
                worst, said = check(o.cambium, base, name, folder)
                good = worst <= 1e-4 and not said
                print(f"{name}: {'ok' if good else 'WRONG'}: largest difference {worst:.1e} of the largest logit"
                      + "".join(f"; {text[:200]}" for text in said))
            except Exception as e:  # one that does not load is told, and the others go on
                good = False
                print(f"{name}: FAILED: {type(e).__name__}: {str(e)[:300]}")
            failed += not good
    print(f"{len(names)} recipes, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
