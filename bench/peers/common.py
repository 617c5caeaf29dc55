"""What the comparisons with Hugging Face share: opening a trunk, reading lines of ids."""
import json
import os

import torch
from transformers import AutoModelForCausalLM


def open_trunk(path):
    """A folder in Hugging Face layout, or a .gguf file (expanded to float32)."""
    if path.endswith(".gguf"):
        folder, name = os.path.split(path)
        model = AutoModelForCausalLM.from_pretrained(folder or ".", gguf_file=name, dtype=torch.float32)
    else:
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    model.config.use_cache = False
    return model


def read_lines(path):
    with open(path) as f:
        return [json.loads(line) for line in f]


def token_losses(model, ids, labels):
    """Sum of the losses of all targets of one sequence, and their number; labels are not shifted."""
    logits = model(input_ids=torch.tensor([ids])).logits[0, :-1].float()
    want = torch.tensor(labels[1:])
    loss = torch.nn.functional.cross_entropy(logits, want, ignore_index=-100, reduction="sum")
    return loss, int((want != -100).sum())
