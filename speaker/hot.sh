#!/bin/sh
# Writes hot.ld anew: which functions a speaker runs, so that the linker puts them side by side (build.rs says what for).
#
#   speaker/hot.sh [PROGRAM]
#
# As root, with valgrind and curl. It takes about a quarter of an hour, most of it for PROGRAM, a static release build with its
# symbols, which is made if it is not given.
#
# What runs is seen in a lab of its own, called "hot", with two nodes and FerroLB on both of them. On node1 valgrind takes the
# place of the pod, twice: with a Pod's service account, then with a kubeconfig. Each time, from the start of the speaker to its
# end, Services come and go, clients ask for them, and the admin endpoint is read. Nothing is timed, so a busy machine does no harm.
#
# A list that is out of date costs memory, nothing else: what is not in it is put with what never runs. Renew it when
# `lab bench layer2 --only memory` shows that.
set -eu
cd "$(dirname "$0")/.."
triple=$(rustc -vV | sed -n 's/^host: //p')
work=$(mktemp -d)
libc=$(cc -print-file-name=libc.a)
system=metallb-system
endpoint=http://127.0.0.1:17481

cargo build --quiet --locked -p ferrolb-tests --bin lab
lab() { target/debug/lab --name hot "$@"; }
kubectl() { lab kubectl "$@"; }
trap 'lab down; rm -rf "$work"' EXIT

if [ $# -gt 0 ]; then
    program=$(realpath "$1")
else
    # In a folder of its own: the programs of the image have no symbols.
    RUSTFLAGS="-C target-feature=+crt-static" CARGO_PROFILE_RELEASE_STRIP=false cargo build --quiet --locked --release \
        -p ferrolb-speaker --target "$triple" --target-dir target/symbols
    program=$(realpath "target/symbols/$triple/release/ferrolb-speaker")
fi

# Waits for what a command says, and gives up after three minutes: a speaker in valgrind is some fifty times slower.
until_true() {
    what=$1; shift
    end=$(($(date +%s) + 180))
    until "$@" > /dev/null 2>&1; do
        [ "$(date +%s)" -lt "$end" ] || { echo "hot.sh: no $what within three minutes" >&2; tail -n 20 "$work/log" >&2; exit 1; }
        sleep 0.5
    done
}

# The objects: a pool of both families, and Services whose endpoints are on node1. Half of the addresses come to each node.
service() {
    cat << END
---
apiVersion: v1
kind: Service
metadata: {name: web-$1, namespace: default}
spec: {type: LoadBalancer, ipFamilyPolicy: RequireDualStack, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-$1-a, namespace: default, labels: {kubernetes.io/service-name: web-$1}}
addressType: IPv4
endpoints: [{addresses: [10.244.1.200], nodeName: node1, conditions: {ready: true}}]
ports: [{port: 8080}]
END
}
objects() {
    cat << END
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: hot, namespace: $system}
spec: {addresses: [10.10.0.150-10.10.0.199, "fd10::150-fd10::199"]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: hot, namespace: $system}
spec: {ipAddressPools: [hot]}
END
    for number in 1 2 3 4 5 6 7 8 9 10; do service $number; done
}

# The Services that node1 says it announces, one a line.
announced() {
    kubectl -n "$system" get servicel2statuses -l metallb.io/node=node1 \
        -o 'jsonpath={range .items[*]}{.status.serviceName}{"\n"}{end}'
}
some_announced() { announced | grep -q "$1"; }
is_gone() { ! announced | grep -qx "$1"; }
ready() { lab exec node1 curl -sf "$endpoint/readyz"; }
no_pod() { [ -z "$(pods node1)" ]; }
pods() {
    kubectl -n "$system" get pods -l app.kubernetes.io/component=speaker --field-selector "spec.nodeName=$1" \
        -o 'jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{end}'
}
ended() { ! kill -0 "$1"; }

lab up --nodes 2 > /dev/null
lab install
peer=$(pods node2)
patch='{"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": "node2"}}}, "updateStrategy": {"type": "OnDelete"}}}'
kubectl -n "$system" patch daemonset ferrolb-speaker --type merge -p "$patch"
until_true "node without a speaker" no_pod
objects | kubectl apply -f -

# What a Pod of the DaemonSet finds: its account and the key of the hellos, in the node's own /run.
mkdir "$work/account" "$work/hello"
kubectl -n "$system" create token ferrolb-speaker --duration 2h > "$work/account/token"
kubectl -n "$system" get configmap kube-root-ca.crt -o 'jsonpath={.data.ca\.crt}' > "$work/account/ca.crt"
printf %s "$system" > "$work/account/namespace"
kubectl -n "$system" get secret ferrolb-hello -o 'go-template={{range $name, $key := .data}}{{$name}} {{$key}}{{"\n"}}{{end}}' |
    while read -r name key; do echo "$key" | base64 -d > "$work/hello/$name"; done
tar -C "$work" -c account hello |
    lab exec node1 sh -c 'mkdir -p /run/secrets/kubernetes.io && tar -C /run/secrets/kubernetes.io -x &&
        mv /run/secrets/kubernetes.io/account /run/secrets/kubernetes.io/serviceaccount'
server=$(kubectl get endpointslices kubernetes -o 'jsonpath={.endpoints[0].addresses[0]}')

kubectl config view --raw -o yaml | sed "s#server: .*#server: https://$server:6443#" > "$work/kubeconfig"

# Runs the speaker on node1 and lets it do what it does in a day; "$@" is its environment beside what each has.
profile() {
    name=$1; shift
    log=$work/log
    lab exec node1 env FERROLB_NAMESPACE="$system" FERROLB_NODE_NAME=node1 FERROLB_ADMIN_PORT=17481 FERROLB_LOG_FORMAT=json \
        FERROLB_POD_NAME="${peer% *}" FERROLB_POD_UID="${peer#* }" FERROLB_HELLO_KEY_DIR=/run/secrets/kubernetes.io/hello \
        MALLOC_ARENA_MAX=1 "$@" sh -c 'echo $$ > "$0.pid"; exec "$@"' "$work/$name" \
        valgrind --tool=callgrind --demangle=no --callgrind-out-file="$work/$name.callgrind" \
        "$program" --hello-interval 1000 --hello-misses 10 > "$log" 2>&1 &
    speaker=$!
    echo "hot.sh: a speaker in valgrind, $name" >&2
    until_true "speaker that is ready" ready
    until_true "Service that it announces" some_announced .
    for number in 11 12 13 14 15 16; do service $number; done | kubectl apply -f -
    until_true "Service that came later" some_announced 'web-1[1-6]'
    # A client that knows none of the addresses asks for each of them: what it hears from the Service does not matter.
    for address in $(kubectl get services -o 'jsonpath={.items[*].status.loadBalancer.ingress[*].ip}'); do
        case $address in *:*) address="[$address]" ;; esac
        lab exec client1 curl -s --max-time 1 "http://$address/" > /dev/null || true
    done
    last=$(announced | tail -n 1)
    kubectl delete service "$last"
    until_true "end of a Service" is_gone "$last"
    kubectl delete services web-11 web-12 web-13 web-14 web-15 web-16 --ignore-not-found
    # Hellos and timers, for as long as most of them are.
    sleep 20
    lab exec node1 curl -sf "$endpoint/healthz" "$endpoint/metrics" > /dev/null
    lab exec node1 kill -TERM "$(cat "$work/$name.pid")"
    until_true "end of the speaker" ended "$speaker"
    objects | kubectl apply -f -
}
profile pod KUBERNETES_SERVICE_HOST="$server" KUBERNETES_SERVICE_PORT=6443
# As on a developer's machine, and in the bench: without a key, and with a log for people.
profile kubeconfig FERROLB_KUBECONFIG="$work/kubeconfig" FERROLB_LOG_FORMAT=text FERROLB_HELLO_KEY_DIR=/nowhere

# Functions with the same body are one, with several names: which of these the next build gives it is not known.
nm "$program" | awk '$2 ~ /^[tTwWi]$/ { print $3, $1 }' | sort > "$work/at"
for name in pod kubeconfig; do
    # Names of functions that ran. A name stands behind its number where it comes first, in fn= and in cfn=.
    awk '/^c?fn=\(/ {
        split($0, half, "="); number = half[2]; sub(/\).*/, "", number); sub(/\(/, "", number)
        if (match(half[2], /\) /)) { name = substr($0, index($0, ") ") + 2); sub(/\x27[0-9]+$/, "", name); names[number] = name }
        if (/^fn=/) ran[number] = 1
    } END { for (number in ran) print names[number] }' "$work/$name.callgrind" | sort -u > "$work/ran"
    awk 'NR == FNR { ran[$1] = 1; next }
         { name[FNR] = $1; address[FNR] = $2; if ($1 in ran) used[$2] = 1 }
         END { for (i in name) if (address[i] in used) print name[i] }' "$work/ran" "$work/at" |
        LC_ALL=C sort -u > "$work/$name.names"
done
LC_ALL=C comm -13 "$work/pod.names" "$work/kubeconfig.names" > "$work/outside.names"
cat "$work/pod.names" "$work/outside.names" > "$work/names"

# The sections of Rust's functions, which bear their names. The hash at the end of a name is the same as long as the compiler and the
# libraries are, but for what is behind a point. So it is left out, unless functions without it have the same name and do not run:
# a generic one, for another type. Says first the name to look for, then whether it is one of these, then what they have in common.
sections() {
    sed -E 's/ .*//; s/^(_ZN.*17h)[0-9a-f]{16}E.*$/& \1*/; s/^[^ ]*$/& &/' "$work/at" |
        awk 'NR == FNR { ran[$1] = 1; next }
             { all[$2]++ } $1 in ran { used[$2]++; common[$1] = $2 }
             END { for (name in common) {
                 some = used[common[name]] < all[common[name]]
                 print some ? name : common[name], some, common[name]
             } }' "$1" - |
        grep -E '^(_ZN|_R|main )' | sed -E 's/\.(llvm\.)?[0-9]+ /* /g; s/\.(llvm\.)?[0-9]+$/*/' | LC_ALL=C sort -u
}
sections "$work/pod.names" > "$work/pod.sections"
sections "$work/outside.names" > "$work/outside.sections"
list() { LC_ALL=C sort -u | sed 's/.*/    *(.text*.&)/'; }

{
echo "/* Written by hot.sh, which says how; build.rs says what for. */"
echo "SECTIONS {"
echo "  .text.hot : {"
echo "    /* What runs in a Pod. */"
cut -d ' ' -f 1 "$work/pod.sections" | list
# C: the objects of the library that have them.
nm -A "$libc" 2> /dev/null | awk '$(NF-1) ~ /^[tTwWi]$/ { split($1, part, ":"); print $NF, part[2] }' > "$work/objects"
awk 'NR == FNR { ran[$1] = 1; next } $1 in ran { print $2 }' "$work/names" "$work/objects" | LC_ALL=C sort -u |
    sed 's/.*/    *libc.a:&(.text .text.*)/'
echo "    *crt1.o(.text .text.*)"
echo "    *libring*:*(.text .text.*)"
# What valgrind does not see: it lacks some instructions, begins after the loader, and lets queues grow less. One function far from the
# others costs up to a megabyte: the kernel maps all of a piece of the page cache.
echo "    *libc.a:mem*(.text .text.*)"
echo "    *libc.a:strlen*(.text .text.*)"
echo "    *libc.a:strrchr*(.text .text.*)"
echo "    *libc.a:dl-object.o(.text .text.*)"
echo "    *(.text*9vec_deque*4grow17h*)"
echo "    *(.text*4sha2*)"
echo "    *(.text*core_arch*)"
echo "    /* What runs only with a kubeconfig: YAML, and a log for people. */"
cut -d ' ' -f 1 "$work/outside.sections" | list
echo "    /* For a build that gives other hashes: another compiler, another version of a library. */"
awk '$2 == 1 { print $3 }' "$work/pod.sections" | list
echo "  }"
echo "}"
echo "INSERT BEFORE .text;"
} > "$work/hot.ld"
[ "$(wc -l < "$work/hot.ld")" -gt 500 ] || { echo "hot.sh: too few functions ran" >&2; exit 1; }
cp "$work/hot.ld" speaker/hot.ld
echo "hot.sh: speaker/hot.ld lists $(wc -l < speaker/hot.ld) lines; next: build, and lab bench layer2 --only memory"
