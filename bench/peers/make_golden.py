#!/usr/bin/env python3
"""Golden numbers of trunks, from transformers: tiny models with random weights, and what PyTorch computes on them.

    bench/peers/make_golden.py [OUT [NAME...]]      default: tests/golden/trunks, all

Writes OUT/<name>/{config.json, model.safetensors, case.json, expected.safetensors} for each entry of MODELS, which
tests/test_golden reads. Everything is computed in float64 from the float32 weights as they lie on disk; the inner casts to
float32 that transformers makes are lifted. Needs torch, transformers, safetensors, numpy."""
import json
import os
import pathlib
import sys
import zlib

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from torch.overrides import TorchFunctionMode

LLAMA = dict(hidden_size=32, intermediate_size=56, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             vocab_size=96, max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2,
             pad_token_id=0, initializer_range=0.02)
BERT = dict(hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4, vocab_size=96,
            type_vocab_size=1, layer_norm_eps=1e-4, pad_token_id=1, max_position_embeddings=66, hidden_act="gelu")
GRADIENTS = ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight",
             "model.layers.1.self_attn.k_proj.weight", "model.layers.2.mlp.down_proj.weight",
             "model.layers.0.input_layernorm.weight", "model.norm.weight"]
XLMR = ["roberta.embeddings.word_embeddings.weight", "roberta.encoder.layer.0.attention.self.query.weight",
        "roberta.encoder.layer.1.output.LayerNorm.weight"]

T5 = dict(d_model=24, d_kv=6, d_ff=40, num_heads=3, num_layers=2, num_decoder_layers=3, vocab_size=96, pad_token_id=0,
          eos_token_id=1, decoder_start_token_id=0, is_encoder_decoder=True)
T5_GRADIENTS = ["shared.weight", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                "decoder.block.2.layer.1.EncDecAttention.v.weight", "encoder.block.1.layer.1.DenseReluDense.wo.weight",
                "decoder.final_layer_norm.weight"]
VIT = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, image_size=[8, 12],
           patch_size=4, num_channels=2, qkv_bias=False, hidden_act="gelu_new", layer_norm_eps=1e-4,
           id2label={str(i): f"label {i}" for i in range(4)})
VIT_ON_DISK = [("vit.layers.", "vit.encoder.layer."), (".attention.q_proj.", ".attention.attention.query."),
               (".attention.k_proj.", ".attention.attention.key."), (".attention.v_proj.", ".attention.attention.value."),
               (".attention.o_proj.", ".attention.output.dense."), (".mlp.fc1.", ".intermediate.dense."),
               (".mlp.fc2.", ".output.dense.")]

# name: model_type, architecture, kind, config, lengths of the sequences, names of the gradients
MODELS = {
    "qwen3": ("qwen3", "Qwen3ForCausalLM", "causal_lm",
              dict(LLAMA, head_dim=12, attention_bias=True, rope_theta=1e6, tie_word_embeddings=True), (3, 17, 30),
              GRADIENTS + ["model.layers.0.self_attn.q_norm.weight", "model.layers.1.self_attn.k_norm.weight"]),
    "qwen2_windows": ("qwen2", "Qwen2ForCausalLM", "causal_lm",
                      dict(LLAMA, use_sliding_window=True, sliding_window=5, max_window_layers=1,
                           tie_word_embeddings=False), (3, 17, 30), GRADIENTS),
    "gemma": ("gemma", "GemmaForCausalLM", "causal_lm",
              dict(LLAMA, head_dim=12, hidden_act="gelu", tie_word_embeddings=True), (3, 17, 30),
              GRADIENTS + ["model.layers.1.post_attention_layernorm.weight"]),
    "gemma3": ("gemma3_text", "Gemma3ForCausalLM", "causal_lm",
               dict(LLAMA, head_dim=16, query_pre_attn_scalar=12, sliding_window=6, sliding_window_pattern=3,
                    hidden_activation="gelu_pytorch_tanh", rope_theta=1e6, rope_local_base_freq=1e4,
                    rope_scaling={"rope_type": "linear", "factor": 8.0}), (3, 17, 30),
               GRADIENTS + ["model.layers.0.self_attn.q_norm.weight",
                            "model.layers.1.post_feedforward_layernorm.weight"]),
    "yarn": ("llama", "LlamaForCausalLM", "causal_lm",
             dict(LLAMA, max_position_embeddings=256, tie_word_embeddings=False,
                  rope_scaling={"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32}),
             (3, 17, 90), GRADIENTS),
    "yarn_scaled": ("llama", "LlamaForCausalLM", "causal_lm",
                    dict(LLAMA, head_dim=16, max_position_embeddings=256, tie_word_embeddings=True,
                         rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
                                       "mscale": 1.2, "mscale_all_dim": 0.7, "beta_fast": 20.0, "beta_slow": 2.0,
                                       "truncate": False}), (3, 17, 90), GRADIENTS),
    "dynamic": ("llama", "LlamaForCausalLM", "causal_lm",
                dict(LLAMA, max_position_embeddings=20, tie_word_embeddings=True,
                     rope_scaling={"rope_type": "dynamic", "factor": 2.0}), (3, 20, 50), GRADIENTS),
    "linear_biases": ("llama", "LlamaForCausalLM", "causal_lm",
                      dict(LLAMA, attention_bias=True, mlp_bias=True, tie_word_embeddings=False,
                           rope_scaling={"rope_type": "linear", "factor": 2.5}), (3, 17, 30),
                      GRADIENTS + ["model.layers.1.self_attn.o_proj.bias", "model.layers.1.mlp.up_proj.bias"]),
    "xlm_roberta": ("xlm-roberta", "XLMRobertaForMaskedLM", "masked_lm", BERT, (3, 17, 30), XLMR),
    "xlm_roberta_classify": ("xlm-roberta", "XLMRobertaForSequenceClassification", "classify",
                             dict(BERT, id2label={str(i): f"label {i}" for i in range(3)}), (3, 17, 30),
                             XLMR + ["classifier.out_proj.weight"]),
    "t5_relu": ("t5", "T5ForConditionalGeneration", "seq2seq",
                dict(T5, feed_forward_proj="relu", tie_word_embeddings=True, relative_attention_num_buckets=12,
                     relative_attention_max_distance=25), (3, 17, 40), T5_GRADIENTS),
    "t5_unscaled": ("t5", "T5ForConditionalGeneration", "seq2seq",
                    dict(T5, d_kv=4, num_heads=2, feed_forward_proj="gated-silu", tie_word_embeddings=True,
                         scale_decoder_outputs=False, relative_attention_num_buckets=9,
                         relative_attention_max_distance=7), (3, 17, 40), T5_GRADIENTS),
    "vit_oblong": ("vit", "ViTForImageClassification", "image_classify", VIT, (7, 7, 7),
                   ["vit.embeddings.patch_embeddings.projection.weight", "vit.embeddings.position_embeddings",
                    "vit.embeddings.cls_token", "vit.encoder.layer.1.attention.output.dense.bias",
                    "vit.encoder.layer.0.layernorm_after.weight", "classifier.weight"]),
}
DROPOUTS = ("attention_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob")
IGNORE = -100


class Float64(TorchFunctionMode):
    """Where transformers asks for float32 it gets float64."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.Tensor.float:
            return args[0].double()
        args = tuple(torch.float64 if a is torch.float32 else a for a in args)
        return func(*args, **{k: torch.float64 if a is torch.float32 else a for k, a in kwargs.items()})


def generator(*words):
    return np.random.default_rng(zlib.crc32(" ".join(words).encode()))


def disk_name(spec, name):
    """Released files of vit have older names than today's modules."""
    for ours, theirs in VIT_ON_DISK if spec[0] == "vit" else []:
        name = name.replace(ours, theirs)
    return name


def write_folder(name, spec, folder):
    """The config, and weights wide enough that whatever is forgotten shows."""
    model_type, architecture, _, config, _, _ = spec
    folder.mkdir(parents=True, exist_ok=True)
    written = {"model_type": model_type, "architectures": [architecture], **config}
    (folder / "config.json").write_text(json.dumps(written, indent=2) + "\n")
    shapes = getattr(transformers, architecture)(transformers.AutoConfig.from_pretrained(folder))
    wide = 0.15 if model_type == "t5" else 0.22     # t5's scores have no scale
    tensors, tied = {}, set(shapes.all_tied_weights_keys) if hasattr(shapes, "all_tied_weights_keys") else set()
    for key, value in shapes.state_dict().items():
        if key in tied or "position_ids" in key:
            continue
        key = disk_name(spec, key)
        draw = generator(name, key).standard_normal(tuple(value.shape))
        tensors[key] = torch.tensor(draw * (wide if value.dim() > 1 else 0.2) + ("norm" in key.lower() and "bias" not in key
                                                                                and "Gemma" not in architecture),
                                    dtype=torch.float32).contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def sequences(name, spec):
    _, _, kind, config, lengths, _ = spec
    out = []
    for n, length in enumerate(lengths):
        r = generator(name, "ids", str(n))
        if kind == "image_classify":
            out.append({"label": int(r.integers(0, len(config["id2label"])))})
            continue
        s = {"ids": [int(x) for x in r.integers(3, config["vocab_size"], length)]}
        if kind == "classify":
            s["label"] = int(r.integers(0, len(config["id2label"])))
        else:
            if kind == "seq2seq":
                length = 2 + length // 2    # of the decoder
            chosen = r.random(length) < 0.6
            chosen[-1] = True
            targets = r.integers(3, config["vocab_size"], length)
            if kind == "causal_lm":
                s["targets"] = [int(c) for c in chosen]
                s["labels"] = [i if c else IGNORE for i, c in zip(s["ids"], chosen)]
            else:
                s["labels"] = [int(t) if c else IGNORE for t, c in zip(targets, chosen)]
            if kind == "seq2seq":
                s["decoder_ids"] = [config["decoder_start_token_id"]] + [
                    config["pad_token_id"] if t == IGNORE else t for t in s["labels"][:-1]]
        out.append(s)
    return out


def image(name, config, n):
    """Pixels of sequence n, [channels, height, width]."""
    draw = generator(name, "pixels", str(n)).standard_normal((config["num_channels"], *config["image_size"]))
    return torch.tensor(draw, dtype=torch.float32)


def run(model, kind, s, pixels):
    if kind == "image_classify":
        return model(pixel_values=pixels.double()[None]).logits
    ids = torch.tensor([s["ids"]])
    if kind == "seq2seq":
        return model(ids, decoder_input_ids=torch.tensor([s["decoder_ids"]]), use_cache=False).logits
    return model(ids, use_cache=False).logits if kind == "causal_lm" else model(ids).logits


def stacks(model):
    """Prefix, blocks and final norm (or None) of each stack."""
    trunk = model.base_model
    if model.config.model_type == "t5":
        return [(k + ".", getattr(trunk, k).block, getattr(trunk, k).final_layer_norm) for k in ("encoder", "decoder")]
    return [("", trunk.layers if hasattr(trunk, "layers") else trunk.encoder.layer, getattr(trunk, "layernorm", None))]


def losses(kind, logits, s):
    """Sum of the losses, and how many there are."""
    if kind in ("classify", "image_classify"):
        return torch.nn.functional.cross_entropy(logits, torch.tensor([s["label"]]), reduction="sum"), 1
    labels = torch.tensor(s["labels"])
    rows, labels = (logits[0, :-1], labels[1:]) if kind == "causal_lm" else (logits[0], labels)
    return (torch.nn.functional.cross_entropy(rows, labels, reduction="sum", ignore_index=IGNORE),
            int((labels != IGNORE).sum()))


def make(name, spec, folder):
    _, architecture, kind, config, _, gradients = spec
    write_folder(name, spec, folder)
    with Float64():
        model = getattr(transformers, architecture).from_pretrained(folder, dtype=torch.float64,
                                                                    attn_implementation="eager").eval()
    parameters = {disk_name(spec, k): p for k, p in model.named_parameters(remove_duplicate=False)}
    expected, cases, total, counted = {}, sequences(name, spec), 0, 0
    for n, s in enumerate(cases):
        seen, hooks = {}, []
        for prefix, blocks, norm in stacks(model):
            hooks.append(blocks[0].register_forward_pre_hook(
                lambda m, a, k, key=prefix + "hidden.0": seen.__setitem__(key, a[0] if a else k["hidden_states"]),
                with_kwargs=True))
            keep = lambda m, a, y, key: seen.__setitem__(key, y[0] if isinstance(y, tuple) else y)
            hooks += [b.register_forward_hook(lambda m, a, y, key=f"{prefix}hidden.{k + 1}": keep(m, a, y, key))
                      for k, b in enumerate(blocks)]
            if norm is not None:
                hooks.append(norm.register_forward_hook(
                    lambda m, a, y, key=prefix + "hidden.norm": keep(m, a, y, key)))
        pixels = image(name, config, n) if kind == "image_classify" else None
        if pixels is not None:
            expected[f"seq{n}.pixel_values"] = pixels
        with Float64():
            logits = run(model, kind, s, pixels)
            loss, count = losses(kind, logits, s)
        for h in hooks:
            h.remove()
        for key, value in seen.items():
            expected[f"seq{n}.{key}"] = value.reshape(-1, value.shape[-1])
        expected[f"seq{n}.logits"] = logits[0]
        s["counted"], s["loss_sum"] = count, loss.item()
        total, counted = total + loss, counted + count
    (total / counted).backward()
    for key in gradients:
        expected["grad." + key] = parameters[key].grad
    save_file({k: v.detach().to(torch.float32).contiguous() for k, v in expected.items()},
              folder / "expected.safetensors", metadata={"format": "pt"})
    case = {"kind": kind, "model_type": spec[0], "architecture": architecture,
            "about": f"made by bench/peers/make_golden.py with transformers {transformers.__version__}, torch "
                     f"{torch.__version__}", "counted": counted, "loss": (total / counted).item(),
            "gradients": gradients, "tolerance": {"tensors": 2e-5, "loss": 1e-5}, "sequences": cases}
    (folder / "case.json").write_text(json.dumps(case) + "\n")
    print(f"{name}: loss {case['loss']:.6f}")


def main():
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                       pathlib.Path(__file__).parents[2] / "tests/golden/trunks")
    for name in sys.argv[2:] or MODELS:
        make(name, MODELS[name], out / name)


if __name__ == "__main__":
    main()
