#!/usr/bin/env bash
# runner: what tests/run counts, shows and returns, on a tree of small made-up programs
# shellcheck source-path=SCRIPTDIR disable=SC2016
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
here=$(CDPATH='' cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
tree=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$tree"' EXIT
unset CAMBIUM_SLOW CAMBIUM_BUILD CAMBIUM_PRESET

mkdir -p "$tree/tests"
cp "$here/run" "$tree/tests/run"
printf '#!/bin/sh\necho "$CAMBIUM_PRESET $CAMBIUM_BUILD" >>"%s/builds"; exit "${BUILD_CODE-0}"\n' "$tree" >"$tree/cambium"
chmod +x "$tree/cambium"

program() { # NAME MARK-LINE BODY
    printf '#!/usr/bin/env bash\n# %s\n%s\n' "$2" "$3" >"$tree/tests/test_$1.sh"
}
run() { # ARGUMENT...: sets text and code
    code=0
    text=$("$tree/tests/run" "$@" 2>&1) || code=$?
}

program good '' 'echo "SKIP good: no numbers here"; echo "good: 5 passed, 0 failed"'
program quiet '' 'echo chatter; echo "quiet: 2 passed, 0 failed"'
run --release
equal 'all pass: exit' "$code" 0
equal 'a skipped test is not a passed one' "${text##*$'\n'}" '6 passed, 0 failed, 1 skipped'
contains 'a skip is shown' "$text" 'SKIP good: no numbers here'
lacks 'output of what passes is not shown' "$text" chatter

run good
equal 'a name filters' "${text##*$'\n'}" '4 passed, 0 failed, 1 skipped'
run nothing-like-it
equal 'a name that no program has: exit' "$code" 2
contains 'a name that no program has: text' "$text" "no test program's name contains 'nothing-like-it'"
run --unknown
equal 'an unknown option: exit' "$code" 2

program good '' 'for i in 1 2 3; do echo "SKIP $(dirname "$0")/x.c: none"; done; echo "good: 5 passed, 0 failed"'
run good
contains 'equal skips are one line' "$text" $'\n    SKIP tests/x.c: none (3 times)\n'
program good '' 'echo "SKIP good: no numbers here"; echo "good: 5 passed, 0 failed"'

program bad '' 'echo "expected 1, got 2"; echo "bad: 3 passed, 1 failed"; exit 1'
run --release
equal 'one fails: exit' "$code" 1
equal 'one fails: counts' "${text##*$'\n'}" '9 passed, 1 failed, 1 skipped'
contains 'output of what fails is shown' "$text" 'expected 1, got 2'

program bad '' 'kill -SEGV $$'
run bad
equal 'a crash: counts' "${text##*$'\n'}" '0 passed, 1 failed, 0 skipped'
contains 'a crash: exit code' "$text" 'exit code 139'

program bad '' 'echo "bad: 3 passed, 0 failed"; exit 23'
run bad
equal 'a leak found after the last test' "${text##*$'\n'}" '3 passed, 1 failed, 0 skipped'

program bad '' 'exit 0'
run bad
equal 'a program that ran nothing' "${text##*$'\n'}" '0 passed, 1 failed, 0 skipped'

program bad '' 'kill -KILL $(($(cut -d" " -f4 /proc/$PPID/stat))); sleep 0.2'
run --release
equal 'a program that takes its keeper along' "${text##*$'\n'}" '6 passed, 1 failed, 1 skipped'

program bad 'tests/run: alone, timeout 1' 'sleep 60; echo "bad: 1 passed, 0 failed"'
run bad
equal 'a program that hangs' "${text##*$'\n'}" '0 passed, 1 failed, 0 skipped'
contains 'a program that hangs: why' "$text" 'stopped after 1 s'
rm "$tree/tests/test_bad.sh"

program alone 'tests/run: alone' \
    'test ! -e "$0.other" || { echo "alone: 0 passed, 1 failed"; exit 1; }; echo "alone: 1 passed, 0 failed"'
program good '' 'touch "${0/good/alone}.other"; sleep 0.3; rm "${0/good/alone}.other"; echo "good: 1 passed, 0 failed"'
run --release
equal 'alone means alone' "${text##*$'\n'}" '4 passed, 0 failed, 0 skipped'

# compiled programs: stand-ins in the build folders
touch "$tree/tests/test_compiled.c"
printf '/* a\n *\n * tests/run: no asan, timeout 30 */\n' >"$tree/tests/test_heavy.c"
for kind in build build-asan; do
    mkdir -p "$tree/$kind/tests"
    for part in compiled heavy; do
        printf '#!/bin/sh\necho "%s: ${CAMBIUM_SLOW-1} passed, 0 failed"\n' "$part" >"$tree/$kind/tests/test_$part"
        chmod +x "$tree/$kind/tests/test_$part"
    done
done
rm "$tree"/tests/test_*.sh "$tree/builds"
run
equal 'release, then what is not too slow under asan' "${text##*$'\n'}" '3 passed, 0 failed, 0 skipped'
equal 'both are built' "$(<"$tree/builds")" "release $tree/build"$'\n'"asan $tree/build-asan"
run --asan
equal '--asan' "${text##*$'\n'}" '1 passed, 0 failed, 0 skipped'
run --slow heavy
contains '--slow is handed on' "$text" '1 passed'
rm "$tree/build/tests/test_heavy"
run heavy
equal 'a program that was not built' "${text##*$'\n'}" '0 passed, 1 failed, 0 skipped'
BUILD_CODE=1 run compiled
equal 'a build that fails: exit' "$code" 1
equal 'a build that fails: counts' "${text##*$'\n'}" '0 passed, 1 failed, 0 skipped'
BUILD_CODE=2 run
equal 'packages are missing: exit' "$code" 2

# C++ programs: the emulator's own, under the sanitizers too, never with --device
rm "$tree/tests/test_heavy.c"
printf '/* a\n * tests/run: no device */\n' >"$tree/tests/test_cpu.c"
touch "$tree/tests/test_emu.cc"
for kind in build build-asan build-tsan; do
    mkdir -p "$tree/$kind/tests"
    printf '#!/bin/sh\necho "$CAMBIUM_DEVICE $CAMBIUM_CUDA_PLUGIN"; echo "SKIP ${CAMBIUM_CUDA_PLUGIN-none}"
        echo "compiled: 2 passed, 0 failed"\n' >"$tree/$kind/tests/test_compiled"
    printf '#!/bin/sh\necho "emu: 10 passed, 0 failed"\n' >"$tree/$kind/tests/test_emu"
    printf '#!/bin/sh\necho "cpu: 100 passed, 0 failed"\n' >"$tree/$kind/tests/test_cpu"
    chmod +x "$tree/$kind/tests/"*
done
run
equal 'programs in C++ run in both builds' "${text##*$'\n'}" '222 passed, 0 failed, 2 skipped'
contains 'no device without --device' "$text" 'SKIP none'
run --tsan
equal 'the emulator is tested under the thread sanitizer' "${text##*$'\n'}" '10 passed, 0 failed, 0 skipped'
run --device emu
equal 'a plug-in that was not built: exit' "$code" 2
contains 'a plug-in that was not built: text' "$text" "$tree/build/libcambium_emu.so is not there"
touch "$tree/build/libcambium_emu.so" "$tree/build-asan/libcambium_emu.so" "$tree/build/libcambium_cuda.so"
run --device emu
equal '--device: release only, C only, not what is for the CPU' "${text##*$'\n'}" '1 passed, 0 failed, 1 skipped'
contains '--device emu: its plug-in' "$text" "SKIP build/libcambium_emu.so"
run --device cuda
contains '--device cuda: its plug-in' "$text" "SKIP build/libcambium_cuda.so"
run --device emu --asan
contains '--device under a sanitizer: the plug-in of that build' "$text" "SKIP build-asan/libcambium_emu.so"
run --device gpu
equal 'an unknown device: exit' "$code" 2

run --golden "$tree/absent"
equal 'a golden folder that is not there: exit' "$code" 2
run --golden "$tree/tests"
equal 'no golden program: skipped' "${text##*$'\n'}" '0 passed, 0 failed, 1 skipped'
printf '#!/bin/sh\necho "golden: $# passed, 0 failed"\n' >"$tree/build/tests/test_golden"
chmod +x "$tree/build/tests/test_golden"
run --golden "$tree/tests" "$tree/build"
equal 'golden folders are handed on' "${text##*$'\n'}" '2 passed, 0 failed, 0 skipped'

report runner
