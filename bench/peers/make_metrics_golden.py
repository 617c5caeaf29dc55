#!/usr/bin/env python3
r"""Writes tests/golden/metrics/*.json: cases with the numbers of the reference implementations.

    python3 -m venv VENV
    VENV/bin/pip install scikit-learn==1.9.1 scipy==1.17.1 seqeval==1.2.2 sacrebleu==2.6.0 rouge_score==0.1.2 \
        transformers==4.57.1
    VENV/bin/python bench/peers/make_metrics_golden.py [FOLDER]

The numbers come from scikit-learn (classes, labels, errors, top-k), scipy (correlations), seqeval (spans),
sacrebleu (BLEU, chrF), rouge_score (ROUGE), and transformers' copy of SQuAD 2.0's evaluation (exact match, F1
of words; version 4 was the last that had it). Calibration errors and perplexity have no reference among these:
they are computed here from their formulas. The intervals are percentiles (numpy) of figures that the same
implementations compute from resampled samples; only the random numbers are Cambium's, written down here once
more. A number that is not defined is null.
"""
import importlib.metadata
import json
import math
import os
import random
import sys
import warnings

import numpy as np
import sacrebleu
import scipy.stats
import sklearn.metrics as sk
from rouge_score.rouge_scorer import RougeScorer
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB1, IOB2, IOBES
from transformers.data.metrics import squad_metrics

warnings.simplefilter("ignore")
SEED, RESAMPLES, LEVEL = 7, 60, 0.9


# ---- random numbers --------------------------------------------------------------------------------------

def philox(key, counter):
    """Philox4x32-10 (Salmon et al. 2011)."""
    (k0, k1), (c0, c1, c2, c3) = key, counter
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & 0xFFFFFFFF, (p0 >> 32) ^ c3 ^ k1, p0 & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def key_for(seed, purpose):
    mask = (1 << 64) - 1
    h = 0xCBF29CE484222325
    for byte in purpose.encode():
        h = ((h ^ byte) * 0x100000001B3) & mask
    h ^= (seed * 0x9E3779B97F4A7C15) & mask
    h ^= h >> 32
    h = (h * 0xD6E8FEB86659FD93) & mask
    h ^= h >> 32
    return h & 0xFFFFFFFF, h >> 32


def resample(n, b):
    key = key_for(SEED, "bootstrap")
    return [philox(key, (i // 4, 0, b, 0))[i % 4] * n >> 32 for i in range(n)]


# ---- cases -----------------------------------------------------------------------------------------------

def number(x):
    x = float(x)
    return x if math.isfinite(x) else None


def figures(metrics, samples):
    return {name: number(f(samples)) for name, f in metrics.items()}


def intervals(metrics, samples):
    draws = [[samples[i] for i in resample(len(samples), b)] for b in range(RESAMPLES)]
    out = {}
    for name, f in metrics.items():
        values = np.array([f(d) for d in draws], dtype=float)
        values = values[~np.isnan(values)]
        low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        out[name] = [low, high, RESAMPLES - len(values)]
    return out


def case(name, metrics, samples, options=None, interval=False, each=False):
    """samples: a list of what metric_add_... takes; `each` also wants the figures of every sample alone."""
    c = {"name": name, "options": options or {}, "samples": samples, "want": figures(metrics, samples)}
    if each:
        c["each"] = [figures(metrics, [s]) for s in samples]
    if interval:
        c["intervals"] = intervals(metrics, samples)
    return c


# ---- classes and labels ----------------------------------------------------------------------------------

def columns(samples):
    return [s[0] for s in samples], [s[1] for s in samples]


def from_sklearn(f, **options):
    def compute(samples):
        predicted, truth = columns(samples)
        return f(truth, predicted, **options)
    return compute


PARTS = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
AVERAGES = {f"{part}_{average}": from_sklearn(f, average=average)
            for part, f in PARTS.items() for average in ("macro", "micro", "weighted")}
CLASSES = {"accuracy": from_sklearn(sk.accuracy_score), "matthews": from_sklearn(sk.matthews_corrcoef), **AVERAGES}
BINARY = {**CLASSES, **{part: from_sklearn(f, average="binary", labels=[0, 1]) for part, f in PARTS.items()}}
LABELS = {"accuracy": from_sklearn(sk.accuracy_score), **AVERAGES,
          **{f"{part}_samples": from_sklearn(f, average="samples") for part, f in PARTS.items()}}


def binary(samples):
    return list(zip(*[[int(c) for c in column] for column in samples]))


def classes():
    r = random.Random(1)
    truths = (r.choice([0, 0, 0, 1, 1, 2, 3]) for _ in range(60))
    noisy = [(t if r.random() < 0.6 else r.randrange(4), t) for t in truths]
    rare = [(r.choice([0, 1]), int(r.random() < 0.15)) for _ in range(25)]
    two, many = {"classes": 2}, {"classes": 5}
    return [
        case("mixed", BINARY, binary(["0110100110", "0100111010"]), two, interval=True),
        case("one sample", BINARY, binary(["1", "1"]), two),
        case("nothing predicted", BINARY, binary(["0000", "0101"]), two),
        case("nothing true", BINARY, binary(["0110", "0000"]), two),
        case("all of class 0", BINARY, binary(["000", "000"]), two),
        case("all of class 1", BINARY, binary(["111", "111"]), two),
        case("all wrong", BINARY, binary(["0101", "1010"]), two),
        case("rare class", BINARY, rare, two, interval=True),
        case("four of five classes", CLASSES, noisy, many, interval=True),
        case("one class predicted", CLASSES, [(2, t) for t in (0, 1, 2, 3, 2)], many),
        case("a class only predicted", CLASSES, binary(["0144", "0101"]), many),
        case("a class only true", CLASSES, binary(["0101", "0144"]), many),
        case("nothing right", CLASSES, binary(["12340", "01234"]), many),
        case("all right", CLASSES, binary(["01234", "01234"]), many),
    ]


def labels():
    r = random.Random(2)

    def sets(text):
        return [tuple([int(c) for c in half] for half in pair.split("/")) for pair in text.split()]

    noisy = []
    for _ in range(30):
        truth = [int(r.random() < p) for p in (0.5, 0.3, 0.1, 0.05)]
        noisy.append(([t if r.random() < 0.75 else 1 - t for t in truth], truth))
    return [
        case("mixed", LABELS, noisy, {"classes": 4}, interval=True),
        case("small", LABELS, sets("110/100 011/011 101/010 000/001"), {"classes": 3}),
        case("a column empty", LABELS, sets("100/100 010/110 110/010"), {"classes": 3}),
        case("no truth", LABELS, sets("100/000 010/000"), {"classes": 3}),
        case("nothing predicted", LABELS, sets("000/100 000/011"), {"classes": 3}),
        case("nothing at all", LABELS, sets("000/000 000/000"), {"classes": 3}),
    ]


# ---- scores ----------------------------------------------------------------------------------------------

def top_k(k):
    def compute(samples):
        scores, truth = columns(samples)
        return sk.top_k_accuracy_score(truth, scores, k=k, labels=range(len(scores[0])))
    return compute


def binned(probability, hit, M):
    """Sum over the bins of |sum of probabilities - hits|, bins (b/M, (b+1)/M]."""
    bins = [[] for _ in range(M)]
    for p, h in zip(probability, hit):
        bins[next((b for b in range(M) if p <= (b + 1) / M), M - 1)].append(p - h)
    return sum(abs(sum(b)) for b in bins)


def top_labels(samples):
    scores, truth = columns(samples)
    top = [int(np.argmax(s)) for s in scores]
    return [s[t] for s, t in zip(scores, top)], [int(t == y) for t, y in zip(top, truth)]


def ece(M):
    return lambda samples: binned(*top_labels(samples), M) / len(samples)


def ece_classwise(M):
    def compute(samples):
        scores, truth = columns(samples)
        C = len(scores[0])
        sums = [binned([s[c] for s in scores], [int(y == c) for y in truth], M) for c in range(C)]
        return sum(sums) / C / len(samples)
    return compute


def ece_adaptive(M):
    def compute(samples):
        probability, hit = top_labels(samples)
        order = np.argsort(probability, kind="stable")
        gaps = (np.array(probability) - np.array(hit))[order]
        return sum(abs(part.sum()) for part in np.array_split(gaps, M)) / len(samples)
    return compute


def scores():
    r = random.Random(3)

    def metrics(k, M):
        return {"top_k": top_k(k), "ece": ece(M), "ece_classwise": ece_classwise(M), "ece_adaptive": ece_adaptive(M)}

    def distribution(C, sharp):
        v = [math.exp(sharp * r.gauss(0, 1)) for _ in range(C)]
        v = [round(x / sum(v), 4) for x in v]
        return [*v[:-1], round(1 - sum(v[:-1]), 4)]

    def draw(n, C, sharp):
        out = []
        for _ in range(n):
            p = distribution(C, sharp)
            out.append((p, r.choices(range(C), p)[0]))
        return out

    ties = [([0.25, 0.25, 0.25, 0.25], t) for t in range(4)] + [([0.4, 0.1, 0.4, 0.1], t) for t in range(4)]
    borders = [([b / 10, 1 - b / 10, 0], b % 2) for b in range(11)]

    def beside(p):
        return [([p, 0, 1 - p], 0), ([p - 0.01, 1 - p, 0.01], 1), ([p + 0.01, 0, 0.99 - p], 0)]

    sure = [([1, 0, 0], 0), ([0, 1, 0], 0), ([0, 0, 1], 2)]
    return [
        case("mixed", metrics(2, 15), draw(40, 4, 1.5), {"classes": 4, "k": 2, "bins": 15}, interval=True),
        case("ten bins", metrics(1, 10), draw(25, 3, 1), {"classes": 3, "k": 1, "bins": 10}),
        case("ties", metrics(2, 4), ties, {"classes": 4, "k": 2, "bins": 4}),
        case("ties, first of three", metrics(3, 4), ties, {"classes": 4, "k": 3, "bins": 4}),
        case("on the borders of bins", metrics(2, 10), borders, {"classes": 3, "k": 2, "bins": 10}),
        # the product of probability and number of bins is rounded to the wrong side
        case("a border, rounded up", metrics(2, 25), beside(14 / 25), {"classes": 3, "k": 2, "bins": 25}),
        case("behind a border, rounded down", metrics(2, 6), beside(math.nextafter(4 / 6, 1)),
             {"classes": 3, "k": 2, "bins": 6}),
        case("sure", metrics(1, 15), sure, {"classes": 3, "k": 1, "bins": 15}),
        case("one bin", metrics(3, 1), draw(12, 3, 2), {"classes": 3, "k": 3, "bins": 1}),
    ]


# ---- values and losses -----------------------------------------------------------------------------------

def scipy_or_nan(f):
    def compute(samples):
        x, y = columns(samples)
        return f(x, y)[0] if len(samples) > 1 else math.nan
    return compute


VALUES = {"mean": lambda samples: np.mean(columns(samples)[0]),
          "mse": from_sklearn(sk.mean_squared_error), "mae": from_sklearn(sk.mean_absolute_error),
          "pearson": scipy_or_nan(scipy.stats.pearsonr), "spearman": scipy_or_nan(scipy.stats.spearmanr)}


def values():
    r = random.Random(4)
    noisy = [(round(t + r.gauss(0, 1.5), 3), t) for t in (round(r.uniform(0, 5), 1) for _ in range(40))]
    return [
        case("mixed", VALUES, noisy, interval=True),
        case("ties", VALUES, [(1, 2), (1, 1), (2, 2), (2, 5), (2, 2), (5, 5), (0, 1)], interval=True),
        case("far from zero", VALUES, [(1e8 + i, 1e8 + (i * 7) % 5) for i in range(9)]),
        case("two samples", VALUES, [(1, 5), (2, 4)]),
        case("one sample", VALUES, [(1, 5)]),
        case("constant prediction", VALUES, [(3, t) for t in (1, 2, 3)]),
        case("constant truth", VALUES, [(p, 0.1) for p in (1, 2, 3)]),
        case("all equal", VALUES, [(3, 3)] * 3),
        case("perfect", VALUES, [(x, 2 * x + 1) for x in (0.1, 0.2, 0.7, 3)]),
        case("opposite", VALUES, [(x, -x) for x in (0.1, 0.2, 0.7, 3)]),
        case("monotone", VALUES, [(x, math.exp(x)) for x in (1, 2, 3, 8)]),
    ]


def losses():
    metrics = {"perplexity": lambda s: math.exp(sum(x for x, _ in s) / sum(n for _, n in s))
               if sum(n for _, n in s) else math.nan}
    r = random.Random(5)
    some = [(round(n * r.uniform(1, 4), 4), n) for n in (r.randrange(1, 40) for _ in range(20))]
    return [case("mixed", metrics, some, interval=True), case("one sample", metrics, [(2.5, 2)]),
            case("nothing lost", metrics, [(0, 3), (0, 1)]), case("no targets", metrics, [(0, 0)]),
            case("a sample without targets", metrics, [(0, 0), (3.5, 4)])]


# ---- tags ------------------------------------------------------------------------------------------------

def spans(f, average, scheme):
    strict = {"mode": "strict", "scheme": scheme} if scheme else {}

    def compute(samples):
        predicted, truth = columns(samples)
        return f([list(t) for t in truth], [list(p) for p in predicted], average=average, **strict)
    return compute


def tag_metrics(scheme):
    return {"span_precision": spans(precision_score, "micro", scheme),
            "span_recall": spans(recall_score, "micro", scheme),
            "span_f1": spans(f1_score, "micro", scheme), "span_f1_macro": spans(f1_score, "macro", scheme),
            "span_f1_weighted": spans(f1_score, "weighted", scheme)}


def tags():
    r = random.Random(6)
    out = []

    def noisy(prefixes, n):
        names = ["O"] + [f"{p}-{t}" for p in prefixes for t in ("PER", "LOC")]
        truth = [[r.choice(names) for _ in range(r.randrange(1, 9))] for _ in range(n)]
        return [([t if r.random() < 0.7 else r.choice(names) for t in s], s) for s in truth]

    for name, scheme, prefixes in (("default", None, "BIES"), ("iob1", IOB1, "BI"), ("iob2", IOB2, "BI"),
                                   ("iobes", IOBES, "BIES")):
        metrics = tag_metrics(scheme)
        fixed = ["O B-PER I-PER O/O B-PER I-PER O", "I-PER I-PER O/B-PER I-PER O",
                 "B-PER B-PER I-LOC/B-PER I-PER I-LOC",
                 "O O/O O", "B-PER/B-LOC", "O I-LOC I-LOC B-LOC I-PER/O B-LOC I-LOC B-LOC I-PER"]
        if "E" in prefixes:
            fixed += ["B-PER E-PER S-LOC/B-PER E-PER S-LOC", "B-PER I-PER O/B-PER E-PER O",
                      "E-PER S-PER I-PER E-LOC/O S-PER O O"]
        pairs = [tuple(half.split() for half in f.split("/")) for f in fixed]
        options = {"tags": ["O"] + [f"{p}-{t}" for p in prefixes for t in ("PER", "LOC")]}
        if scheme:
            options["scheme"] = name
        out += [case(f"{name}: fixed", metrics, pairs, options, each=True),
                case(f"{name}: mixed", metrics, noisy(prefixes, 30), options, interval=True),
                case(f"{name}: no span", metrics, [pairs[3]], options),
                case(f"{name}: nothing predicted", metrics, [(["O", "O"], pairs[0][1][1:3])], options)]
    bare = {"tags": ["O", "B", "I"]}
    out.append(case("no types", tag_metrics(None), [("OBIIO", "OBIOO"), ("BBO", "BIO")], bare))
    for c in out:
        number_tags(c)
    return out


def number_tags(c):
    c["samples"] = [[[c["options"]["tags"].index(t) for t in side] for side in s] for s in c["samples"]]


# ---- texts -----------------------------------------------------------------------------------------------

def rouge(kind):
    scorer = RougeScorer([kind], use_stemmer=False)
    return lambda samples: np.mean([scorer.score_multi(t, p)[kind].fmeasure for p, t in samples])


def transposed(samples):
    """sacrebleu wants the first truths of all samples, then the second ones; None: there is none."""
    most = max(len(t) for _, t in samples)
    return [[t[i] if i < len(t) else None for _, t in samples] for i in range(most)]


def corpus(metric):
    return lambda samples: metric.corpus_score([p for p, _ in samples], transposed(samples)).score


def squad(f):
    return lambda samples: np.mean([max(f(t, p) for t in truths) for p, truths in samples])


TEXTS = {"exact_match": squad(squad_metrics.compute_exact), "token_f1": squad(squad_metrics.compute_f1),
         "rouge_1": rouge("rouge1"), "rouge_2": rouge("rouge2"), "rouge_l": rouge("rougeL"),
         "rouge_lsum": rouge("rougeLsum"),
         "bleu": corpus(sacrebleu.BLEU()), "chrf": corpus(sacrebleu.CHRF()),
         "chrf_plus": corpus(sacrebleu.CHRF(word_order=2)),
         "bleu_sentence": lambda samples: np.mean([sacrebleu.sentence_bleu(p, t).score for p, t in samples])}


def texts():
    plain = [("a small tool that lists files in a folder", ["lists the files of a folder"]),
             ("library for reading images", ["library for reading and writing images"]),
             ("the quick clown juggled nine lemons", ["the quick clown juggled nine lemons"]),
             ("documentation", ["documentation for the compiler"]),
             ("shows the weather of today and tomorrow on the terminal", ["shows today's weather on the terminal"]),
             ("The River froze.", ["the river froze"]),
             ("rain rain rain rain", ["rain in the rain"]),
             ("plays music from the command line, with a playlist and a clock", ["command line music player"])]
    edges = [("", ["something"]), ("something", [""]), ("", [""]), ("the", ["a"]), ("An", ["an apple"]),
             ("apple", ["pear"]), ("   ", ["\t\n"]), ("...", ["!?"]), ("a b c d", ["e f g h"]), ("b", ["b"]),
             ("one two", ["one two"]), ("one two three", ["one two three"]), ("x y z w", ["x y q w"])]
    punctuation = [("It costs 1,234.50 dollars.", ["It costs 1,234.50 dollars ."]),
                   ("In 1999-2004, 3-4 of 5.5 (about 73%) were red.",
                    ["In 1999 - 2004, 3 to 4 of 5.5 (about 73 %) were red."]),
                   ("well-known, state-of-the-art; e.g. this", ["well known, state-of-the-art: e.g. that"]),
                   ("He said &quot;yes&quot; &amp; left &lt;b&gt;", ["He said \"yes\" & left <b>"]),
                   ("&amp;lt; and &amp;amp;quot;", ["< and &quot;"]),
                   ("a line-\nbreak and\nanother<skipped> one", ["a linebreak and another one"]),
                   ("don't stop, we're .5 away, 7. and ,8", ["don't stop; we are 0.5 away, 7 and 8"]),
                   ("wait... what?! {x} [y] ~z` a_b c/d e@f #g $h ^i *j +k =l |m",
                    ["wait what {x} [y] z a_b c/d e@f #g h i j k l m"]),
                   ("..,,..1,.2", [".. ,, 1 2"]), ("end 5-", ["end 5 -"]), ("(hi) 'so' -x- x-", ["(hi) so x x"]),
                   ("version 2.x, 3,b or 4.,5 and 6.a", ["version 2 . x, 3 , b or 4.,5 and 6 .a"]),
                   ("trailing space and hyphen-\n", ["trailing space and hyphen -"])]
    unicode = [("Müller fährt nach Köln.", ["Müller fuhr nach Köln ."]), ("日本語 の 文章", ["日本語 の 長い 文章"]),
               ("ΟΔΟΣ ΟΔΥΣΣΕΑΣ Σ ΑΣΒ", ["οδος οδυσσεας σ ασβ"]),
               ("ΤΟ\u0301Σ Α'Σ ΑΣ\u0301 ΑΣ\u0301Β", ["το\u0301ς α'ς ας\u0301 ασ\u0301β"]),
               ("İstanbul DİYARBAKIR", ["istanbul diyarbakir"]),
               ("the café\u00a0and\u2003the bar", ["cafe and bar"]), ("a\u0301 the\u00e9 x²a", ["\u00e1 thé x² a"]),
               ("— “quoted” … and ‘this’ —", ["\"quoted\" ... and 'this'"]), ("🙂 smile 🙂🙂", ["smile 🙂"]),
               ("\u212a and K, ＡＢＣ", ["k and k, abc"]), ("Ünder_score the_end", ["under score end"]),
               ("один два, три.", ["Один, два три!"])]
    several = [("the cat sat on the mat", ["a cat sat on a mat", "the cat is on the mat", "there is a cat on the mat"]),
               ("two words", ["", "two", "two words here now"]), ("b c d e", ["a b c", "c d e f g", "b c d e x y z"]),
               ("same same", ["same", "same same same"]), ("", ["a", ""]), ("short one", ["short one", "short one"])]
    lines = [("the dog ran home.\nthe cat slept all day.", ["the cat slept.\n\nall day the dog ran."]),
             ("one two three\nfour five", ["four five\none two three"]), ("a b c\nb c d", ["a b c d\nb c"]),
             ("x\nx\nx", ["x x"]), ("\n\n", ["a\nb"]), ("w1 w2 w3 w4 w5", ["w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5"]),
             ("a b a b a\nb a b", ["b a b a\na a b\n- -\nb"]), ("only one", ["only\none"]),
             # of several longest subsequences it matters which one is taken
             ("a c a d\nc b b a c a\nc b c", ["a b\na a a"]), ("b b a a\nb a c a c b\nb b c", ["a c c a a c\na b c"]),
             ("e b c d d a\ne b", ["b b b d\ne d a d e\na b d a c"])]
    r = random.Random(8)
    words = "the a of rain stone bridge - 4 , . keeps over light".split()
    noisy = []
    for _ in range(24):
        truth = [r.choice(words) for _ in range(r.randrange(2, 14))]
        predicted = [w for w in (x if r.random() < 0.75 else r.choice(words) for x in truth) if r.random() < 0.9]
        noisy.append((" ".join(predicted), [" ".join(truth)]))
    same_number = [(p, t) for p, t in several if len(t) == 3]
    return [case("plain", TEXTS, plain, each=True, interval=True), case("edges", TEXTS, edges, each=True),
            case("punctuation", TEXTS, punctuation, each=True), case("unicode", TEXTS, unicode, each=True),
            case("several truths", TEXTS, several, each=True), case("three truths", TEXTS, same_number),
            case("lines", TEXTS, lines, each=True), case("mixed", TEXTS, noisy, interval=True),
            case("all equal", TEXTS, [("a stone bridge over the river", ["a stone bridge over the river"])] * 3)]


# ---- files -----------------------------------------------------------------------------------------------

def seeds():
    lists = [[0.5, 0.75, 0.625], [1], [3, 3, 3], [1e9 + 1, 1e9 + 2, 1e9 + 3], [-0.1, 0.25, 0.7, 12]]
    return [{"figures": v, "mean": number(np.mean(v)), "deviation": number(np.std(v, ddof=1))} for v in lists]


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "../../tests/golden/metrics")
    packages = ["numpy", "scikit-learn", "scipy", "seqeval", "sacrebleu", "rouge_score", "transformers"]
    versions = {p: importlib.metadata.version(p) for p in packages}
    os.makedirs(folder, exist_ok=True)
    for make in (classes, labels, scores, values, losses, tags, texts, seeds):
        content = {"versions": versions, "seed": SEED, "resamples": RESAMPLES, "level": LEVEL, "cases": make()}
        with open(os.path.join(folder, f"{make.__name__}.json"), "w") as f:
            head = {k: v for k, v in content.items() if k != "cases"}
            f.write(json.dumps(head)[:-1] + ',\n "cases": [\n  ')
            f.write(",\n  ".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in content["cases"]))
            f.write("\n]}\n")


main()
