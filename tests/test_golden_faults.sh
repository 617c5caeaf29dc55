#!/usr/bin/env bash
# golden_faults: the golden runner fails on planted faults, whatever the kind of case; what no handler knows
# is skipped aloud. Without the golden files or the program the test is skipped.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
program=$build/tests/test_golden
golden=${CAMBIUM_GOLDEN:-$root/../shared/golden}
needs golden_faults "$program" "$golden"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT

# A fresh copy of files and folders below the golden folder, at $work/case.
take() { # NAME...
    rm -rf -- "$work/case"
    mkdir -p -- "$work/case"
    local name
    for name; do
        mkdir -p -- "$(dirname -- "$work/case/$name")"
        cp -r -- "$golden/$name" "$work/case/$name"
    done
    chmod -R u+w -- "$work/case"
}
run() {
    code=0
    out=$("$program" "$work/case" 2>&1) || code=$?
}
good() { # WHAT
    run
    equal "$1 as given: exit" "$code" 0
    contains "$1 as given" "$out" 'ok '
    lacks "$1 as given" "$out" 'FAILED'
}
bad() { # WHAT TEXT: the run fails, and says TEXT
    run
    equal "$1: exit" "$code" 1
    contains "$1" "$out" 'FAILED '
    contains "$1" "$out" "$2"
}

# --- trunks ---------------------------------------------------------------------------------------------
take trunks/llama_tied
good trunk
sed -i 's/^ "loss": [0-9]*/ "loss": 3/' "$work/case/trunks/llama_tied/case.json"
bad 'another loss' 'loss is off by'
take trunks/llama_tied
rm -- "$work/case/trunks/llama_tied/expected.safetensors"
bad 'no expected numbers' 'expected.safetensors'
take trunks/llama_tied
sed -i 's/"rms_norm_eps": 1e-05/"rms_norm_eps": 1e-03/' "$work/case/trunks/llama_tied/config.json"
bad 'another epsilon' 'is off by'
take trunks/llama_tied
echo '{' >"$work/case/trunks/llama_tied/case.json"
bad 'a case that is no JSON' 'case.json'

# --- adapters -------------------------------------------------------------------------------------------
peft=(peft/base_llama peft/inputs.json peft/index.json peft/forward/lora_qv peft/combine peft/train/lora_llama)
take "${peft[@]}"
run
contains 'an adapter as given' "$out" "ok $work/case/peft/forward/lora_qv:"
contains 'training as given' "$out" "ok $work/case/peft/train/lora_llama:"
contains 'a combination as given' "$out" "ok $work/case/peft/combine svd:"
contains 'a case that is not there' "$out" 'index.json names it, but it is not there'
sed -i 's/"lora_alpha": 8/"lora_alpha": 9/' "$work/case/peft/forward/lora_qv/adapter_config.json"
sed -i 's/"beta2": 0.999/"beta2": 0.99/' "$work/case/peft/index.json"
bad 'another alpha' "FAILED $work/case/peft/forward/lora_qv: "
contains 'another beta' "$out" "FAILED $work/case/peft/train/lora_llama: "
echo '[]' >"$work/case/peft/index.json"
bad 'an empty index' 'neither forward nor train'

# --- optimizers -----------------------------------------------------------------------------------------
take optim
good optimizers
sed -i 's/"lr": 0.03,/"lr": 0.030001,/; s/"max_norm": 0.1/"max_norm": 0.2/; s/"decay": 0.9/"decay": 0.8/' \
    "$work/case/optim/index.json"
sed -i '0,/"num_warmup_steps": 5/s//"num_warmup_steps": 6/' "$work/case/optim/schedules.json"
bad 'another rate' 'optimizer adamw: step'
contains 'another limit' "$out" 'clip norm_0_1: '
contains 'another decay' "$out" 'average ema: '
contains 'another warm-up' "$out" 'schedule constant_with_warmup: lr'
rm -- "$work/case/optim/optimizers.safetensors"
bad 'no expected values' 'optimizers.safetensors'

# --- tokenizers -----------------------------------------------------------------------------------------
take tokenizers/bpe_gpt2
good tokenizer
sed -i 's/"ids":\[314\]/"ids":[315]/' "$work/case/tokenizers/bpe_gpt2/cases.json"
bad 'another id' 'first the ids of number 2'
take tokenizers/bpe_gpt2
rm -- "$work/case/tokenizers/bpe_gpt2/tokenizer.json"
bad 'no tokenizer' 'tokenizer.json'

# --- GGUF -----------------------------------------------------------------------------------------------
take gguf/types gguf/llama gguf/metadata.gguf gguf/metadata.json gguf/version2.gguf gguf/no_tensors.gguf
good GGUF
printf 'x' | dd of="$work/case/gguf/types/q4_0.gguf" bs=1 seek=300 conv=notrunc status=none
cp -- "$work/case/gguf/llama/tied_f16.gguf" "$work/case/gguf/llama/untied_q8_q4.gguf"
sed -i 's/"alignment": 64/"alignment": 32/' "$work/case/gguf/metadata.json"
cp -- "$work/case/gguf/no_tensors.gguf" "$work/case/gguf/version2.gguf"
bad 'another byte' 'gguf/types q4_0: '
contains 'another trunk' "$out" "FAILED $work/case/gguf/llama untied_q8_q4 logits: "
contains 'another alignment' "$out" "FAILED $work/case/gguf metadata.gguf: "
contains 'another version' "$out" "FAILED $work/case/gguf version2.gguf: "

# --- broken files ---------------------------------------------------------------------------------------
take hostile/MANIFEST.json hostile/gguf hostile/gguf_model hostile/safetensors hostile/tokenizer hostile/good
good 'broken files'
cp -- "$work/case/hostile/good/base.gguf" "$work/case/hostile/gguf/version_0.gguf"
cp -- "$work/case/hostile/gguf/empty.gguf" "$work/case/hostile/good/base.gguf"
rm -- "$work/case/hostile/safetensors/gap.safetensors"
bad 'a good file' 'gguf/version_0.gguf: was read, but: version 0'
contains 'a broken file among the good' "$out" "FAILED $work/case/hostile/good base.gguf: "
contains 'a file that is gone' "$out" 'is in the manifest, but not there'

# --- experts --------------------------------------------------------------------------------------------
smora=(methods/smora/k1 methods/smora/ids.jsonl methods/smora/op methods/base/llama_tiny)
take "${smora[@]}"
good experts
sed -i 's/"rate": 0.01/"rate": 0.02/' "$work/case/methods/smora/k1/case.json"
sed -i 's/"bias_in_weight": true/"bias_in_weight": false/' "$work/case/methods/smora/op/case.json"
bad 'another rate' 'methods/smora/k1: counts.model.layers'
contains 'gates without the bias' "$out" "FAILED $work/case/methods/smora/op"
take "${smora[@]}"
sed -i 's/"balance": "per micro-batch"/"balance": "per step"/' "$work/case/methods/smora/k1/case.json"
bad 'another balance' 'micro-batches were counted'

# --- neither --------------------------------------------------------------------------------------------
take methods/smora/ids.jsonl
mkdir -p -- "$work/case/methods/unknown"
echo '{}' >"$work/case/methods/unknown/case.json"
run
contains 'an unknown kind' "$out" 'case.json is of a kind that this version does not compare'
equal 'an unknown kind: exit' "$code" 0

report golden_faults
