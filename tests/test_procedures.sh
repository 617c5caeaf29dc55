#!/usr/bin/env bash
# procedures: runs of several phases: their folders, what is refused before the first, and going on after an end at
# any place
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
program=$build/cambium
cd -- "$root"
needs procedures "$program"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT

call() { # sets out, err and code
    code=0
    out=$("$program" "$@" 2>"$work/err") || code=$?
    err=$(<"$work/err")
}

figure() { sed -n "s/.*\"$1\": \([^,}]*\).*/\1/p" <<<"$out"; }

# ---- pretraining, then two held-out tasks ----
head -n 6 tests/data/tiny.jsonl >"$work/first.jsonl"
tail -n 6 tests/data/tiny.jsonl >"$work/last.jsonl"
for task in first last; do
    printf 'data: {train: {source: jsonl, path: %s}, test: {source: jsonl, path: %s}}\n' \
        "$work/$task.jsonl" "$work/$task.jsonl" >"$work/$task.yaml"
    printf 'train: {steps: 3, eval_every: 0, save_every: 1}\n' >>"$work/$task.yaml"
done
few=(recipes/tiny.yaml train.steps=4 "procedure={name: pretrain_then_few_shot, tasks: [$work/first.yaml, $work/last.yaml]}")

call plan "${few[@]}"
equal 'plan: exit' "$code" 0
contains 'plan: phases' "$out" '# phase 3 of 3: 2-last'
call train "${few[@]}" out="$work/dry" --dry-run
equal 'dry run: exit' "$code" 0
[[ ! -e $work/dry ]] || fails 'dry run' 'made a folder'

call train "${few[@]}" out="$work/run"
equal 'train: exit' "$code" 0
contains 'train: a phase is named' "$err" 'phase 2-last'
equal 'train: what comes next is said once' "$(grep -c 'The adapter is in' <<<"$err")" 1
same() { if cmp -s "$2" "$3"; then passes; else fails "$1" "$2 and $3 differ"; fi; }
values=adapter/adapter_model.safetensors
same 'the result is the inventory' "$work/run/$values" "$work/run/phases/0-pretrain/$values"
for phase in 1-first 2-last; do
    call eval "$work/run/phases/$phase" --json
    equal "eval of $phase: exit" "$code" 0
done

# each task goes on from the pretrained module, not from the one before
call train recipes/tiny.yaml out="$work/alone" "modules=[{name: main, load: $work/run/adapter}]" train.steps=3 \
    train.eval_every=0 train.save_every=1 data.train.path="$work/last.jsonl" data.test.path="$work/last.jsonl"
equal 'alone: exit' "$code" 0
same 'a task by itself' "$work/run/phases/2-last/$values" "$work/alone/$values"

call train "${few[@]}" out="$work/run"
equal 'again: exit' "$code" 2
contains 'again' "$err" 'holds a run already'
call train "${few[@]}" out="$work/run" --resume
equal 'resume of what is done: exit' "$code" 0
contains 'resume of what is done' "$err" 'phase 2-last: done already'
call train "${few[@]}" out="$work/run" train.steps=5 --resume
equal 'resume with another recipe: exit' "$code" 2

# a run that lost its end, one that lost what stands behind the first checkpoint of a phase, and one behind a phase
cp -r "$work/run" "$work/whole"
rm -r "$work/run/adapter" "$work/run/phases/2-last/done" "$work/run/phases/2-last/adapter" \
    "$work/run/phases/2-last/checkpoints/step-000003"
call train "${few[@]}" out="$work/run" --resume
equal 'resume within a phase: exit' "$code" 0
contains 'resume within a phase' "$err" 'resuming after step 2'
same 'resume within a phase' "$work/run/phases/2-last/$values" "$work/whole/phases/2-last/$values"
rm -r "$work/run/adapter" "$work/run/phases/1-first" "$work/run/phases/2-last"
call train "${few[@]}" out="$work/run" --resume
equal 'resume between phases: exit' "$code" 0
for phase in 1-first 2-last; do
    same "resume between phases: $phase" "$work/run/phases/$phase/$values" "$work/whole/phases/$phase/$values"
done
same 'resume between phases: the result' "$work/run/$values" "$work/whole/$values"

# what is wrong in a late phase is said before the first
printf 'data: {train: {source: jsonl, patth: x}}\n' >"$work/wrong.yaml"
call train recipes/tiny.yaml out="$work/bad" "procedure={name: pretrain_then_few_shot, tasks: [$work/wrong.yaml]}"
equal 'wrong task: exit' "$code" 2
contains 'wrong task' "$err" 'wrong.yaml:1'
contains 'wrong task: its phase' "$err" 'in phase 1-wrong of procedure pretrain_then_few_shot'
[[ ! -e $work/bad ]] || fails 'wrong task' 'made a folder'
call train recipes/tiny.yaml out="$work/bad" procedure=pretrain_then_few_shot
equal 'no tasks: exit' "$code" 2
contains 'no tasks' "$err" "needs the key 'tasks'"
call train "${few[@]}" out="$work/bad" --profile "$work/p.json"
equal 'profile: exit' "$code" 2

# ---- the lottery ----
lottery=(recipes/procedures/lottery.yaml out="$work/lottery" train.save_every=5)
call train "${lottery[@]}" procedure.keep_full=yes
equal 'lottery: exit' "$code" 0
contains 'lottery: chosen' "$err" 'lottery: 300 of 28672 values are chosen'
call eval "$work/lottery" --json
sparse=$(figure loss)
call merge random:tests/data/tiny_llama.json "$work/lottery/adapter" "$work/lottery-merged"
call eval recipes/tiny.yaml base="$work/lottery-merged" --json
equal 'lottery: merged' "$(figure loss)" "$sparse"

# by hand: the dense phase, then a module with its mask
call train recipes/tiny.yaml out="$work/full" train.steps=10 train.save_every=5 optim.schedule=linear optim.warmup=0 \
    'modules=[{name: main, method: full, at: ["*"], norms: no, head: no}]'
equal 'lottery by hand: exit' "$code" 0
same 'lottery: the dense phase' "$work/full/$values" "$work/lottery/phases/1-full/$values"
call train recipes/tiny.yaml out="$work/sparse" optim.schedule=linear optim.warmup=0 \
    "modules=[{name: main, method: sparse_delta, at: ['*'], k: 300, mask: file,
      mask_file: $work/lottery/phases/1-full/mask.safetensors}]"
equal 'lottery by hand: exit' "$code" 0
same 'lottery: the sparse phase' "$work/sparse/$values" "$work/lottery/$values"

# an end while the mask is not there yet, and one in the sparse phase
cp -r "$work/lottery" "$work/lottery-whole"
rm -r "$work/lottery"/{adapter,phases/2-sparse,phases/1-full/{done,mask.safetensors}} \
    "$work/lottery/phases/1-full/checkpoints/step-000010"
call train "${lottery[@]}" procedure.keep_full=yes --resume
equal 'lottery resumed: exit' "$code" 0
contains 'lottery resumed' "$err" 'resuming after step 5'
same 'lottery resumed: mask' "$work/lottery"{,-whole}/phases/1-full/mask.safetensors
same 'lottery resumed' "$work/lottery"{,-whole}/"$values"
call train "${lottery[@]}" procedure.keep_full=yes --resume
equal 'lottery, done: exit' "$code" 0

refused() { # WHAT PART ARGUMENT...
    call train recipes/procedures/lottery.yaml out="$work/bad" "${@:3}"
    equal "$1: exit" "$code" 2
    contains "$1" "$err" "$2"
    [[ ! -e $work/bad ]] || fails "$1" 'made a folder'
}
refused 'another method' 'needs one module, of method sparse_delta' 'modules=[{method: lora, at: q_proj}]'
refused 'a mask of its own' 'chooses the values by itself' modules.main.mask=magnitude
refused 'two lengths' 'must be one of them' procedure.full_epochs=1
refused 'more than there are' '28672' modules.main.k=30000

report procedures
