#!/usr/bin/env bash
# tables: each table runs with --quick, leaves what it must, and runs nothing twice; a stopped one goes on.
# No figure is judged: quick ones come from random trunks.
#
#     tests/run: no asan
#
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
program=$build/cambium
needs tables "$program" "$program-bench" "$(type -P python3 || echo python3)"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT
cd -- "$work"                                    # nothing depends on the folder it is called from
export CAMBIUM=$program CAMBIUM_CACHE=$work/cache CAMBIUM_COMMIT=test

call() { # NAME OPTION...: sets out, err and code
    code=0
    out=$("$root/bench/tables/$1" --quick --work "$work/tables" "${@:2}" 2>"$work/err") || code=$?
    err=$(<"$work/err")
}
results() { find "$work/tables/$1" -name result.json | wc -l; }
ran() { sed -n 's/.*cells, \([0-9]*\) of them run now/\1/p' <<<"$out"; }

check() { # NAME: the files of a table say where they come from, and hold numbers
    python3 - "$work/tables/$1" <<'PY'
import json, math, pathlib, sys
import xml.dom.minidom
path = sys.argv[1]
kept, text = json.load(open(path + ".json")), pathlib.Path(path + ".md").read_text()
assert kept["commit"] == "test" and kept["machine"]["cpu"] and len(kept["date"]) == 10, kept
for part in (kept["commit"], kept["command"], kept["date"], "These figures mean nothing", "Does the ordering hold?"):
    assert part in text, part
assert len(kept["rows"]) > 2
for name, row in kept["rows"].items():
    assert f"| {name} |" in text and row["trained"] > 0, name
    for values in row["values"].values():
        assert len(values) == kept["seeds"] and all(math.isfinite(v) and 0 <= v <= 100 for v in values), row
picture = xml.dom.minidom.parse(path + ".svg")
groups = len(next(iter(kept["rows"].values()))["values"])
bars = [r for r in picture.getElementsByTagName("rect") if r.getAttribute("width") == "16"]
assert len(bars) == groups * len(kept["rows"]), "a bar a figure"
print("good")
PY
}

# what figures and texts are made by
equal 'figures and texts' "$(PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$root/bench/tables python3 2>&1 <<'PY'
import common, texts
assert common.deviation([1.0, 2.0, 3.0]) == 1 and common.deviation([1.0]) is None
assert common.spread([1.0, 2.0, 3.0]) == "2.0 ± 1.0" and common.spread([5.0]) == "5.0"
near = [[4.0, 5.1, 6.0], [0.0, 1.1, 2.0], [1.0, 2.1, 3.0], [2.0, 3.5, 3.2]]
words = [common.compare(a, [1.0, 2.0, 3.0])[2] for a in near]
assert words == ["holds", "does not hold", "not told apart", "not told apart"], words
assert common.compare([2.0], [1.0])[2] == "one seed says nothing"
assert texts.fnv("bash") == 0x9a7cde9baa54bd5f
train, test = texts.problems(0, 400, 100)
assert (train, test) == texts.problems(0, 400, 100) != texts.problems(1, 400, 100)
assert not {row["question"] for row in train} & {row["question"] for row in test}
assert all(0 <= int(row["answer"]) < 500 for row in train + test)
rows = [{"name": n, "source": n, "short": n, "tags": tags} for n, tags in
        [("glibc", ["a::x"]), ("bash", ["a::x"]), ("0ad", ["a::y"]), ("zsh", ["a::x", "a::y"]), ("vim", ["b::x"])]]
train, test = texts.facet_rows(rows, "a", 8, 1)   # glibc is of the test side; two values, or none, are left out
assert [r["label"] for r in train] == ["a::x", "a::y"] and [r["text"] for r in test] == ["a: glibc"], (train, test)
assert texts.facet_rows(rows, "a", 1, 1)[0] == train[:1] and texts.facet_rows(rows, "a", 8, 2) == ([], [])
plan = "data:\n  path: x  # default\n\nmemory\n  trained in all: 7 values in 2 tensors\n"
assert common.without_origins(plan) == "  path: x" and common.counted(plan)["trained"] == 7
print("good")
PY
)" good

for table in "$root"/bench/tables/*; do
    [[ -f $table && -x $table ]] || continue
    name=${table##*/}
    call "$name" --jobs 2
    equal "$name: exit ($err)" "$code" 0
    equal "$name: what it leaves" "$(check "$name" 2>&1)" good
    cells=$(results "$name")
    equal "$name: cells" "$(ran)" "$cells"
    before=$(<"$work/tables/$name.md")

    call "$name" --jobs 1
    equal "$name: again: exit ($err)" "$code" 0
    equal "$name: again: nothing is run" "$(ran)" 0
    equal "$name: again: the same table" "$(grep '^|' "$work/tables/$name.md")" "$(grep '^|' <<<"$before")"

    # a cell that lost its end, and its last checkpoint
    one=$(find "$work/tables/$name" -name result.json | sort | head -n 1)
    kept=$(sed 's/"seconds".*//' "$one")
    rm -r -- "$one" "${one%result.json}run/adapter"
    call "$name"
    equal "$name: a cell that was stopped is run" "$(ran)" 1
    equal "$name: and gives the same" "$(sed 's/"seconds".*//' "$one")" "$kept"
done

CAMBIUM_COMMIT=other call mhr
equal 'another program: all are run' "$(ran)" "$(($(results mhr) / 2))"
call mhr --seeds 0
equal 'seeds: exit' "$code" 2
contains 'seeds' "$err" '--seeds is 0, must be at least 1'

# a signal ends what runs, and the next call goes on; the first seed is there
name=llm_adapters
before=$(results $name)
"$root/bench/tables/$name" --quick --seeds 2 --work "$work/tables" >/dev/null 2>"$work/err" &
child=$!
for ((i = 0; i < 600; i++)); do
    if grep -q 'seed 1' "$work/err"; then break; fi
    sleep 0.1
done
kill -TERM $child
code=0
wait $child || code=$?
equal 'stopped: exit' "$code" 1
contains 'stopped' "$(<"$work/err")" 'the same command goes on from here'
between=$(results $name)
call $name --seeds 2
equal 'goes on: exit' "$code" 0
equal 'goes on: with what is not there' "$(ran)" "$((2 * before - between))"
contains 'two seeds: a deviation' "$out" ' ± '

CAMBIUM=$work/none call $name
equal 'no program: exit' "$code" 1
contains 'no program' "$err" "$work/none: No such file"
report tables
