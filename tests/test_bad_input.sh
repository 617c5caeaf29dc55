#!/usr/bin/env bash
# bad_input: whatever is wrong with a recipe, a model, an adapter, data or the disk ends a command with a
# text that says what and where, and nothing that was there before is lost.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
program=$build/cambium
golden=${CAMBIUM_GOLDEN:-$root/shared/golden}
[[ -d $golden ]] || golden=$root/../shared/golden
cd -- "$root"
needs bad_input "$program"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
mounted=
ends() {
    [[ -z $mounted ]] || umount "$mounted"
    rm -rf -- "$work"
}
trap ends EXIT
export CAMBIUM_CACHE=$work/cache
config=tests/data/tiny_llama.json
base=random:$config
tiny=recipes/tiny.yaml
skipped=0
skip() { # WHY
    echo "SKIP bad_input: $1"
    skipped=$((skipped + 1))
    passes
}

# Sets out, err and code.
call() {
    code=0
    out=$("$program" "$@" 2>"$work/err" </dev/null | tr -d '\0'; exit "${PIPESTATUS[0]}") || code=$?
    err=$(<"$work/err")
}
# The command ends with CODE and one failure that holds every PART; nothing is printed as a result.
refused() { # CODE ARGUMENT... -- PART...
    local must=$1 arguments=() part
    shift
    while [[ $1 != -- ]]; do
        arguments+=("$1")
        shift
    done
    shift
    call "${arguments[@]}"
    equal "${arguments[*]}: exit" "$code" "$must"
    equal "${arguments[*]}: stdout" "$out" ''
    equal "${arguments[*]}: said once" "$(grep -c '^cambium: ' <<<"$err")" 1
    for part; do contains "${arguments[*]}" "$err" "$part"; done
}
done_with() { # ARGUMENT...
    call "$@"
    equal "$*: exit" "$code" 0
}
sums() { # FOLDER: what is in it, but for the lock
    (cd -- "$1" && find . -type f ! -name .lock -exec sha256sum {} + | sort -k 2)
}
edited() { # FROM TO SED-EXPRESSION: must change something
    sed "$3" "$1" >"$2"
    if cmp -s -- "$1" "$2"; then fails "$2" "'$3' changes nothing"; else passes; fi
}
# Bytes of a safetensors file at the beginning of a tensor.
overwrite() { # FILE TENSOR BYTES (as printf writes them)
    local header at length
    length=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    header=$(dd if="$1" bs=1 skip=8 count="$length" status=none)
    [[ $header =~ \"${2//./\\.}\":\ *\{[^}]*\"data_offsets\":\ *\[\ *([0-9]+) ]] || return 1
    at=$((8 + length + BASH_REMATCH[1]))
    # shellcheck disable=SC2059
    printf "$3" | dd of="$1" bs=1 seek="$at" conv=notrunc status=none
}
nan='\x00\x00\xc0\x7f'

done_with train "$tiny" out="$work/run" train.save_every=5
done_with merge "$base" "$work/run/adapter" "$work/model"
model=$work/model

# --- recipes ------------------------------------------------------------------------------------------
new=out=$work/new
refused 2 train "$tiny" "$new" modules.main.rank=0 -- "modules.0.rank is '0'" 1..65536 'command line'
refused 2 train "$tiny" "$new" modules.main.rank=-3 -- "modules.0.rank is '-3'" 1..65536
refused 2 train "$tiny" "$new" modules.main.rank=33 -- 'lora: rank is 33, must be 1..32' 'in block.0.attn.q' \
    'in module main' 'at recipes/tiny.yaml:14'
refused 2 plan "$tiny" modules.main.rank=33 -- 'must be 1..32' 'in block.0.attn.q' 'at recipes/tiny.yaml:14'
refused 2 train "$tiny" "$new" modules.main.at=q_prjo -- "'q_prjo' selects no site" "did you mean 'q_proj'?"
refused 2 train "$tiny" "$new" modules.main.at=block.7.attn.q -- "'block.7.attn.q' selects no site" 'block.0.attn.q'
refused 2 train "$tiny" "$new" train.metric=accuracy -- "train.metric: 'accuracy' must be loss"
refused 2 train "$tiny" "$new" train.select=first -- "train.select is 'first', must be last or best"
refused 2 train "$tiny" "$new" train.patience=2 train.eval_every=0 -- 'train.patience' 'train.eval_every is 0'
refused 2 train "$tiny" "$new" train.select=best data.test= -- 'no data.test'
refused 1 train "$tiny" "$new" data.pack=16777216 train.batch_tokens=16777216 -- 'this run needs' 'are free' \
    'use a smaller data.pack'
call plan "$tiny" data.pack=16777216 train.batch_tokens=16777216
equal 'plan of what does not fit: exit' "$code" 0
contains 'plan foretells it' "$out" 'TOO LITTLE: train would refuse'
call plan "$tiny"
lacks 'plan of what fits' "$out" 'TOO LITTLE'
cp "$tiny" "$work/mixture.yaml"
source='source: jsonl, path: tests/data/tiny.jsonl'
sed -i "s|^  train: .*|  train: [{$source, weight: 2}, {$source}]|" "$work/mixture.yaml"
call train "$work/mixture.yaml" out="$work/mixture" train.steps=3
equal 'a mixture trains' "$code" 0
printf '{"batch": 0, "ids": [1, 2], "labels": [1, 2]}\n' >"$work/given.jsonl"
refused 2 train "$work/mixture.yaml" "$new" data.train.1.source=ids data.train.1.path="$work/given.jsonl" -- \
    "$work/given.jsonl gives its micro-batches" 'in data.train'
refused 2 train "$work/mixture.yaml" "$new" data.train.1.task=sums -- '1 of 2 sources have a task'
refused 2 train "$work/mixture.yaml" "$new" data.train.0.weight=0 data.train.1.weight=0 -- 'all weights are 0'
printf 'name: [\n' >"$work/cut.yaml"
refused 2 train "$work/cut.yaml" -- "$work/cut.yaml:"
head -c 300 "$tiny" >"$work/cut.yaml"
refused 2 train "$work/cut.yaml" -- "$work/cut.yaml"
head -c 2000 /dev/urandom >"$work/noise.yaml"
refused 2 train "$work/noise.yaml" -- "$work/noise.yaml"
equal 'a refused recipe starts no run' "$(ls "$work/new")" ''

# --- data ----------------------------------------------------------------------------------------------
ok='{"prompt": "a", "target": "b"}'
printf '' >"$work/empty.jsonl"
printf '%s\n\n{"prompt": "a", "target": "b"\n' "$ok" >"$work/cut.jsonl"
printf '%s\n{"promt": "a", "target": "b"}\n' "$ok" >"$work/field.jsonl"
printf '%s\n%s\n{"prompt": "\xff", "target": "b"}\n' "$ok" "$ok" >"$work/bytes.jsonl"
printf '%s\n[1]\n' "$ok" >"$work/list.jsonl"
for part in train test; do
    for case in 'empty::the file is empty' 'cut:3:not valid JSON' 'field:2:no field {prompt}' \
        'bytes:3:not valid UTF-8' 'list:2:must be one JSON object a line' 'none::No such file'; do
        IFS=: read -r name line text <<<"$case"
        call train "$tiny" "$new" data.$part.path="$work/$name.jsonl"
        equal "$name, $part: fails" "$((code == 1 || code == 2))" 1
        contains "$name, $part: place" "$err" "$work/$name.jsonl${line:+:$line}"
        contains "$name, $part: text" "$err" "$text"
        contains "$name, $part: which" "$err" "in data.$part"
    done
done
refused 1 train "$tiny" "$new" data.length=16 data.overlong=error -- \
    'tests/data/tiny.jsonl:1: has 28 tokens, length is 16'
for overlong in cut drop; do
    call train "$tiny" out="$work/overlong-$overlong" data.length=28 data.overlong=$overlong \
        train.steps=1 optim.warmup=0
    equal "overlong: $overlong: exit" "$code" 0
    for part in train test; do
        contains "overlong: $overlong: counted" "$err" "data.$part: "
        lacks "overlong: $overlong: some" "$err" "data.$part: 0 samples cut at 28 tokens, 0 dropped"
    done
done
contains 'overlong: drop cuts none' "$err" 'data.train: 0 samples cut'
refused 1 train "$tiny" "$new" data.length=2 data.overlong=drop -- 'none of 60 records is left'

# --- models ---------------------------------------------------------------------------------------------
mkdir "$work/foo"
edited "$config" "$work/foo/config.json" 's/"llama"/"foo"/'
refused 1 train "$tiny" "$new" base="random:$work/foo/config.json" -- "model_type is 'foo', must be one of: llama" \
    "$work/foo/config.json"
for change in 's/\("hidden_size": \)32/\10/=hidden_size is 0' 's/\("hidden_size": \)32/\1"x"/=hidden_size is text' \
    's/\("num_hidden_layers": \)2/\1100000000/=num_hidden_layers is 100000000' \
    's/\("num_attention_heads": \)4/\15/=must be a multiple of' 's/\("vocab_size": \)320/\10/=vocab_size is 0' \
    's/\("vocab_size": \)320/\1100/=100 words are too few' 's/\("hidden_size": \)32/\1200000/=are free' \
    's/\("max_position_embeddings": \)256/\18/=8 positions'; do
    edited "$config" "$work/foo/config.json" "${change%%=*}"
    must=1
    [[ $change != *positions ]] || must=2 # a recipe with shorter samples would do
    refused $must train "$tiny" "$new" base="random:$work/foo/config.json" -- "${change#*=}"
done
bytes=$(stat -c %s "$model/model.safetensors")
cp -r "$model" "$work/cut"
for size in 0 7 8 100 3000 $((bytes - 1)); do
    head -c "$size" "$model/model.safetensors" >"$work/cut/model.safetensors"
    refused 1 train "$tiny" "$new" base="$work/cut" -- "$work/cut/model.safetensors" "in base $work/cut"
    refused 1 generate "$work/cut" --prompt hi -- "$work/cut/model.safetensors"
    refused 1 merge "$work/cut" "$work/run/adapter" "$work/none" -- "$work/cut/model.safetensors"
done
for name in model.layers.1.mlp.up_proj.weight=block.1.mlp.up model.embed_tokens.weight=embed \
    model.norm.weight=norm; do
    cp "$model/model.safetensors" "$work/cut/model.safetensors"
    overwrite "$work/cut/model.safetensors" "${name%=*}" "$nan"
    rm -rf "$work/nan"
    refused 1 train "$tiny" out="$work/nan" base="$work/cut" -- "${name#*=}: a weight or input of" 'holds NaN'
    equal 'NaN: no adapter' "$([[ -e $work/nan/adapter ]] && echo there)" ''
    refused 1 generate "$work/cut" --prompt hi -- "${name#*=}: a weight or input of" 'holds NaN'
    refused 1 eval "$tiny" base="$work/cut" -- "${name#*=}: a weight or input of" 'holds NaN'
done
cp "$model/model.safetensors" "$work/cut/model.safetensors"
overwrite "$work/cut/model.safetensors" model.layers.1.mlp.up_proj.weight "$nan"
refused 1 merge "$work/cut" "$work/run/adapter" "$work/none" --force -- 'value 0 is nan, must be finite' \
    'model.layers.1.mlp.up_proj.weight'
equal 'merge leaves nothing behind' "$(echo "$work"/none*)" "$work/none*"

# a training that blows up: what was saved before stays whole
far=(optim.lr=1e6 optim.clip=0 train.save_every=1 train.eval_every=1)
refused 1 train "$tiny" out="$work/far" "${far[@]}" -- ' gives '
[[ $err =~ cambium:\ [a-z0-9.]+:\ [a-z_]+\ gives\ (NaN|infinity) ]] || fails 'a NaN names layer and operation' "'$err'"
equal 'blown up: no adapter' "$([[ -e $work/far/adapter ]] && echo there)" ''
equal 'blown up: checkpoints' "$(find "$work/far/checkpoints" -name "step-*" | wc -l)" 2
held=$(sums "$work/far/checkpoints")
refused 1 train "$tiny" out="$work/far" "${far[@]}" --resume -- ' gives '
contains 'blown up: resuming starts from the last good one' "$err" 'resuming after step'
equal 'blown up: checkpoints stay' "$(sums "$work/far/checkpoints")" "$held"

# a tokenizer with more words than the model
cp -r "$model" "$work/words"
special='"single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true'
tokenizer() { # ID: of the last token
    cat <<END
{"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
 "added_tokens": [{"id": $1, "content": "<last>", $special}], "decoder": null,
 "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
 "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": {"a": 0, "b": 1}, "merges": []}}
END
}
tokenizer 320 >"$work/words/tokenizer.json"
refused 1 generate "$work/words" --prompt ab -- 'ids up to 320, the model has 320 words'
tokenizer 319 >"$work/words/tokenizer.json"
done_with generate "$work/words" --prompt ab --max-tokens 2
head -c 200 "$work/words/tokenizer.json" >"$work/words/cut"
mv "$work/words/cut" "$work/words/tokenizer.json"
refused 1 generate "$work/words" --prompt ab -- "$work/words/tokenizer.json" 'not valid JSON'

# --- the collection of broken files -----------------------------------------------------------------------
if [[ -d $golden/hostile ]]; then
    hostile=$golden/hostile
    names() { # WHAT FILE: exit 1 and the file's name
        equal "$1: exit" "$code" 1
        contains "$1" "$err" "$2"
        lacks "$1" "$err" 'AddressSanitizer'
    }
    done_with inspect "$hostile/good/base.gguf"
    done_with inspect "$hostile/good/base.safetensors"
    for file in "$hostile"/safetensors/* "$hostile"/gguf/*; do
        call inspect "$file"
        names "inspect $file" "${file##*/}"
    done
    done_with generate "$hostile/good/model.gguf" --prompt a --max-tokens 1
    for file in "$hostile"/gguf_model/*; do
        call generate "$file" --prompt a --max-tokens 1
        names "generate $file" "${file##*/}"
    done
    size=$(stat -c %s "$hostile/good/model.gguf")
    for ((i = 0; i < 20; i++)); do
        head -c $((size * i / 20)) "$hostile/good/model.gguf" >"$work/cut.gguf"
        call generate "$work/cut.gguf" --prompt a --max-tokens 1
        names "a model.gguf cut at $i/20" "$work/cut.gguf"
    done
    mkdir "$work/tokens"
    edited "$config" "$work/tokens/config.json" 's/"vocab_size": 320/"vocab_size": 100000/'
    for file in "$hostile"/good/bpe.json "$hostile"/tokenizer/*; do
        cp "$file" "$work/tokens/tokenizer.json"
        code=0
        err=$("$program" tokenize "random:$work/tokens/config.json" <<<'a cow' 2>&1 >/dev/null) || code=$?
        if [[ $file == */good/* ]]; then equal "$file: exit" "$code" 0; else names "$file" tokenizer.json; fi
    done
else
    skip "$golden/hostile is not there"
fi

# --- adapters -----------------------------------------------------------------------------------------------
before=$(sums "$work/run")
for arguments in "generate $model --prompt hi" "eval $tiny base=$model"; do
    # shellcheck disable=SC2086
    refused 1 $arguments --adapter "$work/run/adapter" -- 'was trained on another base model (SHA-256' \
        'this one is' --force
    [[ $err =~ SHA-256\ ([0-9a-f]{12})\.\.\.,\ this\ one\ is\ ([0-9a-f]{12}) ]] || fails "$arguments" "'$err'"
    lacks 'the fingerprints differ' "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
    # shellcheck disable=SC2086
    done_with $arguments --adapter "$work/run/adapter" --force
done
refused 1 merge "$model" "$work/run/adapter" "$work/none" -- 'was trained on another base model' --force
done_with merge "$model" "$work/run/adapter" "$work/forced" --force
sed "s|{name: main, method.*|{name: main, load: $work/run/adapter}|" "$tiny" >"$work/load.yaml"
refused 1 train "$work/load.yaml" "$new" base="$model" -- 'was trained on another base model'
adapter() { # a fresh copy of the adapter
    rm -rf "$work/adapter"
    cp -r "$work/run/adapter" "$work/adapter"
}
file=adapter_model.safetensors
refuses_adapter() { # PART...
    refused 1 eval "$tiny" --adapter "$work/adapter" -- "$@"
    refused 1 merge "$base" "$work/adapter" "$work/none" -- "$@"
    refused 1 generate "$base" --prompt hi --adapter "$work/adapter" -- "$@"
}
size=$(stat -c %s "$work/run/adapter/$file")
for cut in 0 8 100 3000 $((size - 1)); do
    adapter
    head -c "$cut" "$work/run/adapter/$file" >"$work/adapter/$file"
    refuses_adapter "$work/adapter/$file"
done
adapter
overwrite "$work/adapter/$file" base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight "$nan"
refuses_adapter 'value 0 of tensor base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight is nan'
adapter
rm "$work/adapter/$file"
refuses_adapter "$work/adapter/$file"
tab=$'\t'
for change in "s/\"r\":${tab}4/\"r\": 40/=must be [40, 32]" \
    "s/\"r\":${tab}4/\"r\": 65/=rank is 65, must be 1..64" "s/\"r\":${tab}4/\"r\": 5/=must be [5, 32]" \
    "s/\"r\":${tab}4/\"r\": -1/=r is -1" "s/\"LORA\"/\"FOO\"/=peft_type is 'FOO'" \
    "s/\"lora_alpha\":${tab}8/\"lora_alpha\": \"x\"/=lora_alpha is text" "\$d=not valid JSON" \
    "s/q_proj/q_projj/=target_modules names 'q_projj'"; do
    adapter
    edited "$work/run/adapter/adapter_config.json" "$work/adapter/adapter_config.json" "${change%%=*}"
    refused 1 generate "$base" --prompt hi --adapter "$work/adapter" -- "${change#*=}"
    refused 1 merge "$base" "$work/adapter" "$work/none" -- "${change#*=}"
done
rm "$work/adapter/adapter_config.json"
refused 1 generate "$base" --prompt hi --adapter "$work/adapter" -- 'adapter_config.json is missing'
for folder in "$work/run/adapter" "$work/run" "$work/forced"; do
    held=$(sums "$folder")
    refused 2 merge "$base" "$work/run/adapter" "$folder" -- "$folder: exists already"
    equal "merge into $folder changes nothing" "$(sums "$folder")" "$held"
done
code=0
(ulimit -f 8 && exec "$program" merge "$base" "$work/run/adapter" "$work/none") 2>"$work/err" >&2 || code=$?
equal 'merge that cannot write: exit' "$code" 1
contains 'merge that cannot write' "$(<"$work/err")" 'File too large; raise the limit'
equal 'merge that cannot write leaves nothing' "$(echo "$work"/none*)" "$work/none*"

# --- run folders ----------------------------------------------------------------------------------------------
refused 2 train "$tiny" out="$work/run" train.save_every=5 -- 'holds a run already' --resume out=
refused 2 train "$tiny" out="$work/run" --resume optim.lr=0.5 -- "optim.lr is '0.5', was '0.01'"
refused 2 train "$tiny" out="$work/run" --resume modules.main.rank=5 -- "modules.0.rank is '5', was '4'"
refused 2 train "$tiny" out="$work/run" --resume data.length=63 -- "data.length is '63', was '64'"
equal 'none of these changed the run' "$(sums "$work/run")" "$before"
same_results() { # FOLDER
    local name
    for name in adapter/$file adapter/adapter_config.json metrics.jsonl; do
        if cmp -s "$work/run/$name" "$1/$name"; then passes; else fails "$1" "$name differs"; fi
    done
}
# the recipe is the same, and what it names is not
cp -r "$model" "$work/changed"
head -n 30 tests/data/tiny.jsonl >"$work/changed.jsonl"
changing=(out="$work/change" base="$work/changed" data.train.path="$work/changed.jsonl")
done_with train "$tiny" "${changing[@]}"
held=$(sums "$work/change")
head -n 29 tests/data/tiny.jsonl >"$work/changed.jsonl"
refused 2 train "$tiny" "${changing[@]}" --resume -- 'the data is not the one that this run was started with' out=
head -n 30 tests/data/tiny.jsonl >"$work/changed.jsonl"
overwrite "$work/changed/model.safetensors" model.norm.weight '\x00\x00\x00\x40'
refused 2 train "$tiny" "${changing[@]}" --resume -- 'the base is not the one that this run was started with' out=
equal 'another base or other data: nothing is touched' "$(sums "$work/change")" "$held"

cp -r "$work/run" "$work/damaged"
newest=$work/damaged/checkpoints/step-000020
printf x | dd of="$newest/state.h5" bs=1 seek=3000 conv=notrunc status=none
done_with train "$tiny" out="$work/damaged" train.save_every=5 --resume
contains 'the newest checkpoint is damaged: said' "$err" "warning: checkpoint skipped: $newest/state.h5"
contains 'the newest checkpoint is damaged: the older one' "$err" 'resuming after step 15'
same_results "$work/damaged"
for manifest in "$work"/damaged/checkpoints/*/MANIFEST.json; do : >"$manifest"; done
held=$(sums "$work/damaged")
refused 1 train "$tiny" out="$work/damaged" train.save_every=5 --resume -- 'none of its 2 checkpoints is whole' out=
equal 'all checkpoints are damaged: nothing is touched' "$(sums "$work/damaged")" "$held"
: >"$work/damaged/recipe.yaml"
refused 2 train "$tiny" out="$work/damaged" train.save_every=5 --resume -- "$work/damaged/recipe.yaml"

# --- the best evaluation ---------------------------------------------------------------------------------------
best=(train.steps=100 train.eval_every=2 train.select=best train.patience=3 optim.lr=0.03)
done_with train "$tiny" out="$work/best" "${best[@]}"
smallest=$(grep -o '"step": [0-9]*, "eval_loss": [0-9.]*' "$work/best/metrics.jsonl" | sort -t: -k3g | head -n 1 |
    grep -o '[0-9]*' | head -n 1)
last=$(tail -n 1 "$work/best/metrics.jsonl" | grep -o '[0-9]*' | head -n 1)
equal 'patience: three evaluations of two steps after the best' "$last" $((smallest + 6))
contains 'patience: said' "$err" "stopped early: 3 evaluations were not better than that of step $smallest"
contains 'best: said' "$err" "the result is the state after step $smallest"
printf -v step 'step-%06d' "$smallest"
printf -v after 'step-%06d' "$last"
equal 'best: kept besides the newest' "$([[ -d $work/best/checkpoints/$step ]] && echo kept)" kept
equal 'best: the newest' "$([[ -d $work/best/checkpoints/$after ]] && echo kept)" kept
if cmp -s "$work/best/adapter/$file" "$work/best/checkpoints/$step/adapter/$file"; then passes; else
    fails best 'the adapter is not the best one'
fi
if cmp -s "$work/best/adapter/$file" "$work/best/checkpoints/$after/adapter/$file"; then
    fails best 'the adapter is the last one'
else passes; fi
call eval "$work/best"
contains 'best: eval says which step' "$err" "the state after step $smallest of its run"
loss=$(grep -o "\"step\": $smallest, \"eval_loss\": [0-9.]*" "$work/best/metrics.jsonl" | grep -o '[0-9.]*$')
contains 'best: eval finds its loss' "$out" "loss           $(LC_ALL=C printf %.4f "$loss")"
refused 2 train "$tiny" out="$work/best" "${best[@]}" train.eval_every=4 --resume -- "train.eval_every is '4', was '2'"
held=$(sums "$work/best" | grep -v tfevents)
done_with train "$tiny" out="$work/best" "${best[@]}" --resume
equal 'best: a finished run is finished' "$(sums "$work/best" | grep -v tfevents)" "$held"
rm -r "$work/best/checkpoints/$step"
refused 1 train "$tiny" out="$work/best" "${best[@]}" --resume -- 'none of its' 'checkpoints is whole'
contains 'best: which one is missing' "$err" "$step"
done_with train "$tiny" out="$work/worse" train.steps=2 train.eval_every=1 train.select=best optim.lr=1000
contains 'best: nothing is better than the start' "$err" 'the result is the state after step 0'

# --- disks --------------------------------------------------------------------------------------------------------
full=(train.save_every=5)
code=0
(ulimit -f 8 && exec "$program" train "$tiny" out="$work/limit" "${full[@]}") 2>"$work/err" || code=$?
equal 'a limit on files: exit' "$code" 1
contains 'a limit on files' "$(<"$work/err")" 'File too large; raise the limit'
equal 'a limit on files: nothing half' "$(ls -A "$work/limit/checkpoints")" ''
done_with train "$tiny" out="$work/limit" "${full[@]}" --resume
same_results "$work/limit"
refused 1 train "$tiny" out=/proc/none/run -- '/proc/none'
if [[ ${CAMBIUM_PRESET:-release} != *san ]]; then # sanitizers themselves reserve more
    code=0
    (ulimit -v 4000000 && exec "$program" train "$tiny" "$new") 2>"$work/err" || code=$?
    equal 'a limit on addresses: exit' "$code" 1
    contains 'a limit on addresses' "$(<"$work/err")" 'raise the limit on them (ulimit -v)'
fi

mkdir "$work/disk"
if mount -t tmpfs -o size=400k tmpfs "$work/disk" 2>/dev/null; then
    mounted=$work/disk
    refused 1 train "$tiny" out="$work/disk/run" "${full[@]}" -- "$work/disk/run/" 'No space left on device' \
        'free some space and run again'
    equal 'full disk: the checkpoint before' "$(ls -A "$work/disk/run/checkpoints")" step-000005
    held=$(sums "$work/disk/run/checkpoints")
    dd if=/dev/zero of="$work/disk/fill" bs=1k status=none 2>/dev/null || true
    refused 1 train "$tiny" out="$work/disk/run" "${full[@]}" --resume -- "$work/disk/run/" 'No space left on device'
    equal 'still full: the checkpoint stays' "$(sums "$work/disk/run/checkpoints")" "$held"
    rm "$work/disk/fill"
    mount -o remount,size=8m "$work/disk"
    done_with train "$tiny" out="$work/disk/run" "${full[@]}" --resume
    contains 'space again: goes on' "$err" 'resuming after step 5'
    same_results "$work/disk/run"
    held=$(sums "$work/disk/run")
    mount -o remount,ro "$work/disk"
    refused 1 train "$tiny" out="$work/disk/run" "${full[@]}" --resume -- 'Read-only file system' \
        'choose a writable place'
    refused 1 train "$tiny" out="$work/disk/other" -- "$work/disk/other" 'Read-only file system'
    done_with eval "$work/disk/run"
    equal 'read only: all is there' "$(sums "$work/disk/run")" "$held"
else
    skip 'a small tmpfs cannot be mounted here'
fi

equal 'the first run is as it was' "$(sums "$work/run")" "$before"
report bad_input
