#!/usr/bin/env bash
# cli: the program as a user calls it: help, wrong usage, exit codes, and a run from its recipe to a merged
# model. The program is the one that tests/run has built; without one the test is skipped.
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
program=$build/cambium
cd -- "$root"
needs cli "$program"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT
export CAMBIUM_CACHE=$work/cache
base=random:tests/data/tiny_llama.json
commands=(train eval generate trace plan inspect tokenize merge compose convert fetch methods schema doctor bench help)

# Sets out, err and code; standard input is $input.
input=
call() {
    code=0
    out=$("$program" "$@" 2>"$work/err" <<<"$input") || code=$?
    err=$(<"$work/err")
}
# Wrong usage: exit 2, nothing on stdout, one failure that holds TEXT.
wrong() { # TEXT ARGUMENT...
    call "${@:2}"
    equal "${*:2}: exit" "$code" 2
    equal "${*:2}: stdout" "$out" ''
    equal "${*:2}: said once" "$(grep -c '^cambium: ' <<<"$err")" 1
    contains "${*:2}" "$err" "$1"
}
json() { # WHAT: $out is JSON
    if ! type -P python3 >/dev/null; then return; fi
    if python3 -m json.tool >/dev/null 2>&1 <<<"$out"; then passes; else fails "$1" "'$out' is not JSON"; fi
}

# --- help -------------------------------------------------------------------------------------------
call --help
equal 'help: exit' "$code" 0
equal 'help: stderr' "$err" ''
whole=$out
for command in "${commands[@]}"; do
    contains 'help names all commands' "$whole" $'\n  '"$command "
    call "$command" --help
    equal "$command --help: exit" "$code" 0
    equal "$command --help: stderr" "$err" ''
    contains "$command --help: usage" "$out" "usage: ./cambium $command"
    contains "$command --help: examples" "$out" $'\nexamples\n  '
    lacks "$command --help: width" "$(grep -E '.{101}' <<<"$out" || true)" ' '
    [[ $command == help ]] || help=$out
    [[ $command == help ]] || call help "$command"
    [[ $command == help ]] || equal "help $command" "$out" "$help"
done
call
equal 'no arguments: help' "$out" "$whole"
call train -h
contains '-h' "$out" 'usage: ./cambium train'
call --version
equal 'version: exit' "$code" 0
contains 'version' "$out" 'cambium 0.'

# --- wrong usage --------------------------------------------------------------------------------------
wrong "did you mean 'train'?" trian
wrong 'valid: train, eval, generate' nonsense
wrong "did you mean 'train'?" help trian
wrong "did you mean '--resume'?" train --resum recipes/tiny.yaml
wrong "did you mean '--max-tokens'?" generate "$base" --max-token 5
wrong "did you mean '--verbose'?" train --verbos recipes/tiny.yaml
wrong "there is no option '-x'" train -x
wrong 'must be: ./cambium train RECIPE' train
wrong 'must be: ./cambium merge BASE ADAPTER OUT' merge "$base" adapter
wrong "'x' is one argument too many" schema x
wrong '--ids FILE is missing' trace --base "$base" --out "$work/t"
wrong '--adapter needs a value' eval recipes/tiny.yaml --adapter
wrong "'--json' looks like an option" eval recipes/tiny.yaml --adapter --json
wrong '--adapter is empty' eval recipes/tiny.yaml --adapter=
wrong '--adapter is given twice' eval recipes/tiny.yaml --adapter=a --adapter b
wrong '--json takes no value' eval recipes/tiny.yaml --json=yes
wrong "--max-tokens is '0', must be a whole number in 1..1000000" generate "$base" --max-tokens 0
wrong "--max-tokens is '5x'" generate "$base" --max-tokens 5x
wrong "--temperature is 'nan', must be a number" generate "$base" --temperature nan
wrong "--seed is '99999999999999999999'" generate "$base" --seed 99999999999999999999
wrong 'no prompt: give --prompt' generate "$base"
wrong '--type is int8, must be f32, f16 or bf16' merge "$base" "$work" "$work/m" --type int8
wrong '--type is int8, must be f32, f16, bf16, q8_0' convert "$work" "$work/m" --type int8
wrong 'must be: ./cambium convert FROM OUT' convert "$base"
wrong "--shard is '0', must be a number" convert "$work" "$work/m" --shard 0
wrong 'there is no such recipe' train recipes/tiny.yml
wrong 'there is no such recipe' plan recipes/tiny.yml
wrong 'there is no such recipe or run folder' eval runs/nothing
wrong "must be key=value" train recipes/tiny.yaml optim.lr
wrong "did you mean 'optim'?" train recipes/tiny.yaml optm.lr=1
wrong "did you mean 'lora'?" methods loraa
wrong 'there is no such file or folder' fetch "$work/nothing"
wrong 'makes none' train recipes/tiny.yaml --dry-run --profile "$work/p" out="$work/none"
equal 'wrong usage makes no run folder' "$(ls "$work")" err

# --- training -----------------------------------------------------------------------------------------
call train recipes/tiny.yaml out="$work/run" --profile "$work/profile.json"
equal 'train: exit' "$code" 0
equal 'train: nothing on stdout' "$out" ''
contains 'train: the bill' "$err" 'memory: '
contains 'train: steps' "$err" 'step 20/20  loss '
contains 'train: what next' "$err" "./cambium eval $work/run"
lacks 'train: no warnings' "$err" 'warning'
for file in recipe.yaml metrics.jsonl timing.jsonl adapter/adapter_config.json \
    adapter/adapter_model.safetensors checkpoints/step-000020/MANIFEST.json; do
    equal "the run holds $file" "$([[ -s $work/run/$file ]] && echo yes)" yes
done
out=$(<"$work/profile.json")
json 'the profile'
contains 'the profile' "$out" '"cat": "backward"'

adapter_sum() { sha256sum "$1/adapter/adapter_model.safetensors" | cut -d ' ' -f 1; }
sum=$(adapter_sum "$work/run")
wrong 'go on with --resume' train recipes/tiny.yaml out="$work/run"
call train --resume recipes/tiny.yaml out="$work/run"
equal 'resume of a finished run: exit' "$code" 0
equal 'resume of a finished run: the same adapter' "$(adapter_sum "$work/run")" "$sum"
call train recipes/tiny.yaml out="$work/again" --quiet
equal 'quiet' "$code:$err" 0:
equal 'the same recipe: the same adapter' "$(adapter_sum "$work/again")" "$sum"

call train recipes/tiny.yaml out="$work/dry" --dry-run --batches "$work/batches.jsonl"
equal 'dry run: exit' "$code" 0
equal 'dry run: no run folder' "$([[ -e $work/dry ]] && echo there)" ''
equal 'batches: steps' "$(grep -o '"step": [0-9]*' "$work/batches.jsonl" | sort -u | wc -l)" 20
equal 'batches: test data' "$(wc -l <"$work/batches.jsonl.test")" 60
call train recipes/tiny.yaml out="$work/zero" train.steps=0
equal 'no steps: exit' "$code" 0
equal 'no steps: the start as an adapter' "$([[ -s $work/zero/adapter/adapter_model.safetensors ]] && echo yes)" yes

code=0
"$program" train recipes/tiny.yaml out="$work/stopped" train.steps=100000 --quiet 2>"$work/err" &
pid=$!
for ((i = 0; i < 600; i++)); do
    [[ -e $work/stopped/metrics.jsonl && $(wc -l <"$work/stopped/metrics.jsonl") -gt 3 ]] && break
    sleep 0.1
done
kill -TERM "$pid"
wait "$pid" || code=$?
equal 'SIGTERM: exit' "$code" 3
contains 'SIGTERM: text' "$(<"$work/err")" 'stopped by SIGTERM after step'

call train recipes/quickstart.yaml --offline-demo out="$work/demo"
equal 'demonstration: exit' "$code" 0
contains 'demonstration: says what it is' "$err" 'not recipes/quickstart.yaml itself'
contains 'demonstration: the loss falls' "$err" 'Training works here: the loss on sentences that it has not seen fell'

HF_ENDPOINT=http://127.0.0.1:9 call train recipes/tiny.yaml base=hf:nobody/nothing out="$work/none"
equal 'no network: exit' "$code" 1
contains 'no network: remedy' "$err" 'train recipes/tiny.yaml --offline-demo'

# a trunk with a chat template: the end of a turn is no part of the true answer
mkdir "$work/chat"
cp tests/data/tiny_llama.json "$work/chat/config.json"
vocabulary=
n=0
for word in {a..z} Ġ Ċ; do
    vocabulary+="${vocabulary:+, }\"$word\": $n"
    n=$((n + 1))
done
special='"single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true'
cat >"$work/chat/tokenizer.json" <<END
{"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
 "added_tokens": [{"id": 28, "content": "<|im_start|>", $special}, {"id": 29, "content": "<|im_end|>", $special}],
 "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
 "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
 "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": {$vocabulary}, "merges": []}}
END
cat >"$work/chat/tokenizer_config.json" <<'END'
{"eos_token": "<|im_end|>", "chat_template": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"}
END
printf '{"prompt": "say cow", "target": "moo"}\n%.0s' 1 2 3 4 >"$work/chat/data.jsonl"
call train recipes/tiny.yaml base="random:$work/chat/config.json" data.template=chat \
    data.train.path="$work/chat/data.jsonl" data.test.path="$work/chat/data.jsonl" train.steps=1 \
    train.answers=1 optim.warmup=0 out="$work/chat/run"
equal 'chat: exit' "$code" 0
contains 'chat: answers are shown' "$err" $'\n  before '
equal 'chat: the true answer' "$(grep '^  truth' <<<"$err")" '  truth   moo'
contains 'answers are scored' "$err" ' ROUGE-L of 1 greedy answers '
call eval "$work/chat/run" train.answers=3
contains 'eval: scores of answers' "$out" 'of 3 greedy answers'
scores=('train.answer_metrics=[exact_match, chrf_plus]' train.answer_resamples=20)
call eval "$work/chat/run" train.answers=3 "${scores[@]}"
contains 'eval: the chosen scores' "$(grep '^chrF++ ' <<<"$out")" ' of 3 greedy answers, 95 % interval '
lacks 'eval: no others' "$out" 'ROUGE'
call eval "$work/chat/run" train.answers=3 "${scores[@]}" --json
json 'eval --json of scores'
contains 'eval --json: scores' "$out" '"exact_match": '
contains 'eval --json: intervals' "$out" '"chrf_plus_interval": ['
wrong "did you mean 'bleu'?" eval "$work/chat/run" train.answer_metrics=blue
wrong "did you mean 'rouge_l'?" train recipes/tiny.yaml 'train.answer_metrics=[bleu, rougel]' out="$work/none"

# a chat: each turn is answered as if all turns before it were one prompt
model=random:$work/chat/config.json
luck=(--temperature 1 --seed 3 --max-tokens 60 --ignore-eos)
input=$'say cow\n\nand a cat' call generate "$model" --chat --system be "${luck[@]}"
equal 'chat: exit' "$code" 0
said=$out
turns='{"messages": [{"role": "system", "content": "be"}, {"role": "user", "content": "say cow"}'
printf '%s]}\n' "$turns" >"$work/turns.jsonl"
call generate "$model" --prompts "$work/turns.jsonl" "${luck[@]}" --json
said_first=${out#*\"text\": }
turns+=", {\"role\": \"assistant\", \"content\": ${said_first%, \"prompt_tokens*}}"
printf '%s, {"role": "user", "content": "and a cat"}]}\n' "$turns" >>"$work/turns.jsonl"
call generate "$model" --prompts "$work/turns.jsonl" "${luck[@]}"
equal 'chat: the answers' "$said" "$out"
if ((${#said} > 5)); then passes; else fails 'chat' "answers '$said' show nothing"; fi
input=$'say cow\n/new\nsay cow' call generate "$model" --chat --max-tokens 25 --verbose
equal 'chat: /new forgets' "$(grep -o '; [0-9]* of [0-9]* are' <<<"$err" | sort -u | wc -l)" 1
input=$'say cow\nand a cat\nhi' call generate "$model" --chat --context 52 --max-tokens 1 --verbose
equal 'chat: a turn without room: exit' "$code" 0
contains 'chat: a turn without room' "$err" 'it was left out'
contains 'chat: a turn that has room again' "${err##*left out}" 'tokens read'
wrong 'has no chat template' generate "$base" --chat
wrong "more than the model's" generate "$model" --chat --context 100000
wrong 'goes with --chat' generate "$model" --context 10 --prompt hi
wrong '--prompts does not go with' generate "$model" --chat --prompts "$work/turns.jsonl"
wrong '--beams does not go with' generate "$model" --chat --beams 2

# Ctrl-C stops an answer and not the program
mkfifo "$work/lines"
"$program" generate "$model" --chat --ignore-eos --verbose --temperature 1 \
    <"$work/lines" >"$work/said" 2>"$work/err" &
pid=$!
exec 7>"$work/lines"
for turn in 1 2; do
    printf 'say cow\n' >&7
    for ((i = 0; i < 600; i++)); do
        [[ $(stat -c %s "$work/said") -gt $((turn * 10)) ]] && break
        sleep 0.05
    done
    kill -INT "$pid"
    for ((i = 0; i < 600; i++)); do
        [[ $(grep -c 'tokens read' "$work/err") == "$turn" ]] && break
        sleep 0.05
    done
    equal "Ctrl-C in answer $turn" "$(grep -c 'tokens read' "$work/err")" "$turn"
done
exec 7>&-
code=0
wait "$pid" || code=$?
equal 'Ctrl-C: the program goes on, to its end' "$code" 0

# --- what comes out -----------------------------------------------------------------------------------
call eval "$work/run"
equal 'eval: exit' "$code" 0
contains 'eval' "$out" 'loss           5.'
tuned=$out
call eval recipes/tiny.yaml --adapter="$work/run/adapter"
equal 'eval of a recipe with an adapter' "$out" "$tuned"
call eval recipes/tiny.yaml
lacks 'eval of the bare trunk differs' "$out" "$tuned"
call eval "$work/run" data.length=32 --json
json 'eval --json'

call merge "$base" "$work/run/adapter" "$work/merged"
equal 'merge: exit' "$code" 0
wrong 'exists already' merge "$base" "$work/run/adapter" "$work/merged"
call eval recipes/tiny.yaml base="$work/merged"
equal 'the merged trunk is as good as trunk and adapter' "$out" "$tuned"

call convert "$work/merged" "$work/merged.gguf"
equal 'convert: exit' "$code" 0
contains 'convert: says what it cost' "$out" 'lossless'
lacks 'convert: nothing was rounded' "$out" 'error'
call convert "$work/merged.gguf" "$work/back" --shard 0.1
equal 'convert back: exit' "$code" 0
call eval recipes/tiny.yaml base="$work/back"
equal 'there and back it is the same trunk' "$out" "$tuned"
call convert "$work/merged" "$work/merged8.gguf" --type q8_0
contains 'convert: what rounding costs' "$out" 'rms error 0.00'
wrong 'exists already' convert "$work/merged" "$work/merged.gguf"
call convert "$work/run/adapter" "$work/adapter.gguf" --base "$work/merged" --force
equal 'convert an adapter: exit' "$code" 0
call convert "$work/adapter.gguf" "$work/adapter-back" --base "$work/merged"
equal 'convert an adapter back: exit' "$code" 0
call eval recipes/tiny.yaml --adapter="$work/adapter-back"
equal 'there and back it is the same adapter' "$out" "$tuned"

call generate "$base" --adapter "$work/run/adapter" --prompt 'Say cow' --prompt='Say cat' --max-tokens 6 --json
equal 'generate: exit' "$code" 0
equal 'generate: a line each' "$(wc -l <<<"$out")" 2
answers=$out
while read -r out; do json 'generate --json'; done <<<"$answers"
input=$'Say cow\nSay cat' call generate "$base" --adapter "$work/run/adapter" --max-tokens 6
lines=$out
call generate "$work/merged" --prompt 'Say cow' --prompt 'Say cat' --max-tokens 6
equal 'generate: merged, and prompts from stdin' "$out" "$lines"

# prompts: from a file, as JSON lines, all of standard input as one
printf 'Say cow\n\nSay cat\n' >"$work/prompts.txt"
call generate "$work/merged" --prompts "$work/prompts.txt" --max-tokens 6
equal 'generate --prompts' "$out" "$lines"
printf '{"prompt": "Say cow", "more": 1}\n{"prompt": "Say cat"}\n' >"$work/prompts.jsonl"
call generate "$work/merged" --prompts "$work/prompts.jsonl" --max-tokens 6 --batch 1
equal 'generate --prompts with JSON lines, one after another' "$out" "$lines"
printf '{"prompt": "Say cow"}\n{"question": "Say cat"}\n' >"$work/wrong.jsonl"
call generate "$work/merged" --prompts "$work/wrong.jsonl"
equal 'generate: a wrong line: exit' "$code" 1
contains 'generate: a wrong line is named' "$err" "$work/wrong.jsonl:2: prompt is missing"
printf '{"messages": [{"role": "user", "content": "Say cow"}]}\n' >"$work/turns.jsonl"
wrong 'has no chat template' generate "$work/merged" --prompts "$work/turns.jsonl"
printf '{"messages": []}\n' >"$work/turns.jsonl"
call generate "$work/merged" --prompts "$work/turns.jsonl"
contains 'generate: no messages' "$err" 'at least one turn'
input=$'Say\ncow' call generate "$work/merged" --prompt - --max-tokens 6 --json
contains 'generate --prompt -' "$out" '"prompt": "Say\ncow"'
wrong 'leave one out' generate "$work/merged" --plain --system Be --prompt hi

# a text that stops, streams, is sampled
call generate "$work/merged" --prompt 'Say cow' --max-tokens 40 --ignore-eos
whole=$out
stop=${whole:2:2}
call generate "$work/merged" --prompt 'Say cow' --max-tokens 40 --ignore-eos --stop nowhere --stop "$stop"
equal 'generate --stop' "$out" "${whole%%"$stop"*}"
call generate "$work/merged" --prompt 'Say cow' --max-tokens 40 --ignore-eos --stop "$stop" --json
contains 'generate --stop --json' "$out" '"finish": "stop"'
call generate "$work/merged" --prompt 'Say cow' --max-tokens 40 --ignore-eos --stream
equal 'generate --stream' "$out" "$whole"
wrong '--stop is empty' generate "$work/merged" --prompt hi --stop ''
call generate "$work/merged" --prompt 'Say cow' --prompt 'Say cat' --max-tokens 6 --stream --json
while read -r out; do json 'generate --stream --json'; done <<<"$out"
sampled=(--temperature 0.9 --min-p 0.05 --repetition-penalty 1.2 --no-repeat-ngram 3 --seed 5 --max-tokens 30)
call generate "$work/merged" --prompts "$work/prompts.txt" "${sampled[@]}"
drawn=$out
call generate "$work/merged" --prompts "$work/prompts.txt" "${sampled[@]}" --batch 1
equal 'generate: draws know nothing of the batch' "$out" "$drawn"
call generate "$work/merged" --prompts "$work/prompts.txt" "${sampled[@]}" --seed 6
if [[ $out != "$drawn" ]]; then passes; else fails 'generate --seed' 'another seed, the same text'; fi

# a search
beams=(--beams 3 --length-penalty 0.8 --early-stopping never --max-tokens 12)
call generate "$work/merged" --prompts "$work/prompts.txt" "${beams[@]}"
equal 'generate --beams: exit' "$code" 0
searched=$out
call generate "$work/merged" --prompts "$work/prompts.txt" "${beams[@]}" --batch 1
equal 'generate --beams knows nothing of the batch' "$out" "$searched"
call generate "$work/merged" --prompt 'Say cow' "${beams[@]}" --json
json 'generate --beams --json'
contains 'generate --beams --json' "$out" '"score": -'
call generate "$work/merged" --prompt 'Say cow' --max-tokens 40 --ignore-eos --beams 1
equal 'generate: one beam is no search' "$out" "$whole"
wrong 'must be no, yes or never' generate "$work/merged" --prompt hi --beams 2 --early-stopping maybe
wrong 'draws by chance; leave one out' generate "$work/merged" --prompt hi --beams 2 --temperature 1
wrong 'has nothing to print; leave one out' generate "$work/merged" --prompt hi --beams 2 --stream

printf '[{"ids": [1, 70, 80, 90], "labels": [1, 70, 80, 90]}]' >"$work/case.json"
call trace --base "$base" --ids "$work/case.json" --out "$work/trace.safetensors" --hidden --json
equal 'trace: exit' "$code" 0
json 'trace --json'
call inspect "$work/trace.safetensors"
contains 'inspect: tensors' "$out" 'seq0.logits'

input='a small cow' call tokenize "$base"
equal 'tokenize' "$out" '{"ids": [97, 32, 115, 109, 97, 108, 108, 32, 99, 111, 119]}'
input=$out call tokenize "$base" --decode
equal 'tokenize --decode' "$out" 'a small cow'

for what in run run/adapter run/checkpoints/step-000020 merged trace.safetensors; do
    call inspect "$work/$what" --json
    equal "inspect $what: exit" "$code" 0
    json "inspect $what --json"
done
call inspect "$work/nothing"
equal 'inspect nothing: exit' "$code" 1
call inspect recipes/tiny.yaml
equal 'inspect a recipe: exit' "$code" 2
contains 'inspect a recipe: names plan' "$err" './cambium plan recipes/tiny.yaml'
call generate "$work/run" --prompt 'Say cow'
equal 'generate a run: exit' "$code" 2
contains 'generate a run: says how' "$err" "--adapter $work/run/adapter"
call plan recipes/tiny.yaml optim.lr=5e-4
contains 'plan: origins' "$out" 'lr: 5e-4  # command line'
call plan recipes/tiny.yaml --json
json 'plan --json'
call schema
json schema
call methods
contains methods "$out" lora
call methods lora
contains 'methods lora' "$out" rank
call fetch "$work/merged"
equal fetch "$out" "$work/merged"

# --- stdout that cannot be written ----------------------------------------------------------------------
for arguments in --help schema methods 'plan recipes/tiny.yaml' "inspect $work/run"; do
    code=0
    # shellcheck disable=SC2086
    "$program" $arguments >/dev/full 2>"$work/err" || code=$?
    equal "$arguments: full disk" "$code" 1
    contains "$arguments: full disk" "$(<"$work/err")" 'cambium: '
done
code=0
"$program" schema >&- 2>"$work/err" || code=$?
equal 'closed stdout' "$code" 1

report cli
