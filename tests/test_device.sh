#!/usr/bin/env bash
# device: the program on the emulated device, as a user meets it: the same losses as on the CPU, the same bytes
# twice and after a resume, what is missing or fails is named, and the last checkpoint is whole.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
program=$build/cambium
emulated=$build/libcambium_emu.so
cd -- "$root"
needs device "$program" "$emulated"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT
export CAMBIUM_CACHE=$work/cache CAMBIUM_CUDA_PLUGIN=$emulated
base=random:tests/data/tiny_llama.json

call() {
    code=0
    out=$("$program" "$@" 2>"$work/err" </dev/null) || code=$?
    err=$(<"$work/err")
}
train() { # OUT KEY=VALUE...: 8 steps unless told otherwise
    call train recipes/tiny.yaml "out=$work/$1" train.steps=8 train.eval_every=4 train.save_every=4 "${@:2}"
}
# Losses of a run, one a line.
losses() { sed -n 's/.*"loss": \([0-9.]*\).*/\1/p' "$work/$1/metrics.jsonl"; }
# Do the losses of two runs agree within a share?
agree() { # WHAT RUN RUN SHARE
    local far
    far=$(paste <(losses "$2") <(losses "$3") | awk -v may="$4" '
        { d = $1 - $2; if (d < 0) d = -d; if (d > may * $2) n++ } END { print n + 0 " of " NR }')
    equal "$1: losses that differ" "$far" "0 of $(losses "$3" | wc -l)"
}
same_adapter() { # WHAT RUN RUN
    if cmp -s "$work/$2/adapter/adapter_model.safetensors" "$work/$3/adapter/adapter_model.safetensors"; then
        passes
    else
        fails "$1" 'the adapters have other bytes'
    fi
}

# --- the same computation ---------------------------------------------------------------------------------
train cpu device=cpu
equal 'on the CPU: exit' "$code" 0
train cuda device=cuda
equal 'on the device: exit' "$code" 0
contains 'it says where it runs' "$err" 'device: cuda:0, emulated on the CPU'
contains 'it foretells memory there' "$err" 'memory of the device: '
agree 'f32' cuda cpu 2e-6
train again device=cuda
same_adapter 'twice the same bytes' cuda again
CAMBIUM_CUDA_GRAPHS=0 train plain device=cuda
same_adapter 'without CUDA graphs' cuda plain
CAMBIUM_EMU_ORDER=random train shuffled device=cuda train.steps=4
train straight device=cuda train.steps=4
same_adapter 'threads in another order' straight shuffled
train narrow device=cuda precision=bf16
agree 'bf16' narrow cpu 2e-3
train recomputed device=cuda train.recompute=block
same_adapter 'blocks recomputed' cuda recomputed

# --- memory ------------------------------------------------------------------------------------------------
# what was used is what was planned, within 2 % of it
planned=$("$program" plan recipes/tiny.yaml device=cuda data.pack=512 train.batch_tokens=512 --json 2>/dev/null |
    sed -n 's/.*"context": [0-9]*, "total": \([0-9]*\),.*/\1/p')
train large device=cuda data.pack=512 train.batch_tokens=512 train.steps=4
used=$(sed -n 's/.*"device_bytes": \([0-9]*\).*/\1/p' "$work/large/timing.jsonl" | sort -n | tail -n 1)
if ((used * 100 <= planned * 102 && planned * 100 <= used * 102)); then
    passes
else
    fails 'device memory' "planned $planned bytes, used $used"
fi
CAMBIUM_EMU_MEMORY=34000000 train full device=cuda
equal 'too little memory: exit' "$code" 1
contains 'too little memory is foretold' "$err" 'MB of the device'
lacks 'nothing was begun' "$err" 'step '

# --- answers -------------------------------------------------------------------------------------------------
call generate "$base" --adapter "$work/cpu/adapter" --prompt abc --device cpu
here=$out
call generate "$base" --adapter "$work/cpu/adapter" --prompt abc --device cuda
equal 'generate: exit' "$code" 0
equal 'generate: the same text' "$out" "$here"
call generate "$base" --adapter "$work/cpu/adapter" --prompt abc --prompt b --beams 3 --max-tokens 12 --device cpu
here=$out
call generate "$base" --adapter "$work/cpu/adapter" --prompt abc --prompt b --beams 3 --max-tokens 12 --device cuda
equal 'generate --beams: the same text' "$out" "$here"
call eval "$work/cuda" --json
contains 'eval runs where the recipe says' "$err" 'emulated'
CAMBIUM_EMU_MEMORY=34000000 call eval "$work/cuda" data.pack=2048 train.batch_tokens=2048
equal 'eval with too little memory: exit' "$code" 1
contains 'eval with too little memory is foretold' "$err" 'this run needs'
prompts=()
for _ in {1..100}; do prompts+=(--prompt abc); done
CAMBIUM_EMU_MEMORY=34000000 call generate "$base" "${prompts[@]}" --batch 100 --max-tokens 200 --device cuda
equal 'generate with too little memory: exit' "$code" 1
contains 'generate with too little memory is foretold' "$err" 'to be answered'

# --- what is missing or fails ----------------------------------------------------------------------------------
missing() { # WHAT TEXT: device: cuda refuses, auto says why and goes on
    train missing device=cuda
    equal "$1: exit" "$code" 1
    equal "$1: said once" "$(grep -c '^cambium: ' <<<"$err")" 1
    contains "$1" "$err" "$2"
    train missing device=auto train.steps=4
    equal "$1: auto goes on" "$code" 0
    rm -rf -- "$work/missing"
}
CAMBIUM_EMU_FAULT=driver:0 missing 'no driver' 'there is no NVIDIA driver'
contains 'auto says why' "$err" 'device: cpu (there is no NVIDIA driver'
CAMBIUM_EMU_FAULT=device:0 missing 'no GPU' 'there is no NVIDIA GPU'
CAMBIUM_CUDA_PLUGIN=$work/none.so missing 'no plug-in' 'has no CUDA plug-in'
printf 'no library' >"$work/torn.so"
CAMBIUM_CUDA_PLUGIN=$work/torn.so missing 'a torn plug-in' 'cannot be opened'
train numbered device=cuda:7
contains 'a device that is not there' "$err" 'this machine has 1'
train narrow_cpu device=cpu precision=bf16
contains 'bf16 on the CPU' "$err" 'bf16 needs device: cuda'
train what device=opencl
contains 'another device' "$err" 'must be auto, cpu, cuda or cuda:1'

# a launch, a copy, a wait that fails some time after the first checkpoint: named, and the checkpoint is whole
for fault in launch:150 copy:30 wait:4; do
    rm -rf -- "$work/broken"
    CAMBIUM_EMU_FAULT=$fault CAMBIUM_EMU_FAULT_AFTER=$work/broken/checkpoints/step-000004 \
        CAMBIUM_CUDA_GRAPHS=0 train broken device=cuda
    equal "$fault: exit" "$code" 1
    contains "$fault: named" "$err" 'device cuda:0 (emulated on the CPU): '
    [[ ! -d $work/broken/checkpoints/step-000008 ]] || fails "$fault" 'came after the last'
    call train recipes/tiny.yaml "out=$work/broken" train.steps=8 train.eval_every=4 train.save_every=4 \
        device=cuda --resume
    equal "$fault: resume" "$code" 0
    same_adapter "$fault: resumed" cuda broken
done

# a run that goes on elsewhere says so
rm -rf -- "$work/moved"
train moved device=auto train.steps=4
CAMBIUM_EMU_FAULT=device:0 train moved device=auto train.steps=4 --resume
contains 'going on elsewhere' "$err" 'its bits may differ'

# --- doctor ----------------------------------------------------------------------------------------------------
call doctor
equal 'doctor: exit' "$code" 0
contains 'doctor: what it found' "$out" 'GPU         emulated on the CPU'
contains 'doctor: libraries' "$out" 'cuBLASLt'
contains 'doctor: the self-test' "$out" 'largest error'
CAMBIUM_EMU_FAULT=wait:1 call doctor
equal 'doctor: a broken GPU' "$code" 1
contains 'doctor: a broken GPU is named' "$out$err" 'launch failure'

report device
