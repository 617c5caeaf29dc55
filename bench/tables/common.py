"""What the tables share: cells and their cache, seeds, and a table on the terminal, in Markdown and as a picture.

A table answers a paper's question with models and data of this size. It is made of cells: a cell is a recipe of the
table's folder (<card>.d) with what it says otherwise, trained and measured by the program. A cell's key is the hash
of its recipe as `plan` resolves it, of its data files and of the program's commit; its folder is
build/tables/<card>/KEY and holds the run and, when it is done, result.json. A cell that is done is not run again; one
that was interrupted goes on from its newest checkpoint. Nothing beside Python's own library is used.
"""
import argparse
import concurrent.futures
import datetime
import hashlib
import json
import math
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import picture
import texts

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent


def options(card, seeds):
    """The command line that all tables have; seeds: how many a full run takes."""
    p = argparse.ArgumentParser(prog=f"bench/tables/{card}", description=f"Makes the table of {card}.",
                                epilog="CAMBIUM=PROGRAM takes another program than ./cambium.")
    p.add_argument("--quick", action="store_true",
                   help="a tiny random trunk and made-up texts: shows in seconds that all of it works, and no more")
    p.add_argument("--seeds", type=int, default=None, metavar="N", help=f"runs of each cell (default {seeds})")
    p.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N",
                   help="cells at a time, each with its share of the cores; the figures do not depend on it")
    p.add_argument("--work", default=str(ROOT / "build" / "tables"), metavar="DIR", help="folder of cells and data")
    p.add_argument("--results", default=None, metavar="DIR",
                   help="folder of the table (default bench/results/tables; with --quick the folder of --work)")
    o = p.parse_args()
    if o.seeds is None:
        o.seeds = 1 if o.quick else seeds
    for name in ("seeds", "jobs"):
        if getattr(o, name) < 1:
            p.error(f"--{name} is {getattr(o, name)}, must be at least 1")
    o.work = pathlib.Path(o.work).resolve()
    o.results = pathlib.Path(o.results or (o.work if o.quick else ROOT / "bench" / "results" / "tables")).resolve()
    o.card = card
    return o


# ---- the program -------------------------------------------------------------------------------------

def program():
    return os.environ.get("CAMBIUM", str(ROOT / "cambium"))


RUNNING = set()              # processes of the program
STOPPED = threading.Event()  # none is to begin any more


def call(*words):
    """What the program prints; ends the script with what it says when it fails."""
    try:
        p = subprocess.Popen([program(), *words], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as e:
        sys.exit(f"{program()}: {e.strerror}")
    RUNNING.add(p)
    if STOPPED.is_set():
        p.terminate()
    out, err = p.communicate()
    RUNNING.discard(p)
    if p.returncode == 3:
        raise KeyboardInterrupt
    if p.returncode != 0:
        sys.exit(f"{' '.join(words)}\n{err.strip()}\nexit code {p.returncode}")
    return out


def stop(*_):
    """On a signal: what runs saves its state and ends, and the script behind it."""
    raise KeyboardInterrupt


def commit():
    """That of the program: CAMBIUM_COMMIT where it is not the checkout's; '-changed' when sources differ from it."""
    def git(*words):
        return subprocess.run(["git", "-C", str(ROOT), *words], text=True, capture_output=True)

    told = os.environ.get("CAMBIUM_COMMIT")
    name = git("rev-parse", "--short=12", "HEAD").stdout.strip()
    if told or not name:
        return told or "unknown"
    kept = ["core", "autograd", "layers", "peft", "optim", "data", "recipes", "CMakeLists.txt"]
    return name + ("-changed" if git("diff", "--quiet", "HEAD", "--", *kept).returncode else "")


def machine():
    """Name and ceilings of the machine, by `bench probe`."""
    found = json.loads(call("bench", "probe", "--seconds", "0.2", "--json"))
    peaks = {f["what"]: f"{f['median']:.0f} {f['unit']}" for f in found["figures"]
             if f["threads"] == found["machine"]["threads"]}
    return {**found["machine"], "probe": peaks}


# ---- data --------------------------------------------------------------------------------------------

def write_lines(path, rows):
    """A file of JSON lines, written as a whole; its path as a text."""
    return write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + f".{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
    return str(path)


def packages(o):
    """Rows of the machine's archive (texts.packages); the program fetches the lists where they are not there."""
    call("plan", "recipes/tiny.yaml", "data.train={source: debian, limit: 8}", "data.test={source: debian, limit: 8}",
         'data.template={prompt: "{long}", target: "{short}"}')
    return texts.packages(o.work / "data")


# ---- cells -------------------------------------------------------------------------------------------

class Cell:
    """One training with its figures.

    recipe: of the table's folder. says: "key=value" texts over it. measure: figure -> how it comes from the run; a
    text "phase/metric", or "metric" of a run of one phase, is read from what the training measured last, and
    (metric, ["key=value"]) is asked from `eval`.
    """

    def __init__(self, recipe, says, seed, measure):
        self.recipe, self.says, self.seed, self.measure = recipe, list(says), seed, measure


def without_origins(plan):
    """The recipe in what `plan` prints: its values, without where they came from."""
    return "\n".join(line.rsplit("  # ", 1)[0] for line in plan.splitlines() if "  # " in line)


def data_digests(text):
    """Of the files that are named in it."""
    paths = sorted(set(re.findall(r"\bpath: ([^\s,}]+)", text)))
    return [hashlib.sha256((ROOT / path).read_bytes()).hexdigest() for path in paths]


def counted(plan):
    """What the plan counts in its last phase: values that are trained, those of whole parts among them, and sites."""
    def last(pattern):
        found = re.findall(pattern, plan)
        return int(found[-1]) if found else 0

    return {"trained": last(r"trained in all: (\d+) values"), "whole": last(r"whole parts and rows of tokens +(\d+)"),
            "sites": last(r": \w+ on (\d+) sites")}


def last_figures(folder):
    """metric -> its last value in a run's metrics."""
    found = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        found.update(json.loads(line))
    return found


class Cells:
    """The cells of one table: runs them, or finds what they gave. To be used as a context."""

    def __init__(self, o):
        self.folder, self.commit, self.card = o.work / o.card, commit(), o.card
        self.threads = max(1, os.cpu_count() // o.jobs)
        self.pool = concurrent.futures.ThreadPoolExecutor(o.jobs)
        self.n, self.ran = 0, 0

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        return self

    def __exit__(self, failed, *_):
        if failed:
            STOPPED.set()
            self.pool.shutdown(wait=False, cancel_futures=True)
            for p in list(RUNNING):
                p.terminate()
        self.pool.shutdown()
        if failed is KeyboardInterrupt:
            sys.exit(f"{self.card}: stopped; the same command goes on from here")

    def start(self, what, cell):
        """A future of the figures of a cell: {name: value}, what `counted` gives, and seconds."""
        self.n += 1
        return self.pool.submit(self.run, what, cell)

    def run(self, what, cell):
        recipe = str((HERE / f"{self.card}.d" / cell.recipe).relative_to(ROOT))
        says = cell.says + [f"seed={cell.seed}"]
        plan = call("plan", recipe, *says)
        folder = self.folder / self.key(cell, plan)
        kept, run, threads = folder / "result.json", folder / "run", f"train.threads={self.threads}"
        if kept.exists():
            return json.loads(kept.read_text())
        print(f"{self.card}: {what}, seed {cell.seed}", file=sys.stderr, flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        call("train", recipe, *says, f"out={run}", threads, "--quiet", "--resume")
        result = {name: self.figure(run, how, threads) for name, how in cell.measure.items()}
        result.update(counted(plan), seconds=round(time.monotonic() - started, 1))
        write_text(kept, json.dumps(result))
        self.ran += 1
        return result

    def key(self, cell, plan):
        asked = without_origins(plan) + "\n" + json.dumps(cell.measure, sort_keys=True)
        whole = json.dumps([self.commit, asked, data_digests(asked)])
        return hashlib.sha256(whole.encode()).hexdigest()[:16]

    @staticmethod
    def figure(run, how, threads):
        if isinstance(how, str):
            phase, metric = how.rsplit("/", 1) if "/" in how else ("", how)
            return last_figures(run / "phases" / phase if phase else run)[metric]
        metric, says = how
        return json.loads(call("eval", str(run), *says, threads, "--json"))[metric]


# ---- figures -----------------------------------------------------------------------------------------

def mean(v):
    return sum(v) / len(v)


def deviation(v):
    """Of the sample; None of a single value."""
    return math.sqrt(sum((x - mean(v)) ** 2 for x in v) / (len(v) - 1)) if len(v) > 1 else None


def spread(v, digits=1):
    """'71.2 ± 0.8'"""
    s = deviation(v)
    return f"{mean(v):.{digits}f}" + (f" ± {s:.{digits}f}" if s is not None else "")


# Student's t with n - 1 degrees, 95 %: within so many standard errors of 0 the mean of n differences may be chance.
STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}


def compare(better, worse):
    """How a row stands to another, seed by seed: (mean of the differences, their standard error, a word)."""
    gaps = [a - b for a, b in zip(better, worse)]
    gap, s = mean(gaps), deviation(gaps)
    error = s / math.sqrt(len(gaps)) if s is not None else None
    if error is None:
        return gap, None, "one seed says nothing"
    if abs(gap) <= STUDENT.get(len(gaps), 2.0) * error:
        return gap, error, "not told apart"
    return gap, error, "holds" if gap > 0 else "does not hold"


class Table:
    """Rows of figures a column; each figure has a value a seed. The last column is what the question is about."""

    def __init__(self, card, title, question, setting, columns, unit="%"):
        self.card, self.title, self.question, self.setting = card, title, question, setting
        self.columns, self.unit = columns, unit
        self.rows = {}   # name -> {"what": .., "trained": n, "paper": [..], "values": {column: [a value a seed]}}
        self.paper = []  # of the paper's columns: (head, where the figures are from)

    def row(self, name, what, trained, paper, values):
        self.rows[name] = {"what": what, "trained": trained, "paper": paper, "values": values}

    def orderings(self, pairs):
        """Lines on (better, worse, column of the paper or None): what the paper says, and what is found here."""
        lines, last = [], self.columns[-1]
        for better, worse, column in pairs:
            a, b = self.rows[better], self.rows[worse]
            gap, error, word = compare(a["values"][last], b["values"][last])
            told = f"{a['paper'][column] - b['paper'][column]:+.1f} in the paper, " if column is not None else ""
            found = f"{round(gap, 1) + 0.0:+.1f}" + (f" ± {error:.1f} (standard error)" if error is not None else "")
            ahead = sum(mean(a["values"][c]) > mean(b["values"][c]) for c in self.columns[:-1])
            lines.append(f"- {better} over {worse}: {told}{found} here: **{word}**; ahead in {ahead} of "
                         f"{len(self.columns) - 1} tasks.")
        return lines

    def grid(self):
        """The table as texts, the head first."""
        out = [["", "trained values", *self.columns, *(head for head, _ in self.paper)]]
        for name, r in self.rows.items():
            out.append([name, f"{r['trained']:,}", *(spread(r["values"][c]) for c in self.columns),
                        *("" if p is None else f"{p:.1f}" for p in r["paper"])])
        return out


def show(grid):
    widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
    for row in grid:
        print("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w)
                        for i, (cell, w) in enumerate(zip(row, widths))).rstrip())


def markdown(t, origin, orderings, text):
    grid = t.grid()
    lines = [f"# {t.title}", "", t.question, "", t.setting, "", origin, ""]
    lines += ["| " + " | ".join(grid[0]) + " |", "|" + "---|" * len(grid[0])]
    lines += ["| " + " | ".join(row) + " |" for row in grid[1:]]
    lines += ["", f"Figures in {t.unit}: the mean over the seeds ± the deviation between them.", ""]
    lines += [f"- {name}: {r['what']}" for name, r in t.rows.items()]
    lines += [""] + [f"- *{head}*: {source}" for head, source in t.paper] if t.paper else []
    lines += ["", f"![{t.title}]({t.card}.svg)", "", "## Does the ordering hold?", "",
              "Of the average; told apart is what a paired t-test over the seeds tells apart (95 %).", "", *orderings]
    if text:
        lines += ["", text.strip()]
    return "\n".join(lines) + "\n"


def finish(t, o, cells, pairs):
    """Prints the table and writes it as JSON, Markdown and a picture."""
    found, day = machine(), datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    command = " ".join([f"bench/tables/{o.card}"] + (["--quick"] if o.quick else []) + ["--seeds", str(o.seeds)])
    peaks = ", ".join(f"{what} {rate}" for what, rate in found["probe"].items())
    origin = (f"{found['cpu']}, {found['threads']} threads, {found['path']} ({peaks}). `{command}`, commit "
              f"{cells.commit}, {day}; {cells.n} cells, {o.seeds} seed{'s' if o.seeds > 1 else ''}.")
    if o.quick:
        origin += " **Quick: a random trunk and made-up texts. These figures mean nothing.**"
    orderings = t.orderings(pairs)
    show(t.grid())
    print("\n".join(["", *orderings, "", f"{cells.n} cells, {cells.ran} of them run now"]))
    said = HERE / f"{o.card}.d" / "text.md"
    text = said.read_text() if said.exists() and not o.quick else ""
    o.results.mkdir(parents=True, exist_ok=True)
    write_text(o.results / f"{o.card}.md", markdown(t, origin, orderings, text))
    write_text(o.results / f"{o.card}.svg", picture.bars(t, mean, deviation))
    write_text(o.results / f"{o.card}.json", json.dumps(
        {"table": o.card, "machine": found, "command": command, "commit": cells.commit, "date": day, "seeds": o.seeds,
         "rows": t.rows, "paper": t.paper}, indent=1, ensure_ascii=False) + "\n")
