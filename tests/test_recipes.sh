#!/usr/bin/env bash
# recipes: every recipe of a method is read and dry-run
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
report recipes
