#!/usr/bin/env python3
"""Loads an adapter folder of ours with Hugging Face PEFT and compares logits with `cambium trace`.

    ./cambium trace --base BASE --adapter RUN/adapter --ids case.json --out trace.safetensors
    PYTHON bench/peers/check_adapter.py BASE RUN/adapter case.json trace.safetensors

Fails on a warning about keys, and when a logit differs by more than 1e-4.
"""
import json
import sys
import warnings

import torch
from common import open_trunk
from peft import PeftModel
from safetensors.torch import load_file


def main():
    base, adapter, case, trace = sys.argv[1:5]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(open_trunk(base), adapter).eval()
    about_keys = [str(w.message) for w in seen if "key" in str(w.message).lower() or "adapter" in str(w.message).lower()]
    for text in about_keys:
        print("warning:", text)
    ours = load_file(trace)
    with open(case) as f:
        sequences = json.load(f)
    sequences = sequences.get("sequences", sequences) if isinstance(sequences, dict) else sequences
    worst = 0.0
    with torch.no_grad():
        for i, s in enumerate(sequences):
            theirs = model(input_ids=torch.tensor([s["ids"]])).logits[0]
            worst = max(worst, (theirs - ours[f"seq{i}.logits"]).abs().max().item())
    tuned = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    print(f"{len(sequences)} sequences, {tuned} adapter values, largest difference of a logit {worst:.2e} (may be 1e-4), "
          f"{len(about_keys)} warnings about keys")
    return 0 if worst <= 1e-4 and not about_keys else 1


if __name__ == "__main__":
    sys.exit(main())
