#!/usr/bin/env bash
# together: several recipes in one process give the bytes that each gives alone, also when they were stopped; what
# cannot stand together is refused
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
program=$build/cambium
cd -- "$root"
needs together "$program"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT

call() { # sets out, err and code
    code=0
    out=$("$program" "$@" 2>"$work/err") || code=$?
    err=$(<"$work/err")
}
same() { if cmp -s "$2" "$3"; then passes; else fails "$1" "$2 and $3 differ"; fi; }

# methods, data, batches, schedules and stops of their own; one is evaluated for its best, one has dropout
recipe() { # NAME LINES: a recipe over recipes/tiny.yaml
    printf 'from: %s/recipes/tiny.yaml\nname: %s\nout: %s/together/%s\n%s\n' "$root" "$1" "$work" "$1" "$2" \
        >"$work/$1.yaml"
}
recipe first 'train: {steps: 7, save_every: 2}'
recipe second 'modules: [{name: main, method: ia3, at: all-linear}]
data: {pack: 64}
train: {steps: 12, batch_tokens: 64, select: best, eval_every: 3, save_every: 3}
optim: {lr: 3e-2, schedule: cosine}'
recipe third 'modules: [{name: main, method: lora, at: q_proj, rank: 2, dropout: 0.3},
  {name: other, method: full, at: "*norm*"}]
optim: {name: sgd, lr: 1e-1, schedule: constant, warmup: 0}
train: {steps: 5, save_every: 1}'
recipe fourth 'modules: [{name: main, method: prefix, at: "*", tokens: 4}]
seed: 0'
runs=(first second third fourth)
list=$(printf '%s.yaml, ' "${runs[@]}")
printf 'name: team\ntogether: [%s]\n' "${list%, }" >"$work/team.yaml"

for run in "${runs[@]}"; do
    call train "$work/$run.yaml" out="$work/alone/$run" --quiet
    equal "$run alone: exit" "$code" 0
done
call train "$work/team.yaml"
equal 'together: exit' "$code" 0
contains 'together: who speaks' "$err" 'second: step 12/12'
equal 'together: what comes next is said once' "$(grep -c 'The adapters are in' <<<"$err")" 1
contains 'together: memory' "$err" 'together: 4 runs, '
values() { # FOLDER RUN
    if [[ $2 == third ]]; then echo "$1/$2/adapter/main/adapter_model.safetensors $1/$2/adapter/other/adapter_model.safetensors"
    else echo "$1/$2/adapter/adapter_model.safetensors"; fi
}
compare() { # WHAT FOLDER
    local run i
    for run in "${runs[@]}"; do
        read -ra alone <<<"$(values "$work/alone" "$run")"
        read -ra there <<<"$(values "$2" "$run")"
        for i in "${!alone[@]}"; do same "$1: $run" "${alone[i]}" "${there[i]}"; done
        same "$1: $run: figures" "$work/alone/$run/metrics.jsonl" "$2/$run/metrics.jsonl"
    done
}
compare 'together' "$work/together"
call eval "$work/together/second" --json
equal 'eval of one of them: exit' "$code" 0

# stopped at some step: all are saved, and go on
mv "$work/together" "$work/whole"
sed -i 's/steps: 7/steps: 400/' "$work/first.yaml"
"$program" train "$work/team.yaml" 2>"$work/err" &
pid=$!
for ((i = 0; i < 600; i++)); do
    if grep -q 'first: step 20/' "$work/err"; then break; fi
    sleep 0.05
done
kill -TERM $pid
code=0
wait $pid || code=$?
equal 'stopped: exit' "$code" 3
contains 'stopped' "$(<"$work/err")" 'the state of all runs is saved'
call train "$work/team.yaml" --resume
equal 'resumed: exit' "$code" 0
contains 'resumed' "$err" 'first: resuming after step'
sed -i 's/^train: .*/train: {steps: 400, save_every: 2}/' "$work/first.yaml"
call train "$work/first.yaml" out="$work/long" --quiet
same 'resumed' "$work/together/first/adapter/adapter_model.safetensors" "$work/long/adapter/adapter_model.safetensors"
for run in second fourth; do
    same "resumed: $run" "$work/together/$run/adapter/adapter_model.safetensors" \
        "$work/alone/$run/adapter/adapter_model.safetensors"
done

# one that fails does not stop the others
rm -r "$work/together"
recipe first 'modules: [{name: main, method: full, at: "*"}]
optim: {name: sgd, lr: 1e6, clip: 0, schedule: constant, warmup: 0}'
call train "$work/team.yaml"
equal 'one fails: exit' "$code" 1
contains 'one fails' "$err" '1 of 4 runs failed, the first: first: '
for run in second fourth; do
    same "one fails: $run" "$work/together/$run/adapter/adapter_model.safetensors" \
        "$work/alone/$run/adapter/adapter_model.safetensors"
done

call plan "$work/team.yaml"
equal 'plan: exit' "$code" 0
contains 'plan' "$out" 'of 4: fourth'
rm -r "$work/together"
call train "$work/team.yaml" --dry-run
equal 'dry run: exit' "$code" 0
[[ ! -e $work/together ]] || fails 'dry run' 'made a folder'

refused() { # WHAT PART
    call train "$work/team.yaml"
    equal "$1: exit" "$code" 2
    contains "$1" "$err" "$2"
    [[ ! -e $work/together ]] || fails "$1" 'made a folder'
}
recipe first 'seed: 4'
refused 'another seed of a random trunk' 'a random trunk is made from the seed'
recipe first 'base: elsewhere'
refused 'another base' 'all must have the same'
recipe first "out: $work/together/second"
sed -i 3d "$work/first.yaml"
refused 'the same folder' 'have the same run folder'
recipe first 'procedure: {name: pretrain_then_few_shot, tasks: [x.yaml]}'
refused 'phases' 'goes in phases'
recipe first 'optim: {lrr: 1}'
refused 'a wrong key' 'first.yaml:4'
call eval "$work/team.yaml"
equal 'eval: exit' "$code" 2
contains 'eval' "$err" 'name one of them'

report together
