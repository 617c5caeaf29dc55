#!/usr/bin/env bash
# meteora: two adapters trained apart, gated, stopped and resumed, asked; folders that do not belong together
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
program=$build/cambium
cd -- "$root"
needs meteora "$program"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT
base=random:tests/data/tiny_llama.json
recipe=recipes/methods/meteora.yaml

call() { # sets out, err and code
    code=0
    out=$("$program" "$@" 2>"$work/err") || code=$?
    err=$(<"$work/err")
}
good() { equal "$1: exit" "$code" 0; ((code == 0)) || echo "$err"; }
refused() { # WHAT TEXT
    lacks "$1: exit" "$code" 0
    contains "$1" "$err" "$2"
}
ids() { sed -n 's/.*"ids": \(\[[^]]*\]\).*/\1/p' <<<"$out"; }
loss() { sed -n 's/^{"loss": \([^,]*\).*/\1/p' <<<"$out"; }

# two adapters of other ranks and scales, at other sites
short=(train.steps=12 optim.lr=1e-2 train.save_every=6 --quiet)
call train recipes/tiny.yaml name=cats out="$work/cats" "${short[@]}" \
    modules='[{name: main, method: lora, at: all-linear, rank: 4}]'
good cats
call train recipes/tiny.yaml name=dogs out="$work/dogs" "${short[@]}" seed=0 \
    modules='[{name: main, method: lora, at: [q_proj, up_proj], rank: 2, rslora: yes}]'
good dogs

over="[{name: cats, load: $work/cats/adapter, train: no}, {name: dogs, load: $work/dogs/adapter, train: no}]"
call train $recipe out="$work/run" modules="$over" "${short[@]}"
good gates
adapter=$work/run/adapter
for name in cats dogs; do # frozen: the same tensors, whatever stands beside them
    "$program" inspect "$adapter/$name" 2>/dev/null | sed -n '/lora_/p' >"$work/is"
    "$program" inspect "$work/$name/adapter" 2>/dev/null | sed -n '/lora_/p' >"$work/must"
    equal "$name: its tensors" "$(<"$work/is")" "$(<"$work/must")"
done

# stopped and resumed
call train $recipe out="$work/parts" modules="$over" "${short[@]}"
rm -rf -- "$work/parts/checkpoints/step-000012" "$work/parts/adapter"
call train $recipe out="$work/parts" modules="$over" "${short[@]}" --resume
good resume
equal 'resumed gates' "$(sha256sum <"$work/parts/adapter/adapter_model.safetensors")" \
    "$(sha256sum <"$adapter/adapter_model.safetensors")"

# asked, with and without its recipe
ask=(--prompt 'Who says meow?' --max-tokens 6 --json)
call generate $base --adapter "$adapter" "${ask[@]}"
good generate
first=$(ids)
call generate $base --adapter "$adapter" "${ask[@]}" --task 1
equal 'generate: no task is needed' "$(ids)" "$first"
call eval "$work/run" --json
good eval
lacks eval "$(loss)" nan
call plan $recipe modules="$over"
contains 'plan' "$out" 'router: meteora on'

# an adapter for each task, and the average: merged they are what they were
for kind in task mean; do
    call train recipes/methods/$kind.yaml out="$work/$kind" "${short[@]}"
    good "$kind"
    tasks=(0 1)
    [[ $kind == task ]] || tasks=('')
    losses=()
    for task in "${tasks[@]}"; do
        call eval "$work/$kind" ${task:+--task $task} --json
        losses+=("$(loss)")
        call merge $base "$work/$kind/adapter" "$work/$kind-merged$task" ${task:+--task $task}
        good "merge $kind"
        call eval $recipe base="$work/$kind-merged$task" router= \
            modules='[{name: main, method: lora, at: q_proj}]' --json # a fresh lora changes nothing
        equal "merged $kind $task" "$(printf '%.4f' "$(loss)")" "$(printf '%.4f' "${losses[-1]}")"
    done
    [[ $kind != task || ${losses[0]} != "${losses[1]}" ]] || fails 'two tasks' "both have the loss ${losses[0]}"
done
call merge $base "$work/task/adapter" "$work/merged"
refused 'merge without a task' 'say with --task which'

# what does not go
call train $recipe out="$work/none" router='{name: meteora, top_k: 3}' modules="$over"
refused 'three of two' 'top_k is 3, must be 1..2'
call train $recipe out="$work/none" \
    modules='[{name: cats, method: ia3, at: k_proj}, {name: dogs, method: lora, at: q_proj}]'
refused 'another method' 'module cats is of the method ia3, must be lora'
call merge $base "$adapter" "$work/merged"
refused merge 'meteora cannot be merged'
call convert "$adapter" "$work/a.gguf" --base $base
refused convert 'is a router over 2 adapters'
call generate $base --adapter "$adapter" "${ask[@]}"
cp -r -- "$adapter" "$work/other"
mv -- "$work/other/cats" "$work/other/x"
mv -- "$work/other/dogs" "$work/other/cats"
mv -- "$work/other/x" "$work/other/dogs"
call generate $base --adapter "$work/other" "${ask[@]}"
refused 'exchanged adapters' 'is not the one that the gates were trained for'
rm -rf -- "$work/other/dogs"
call generate $base --adapter "$work/other" "${ask[@]}"
refused 'a missing adapter' 'adapter_config.json is missing'
call eval "$work/run" seed=0 --adapter "$adapter" \
    modules="[{name: dogs, load: $work/dogs/adapter, train: no}, {name: cats, load: $work/cats/adapter, train: no}]" \
    router='{name: meteora, over: [dogs, cats], top_k: 2, beta: 0.5}' --json
refused 'another order' 'adapter 0 is cats, must be dogs'
call train $recipe out="$work/none" modules="$over" base=random:tests/data/tiny_llama.json seed=7
refused 'another base' 'was trained on another base model'
report meteora
