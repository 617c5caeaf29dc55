#!/usr/bin/env python3
"""Speed of Hugging Face tokenizers on one thread, and whether the ids are those of Cambium.

    PYTHON tokenize_speed.py BASE FILE
"""
import argparse
import os
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

from common import figure, open_tokenizer, repeat, report  # noqa: E402


def main():
    p = argparse.ArgumentParser()
    p.add_argument("base")
    p.add_argument("file")
    p.add_argument("--seconds", type=float, default=3)
    o = p.parse_args()
    with open(o.file, encoding="utf-8", newline="") as f:
        text = f.read()
    size = len(text.encode()) / 1e6
    tokenizer = open_tokenizer(o.base).backend_tokenizer
    lines = text.splitlines(keepends=True)
    ids = tokenizer.encode(text, add_special_tokens=False).ids

    def rate(work):
        def run():
            started = time.perf_counter()
            work()
            return size / (time.perf_counter() - started)
        return repeat(run, o.seconds)

    def whole():
        tokenizer.encode(text, add_special_tokens=False)

    def by_line():
        for line in lines:
            tokenizer.encode(line, add_special_tokens=False)

    def decode():
        tokenizer.decode(ids, skip_special_tokens=False)

    report([figure("encode, whole", "MB/s", rate(whole), f"{len(ids)} tokens"),
            figure("encode, by line", "MB/s", rate(by_line)),
            figure("decode", "MB/s", rate(decode))])


if __name__ == "__main__":
    main()
