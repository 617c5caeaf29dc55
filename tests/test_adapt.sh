#!/usr/bin/env bash
# adapt: a task that is new to the trained skills of poly: the mixture alone, their mean, without training, in a
# procedure, stopped and resumed
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
program=$build/cambium
cd -- "$root"
needs adapt "$program"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT
base=random:tests/data/tiny_llama.json
recipe=recipes/methods/mhr.yaml

call() { # sets out, err and code
    code=0
    out=$("$program" "$@" 2>"$work/err") || code=$?
    err=$(<"$work/err")
}
loss() { sed -n 's/^{"loss": \([^,]*\).*/\1/p' <<<"$out"; }
same() { if cmp -s "$2" "$3"; then passes; else fails "$1" "$2 and $3 differ"; fi; }
values=adapter/adapter_model.safetensors

call train $recipe out="$work/run" train.steps=20 optim.lr=1e-2 --quiet
equal 'train: exit' "$code" 0
grep '"task": 0' tests/data/tiny_tasks.jsonl >"$work/new.jsonl"
new=("data.train.path=$work/new.jsonl" "data.test.path=$work/new.jsonl" modules.main.tasks=1
    "modules.main.inventory=$work/run/adapter" optim.groups=)

# 14 linears, 4 heads, 8 skills
call plan $recipe "${new[@]}" modules.main.adapt=mhr_z
contains 'plan: the mixture alone' "$out" 'trained in all: 448 values'
call train $recipe "${new[@]}" modules.main.adapt=mhr_z out="$work/z" train.steps=8 train.save_every=4 --quiet
equal 'mhr_z: exit' "$code" 0
contains 'mhr_z: one task' "$(<"$work/z/adapter/adapter_config.json")" '"n_tasks":	1'
cp -r -- "$work/z" "$work/again"
rm -rf -- "$work/again/checkpoints/step-000008" "$work/again/adapter"
call train $recipe "${new[@]}" modules.main.adapt=mhr_z out="$work/again" train.steps=8 train.save_every=4 --resume --quiet
equal 'mhr_z: resumed' "$code" 0
same 'mhr_z: resumed' "$work/again/$values" "$work/z/$values"

# the mean of the skills: nothing is trained yet, and then it is a LoRA that merges without a task
call eval $recipe "${new[@]}" modules.main.adapt=mhr_mu --json
equal 'zero-shot: exit' "$code" 0
start=$(loss)
call eval $recipe "${new[@]}" modules.main.adapt=mhr_mu_k_copies --json
equal 'zero-shot: copies of equal weight' "$(printf '%.5f' "$(loss)")" "$(printf '%.5f' "$start")"
call train $recipe "${new[@]}" modules.main.adapt=mhr_mu optim.lr=1e-2 out="$work/mu" --quiet
equal 'mhr_mu: exit' "$code" 0
contains 'mhr_mu: a LoRA' "$(<"$work/mu/adapter/adapter_config.json")" '"peft_type":	"LORA"'
call eval "$work/mu" --json
trained=$(loss)
equal 'mhr_mu: learns' "$(awk -v a="$trained" -v b="$start" 'BEGIN { print a < b }')" 1
call merge $base "$work/mu/adapter" "$work/merged"
equal 'mhr_mu: merge: exit' "$code" 0
call eval recipes/tiny.yaml base="$work/merged" modules='[{name: main, method: lora, at: q_proj}]' "${new[@]:0:2}" --json
# six digits: sums of f32 weights are rounded once more
equal 'mhr_mu: merged' "$(printf '%.5f' "$(loss)")" "$(printf '%.5f' "$trained")"

# ---- as a procedure ----
printf 'data: {train: {source: jsonl, path: %s}, test: {source: jsonl, path: %s}}\n' "$work/new.jsonl" "$work/new.jsonl" \
    >"$work/birds.yaml"
printf 'train: {steps: 3, eval_every: 0, save_every: 0}\n' >>"$work/birds.yaml"
few() { printf 'procedure={name: pretrain_then_few_shot, tasks: [%s], adapt: %s}' "$work/birds.yaml" "$1"; }
call train $recipe "$(few mhr_z)" train.steps=4 out="$work/few" --quiet
equal 'procedure: exit' "$code" 0
contains 'procedure: a task of its own' "$(<"$work/few/phases/1-birds/adapter/adapter_config.json")" '"n_tasks":	1'
contains 'procedure: the tasks of the first phase' "$(<"$work/few/adapter/adapter_config.json")" '"n_tasks":	2'
cp -- "$work/birds.yaml" "$work/mean.yaml"
printf 'optim: {groups: }\n' >>"$work/mean.yaml"
call train $recipe "procedure={name: pretrain_then_few_shot, tasks: [$work/mean.yaml], adapt: mhr_mu}" train.steps=4 \
    out="$work/means" --quiet
equal 'procedure: the mean: exit' "$code" 0
contains 'procedure: the mean' "$(<"$work/means/phases/1-mean/adapter/adapter_config.json")" '"peft_type":	"LORA"'
call train $recipe "$(few mhr_x)" out="$work/none" --quiet
equal 'procedure: another word: exit' "$code" 2
contains 'procedure: another word' "$err" "adapt is 'mhr_x', must be one of mhr|mhr_z"
call train recipes/tiny.yaml "$(few mhr_z)" out="$work/none" --quiet
contains 'procedure: no inventory' "$err" "no module's method begins with an inventory"

# ---- what is refused ----
call plan $recipe modules.main.adapt=mhr_mu
equal 'no inventory: exit' "$code" 2
contains 'no inventory' "$err" 'which needs an inventory'
call train $recipe "${new[@]}" modules.main.rank=3 out="$work/none" --quiet
equal 'another rank: exit' "$code" 2
contains 'another rank' "$err" 'rank is 3, must be 1 as in the inventory'
report adapt
