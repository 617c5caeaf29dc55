#!/usr/bin/env bash
# recipes: every recipe of recipes/methods and recipes/objectives is accepted, trains, stops and goes on with the same
# bits, its plan counts what it trains, and it trains in bf16 on the emulated device
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
program=$build/cambium
cd -- "$root"
needs recipes "$program"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT
export CAMBIUM_CUDA_PLUGIN=$build/libcambium_emu.so

run() { # NAME FOLDER ARGUMENT...
    "$program" train "$recipe" out="$work/$2" "${@:3}" --quiet >"$work/out" 2>&1 ||
        fails "$1" "$(tail -3 "$work/out")"
}

for recipe in recipes/{methods,objectives}/*.yaml; do
    name=$(basename "$recipe" .yaml)
    equal "$recipe: its name" "$(sed -n 's/^name: //p' "$recipe")" "$name"
    if [[ $("$program" plan "$recipe" 2>&1) == *'needs LAPACK'* ]]; then
        echo "SKIP recipes: $name: this build has no LAPACK"
        passes
        continue
    fi
    run "$name" dry --dry-run
    equal "$name: a dry run writes" "$(ls "$work/dry" 2>/dev/null)" ''
    plan=$("$program" plan "$recipe" 2>/dev/null)
    said=$(sed -n 's/^  trained in all: \([0-9]*\) values.*/\1/p' <<<"$plan")
    counted=$(sed -n '/^modules$/,/^memory$/s/.* \(-\?[0-9]*\) values$/\1/p' <<<"$plan" | paste -sd+)
    equal "$name: plan counts" "$((counted))" "$said"
    run "$name" whole train.eval_every=20
    run "$name" parts train.eval_every=20
    rm -rf -- "$work/parts/checkpoints/step-000020" "$work/parts/adapter"
    run "$name" parts train.eval_every=20 --resume
    for part in "$work"/whole/adapter/*.safetensors; do
        equal "$name: resumed $(basename "$part")" "$(sha256sum <"$part")" \
            "$(sha256sum <"$work/parts/adapter/$(basename "$part")")"
    done
    if [[ -e $CAMBIUM_CUDA_PLUGIN ]]; then # tuned values stay f32 there
        steps=2
        [[ $name != adalora ]] || steps=11 # its schedule needs them
        run "$name" narrow device=cuda precision=bf16 train.{steps,save_every,eval_every}=$steps optim.warmup=0
        there=no
        [[ ! -e $work/narrow/adapter/adapter_config.json ]] || there=yes
        equal "$name: in bf16" "$there" yes
    fi
    rm -rf -- "$work/whole" "$work/parts" "$work/narrow"
done
# Samples that a start sees: of data.train, as many as are wanted, or all of data.prepare where there is one.
seen() { # RECIPE NUMBER
    local said
    said=$("$program" train "recipes/methods/$1.yaml" out="$work/$1" --dry-run 2>&1) || true
    [[ $said == *'needs LAPACK'* ]] ||
        equal "$1: samples" "$(sed -n 's/.*sees what \([0-9]*\) samples.*/\1/p' <<<"$said")" "$2"
}
seen corda 16
seen corda_kpm "$(cat tests/data/tiny{,_tasks}.jsonl | wc -l)"
report recipes
