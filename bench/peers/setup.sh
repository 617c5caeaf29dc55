#!/usr/bin/env bash
# Makes a Python environment with the programs that we compare with: PyTorch, transformers, PEFT.
#   bench/peers/setup.sh [FOLDER]      default: $CAMBIUM_CACHE/peers or ~/.cache/cambium/peers
set -euo pipefail
folder=${1:-${CAMBIUM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cambium}/peers}
if [[ ! -x $folder/bin/python ]]; then
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet torch numpy transformers peft safetensors gguf accelerate
fi
"$folder/bin/python" - <<'PY'
import peft, torch, transformers
print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}, "
      f"{torch.get_num_threads()} threads")
PY
printf '%s\n' "$folder/bin/python"
