#!/usr/bin/env python3
"""Every method's folder in Hugging Face PEFT: trains each recipe of recipes/methods for a few steps on a small random
llama, loads the adapter with PEFT, and compares logits with `cambium trace`.

    PYTHON bench/peers/check_methods.py [--cambium build/cambium] [NAME...]       NAME: of recipes/methods, default: all

Prints a line a recipe; fails when a logit differs by more than 1e-4 of the largest. Recipes whose method PEFT does not
have are named and left out. Run from the repository's root; needs torch, transformers, peft, safetensors."""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file

NOT_IN_PEFT = ["meteora", "task", "mean", "bitfit", "full", "bottleneck_houlsby", "bottleneck_parallel",
               "bottleneck_pfeiffer", "bottleneck_series", "llm_adapters_parallel", "llm_adapters_series", "smora"]
NEEDS_GPU = {"loftq": "PEFT quantises the weights with bitsandbytes, which wants a GPU"}
CHANGED = {"boft": ["modules.main.butterfly_factors=1"]}  # more of them only with PEFT's CUDA extension
REMADE = ["randlora"]  # PEFT makes the projections anew from the seed, and warns that they are missing
SEQUENCES = [[1, 17, 42, 9, 88, 3, 65], [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [99, 98]]


def make_base(folder):
    config = transformers.AutoConfig.for_model(**json.loads(pathlib.Path("tests/data/tiny_llama.json").read_text()))
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.normal_(0, 0.1)
    model.save_pretrained(folder)


def run(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(str(w) for w in words[:3])}: {done.stderr.strip().splitlines()[-1:]}")


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
    adapter, case, trace = folder / "run/adapter", folder / "case.json", folder / "trace.safetensors"
    run(cambium, "train", f"recipes/methods/{name}.yaml", f"base={base}", f"out={folder / 'run'}", "train.steps=12",
        "train.save_every=0", "train.eval_every=0", "--quiet", *CHANGED.get(name, []))
    tasks = [i % 2 for i in range(len(SEQUENCES))] if name in ("poly", "mhr", "multitask_prompt") else [0] * len(SEQUENCES)
    case.write_text(json.dumps({"sequences": [{"ids": s, "task": t} for s, t in zip(SEQUENCES, tasks)]}))
    run(cambium, "trace", "--base", base, "--adapter", adapter, "--ids", case, "--out", trace)
    want, said = theirs(base, adapter, tasks)
    ours = load_file(trace)
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
        make_base(base)
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
