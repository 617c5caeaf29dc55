#!/usr/bin/env bash
# bare: bench/bare/fetch takes libraries and what they need, and nothing that comes with a compiler;
# bench/bare/build unpacks them and builds with them alone. apt and the wrapper are stand-ins.
# shellcheck source-path=SCRIPTDIR disable=SC2016
set -euo pipefail

# shellcheck source=with_asserts.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/with_asserts.sh"
needs bare "$root/bench/bare/fetch" /usr/bin/dpkg-deb
work=$(mktemp -d /tmp/cambium-test-XXXXXX)
trap 'rm -rf -- "$work"' EXIT
mkdir -p "$work/bin" "$work/tree/bench/bare"
cp "$root"/bench/bare/* "$work/tree/bench/bare"
bin=$work/bin

stand_in() { # NAME BODY
    printf '#!/usr/bin/env bash\n%s\n' "$2" >"$bin/$1"
    chmod +x "$bin/$1"
}
run() { # COMMAND...: sets text and code
    code=0
    text=$(PATH=$bin "$@" 2>&1) || code=$?
}
for tool in bash awk cat cp dirname dpkg-deb find mkdir nproc rm sed sort tar; do
    ln -s "$(type -P "$tool")" "$bin/$tool"
done

# --- fetch ------------------------------------------------------------------------------------------
run "$work/tree/bench/bare/fetch" --help
contains 'fetch: help' "$text" 'usage: bench/bare/fetch DIR'
run "$work/tree/bench/bare/fetch"
equal 'fetch: without a folder' "$code" 2
run "$work/tree/bench/bare/fetch" "$work/debs"
equal 'fetch: without apt' "$code" 2
contains 'fetch: without apt, says so' "$text" 'apt-get is missing'

stand_in apt-cache '
    if [[ $1 == depends ]]; then
        for name; do
            case $name in
                libyaml-dev) printf "libyaml-dev\n  Depends: libyaml-0-2\n  Depends: libc6-dev\n" ;;
                check) printf "check\n |Depends: libone\n  PreDepends: <virtual>\n  Depends: perl\n" ;;
                libone) printf "libone\n  Depends: libtwo\n  Depends: libstdc++6\n" ;;
                libtwo) printf "libtwo\n  Depends: libone\n  Depends: libc6\n" ;;
            esac
        done
    else
        for name in "${@:3}"; do
            section=libs
            [[ $name != perl ]] || section=perl
            printf "Package: %s\nSection: %s\n\n" "$name" "$section"
        done
    fi'
stand_in apt-get 'printf "%s\n" "$@" >"$LOG"'
LOG=$work/log run "$work/tree/bench/bare/fetch" "$work/debs"
equal 'fetch: exit' "$code" 0
contains 'fetch: how many' "$text" '15 packages in'
asked=" $(sort "$work/log" | tr '\n' ' ')"
for name in libyaml-dev libhdf5-dev check libyaml-0-2 libone libtwo; do
    contains "fetch: takes $name" "$asked" " $name "
done
for name in libc6 libc6-dev libstdc++6 perl; do
    lacks "fetch: leaves $name" "$asked" " $name "
done

# --- build ------------------------------------------------------------------------------------------
build=$work/tree/bench/bare/build
run "$build" --help
contains 'build: help' "$text" 'usage: bench/bare/build DIR [BUILD]'
run "$build" "$work/debs"
equal 'build: no packages' "$code" 2
contains 'build: no packages, says so' "$text" 'has no .deb files'

package=$work/package
mkdir -p "$package/DEBIAN" "$package/usr/lib/here/pkgconfig"
printf 'Package: libone\nVersion: 1\nArchitecture: all\nMaintainer: none <none@none>\nDescription: one\n' \
    >"$package/DEBIAN/control"
printf '%s\n' prefix=/usr libdir=/usr/lib/here 'Name: one' 'Version: 1' \
    'Cflags: -I/usr/include/one -I${prefix}/include' 'Libs: -L/usr/lib/here -lone' \
    >"$package/usr/lib/here/pkgconfig/one.pc"
touch "$package/usr/lib/here/libone.so.1"
dpkg-deb -b "$package" "$work/debs/libone_1_all.deb" >/dev/null
run "$build" "$work/debs" "$work/out"
equal 'build: no cmake' "$code" 2
contains 'build: no cmake, says so' "$text" 'this machine lacks:'
contains 'build: no cmake, names it' "$text" ' cmake'

for tool in cc c++ cmake pkg-config make; do stand_in "$tool" ''; done
stand_in cambium 'printf "%s\n" "$*" "$CAMBIUM_BUILD" "$PKG_CONFIG_LIBDIR" "$LDFLAGS"'
mv "$bin/cambium" "$work/tree/cambium"
run "$build" "$work/debs" "$work/out"
equal 'build: exit' "$code" 0
contains 'build: through the wrapper' "$text" $'test --build-only\n'"$work/out"
contains 'build: with these .pc files alone' "$text" "$work/out/packages/pkgconfig"
contains 'build: finds the libraries when it runs' "$text" "-Wl,-rpath,$work/out/packages/usr/lib/here"
pc=$(<"$work/out/packages/pkgconfig/one.pc")
equal 'build: the .pc file says where it is' "$pc" "prefix=$work/out/packages/usr
libdir=$work/out/packages/usr/lib/here
Name: one
Version: 1
Cflags: -I$work/out/packages/usr/include/one -I\${prefix}/include
Libs: -L$work/out/packages/usr/lib/here -lone"

report bare
