#!/usr/bin/env bash
# cuda_golden: the golden numbers once more, through the emulated device: what test_golden compares, in the same
# bounds; later trunks and methods come along by themselves.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
needs cuda_golden "$build/tests/test_golden" "$build/libcambium_emu.so"

# whole models take minutes there: with --slow only
golden=${CAMBIUM_GOLDEN:-$root/../shared/golden}
folders=()
for folder in "$root/tests/golden/trunks/" "$golden"/*/; do
    [[ $folder == */real/ && -z ${CAMBIUM_SLOW-} ]] || [[ ! -d $folder ]] || folders+=("$folder")
done
code=0
said=$(CAMBIUM_DEVICE=cuda CAMBIUM_CUDA_PLUGIN=$build/libcambium_emu.so "$build/tests/test_golden" \
    ${folders[@]+"${folders[@]}"}) || code=$?
if ((code)); then
    grep -v '^ok ' <<<"$said" || true
else
    grep '^SKIP ' <<<"$said" || true
fi
if [[ $said != *'golden: on emulated'* && $said != *'SKIP golden: no golden folder'* ]]; then
    echo 'the golden numbers were not computed on the emulated device'
    code=1
fi
[[ $said =~ golden:\ ([0-9]+)\ passed,\ ([0-9]+)\ failed ]] || { echo "no result: $said"; exit 1; }
echo "cuda_golden: ${BASH_REMATCH[1]} passed, ${BASH_REMATCH[2]} failed"
exit "$code"
