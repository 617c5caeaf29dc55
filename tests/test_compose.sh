#!/usr/bin/env bash
# compose: sums of sparse deltas that were trained, as a user calls it
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
program=$build/cambium
cd -- "$root"
needs compose "$program"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT
export CAMBIUM_CACHE=$work/cache
base=random:tests/data/tiny_llama.json

call() {
    code=0
    out=$("$program" "$@" 2>"$work/err") || code=$?
    err=$(<"$work/err")
}
refused() { # CODE TEXT ARGUMENT...
    call "${@:3}"
    equal "${*:3}: exit" "$code" "$1"
    contains "${*:3}" "$err" "$2"
}
train() { # OUT KEY=VALUE...
    call train recipes/methods/sparse_delta.yaml train.steps=3 train.eval_every=3 train.save_every=3 \
        out="$work/$1" "${@:2}" --quiet
    equal "train $1: exit" "$code" 0
}
evaluated() { # BASE: sets out
    call eval recipes/tiny.yaml base="$1"
    equal "eval of $1: exit" "$code" 0
}

train a
train b modules.0.mask=magnitude
train elsewhere seed=1
call eval "$work/a"
tuned=$out
evaluated "$base"
bare=$out

# --- one delta is what was trained ------------------------------------------------------------------
call compose "$base" "$work/a/adapter" "$work/one"
equal 'compose: exit' "$code" 0
contains 'compose: what was added' "$out" 'adapter: weight 1, '
evaluated "$work/one"
equal 'the sum of one is what was trained' "$out" "$tuned"
lacks 'the trunk alone is not' "$out" "$bare"
call merge "$base" "$work/a/adapter" "$work/merged"
evaluated "$work/merged"
equal 'merged it is the same' "$out" "$tuned"
call compose "$base" "$work/a/adapter:0" "$work/none"
evaluated "$work/none"
equal 'nothing of it is the trunk' "$out" "$bare"

# --- several ----------------------------------------------------------------------------------------
call compose "$base" "$work/a/adapter" "$work/b/adapter:0.5" "$work/two"
equal 'compose of two: exit' "$code" 0
contains 'compose: what they share' "$out" 'values in common'
evaluated "$work/two"
two=$out
call compose "$base" "$work/a/adapter" "$work/b/adapter:0.5" "$work/two.h5" --json
equal 'compose to a delta: exit' "$code" 0
contains 'compose --json' "$out" '"overlaps":[{"first":0,"second":1,"common":'
contains 'compose --json: no head' "$out" '"head":null'
call compose "$base" "$work/two.h5" "$work/again"
equal 'compose of the sum: exit' "$code" 0
evaluated "$work/again"
equal 'the sum as a delta is the sum' "$out" "$two"
call compose "$base" "$work/two.h5" "$work/two.h5:-1" "$work/back"
evaluated "$work/back"
equal 'a delta and its opposite are nothing' "$out" "$bare"

# --- what is trained on a sum belongs to its trunk ---------------------------------------------------
train after base="$work/one" modules.0.mask=magnitude
call compose "$base" "$work/after/adapter" "$work/moved"
equal 'a delta of a composed trunk: exit' "$code" 0
call compose "$work/one" "$work/b/adapter" "$work/onto"
equal 'a delta onto a composed trunk: exit' "$code" 0

# --- what is refused ---------------------------------------------------------------------------------
refused 1 'was trained on another base model' compose "$base" "$work/elsewhere/adapter" "$work/x"
call compose "$base" "$work/elsewhere/adapter" "$work/forced" --force
equal 'compose --force: exit' "$code" 0
sed 's/"hidden_size": 32/"hidden_size": 16/' tests/data/tiny_llama.json >"$work/small.json"
refused 1 'there, [320, 16] in the base' compose "random:$work/small.json" "$work/two.h5" "$work/x" --force
refused 1 ', the base has ' compose "random:$work/small.json" "$work/a/adapter" "$work/x" --force
refused 2 'exists already' compose "$base" "$work/a/adapter" "$work/one"
refused 2 'the weight is inf, must be finite' compose "$base" "$work/a/adapter:inf" "$work/x"
refused 2 '--head is nothing, must be none or a delta' compose "$base" "$work/a/adapter" "$work/x" --head nothing
refused 2 '--type is q4_0, must be f32, f16 or bf16' compose "$base" "$work/a/adapter" "$work/x" --type q4_0
refused 2 '--type is for folders' compose "$base" "$work/a/adapter" "$work/x.h5" --type f32
call train recipes/tiny.yaml out="$work/lora" train.steps=2 train.eval_every=0 train.save_every=0 --quiet
refused 1 "peft_type is 'LORA', must be SPARSE_DELTA" compose "$base" "$work/lora/adapter" "$work/x"
equal 'nothing was left' "$(ls -d "$work"/x* 2>/dev/null || true)" ''

report compose
