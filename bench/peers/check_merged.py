#!/usr/bin/env python3
"""Every method merged: trains each recipe of recipes/methods for a few steps on a small random trunk, merges the adapter with
`cambium merge`, loads the folder with transformers, and compares logits with `cambium trace` of base and adapter.

    PYTHON bench/peers/check_merged.py [--cambium build/cambium] [--config CONFIG.json] [NAME...]

NAME: of recipes/methods, default: all. Methods that tell tasks apart are merged for each of two. Prints a line a recipe; fails
when a logit differs by more than 1e-4 of the largest, when transformers misses or makes a weight, and when merging fails but
for the reason that no weights can compute what the method does. Run from the repository's root; needs torch, transformers,
safetensors."""
import argparse
import pathlib
import sys
import tempfile

import torch
import transformers
from common import SEQUENCES, WITH_TASKS, make_base, run, trace, train_method

WITH_BIASES = {"bitfit": "tests/data/tiny_llama_bias.json"}  # recipes that train what the others' trunk lacks
NO_WEIGHTS = "no weights of the trunk compute what it does"


def logits_of(folder):
    model, said = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    wrong = [f"{kind}: {sorted(map(str, said[kind]))[:3]}" for kind in said if said[kind]]
    with torch.no_grad():
        return [model.eval()(input_ids=torch.tensor([ids])).logits[0] for ids in SEQUENCES], wrong


def check(cambium, base, name, folder):
    adapter = train_method(cambium, base, name, folder)
    worst, said = 0, []
    for task in range(2) if name in WITH_TASKS else [None]:
        merged = folder / f"merged{task}"
        run(cambium, "merge", base, adapter, merged, *([] if task is None else ["--task", task]))
        want = trace(cambium, base, folder, [task or 0] * len(SEQUENCES), adapter)
        got, wrong = logits_of(merged)
        most = max(x.abs().max().item() for x in got)
        worst = max([worst] + [(x - want[f"seq{i}.logits"]).abs().max().item() / most for i, x in enumerate(got)])
        said += wrong
    return worst, said


def line_of(cambium, base, name, folder):
    """What to print, and whether it is good."""
    try:
        worst, said = check(cambium, base, name, folder)
    except Exception as e:  # one that does not load is told, and the others go on
        if NO_WEIGHTS in str(e):
            return "left out: cannot be merged", True
        return f"FAILED: {type(e).__name__}: {str(e)[:300]}", False
    good = worst <= 1e-4 and not said
    return f"{'ok' if good else 'WRONG'}: largest difference {worst:.1e} of the largest logit" + "".join(
        f"; {text[:200]}" for text in said), good


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--cambium", default="build/cambium")
    p.add_argument("--config", default="tests/data/tiny_llama.json")
    p.add_argument("names", nargs="*")
    o = p.parse_args()
    names = o.names or sorted(x.stem for x in pathlib.Path("recipes/methods").glob("*.yaml"))
    failed = 0
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as tmp:
        for name in names:
            folder = pathlib.Path(tmp) / name
            base = folder / "base"
            make_base(base, WITH_BIASES.get(name, o.config))
            text, good = line_of(o.cambium, base, name, folder)
            print(f"{name}: {text}", flush=True)
            failed += not good
    print(f"{len(names)} recipes, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
