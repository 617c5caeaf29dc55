#!/usr/bin/env python3
"""Speed of llama.cpp on a .gguf file: reading a prompt, then greedy tokens, one prompt.

    PYTHON generate_speed.py MODEL.gguf --prompt 128 --tokens 64 --threads 2
"""
import argparse
import time

from common import figure, repeat, report
from llama_cpp import Llama


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("--prompt", type=int, default=128)
    p.add_argument("--tokens", type=int, default=64)
    p.add_argument("--seconds", type=float, default=10)
    p.add_argument("--threads", type=int, default=1)
    o = p.parse_args()
    model = Llama(o.model, n_ctx=o.prompt + o.tokens + 8, n_threads=o.threads, n_threads_batch=o.threads,
                  n_batch=max(o.prompt, 32), n_ubatch=max(o.prompt, 32), verbose=False)
    ids = [3 + k * 17 % 250 for k in range(o.prompt)]
    seen = []

    def run():
        model.reset()
        started = time.perf_counter()
        model.eval(ids)
        read = time.perf_counter()
        for _ in range(o.tokens):
            model.eval([model.sample(temp=0.0)])
        seen.append((o.prompt / (read - started), o.tokens / (time.perf_counter() - read)))
        return seen[-1]

    values = repeat(run, o.seconds)
    report([figure(f"1 prompts of {o.prompt}", "tokens/s", [v[0] for v in values]),
            figure(f"{o.tokens} tokens for 1 prompts", "tokens/s", [v[1] for v in values])])


if __name__ == "__main__":
    main()
