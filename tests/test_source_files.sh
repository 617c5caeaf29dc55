#!/usr/bin/env bash
# source_files: the same samples from files of another kind train to the same bits; sentences train as texts
# shellcheck source-path=SCRIPTDIR
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
program=$build/cambium
cd -- "$root"
needs source_files "$program"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT

train() { # NAME ARGUMENT...
    "$program" train recipes/tiny.yaml out="$work/$1" train.steps=4 train.eval_every=2 "${@:2}" --quiet \
        >"$work/out" 2>&1 || fails "$1" "$(tail -3 "$work/out")"
}
same_run() { # NAME
    equal "$1: metrics" "$(sha256sum <"$work/$1/metrics.jsonl")" "$(sha256sum <"$work/jsonl/metrics.jsonl")"
}

train jsonl
{
    printf 'prompt,target\r\n'
    sed 's/^{"prompt": "\(.*\)", "target": "\(.*\)"}$/"\1","\2"/' tests/data/tiny.jsonl
} >"$work/tiny.csv"
train csv data.train="{source: csv, path: $work/tiny.csv}" data.test="{source: csv, path: $work/tiny.csv}"
same_run csv
{
    sed 's/^{"prompt": "\(.*\)", "target": "\(.*\)"}$/\1\t0\t\2/' tests/data/tiny.jsonl
} >"$work/tiny.tsv"
tsv="{source: csv, path: $work/tiny.tsv, delimiter: tab, quotes: no, columns: [prompt, number, target], fields: [prompt, target]}"
train tsv data.train="$tsv" data.test="$tsv"
same_run tsv
printf -- '-DOCSTART- O\n\nEU B-ORG\nrejects O\n\nPeter B-PER\n' >"$work/tiny.conll"
conll="{source: conll, path: $work/tiny.conll}"
train conll data.train="$conll" data.test="$conll" data.template=
# the bytes of "B-ORG O" and "B-PER", and an end for each
equal 'conll: targets' "$(sed -n '1s/.*"eval_targets": //p' "$work/conll/metrics.jsonl")" '14}'
report source_files
