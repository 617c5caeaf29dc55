#!/usr/bin/env python3
"""Trains the same adapter on the same micro-batches with PEFT and torch.optim.AdamW.

    ./cambium train RECIPE --dry-run --batches batches.jsonl
    ./cambium train RECIPE train.steps=0 out=START
    PYTHON bench/peers/train.py BASE START/adapter batches.jsonl --lr 1e-3 --warmup 2 --clip 1.0

Prints the mean loss on batches.jsonl.test before and after, and tokens a second (evaluation not counted).
Sequences run one by one, as they are: no padding.
"""
import argparse
import math
import time

import torch
from common import open_trunk, read_lines, token_losses
from peft import PeftModel


def rate(step, steps, warmup, peak):
    """Linear warm-up from 0, then a cosine to 0 (get_cosine_schedule_with_warmup)."""
    if step < warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


@torch.no_grad()
def evaluate(model, lines):
    model.eval()
    total = count = 0
    for line in lines:
        loss, n = token_losses(model, line["ids"], line["labels"])
        total, count = total + loss.item(), count + n
    return total / count


def main():
    p = argparse.ArgumentParser()
    p.add_argument("base")
    p.add_argument("start")
    p.add_argument("batches")
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--warmup", type=int, default=2)
    p.add_argument("--clip", type=float, default=1.0)
    p.add_argument("--weight-decay", type=float, default=0.01)
    p.add_argument("--steps", type=int, default=0, help="of the schedule; 0: as many as there are")
    p.add_argument("--only", type=int, default=0, help="stop after so many steps")
    p.add_argument("--test-limit", type=int, default=0)
    o = p.parse_args()

    lines = read_lines(o.batches)
    test = read_lines(o.batches + ".test")
    test = test[: o.test_limit] if o.test_limit else test
    steps = o.steps or 1 + max(x["step"] for x in lines)
    model = PeftModel.from_pretrained(open_trunk(o.base), o.start, is_trainable=True)
    tuned = [q for q in model.parameters() if q.requires_grad]
    optimizer = torch.optim.AdamW(tuned, lr=o.lr, weight_decay=o.weight_decay)
    print(f"PEFT: loss on the test data {evaluate(model, test):.4f} before", flush=True)
    seconds = tokens = 0
    for step in range(o.only or steps):
        batch = [x for x in lines if x["step"] == step]
        started = time.time()
        model.train()
        total = count = 0
        for x in batch:
            loss, n = token_losses(model, x["ids"], x["labels"])
            loss.backward()
            total, count = total + loss.item(), count + n
        for q in tuned:
            q.grad /= count
        norm = torch.nn.utils.clip_grad_norm_(tuned, o.clip)
        optimizer.param_groups[0]["lr"] = rate(step, steps, o.warmup, o.lr)
        optimizer.step()
        optimizer.zero_grad()
        seconds += time.time() - started
        tokens += sum(len(x["ids"]) for x in batch)
        print(f"PEFT: step {step + 1}/{steps} loss {total / count:.4f} norm {norm.item():.3f} "
              f"{tokens / seconds:.1f} tokens/s", flush=True)
    print(f"PEFT: loss on the test data {evaluate(model, test):.4f} after, {tokens / seconds:.1f} tokens/s")


if __name__ == "__main__":
    main()
