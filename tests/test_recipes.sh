#!/usr/bin/env bash
# recipes: every recipe of recipes/methods is accepted, trains, stops and goes on with the same bits, and its plan
# counts what it trains
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
program=$build/cambium
cd -- "$root"
needs recipes "$program"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT

run() { # NAME FOLDER ARGUMENT...
    "$program" train "recipes/methods/$1.yaml" out="$work/$2" "${@:3}" --quiet >"$work/out" 2>&1 ||
        fails "$1" "$(tail -3 "$work/out")"
}

for recipe in recipes/methods/*.yaml; do
    name=$(basename "$recipe" .yaml)
    equal "$recipe: its name" "$(sed -n 's/^name: //p' "$recipe")" "$name"
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
    rm -rf -- "$work/whole" "$work/parts"
done
report recipes
