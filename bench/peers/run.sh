#!/usr/bin/env bash
# Compares with other programs, in turns: ours, theirs, ours, theirs.
#
#   ./cambium bench peers [NAME...] [OPTION...]     names and options: ./cambium bench peers --help
#
# Makes the other programs' environment at the first call (bench/peers/setup.sh), and takes another one from
# CAMBIUM_PEERS=FOLDER.
set -euo pipefail
here=$(CDPATH='' cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
for word in "$@"; do
    case $word in -h | --help) exec python3 "$here/compare.py" --help ;; esac
done
"$here/../../cambium" bench --list >/dev/null        # builds what is out of date
python=$("$here/setup.sh" ${CAMBIUM_PEERS:+"$CAMBIUM_PEERS"} | tail -n 1)
exec "$python" "$here/compare.py" "$@"
