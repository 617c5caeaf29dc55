#!/usr/bin/env bash
# tasks: an adapter of two tasks from its recipe to a merged model of one of them, and numbers of tasks that there
# are not
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
program=$build/cambium
cd -- "$root"
needs tasks "$program"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT
base=random:tests/data/tiny_llama.json
recipe=recipes/methods/poly.yaml

call() { # sets out, err and code
    code=0
    out=$("$program" "$@" 2>"$work/err") || code=$?
    err=$(<"$work/err")
}
loss() { sed -n 's/^{"loss": \([^,]*\).*/\1/p' <<<"$out"; }
ids() { sed -n 's/.*"ids": \(\[[^]]*\]\).*/\1/p' <<<"$out"; }

# enough of both kinds of rates that the tasks part
call train $recipe out="$work/run" train.steps=60 optim.lr=3e-2 --quiet
equal 'train: exit' "$code" 0
losses=()
for task in 0 1; do
    call eval "$work/run" --task $task --json
    losses+=("$(loss)")
done
call eval "$work/run" --json
equal 'eval: the records have tasks of their own' "$(printf '%s\n' "$(loss)" "${losses[@]}" | sort -u | wc -l)" 3
call eval "$work/run" --task 2
equal 'eval --task 2: exit' "$code" 2
contains 'eval --task 2' "$err" 'task is 2, must be 0..1'

ask=(--prompt 'Who says meow?' --max-tokens 6 --json)
call generate $base --adapter "$work/run/adapter" "${ask[@]}"
first=$(ids)
call generate $base --adapter "$work/run/adapter" "${ask[@]}" --task 0
equal 'generate: task 0 is the preset' "$(ids)" "$first"
call generate $base --adapter "$work/run/adapter" "${ask[@]}" --task 2
equal 'generate --task 2: exit' "$code" 2
contains 'generate --task 2' "$err" 'task is 2, must be 0..1'

call merge $base "$work/run/adapter" "$work/merged"
equal 'merge: exit' "$code" 2
contains 'merge without a task' "$err" 'say with --task which'
call merge $base "$work/run/adapter" "$work/merged" --task 2
contains 'merge --task 2' "$err" 'task is 2, must be 0..1'
[[ ! -e $work/merged ]] || fails 'merge --task 2' 'wrote a folder'
for task in 0 1; do
    call merge $base "$work/run/adapter" "$work/merged$task" --task $task
    equal 'merge: exit' "$code" 0
    call eval recipes/tiny.yaml base="$work/merged$task" modules='[{name: main, method: lora, at: q_proj}]' --json
    # a fresh lora changes nothing; six digits: sums of f32 weights are rounded once more
    equal "merged task $task" "$(printf '%.5f' "$(loss)")" "$(printf '%.5f' "${losses[task]}")"
done

sed 's/"task": 1/"task": 2/' tests/data/tiny_tasks.jsonl >"$work/three.jsonl"
call train $recipe data.train="{source: jsonl, path: $work/three.jsonl}" out="$work/none"
equal 'a third task: exit' "$code" 2
contains 'a third task' "$err" 'task is 2, must be 0..1'
contains 'a third task: where' "$err" 'in sample 1'
printf '[{"ids": [1, 70, 80], "task": 3}]' >"$work/case.json"
call trace --base $base --adapter "$work/run/adapter" --ids "$work/case.json" --out "$work/trace.safetensors"
contains 'trace: a fourth task' "$err" 'task is 3, must be 0..1'
report tasks
