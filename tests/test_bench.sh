#!/usr/bin/env bash
# bench: every bench runs on tiny sizes and leaves a result that says where it comes from. No speed is judged.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
program=$build/cambium
needs bench "$program-bench"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT
cd -- "$work"                                    # nothing depends on the folder it is called from
export CAMBIUM_CACHE=$work/cache

call() {
    code=0
    out=$("$program" bench "$@" 2>"$work/err") || code=$?
    err=$(<"$work/err")
}

call --list
equal 'list: exit' "$code" 0
names=$(cut -d' ' -f1 <<<"$out")
equal 'list: the rows of benches.def' "$names" "$(sed -n 's/^BENCH(\([a-z0-9_]*\),.*/\1/p' "$root/bench/benches.def")"
call
contains 'no name: help' "$out" 'usage: ./cambium bench COMMAND'
call step --help
contains 'help of one' "$out" 'usage: ./cambium bench step'
call stpe
equal 'an unknown name: exit' "$code" 2
contains 'an unknown name' "$err" "did you mean 'step'?"
call probe --threads 0
equal 'threads: exit' "$code" 2
contains 'threads' "$err" "--threads is '0', must be"
call matmul --quick --only nothing
equal 'only: exit' "$code" 2
contains 'only' "$err" "--only 'nothing' selects nothing"

for name in $names; do
    if [[ $name == peers ]]; then continue; fi   # other programs: bench/peers/run.sh
    if [[ $name == ops ]]; then only=(--only rmsnorm); else only=(); fi
    call "$name" --quick --save --results "$work/results" --json "${only[@]}"
    equal "$name: exit ($err)" "$code" 0
    if ! type -P python3 >/dev/null; then continue; fi
    equal "$name: the result" "$(python3 - "$name" "$work"/results/"$name"-*.json <(printf %s "$out") 2>&1 <<'PY'
import json, math, pathlib, sys
name, path, printed = sys.argv[1:]
kept, shown = json.load(open(path)), json.load(open(printed))
assert kept == shown, "what is kept is not what is shown"
assert kept["bench"] == name and kept["command"].startswith(f"./cambium bench {name} --quick"), kept["command"]
assert kept["commit"] and len(kept["date"]) == 10 and kept["machine"]["cpu"] and kept["machine"]["threads"] > 0
measured = [f for f in kept["figures"] if not f["note"].startswith("not measured: ")]
assert len(measured) == len(kept["figures"]) or (name == "methods" and len(measured) > 20), kept["figures"]
for f in measured:
    assert math.isfinite(f["median"]) and f["median"] > 0 and f["repetitions"] > 0, f
    assert min(f["best"], f["worst"]) <= f["median"] <= max(f["best"], f["worst"]), f
    if f["unit"] in ("GFLOP/s", "GB/s", "tokens/s") and name != "probe":
        assert f["probe"] > 0 and f["share"] > 0, f
text = pathlib.Path(path[:-4] + "md").read_text()
rows = [line for line in text.splitlines() if line.startswith("| ")]
assert len(rows) == 1 + len(kept["figures"]), "a row a figure"
assert kept["commit"] in text and kept["command"] in text and kept["date"] in text
print("good")
PY
)" good
done
equal 'nothing stays in /tmp' "$(find /tmp -maxdepth 1 -name 'cambium-bench-*' -newer "$work/err" -user "$(id -u)" 2>/dev/null | wc -l)" 0
report bench
