#!/usr/bin/env python3
"""Greedy text of a .gguf file that `cambium convert` wrote: llama.cpp's and ours must be the same.

    ./cambium convert BASE model.gguf --type f32
    PYTHON bench/peers/check_gguf.py ./cambium model.gguf
    ./cambium convert RUN/adapter adapter.gguf
    PYTHON bench/peers/check_gguf.py ./cambium model.gguf --adapter RUN/adapter --lora adapter.gguf

Takes llama.cpp from the package llama_cpp (bench/peers/setup.sh) or xllamacpp, whichever is there. With f32
the texts must be equal (keys and values are kept in f32 by both). Before products with other weights llama.cpp
rounds activations, to the weights' type or to 8 bits, and we do not, so two likely tokens may change places: the
script says how far the texts agree, and fails when they differ although the smallest lead of a token of ours is
above 0.5.
"""
import argparse
import json
import subprocess
import sys

PROMPTS = ["The first thing that a gardener does in spring is",
           "def fibonacci(n):\n",
           "Water boils at a lower temperature on a mountain because",
           "In 1492, Christopher Columbus"]


def ours(program, model, adapter, prompts, tokens):
    command = [program, "generate", model, "--plain", "--json", "--max-tokens", str(tokens)]
    if adapter:
        command += ["--adapter", adapter, "--force"]
    for p in prompts:
        command += ["--prompt", p]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def with_xllamacpp(model, lora, prompts, tokens, threads):
    import xllamacpp

    p = xllamacpp.CommonParams()
    p.model.path = model
    p.n_ctx = 512
    p.n_parallel = 1
    p.cpuparams.n_threads = threads
    p.warmup = False
    p.verbosity = -1
    p.cache_type_k = p.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if lora:
        p.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(lora, 1.0)]
    server = xllamacpp.Server(p)
    return [server.handle_completions({"prompt": q, "n_predict": tokens, "temperature": 0, "top_k": 1,
                                       "cache_prompt": False})["choices"][0]["text"]
            for q in prompts]


def with_llama_cpp(model, lora, prompts, tokens, threads):
    from llama_cpp import Llama

    m = Llama(model, lora_path=lora, n_ctx=512, n_threads=threads, verbose=False, type_k=0, type_v=0)
    out = []
    for q in prompts:
        m.reset()
        m.eval(m.tokenize(q.encode(), add_bos=False, special=True))
        ids = []
        for _ in range(tokens):
            ids.append(m.sample(temp=0.0))
            if ids[-1] == m.token_eos():
                ids.pop()
                break
            m.eval(ids[-1:])
        out.append(m.detokenize(ids).decode(errors="replace"))
    return out


def theirs(*args):
    try:
        import llama_cpp  # noqa: F401
        return with_llama_cpp(*args)
    except ImportError:
        return with_xllamacpp(*args)


def is_rounded(model):
    import gguf

    return any(t.tensor_type != gguf.GGMLQuantizationType.F32 for t in gguf.GGUFReader(model).tensors)


def common(a, b):
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return n


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("model")
    p.add_argument("--adapter")
    p.add_argument("--lora")
    p.add_argument("--tokens", type=int, default=32)
    p.add_argument("--threads", type=int, default=1)
    o = p.parse_args()
    rounded, failed = is_rounded(o.model), 0
    we = ours(o.program, o.model, o.adapter, PROMPTS, o.tokens)
    they = theirs(o.model, o.lora, PROMPTS, o.tokens, o.threads)
    for prompt, a, b in zip(PROMPTS, we, they):
        same = a["text"] == b
        n = common(a["text"], b)
        bad = not same and (not rounded or a["smallest_margin"] > 0.5)
        failed += bad
        print(f"{'FAILED' if bad else 'ok'}: {prompt!r}: " +
              ("same text" if same else f"{n} of {len(a['text'])} characters agree, smallest lead of ours "
               f"{a['smallest_margin']:.3g}\n  ours:   {a['text']!r}\n  theirs: {b!r}"))
    print(f"{len(PROMPTS)} prompts, {o.tokens} tokens, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
