#!/usr/bin/env bash
# recipes: every recipe of a method is read and dry-run, and one with a memory of its own is resumed
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
program=$build/cambium
cd -- "$root"
needs recipes "$program"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT
export CAMBIUM_CACHE=$work/cache

for recipe in recipes/methods/*.yaml; do
    method=$(basename -- "$recipe" .yaml)
    code=0
    said=$("$program" train "$recipe" --dry-run "out=$work/run" 2>&1) || code=$?
    equal "$recipe: exit" "$code" 0
    contains "$recipe: what it trains" "$said" "$method: trains "
    contains "$recipe: uses its method" "$(<"$recipe")" "method: $method,"
done

# what a method remembers between steps is part of a checkpoint: a run that went on is one that was not stopped
whole=$work/whole again=$work/again
"$program" train recipes/methods/adalora.yaml "out=$whole" --quiet
cp -r -- "$whole" "$again"
rm -rf -- "$again/checkpoints/step-000020" "$again/adapter"
"$program" train recipes/methods/adalora.yaml "out=$again" --resume --quiet
code=0
cmp -- "$whole/adapter/adapter_model.safetensors" "$again/adapter/adapter_model.safetensors" || code=$?
equal 'adalora: resumed' "$code" 0
report recipes
