#!/usr/bin/env bash
# headers: each one compiles alone, in C and in C++, without a warning
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
hdf5=hdf5
if pkg-config --exists hdf5-serial; then hdf5="hdf5-serial"; fi
read -ra flags <<<"$(pkg-config --cflags yaml-0.1 libcjson libpcre2-8 libutf8proc libcrypto libcurl "$hdf5" check)"
# the stand-ins of NVIDIA's headers: there may be no toolkit, or another one
flags+=(-I. -Icore/cuda/emu/include -D_GNU_SOURCE -DSOURCE_FOLDER='"."' -DBUILD_FOLDER='"."' -fopenmp -Wall -Wextra
    -Wno-unknown-pragmas -Werror -fsyntax-only)

# "#include" from standard input: given directly, a header would be told that its pragma is misplaced
one() { # LANGUAGE HEADER
    local standard=-std=c11
    [[ $1 == c ]] || standard=-std=c++17
    if ! printf '#include "%s"\n' "$2" | "$compiler" -x "$1" "$standard" "${flags[@]}" -; then
        printf '%s does not compile alone in %s\n' "$2" "$1"
        return 1
    fi
}

passed=0 failed=0
for language in c c++; do
    compiler=${CC:-cc}
    [[ $language == c ]] || compiler=${CXX:-c++}
    if ! type -P -- "$compiler" >/dev/null; then
        printf 'SKIP headers: %s is not there\n' "$compiler"
        passed=$((passed + 1))
        continue
    fi
    for header in core/*.h core/*/*.h autograd/*.h layers/*.h layers/*/*.h peft/*.h optim/*.h data/*.h \
        recipes/*.h recipes/*/*.h tests/*.h bench/*.h; do
        [[ -e $header ]] || continue
        if one "$language" "$header"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    done
done
printf 'headers: %d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
