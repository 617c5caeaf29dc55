#!/usr/bin/env bash
# Makes a Python environment with the programs that we compare with: PyTorch, transformers, PEFT, tokenizers,
# and llama.cpp, which is compiled here.
#
#   bench/peers/setup.sh [FOLDER]      default: $CAMBIUM_CACHE/peers or ~/.cache/cambium/peers
#
# The last line on stdout is the environment's python. Needs 4 GB of disk and, the first time, a quarter of an
# hour. What is there already is kept. CAMBIUM_PEERS_LLAMA=no leaves llama.cpp out.
#
# Debian: apt-get install python3-venv python3-dev g++
#
# The plain wheel of PyTorch for Linux links against libraries for GPUs: it does not load without some of them,
# and computes on CPUs without the others. Only the former are installed, in the versions that it asks for.
set -euo pipefail

torch=2.15.0 transformers=5.24.0 peft=0.21.2 accelerate=1.15.0 llama=0.3.36
folder=${1:-${CAMBIUM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cambium}/peers}
python=$folder/bin/python

say() { printf 'peers: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
install() { "$python" -m pip install --quiet --disable-pip-version-check "$@" >&2; }
has() { "$python" -c "import $1" 2>/dev/null; }

type -P python3 >/dev/null || die 'python3 is missing: apt-get install python3 python3-venv python3-dev g++'
if [[ ! -x $python ]]; then
    python3 -c 'import ensurepip' 2>/dev/null || die 'venv is missing: apt-get install python3-venv'
    python3 -m venv "$folder"
fi

# Requirements of the installed torch, less those that only GPUs use.
needs_of_torch() {
    "$python" - <<'PY'
import importlib.metadata
import re

left_out = {"cuda-bindings", "triton"}
for need in importlib.metadata.requires("torch"):
    if "extra ==" in need:
        continue
    name = re.match(r"[A-Za-z0-9._-]+", need).group(0).lower()
    if name in left_out:
        continue
    print(re.sub(r"^cuda-toolkit\[[^]]*\]", "cuda-toolkit[cublas,cudart,cufile,nvrtc]", need))
PY
}

if ! has torch; then
    say "installing PyTorch $torch"
    install --no-deps "torch==$torch"
    needs=$(mktemp)
    trap 'rm -f -- "$needs"' EXIT
    say 'pip will name what is left out on purpose'
    needs_of_torch >"$needs"
    install -r "$needs"
    has torch || { "$python" -c 'import torch'; die 'PyTorch does not load; see above'; }
fi
if ! has peft || ! has gguf; then
    say "installing transformers $transformers, PEFT $peft"
    install numpy psutil safetensors gguf "transformers==$transformers"
    install --no-deps "peft==$peft" "accelerate==$accelerate"    # or they would ask for all that torch may use
fi
if [[ ${CAMBIUM_PEERS_LLAMA-} != no ]] && ! has llama_cpp; then
    if type -P c++ >/dev/null; then
        say "compiling llama.cpp (llama-cpp-python $llama); this takes some minutes"
        install "llama-cpp-python==$llama" || say 'llama.cpp could not be compiled: it is left out'
    else
        say 'no C++ compiler (apt-get install g++): llama.cpp and torch.compile are left out'
    fi
fi
"$python" -c 'import os, sysconfig, sys
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' ||
    say 'Python.h is missing (apt-get install python3-dev): torch.compile will fail'
"$python" - >&2 <<'PY'
import importlib.metadata

names = ["torch", "transformers", "peft", "tokenizers", "llama-cpp-python"]
have = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in importlib.metadata.distributions()}
print("peers:", ", ".join(f"{n} {have.get(n, 'absent')}" for n in names))
PY
printf '%s\n' "$python"
