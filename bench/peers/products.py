#!/usr/bin/env python3
"""Single products by oneDNN, through torch: names as in `cambium bench matmul`.

    PYTHON products.py --threads 1

bf16 goes to oneDNN always, f32 where torch hands it on (else its other BLAS computes it; the note says what torch
was built with).
"""
import argparse
import re
import time

import torch
from common import figure, repeat, report

LAYERS = [("135M hidden-hidden", 576, 576), ("135M hidden-kv", 576, 192), ("135M hidden-ffn", 576, 1536),
          ("135M ffn-hidden", 1536, 576), ("135M hidden-words", 576, 49152), ("1B hidden-hidden", 2048, 2048),
          ("1B hidden-kv", 2048, 512), ("1B hidden-ffn", 2048, 8192), ("1B ffn-hidden", 8192, 2048)]


def product(direction, N, inner, outer, dtype):
    """A function that computes it, and its FLOPs."""
    x, w = torch.randn(N, inner, dtype=dtype), torch.randn(outer, inner, dtype=dtype)
    dy = torch.randn(N, outer, dtype=dtype)
    out = {"forward": (N, outer), "to x": (N, inner), "to W": (outer, inner)}[direction]
    y = torch.empty(out, dtype=dtype)
    run = {"forward": lambda: torch.mm(x, w.T, out=y), "to x": lambda: torch.mm(dy, w, out=y),
           "to W": lambda: torch.mm(dy.T, x, out=y)}[direction]
    return run, 2e-9 * N * inner * outer


def rate(run, amount, seconds):
    times = 1

    def timed():
        started = time.perf_counter()
        for _ in range(times):
            run()
        return time.perf_counter() - started

    timed()
    while timed() < 0.02:
        times *= 2
    return repeat(lambda: times * amount / timed(), seconds, least=5)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--only", default="", help="products whose name contains this")
    p.add_argument("--tokens", type=int, nargs="*", default=[512, 2048])
    p.add_argument("--seconds", type=float, default=0.5)
    p.add_argument("--threads", type=int, default=1)
    o = p.parse_args()
    torch.set_num_threads(o.threads)
    torch.set_grad_enabled(False)
    assert torch.backends.mkldnn.is_available()
    blas = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    figures = []
    for name, inner, outer in LAYERS:
        for N in o.tokens:
            if outer > 40000 and N != o.tokens[0]:
                continue
            for kind, dtype in [("f32", torch.float32), ("bf16 both", torch.bfloat16)]:
                for direction in ["forward", "to x", "to W"]:
                    what = f"{name} {kind} {direction} {N}"
                    if o.only in what:
                        values = rate(*product(direction, N, inner, outer, dtype), o.seconds)
                        figures.append(figure(what, "GFLOP/s", values, "" if kind != "f32" or not blas else
                                              f"torch's BLAS: {blas.group(1)}"))
    report(figures)


if __name__ == "__main__":
    main()
