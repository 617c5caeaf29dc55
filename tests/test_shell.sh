#!/usr/bin/env bash
# shell: shellcheck has nothing to say about the scripts of this tree
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
if ! type -P shellcheck >/dev/null; then
    echo 'SKIP shell: shellcheck is not there'
    echo 'shell: 1 passed, 0 failed'
    exit
fi
passed=0 failed=0
for script in cambium .ci/run tests/run tests/*.sh bench/peers/*.sh bench/bare/*; do
    [[ -e $script ]] || continue
    if shellcheck -x "$script"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done
printf 'shell: %d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
