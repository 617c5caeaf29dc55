"""Texts that tables learn from, as records: word problems, facets of packages, and made-up ones for --quick.

What is drawn comes from a seed and is the same everywhere. The packages are those of the machine's archive, whose
lists the program fetches into its cache.
"""
import json
import os
import pathlib
import random
import re

# ---- arithmetic word problems --------------------------------------------------------------------------

NAMES = ["Ann", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana", "Ivo", "Jane", "Kai", "Lena"]
THINGS = ["apples", "books", "coins", "eggs", "cards", "nails", "pens", "shells", "stamps", "tickets"]


def one_problem(r):
    """(question, answer) of one or two steps; numbers stay below 100."""
    name, other = r.sample(NAMES, 2)
    thing = r.choice(THINGS)
    a, b, c = r.randint(5, 49), r.randint(2, 49), r.randint(2, 9)
    kind = r.randrange(5)
    if kind == 0:
        return f"{name} has {a} {thing} and buys {b} more. How many {thing} does {name} have?", a + b
    if kind == 1:
        a += b
        return f"{name} has {a} {thing} and gives {b} to {other}. How many {thing} are left?", a - b
    if kind == 2:
        b = r.randint(2, 9)
        return f"{name} has {b} bags with {c} {thing} in each. How many {thing} are there?", b * c
    if kind == 3:
        a += b
        return (f"There are {a} {thing}. {name} takes {b} and {other} brings {c}. How many {thing} are there now?",
                a - b + c)
    return f"{c} friends share {b * c} {thing}. How many {thing} does each of them get?", b


def problems(seed, train, test):
    """Two lists of {question, answer}; no question is in both."""
    r, seen, rows = random.Random(seed), set(), []
    while len(rows) < train + test:
        question, answer = one_problem(r)
        if question not in seen:
            seen.add(question)
            rows.append({"question": question, "answer": str(answer)})
    return rows[:train], rows[train:]


# ---- facets of packages --------------------------------------------------------------------------------

def fnv(text):
    h = 0xcbf29ce484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001b3 % 2 ** 64
    return h


def packages_file():
    """Packages of the archive, which the program has fetched."""
    cache = os.environ.get("CAMBIUM_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "cambium")
    for line in pathlib.Path(cache, "debian", "targets").read_text().splitlines():
        language, path = line.split("|", 1)
        if language == "":
            return pathlib.Path(path)
    raise SystemExit(f"{cache}/debian/targets names no list of packages")


def field(stanza, name):
    m = re.search(rf"^{name}: ?(.*(?:\n[ \t].*)*)", stanza, re.M)
    return m.group(1) if m else ""


def packages(folder):
    """One a description, the first by name: {name, source, short, tags}, in the order of their names' hashes; kept in
    the folder for the next time."""
    lists, kept = packages_file(), folder / "packages.json"
    if not kept.exists() or kept.stat().st_mtime < lists.stat().st_mtime:
        folder.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(read_packages(lists)))
    return json.loads(kept.read_text())


def read_packages(path):
    rows, seen = [], set()
    stanzas = path.read_text(encoding="utf-8").split("\n\n")
    for stanza in sorted(s for s in stanzas if s.startswith("Package: ")):
        md5, short = field(stanza, "Description-md5"), field(stanza, "Description")
        if md5 in seen or not short:
            continue
        seen.add(md5)
        name = field(stanza, "Package")
        tags = [tag.strip() for tag in re.sub(r"\s+", " ", field(stanza, "Tag")).split(",") if "::" in tag]
        rows.append({"name": name, "source": field(stanza, "Source").split(" (")[0] or name, "short": short,
                     "tags": [tag for tag in tags if "TODO" not in tag]})
    return sorted(rows, key=lambda row: fnv(row["name"]))


def first_of_each(rows, limit):
    """At most `limit` rows of a label."""
    counts, out = {}, []
    for row in rows:
        counts[row["label"]] = counts.get(row["label"], 0) + 1
        if counts[row["label"]] <= limit:
            out.append(row)
    return out


def facet_rows(rows, facet, values, least):
    """(train, test) of a facet: packages with one value of it, among its `values` commonest with `least` of train.

    The side is that of the source's name, so that siblings, which share texts, stay together.
    """
    sides = ([], [])
    for row in rows:
        own = [tag for tag in row["tags"] if tag.startswith(facet + "::")]
        if len(own) == 1:
            place = fnv(row["source"]) % 100
            if place < 10 or place >= 15:
                sides[place < 10].append({"text": f"{facet}: {row['short']}", "label": own[0]})
    counts = {}
    for row in sides[0]:
        counts[row["label"]] = counts.get(row["label"], 0) + 1
    common = sorted((label for label in counts if counts[label] >= least), key=lambda label: (-counts[label], label))
    return tuple([row for row in side if row["label"] in common[:values]] for side in sides)


# ---- made-up ones ----------------------------------------------------------------------------------------

WORDS = {"animal": ["crow", "wren", "swan"], "fruit": ["pear", "plum", "fig"], "tool": ["saw", "axe", "file"],
         "place": ["tree", "shed", "pond"], "size": ["red", "small"], "age": ["old", "new"]}


def sentence(r):
    w = {kind: r.choice(words) for kind, words in WORDS.items()}
    return "a {size} {animal} has a {age} {tool} and a {fruit} at the {place}".format(**w), w


def toy_facet(seed, facet, train, test):
    """(train, test) of sentences that ask for one of their words."""
    r, rows = random.Random(f"{seed} {facet}"), []
    for _ in range(train + test):
        text, words = sentence(r)
        rows.append({"text": f"{facet}: {text}", "label": f"{facet}::{words[facet]}"})
    return rows[:train], rows[train:]
