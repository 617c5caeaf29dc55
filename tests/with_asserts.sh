# shellcheck shell=bash
# asserts of shell tests; `report PART` ends a test program as tests/run expects it; $root is the checkout,
# $build the folder of the build under test
root=$(CDPATH='' cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
build=${CAMBIUM_BUILD:-$root/build}
[[ $build == /* ]] || build=$PWD/$build
[[ ${CAMBIUM_PRESET:-release} == release ]] || build+=-$CAMBIUM_PRESET
asserts_passed=0 asserts_failed=0

passes() { asserts_passed=$((asserts_passed + 1)); }
fails() { # WHAT TEXT
    asserts_failed=$((asserts_failed + 1))
    printf '%s: %s\n' "$1" "$2"
}
equal() { # WHAT IS MUST
    if [[ $2 == "$3" ]]; then passes; else fails "$1" "is '$2', must be '$3'"; fi
}
contains() { # WHAT TEXT PART
    if [[ $2 == *"$3"* ]]; then passes; else fails "$1" "'$2' must contain '$3'"; fi
}
lacks() { # WHAT TEXT PART
    if [[ $2 != *"$3"* ]]; then passes; else fails "$1" "'$2' must not contain '$3'"; fi
}
report() { # PART
    printf '%s: %d passed, %d failed\n' "$1" "$asserts_passed" "$asserts_failed"
    ((asserts_failed == 0))
}
needs() { # PART PATH...: without one of them the test is skipped
    local path
    for path in "${@:2}"; do
        [[ -e $path ]] && continue
        echo "SKIP $1: $path is not there"
        echo "$1: 1 passed, 0 failed"
        exit 0
    done
}
