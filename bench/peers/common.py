"""What the comparisons share: opening a trunk, reading lines of ids, timing, results as `cambium bench --json` has them, and
recipes of recipes/methods trained for a few steps on a small random trunk."""
import json
import os
import pathlib
import statistics
import subprocess
import time

SEQUENCES = [[1, 17, 42, 9, 88, 3, 65], [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [99, 98]]
WITH_TASKS = ("poly", "mhr", "multitask_prompt")  # recipes whose modules tell tasks apart


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


def make_base(folder, config):
    """A trunk of random weights, biases and norms that do something."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**json.loads(pathlib.Path(config).read_text())))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1 or name.endswith("bias"):
                p.normal_(0, 0.1)
    model.save_pretrained(folder)


def run(*words):
    """What the command prints; its last line of complaint when it fails."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(str(w) for w in words[:3])}: {done.stderr.strip().splitlines()[-2:]}")
    return done.stdout


def train_method(cambium, base, name, folder, changed=()):
    """The adapter folder of a recipe of recipes/methods, trained for a few steps."""
    run(cambium, "train", f"recipes/methods/{name}.yaml", f"base={base}", f"out={folder / 'run'}", "train.steps=12",
        "train.save_every=0", "train.eval_every=0", "--quiet", *changed)
    return folder / "run/adapter"


def trace(cambium, base, folder, tasks, adapter=None):
    """Cambium's logits of SEQUENCES, each of its task."""
    from safetensors.torch import load_file

    case, out = folder / "case.json", folder / "trace.safetensors"
    case.write_text(json.dumps({"sequences": [{"ids": s, "task": t} for s, t in zip(SEQUENCES, tasks)]}))
    run(cambium, "trace", "--base", base, *(["--adapter", adapter] if adapter else []), "--ids", case, "--out", out)
    return load_file(out)
