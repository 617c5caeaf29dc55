#!/usr/bin/env bash
# objectives: what is trained with a head for classes is evaluated from its run, merged into a model with that head,
# and evaluated there without an adapter; the best evaluation is that of the metric
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
program=$build/cambium
cd -- "$root"
needs objectives "$program"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT

call() { # sets out, err and code
    code=0
    out=$("$program" "$@" 2>"$work/err") || code=$?
    err=$(<"$work/err")
}
figure() { sed -n "s/.*\"$1\": \([^,}]*\).*/\1/p" <<<"$out"; }

# a trunk in a folder, whose head for the old objective is not wanted
call merge random:tests/data/tiny_bert/config.json "$work/none" "$work/base"
equal 'merge: exit without an adapter' "$code" 1
call train recipes/objectives/masked_lm.yaml out="$work/words" train.steps=2 --quiet
call merge random:tests/data/tiny_bert/config.json "$work/words/adapter" "$work/base"
equal 'merge: exit' "$code" 0
cp tests/data/tiny_bert/vocab.txt "$work/base"
contains 'masked_lm: the architecture stays' "$(<"$work/base/config.json")" '"BertForMaskedLM"'

for name in classify multi_label regression; do
    call train recipes/objectives/$name.yaml base="$work/base" out="$work/$name" --quiet
    equal "$name: exit" "$code" 0
    call eval "$work/$name" --json
    trained=$(figure loss)
    contains "$name: task type" "$(<"$work/$name/adapter/adapter_config.json")" '"SEQ_CLS"'
    contains "$name: the head is saved" "$(<"$work/$name/adapter/adapter_config.json")" '"classifier"'
    call merge "$work/base" "$work/$name/adapter" "$work/$name-merged"
    equal "$name: merge: exit" "$code" 0
    cp tests/data/tiny_bert/vocab.txt "$work/$name-merged"
    contains "$name: merged" "$(<"$work/$name-merged/config.json")" '"BertForSequenceClassification"'
    # a fresh lora changes nothing, and the head is there; five digits: sums of f32 weights are rounded once more
    call eval recipes/objectives/$name.yaml base="$work/$name-merged" --json
    equal "$name: merged" "$(printf '%.5f' "$(figure loss)")" "$(printf '%.5f' "$trained")"
done
contains 'classify: names of classes' "$(tr -d '[:space:]' <"$work/classify-merged/config.json")" \
    '"id2label":{"0":"bird","1":"fruit","2":"tool"}'
lacks 'regression: numbers have no names' "$(<"$work/regression-merged/config.json")" '"fruit"'

same_merged() { # NAME TYPE BASE: what NAME has trained is the same merged into its base
    call train "recipes/objectives/$1.yaml" base="$3" out="$work/$1" --quiet
    equal "$1: exit" "$code" 0
    call eval "$work/$1" --json
    trained=$(figure loss)
    contains "$1: task type" "$(<"$work/$1/adapter/adapter_config.json")" "\"$2\""
    call merge "$3" "$work/$1/adapter" "$work/$1-merged"
    equal "$1: merge: exit" "$code" 0
    [[ ! -e $3/vocab.txt ]] || cp "$3/vocab.txt" "$work/$1-merged"
    call eval "recipes/objectives/$1.yaml" base="$work/$1-merged" --json
    equal "$1: merged" "$(printf '%.4f' "$(figure loss)")" "$(printf '%.4f' "$trained")"
}
same_merged span QUESTION_ANS "$work/base"
contains 'span: merged' "$(<"$work/span-merged/config.json")" '"BertForQuestionAnswering"'
contains 'span: the head is saved' "$(<"$work/span/adapter/adapter_config.json")" '"qa_outputs"'
call eval "$work/span"
contains 'span: measured' "$out" 'of 40 predictions'
same_merged seq2seq SEQ_2_SEQ_LM random:tests/data/tiny_t5.json
call eval "$work/seq2seq"
contains 'seq2seq: words' "$out" perplexity
call train recipes/objectives/seq2seq.yaml out="$work/asked" train.steps=60 train.answers=6 \
    train.answer_metrics='[exact_match]' --quiet
equal 'seq2seq: asked: exit' "$code" 0
call eval "$work/asked" --json
equal 'seq2seq: answers' "$(figure answers)" 6
some=yes
[[ $(figure exact_match) =~ [1-9] ]] || some=no
equal 'seq2seq: some answers are right' "$some" yes
same_merged distil CAUSAL_LM random:tests/data/tiny_llama.json
call eval "$work/distil"
lacks 'distil: no words' "$out" perplexity

call eval "$work/classify"
contains 'eval: a table' "$out" 'accuracy       1.000   of 60 predictions, 95 % interval'
lacks 'eval: no words' "$out" perplexity
call eval "$work/words"
contains 'eval: words' "$out" perplexity

# the result is the best accuracy: with a rate that spoils everything later, the step before
call train recipes/objectives/classify.yaml out="$work/best" train.steps=30 train.eval_every=10 optim.lr=0.2 \
    train.select=best train.metric=accuracy
contains 'best: said' "$err" 'the best evaluation: accuracy 0.'
best=$(sed -n 's/^{.*"step": *\([0-9]*\).*"accuracy": *\([0-9.]*\).*/\2 \1/p' "$work/best/metrics.jsonl" |
    sort -k1,1gr -k2,2n | head -1)
call eval "$work/best" --json
equal 'best: its step' "$(figure step)" "${best#* }"
equal 'best: its accuracy' "$(printf '%.4f' "$(figure accuracy)")" "$(printf '%.4f' "${best% *}")"

# the best of a metric that is the better the larger it is, is known again after a resume
call train recipes/objectives/classify.yaml out="$work/again" train.steps=30 train.eval_every=10 train.save_every=10 \
    train.keep=9 optim.lr=0.2 train.select=best train.metric=accuracy --quiet
cp -r "$work/again" "$work/again2"
rm -rf "$work/again2"/checkpoints/step-0000{20,30} "$work/again2/adapter"
call train recipes/objectives/classify.yaml out="$work/again2" train.steps=30 train.eval_every=10 train.save_every=10 \
    train.keep=9 optim.lr=0.2 train.select=best train.metric=accuracy --resume --quiet
equal 'resumed: exit' "$code" 0
equal 'resumed: the state' "$(sha256sum <"$work/again/checkpoints/step-000030/state.h5")" \
    "$(sha256sum <"$work/again2/checkpoints/step-000030/state.h5")"

# given micro-batches that are wider than the test's
seq -s, 7 46 | sed 's/.*/{"batch": 0, "ids": [&], "label": 1}/' >"$work/wide.ids"
printf '{"ids": [5, 6, 7], "label": 0}\n%.0s' {1..30} >"$work/narrow.ids"
call train recipes/objectives/classify.yaml data.train="{source: ids, path: $work/wide.ids}" data.pack=8 data.length=8 \
    data.test="{source: ids, path: $work/narrow.ids}" train.batch_samples= train.accumulate=1 train.steps=3 out="$work/wide" --quiet
equal 'wide micro-batches: exit' "$code" 0
printf '{"ids": [5, 6, 7], "labels": [5, 6, 100000]}\n' >"$work/bad.ids"
call train recipes/tiny.yaml data.train="{source: ids, path: $work/bad.ids}" data.template= out="$work/bad" --quiet
contains 'labels are words' "$err" 'has the label 100000, must be 0..'

# a trunk whose file has neither head nor pooler, nor the names' beginning
bare=../shared/golden/trunks/bert_hidden
if [[ -d $bare ]]; then
    printf '{"ids": [%d, 7, 8], "label": %d}\n' 5 0 6 1 9 2 >"$work/three.ids"
    ids="{source: ids, path: $work/three.ids}"
    call train recipes/objectives/classify.yaml base=$bare data.train="$ids" data.test="$ids" out="$work/bare" --quiet
    equal 'bare: exit' "$code" 0
    call eval "$work/bare" --json
    trained=$(figure loss)
    call merge $bare "$work/bare/adapter" "$work/bare-merged"
    call eval recipes/objectives/classify.yaml base="$work/bare-merged" data.train="$ids" data.test="$ids" --json
    equal 'bare: merged' "$(printf '%.5f' "$(figure loss)")" "$(printf '%.5f' "$trained")"
else
    echo "SKIP objectives: $bare is not there"
fi

# several texts: embeddings of the bare trunk, whatever head its file has
call train recipes/objectives/contrastive.yaml base="$work/base" out="$work/texts" --quiet
equal 'contrastive: exit' "$code" 0
call eval "$work/texts" --json
trained=$(figure loss)
contains 'contrastive: task type' "$(<"$work/texts/adapter/adapter_config.json")" '"FEATURE_EXTRACTION"'
contains 'contrastive: names of a bare trunk' "$(tr -d '\0' <"$work/texts/adapter/adapter_model.safetensors")" \
    '"base_model.model.encoder.layer.0.attention.self.query.lora_A.weight"'
call merge "$work/base" "$work/texts/adapter" "$work/texts-merged"
equal 'contrastive: merge: exit' "$code" 0
cp tests/data/tiny_bert/vocab.txt "$work/texts-merged"
contains 'contrastive: merged' "$(<"$work/texts-merged/config.json")" '"BertModel"'
lacks 'contrastive: no classes' "$(<"$work/texts-merged/config.json")" id2label
call eval recipes/objectives/contrastive.yaml base="$work/texts-merged" --json
equal 'contrastive: merged' "$(printf '%.5f' "$(figure loss)")" "$(printf '%.5f' "$trained")"
call train recipes/objectives/triplet.yaml out="$work/last" train.steps=2 --quiet
contains 'triplet: names of a bare trunk' "$(tr -d '\0' <"$work/last/adapter/adapter_model.safetensors")" \
    '"base_model.model.layers.0.mlp.up_proj.lora_A.weight"'
call train recipes/objectives/triplet.yaml out="$work/none" --dry-run --batches "$work/texts.jsonl" --quiet
contains 'triplet: batches' "$(head -1 "$work/texts.jsonl")" '"ends": ['

# pairs: the reference is the trunk without the module, made anew by every command
call train recipes/objectives/dpo.yaml out="$work/chosen" --quiet
equal 'dpo: exit' "$code" 0
contains 'dpo: task type' "$(<"$work/chosen/adapter/adapter_config.json")" '"CAUSAL_LM"'
said=$(sed -n 's/^{.*"step": *40.*"eval_loss": *\([0-9.]*\).*/\1/p' "$work/chosen/metrics.jsonl" | tail -1)
call eval "$work/chosen" --json
equal 'dpo: evaluated' "$(printf '%.5f' "$(figure loss)")" "$(printf '%.5f' "$said")"
call eval recipes/objectives/dpo.yaml --json # a fresh lora changes nothing: log 2
equal 'dpo: at the start' "$(printf '%.6f' "$(figure loss)")" 0.693147

# a module that is loaded brings its head, or there is none
call train recipes/objectives/masked_lm.yaml base="$work/base" modules.main.at=query out="$work/query" train.steps=2 --quiet
call train recipes/objectives/classify.yaml base="$work/base" modules="[{load: $work/query/adapter}]" out="$work/no" --quiet
equal 'load without a head: exit' "$code" 2
contains 'load without a head' "$err" 'and no module trains it'
call train recipes/objectives/classify.yaml modules="[{load: $work/classify/adapter}]" base="$work/base" train.steps=2 \
    out="$work/on" --quiet
equal 'load with a head: exit' "$code" 0
report objectives
