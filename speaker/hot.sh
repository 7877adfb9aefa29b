#!/bin/sh
# Writes hot.ld anew: which functions a speaker runs, so that the linker puts them side by side.
#
#   speaker/hot.sh PROGRAM CALLGRIND... > speaker/hot.ld
#
# PROGRAM is a static release build with its symbols:
#
#   RUSTFLAGS="-C target-feature=+crt-static" CARGO_PROFILE_RELEASE_STRIP=false \
#     cargo build --release -p ferrolb-speaker --target x86_64-unknown-linux-gnu --target-dir target/symbols
#
# Each CALLGRIND was written on a node of a lab with Services, from the start of the speaker to its end, with one Service created and
# one deleted meanwhile, and once in a pod's circumstances (no kubeconfig) and once with one. A speaker in valgrind is slow:
#
#   valgrind --tool=callgrind --demangle=no --callgrind-out-file=CALLGRIND PROGRAM --hello-interval 1000 --hello-misses 10
#
# A list that is out of date costs memory, nothing else: what is not in it is put with what never runs. Renew it when
# `lab bench layer2 --only memory` shows that.
set -eu
program=$1; shift
libc=$(cc -print-file-name=libc.a)
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

# Names of functions that ran. A name stands behind its number where it comes first, in fn= and in cfn=.
for profile in "$@"; do
    awk '/^c?fn=\(/ {
        split($0, half, "="); number = half[2]; sub(/\).*/, "", number); sub(/\(/, "", number)
        if (match(half[2], /\) /)) { name = substr($0, index($0, ") ") + 2); sub(/\x27[0-9]+$/, "", name); names[number] = name }
        if (/^fn=/) ran[number] = 1
    } END { for (number in ran) print names[number] }' "$profile"
done | sort -u > "$work/ran"

# Functions with the same body are one, with several names: which of these the next build gives it is not known.
nm "$program" | awk '$2 ~ /^[tTwWi]$/ { print $3, $1 }' | sort > "$work/at"
awk 'NR == FNR { ran[$1] = 1; next }
     { at[$1] = at[$1] " " $2; name[FNR] = $1; address[FNR] = $2; if ($1 in ran) used[$2] = 1 }
     END { for (i in name) if (address[i] in used) print name[i] }' "$work/ran" "$work/at" | sort -u > "$work/names"

echo "/* Written by hot.sh, which says how; build.rs says what for. */"
echo "SECTIONS {"
echo "  .text.hot : {"
# Rust: the path without the hash, which is another one in each build. What a kubeconfig needs is not read in a cluster.
grep -E '^_ZN.*17h[0-9a-f]{16}E' "$work/names" | sed -E 's/17h[0-9a-f]{16}E.*/17h*/' |
    grep -vE "serde_saphyr|granit_parser" | LC_ALL=C sort -u |
    sed 's/.*/    *(.text*.&)/'
grep -E '^_R|^main$' "$work/names" | LC_ALL=C sort -u | sed 's/.*/    *(.text*.&)/'
# C: the objects of the library that have them.
nm -A "$libc" 2> /dev/null | awk '$(NF-1) ~ /^[tTwWi]$/ { split($1, part, ":"); print $NF, part[2] }' > "$work/objects"
awk 'NR == FNR { ran[$1] = 1; next } $1 in ran { print $2 }' "$work/names" "$work/objects" | LC_ALL=C sort -u |
    sed 's/.*/    *libc.a:&(.text .text.*)/'
echo "    *crt1.o(.text .text.*)"
echo "    *libring*:*(.text .text.*)"
# What valgrind does not see: it lacks some instructions, and begins after the loader.
echo "    *libc.a:mem*(.text .text.*)"
echo "    *libc.a:strlen*(.text .text.*)"
echo "    *libc.a:strrchr*(.text .text.*)"
echo "    *libc.a:dl-object.o(.text .text.*)"
echo "    *(.text*4sha2*)"
echo "    *(.text*core_arch*)"
echo "  }"
echo "}"
echo "INSERT BEFORE .text;"
