"""What the comparisons share: opening a trunk, reading lines of ids, timing, and results as `cambium bench --json` has them."""
import json
import os
import statistics
import time


def open_trunk(path, device="cpu", dtype="float32"):
    """A folder in Hugging Face layout, a .gguf file (expanded), or random:config.json, made on the device."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    dtype = getattr(torch, dtype)
    if path.startswith("random:"):
        config = AutoConfig.for_model(**json.load(open(path[len("random:"):])))
        with torch.device(device):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    elif path.endswith(".gguf"):
        folder, name = os.path.split(path)
        model = AutoModelForCausalLM.from_pretrained(folder or ".", gguf_file=name, dtype=dtype).to(device)
    else:
        model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).to(device)
    model.config.use_cache = False
    return model


def open_tokenizer(path):
    """The fast tokenizer of a folder or a .gguf file."""
    from transformers import AutoTokenizer

    if path.endswith(".gguf"):
        folder, name = os.path.split(path)
        return AutoTokenizer.from_pretrained(folder or ".", gguf_file=name)
    return AutoTokenizer.from_pretrained(path)


def read_lines(path):
    with open(path) as f:
        return [json.loads(line) for line in f]


def token_losses(model, ids, labels):
    """Sum of the losses of all targets of one sequence, and their number; labels are not shifted."""
    import torch

    logits = model(input_ids=torch.tensor([ids])).logits[0, :-1].float()
    want = torch.tensor(labels[1:])
    loss = torch.nn.functional.cross_entropy(logits, want, ignore_index=-100, reduction="sum")
    return loss, int((want != -100).sum())


def repeat(run, seconds, least=3, warm=2):
    """Values of run() for `seconds`, at least `least`; what the first `warm` give is thrown away."""
    for _ in range(warm):
        run()
    values, until = [], time.perf_counter() + seconds
    while len(values) < least or time.perf_counter() < until:
        values.append(run())
    return values


def figure(what, unit, values, note=""):
    return {"what": what, "unit": unit, "median": statistics.median(values), "best": max(values),
            "worst": min(values), "repetitions": len(values), "note": note}


def report(figures):
    print(json.dumps({"figures": figures}))
