#!/usr/bin/env python3
"""Speed of training steps with PEFT: forward, backward, clipping, AdamW. Tokens without padding are counted.

    PYTHON train_speed.py BASE --mode eager --tokens 1024
    PYTHON train_speed.py BASE --mode compile --tokens 1024
    ./cambium train RECIPE --dry-run --batches FILE
    PYTHON train_speed.py BASE --batches FILE --batch 8               in the order of the data, padded to the longest
    PYTHON train_speed.py BASE --batches FILE --batch best --sort     sorted by length within a step, best batch size

On a GPU: --device cuda (bf16, SDPA), --mode liger with the kernels of liger-kernel where it is installed; BASE may be
random:bench/shapes/llama-3.1-8b.json.

Prints a line of JSON. LoRA is on all linear layers but the head, as in recipes/quickstart.yaml.
"""
import argparse
import time

import torch
from common import figure, open_trunk, read_lines, repeat, report
from peft import LoraConfig, get_peft_model

SIZES = [1, 2, 4, 8, 16, 32]


def padded(samples):
    """ids, labels, mask of samples (ids, labels), padded to the longest of them."""
    longest = max(len(ids) for ids, _ in samples)
    ids = torch.tensor([list(i) + [0] * (longest - len(i)) for i, _ in samples])
    labels = torch.tensor([list(l) + [-100] * (longest - len(l)) for _, l in samples])
    mask = torch.tensor([[1] * len(i) + [0] * (longest - len(i)) for i, _ in samples])
    return ids, labels, None if bool(mask.all()) else mask


class Trainer:
    def __init__(self, o):
        self.device, self.mode = o.device, o.mode
        trunk = open_trunk(o.base, o.device, "float32" if o.device == "cpu" else "bfloat16")
        if o.mode == "liger":
            from liger_kernel.transformers import _apply_liger_kernel_to_instance
            _apply_liger_kernel_to_instance(model=trunk)
        self.model = get_peft_model(trunk, LoraConfig(
            r=o.rank, lora_alpha=2 * o.rank, target_modules="all-linear", task_type="CAUSAL_LM"))
        self.model.train()
        self.tuned = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.tuned, lr=1e-4)
        self.forward = torch.compile(self.model) if o.mode == "compile" else self.model

    def loss(self, ids, labels, mask):
        if self.mode == "liger":                          # whose loss never makes all logits
            n = (labels[:, 1:] != -100).sum()
            return n * self.forward(input_ids=ids, labels=labels, attention_mask=mask, use_cache=False).loss
        logits = self.forward(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels[:, 1:].flatten(),
                                                 ignore_index=-100, reduction="sum")

    def step(self, batches):
        """Seconds of one step over its micro-batches."""
        batches = [[None if x is None else x.to(self.device) for x in batch] for batch in batches]
        self.wait()
        started = time.perf_counter()
        targets = 0
        for ids, labels, mask in batches:
            self.loss(ids, labels, mask).backward()
            targets += int((labels[:, 1:] != -100).sum())
        for p in self.tuned:
            p.grad /= targets
        torch.nn.utils.clip_grad_norm_(self.tuned, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.wait()
        return time.perf_counter() - started

    def wait(self):
        if self.device != "cpu":
            torch.cuda.synchronize()


def split(samples, size, sort):
    """Micro-batches of a step. Making the tensors is not counted in a step's time."""
    if sort:
        samples = sorted(samples, key=lambda s: len(s[0]))
    return [padded(samples[i:i + size]) for i in range(0, len(samples), size)]


def measure_packed(trainer, o):
    ids = [3 + k * 17 % 250 for k in range(o.tokens)]
    batch = [padded([(ids, ids)])]
    values = repeat(lambda: o.tokens / trainer.step(batch), o.seconds)
    note = f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB" if o.device != "cpu" else ""
    return figure(f"1 sample of {o.tokens}", "tokens/s", values, note)


def steps_of(path, n):
    steps = {}
    for line in read_lines(path):
        steps.setdefault(line["step"], []).append((line["ids"], line["labels"]))
    return [steps[k] for k in sorted(steps)[:n]]


def speed(trainer, step, size, sort):
    return sum(len(i) for i, _ in step) / trainer.step(split(step, size, sort))


def measure_batches(trainer, o):
    steps = steps_of(o.batches, o.steps)
    size = None if o.batch == "best" else int(o.batch)
    if size is None:                                      # chosen on half a step; the first samples warm up
        half = steps[0][:max(1, len(steps[0]) // 2)]
        for n in SIZES:
            speed(trainer, half[:n], n, o.sort)
        size = max(SIZES, key=lambda n: speed(trainer, half, n, o.sort))
    at = iter(range(10**9))
    values = repeat(lambda: speed(trainer, steps[next(at) % len(steps)], size, o.sort), o.seconds, len(steps), 1)
    return figure("the recipe's steps", "tokens/s", values, f"batch {size}{', sorted' if o.sort else ''}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("base")
    p.add_argument("--mode", choices=["eager", "compile", "liger"], default="eager")
    p.add_argument("--tokens", type=int, default=1024)
    p.add_argument("--rank", type=int, default=16)
    p.add_argument("--batches")
    p.add_argument("--batch", default="8", help="samples a micro-batch, or best")
    p.add_argument("--sort", action="store_true")
    p.add_argument("--steps", type=int, default=2, help="of the batches")
    p.add_argument("--seconds", type=float, default=20)
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--device", default="cpu", help="cpu or cuda")
    o = p.parse_args()
    if o.threads:
        torch.set_num_threads(o.threads)
    torch.manual_seed(0)
    trainer = Trainer(o)
    report([measure_batches(trainer, o) if o.batches else measure_packed(trainer, o)])


if __name__ == "__main__":
    main()
