#!/usr/bin/env bash
# cuda_golden: the golden numbers once more, through the emulated device: what test_golden compares, in the same
# bounds; later trunks and methods come along by themselves.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
needs cuda_golden "$build/tests/test_golden" "$build/libcambium_emu.so"

code=0
said=$(CAMBIUM_DEVICE=cuda CAMBIUM_CUDA_PLUGIN=$build/libcambium_emu.so "$build/tests/test_golden") || code=$?
if ((code)); then
    grep -v '^ok ' <<<"$said" || true
else
    grep '^SKIP ' <<<"$said" || true
fi
[[ $said =~ golden:\ ([0-9]+)\ passed,\ ([0-9]+)\ failed ]] || { echo "no result: $said"; exit 1; }
echo "cuda_golden: ${BASH_REMATCH[1]} passed, ${BASH_REMATCH[2]} failed"
exit "$code"
