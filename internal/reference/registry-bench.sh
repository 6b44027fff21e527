#!/usr/bin/env bash
# Pull to first command done, between two network namespaces: rootctl run --cache-from on an empty cache, beside curl of the
# layer and tar --zstd -x of it, and podman pull and run of the same image. As root:
#
#   internal/reference/registry-bench.sh ROOTCTL REGISTRY WORK [N] [SUITE=MIRROR...]
#
# REGISTRY is the program of cmd/rootctl/testdata/registry; WORK a folder of its own, on the file system that is to be measured. Each
# round has folders of its own and nothing is removed before the end: without a journal ext4 makes files slowly for minutes
# after many were removed. The order turns. Prints medians in milliseconds.
set -euo pipefail
rootctl=$(realpath "$1") registry=$(realpath "$2") work=$(realpath "$3") n=${4:-5}
shift 4
one=rb-one-$$ two=rb-two-$$ server=
cleanup() {
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
	ip netns del "$one" 2>/dev/null || true
	ip netns del "$two" 2>/dev/null || true
}
trap cleanup EXIT
ip netns add "$one"
ip netns add "$two"
ip -n "$one" link add veth0 type veth peer name veth0 netns "$two"
ip -n "$one" addr add 10.99.0.1/24 dev veth0
ip -n "$two" addr add 10.99.0.2/24 dev veth0
for ns in "$one" "$two"; do ip -n "$ns" link set lo up; ip -n "$ns" link set veth0 up; done
host=10.99.0.1:5000
mkdir -p "$work/registry"
ip netns exec "$one" "$registry" <<<"{version: 0.1, log: {level: error}, storage: {filesystem: {rootdirectory: $work/registry}}, http: {addr: '$host'}}" >"$work/registry.log" 2>&1 &
server=$!
for _ in $(seq 50); do ip netns exec "$two" curl -sf "http://$host/v2/" >/dev/null && break; sleep 0.1; done

median() { sort -n "$1" | sed -n "$((($(wc -l <"$1") + 1) / 2))p"; }
timed() { # NAME COMMAND...
	local name=$1 start end
	shift
	start=$(date +%s%N)
	"$@" >"$work/out" 2>&1 || { cat "$work/out"; echo "failed: $*"; exit 1; }
	end=$(date +%s%N)
	echo $(((end - start) / 1000000)) >>"$work/$name"
}
rootctlrun() { # SUITE MIRROR ROUND
	ip netns exec "$two" "$rootctl" -q --cache "$work/$1-$3-c" run --mirror "$2" --insecure="$host" --cache-from "$host/roots" --cache-required "$1" true
}
curltar() { # BLOB SUITE ROUND
	ip netns exec "$two" curl -sf -o "$work/$2-$3-blob" "http://$host/v2/roots/blobs/$1"
	mkdir "$work/$2-$3-tree"
	tar --zstd -xf "$work/$2-$3-blob" -C "$work/$2-$3-tree" --numeric-owner
}
# crun refuses control groups of version 1
podmanrun() { # SUITE ROUND
	ip netns exec "$two" sh -c 'umount -R /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 none /sys/fs/cgroup
		p="podman --root $1-pod --runroot $1-podrun --cgroup-manager cgroupfs"
		$p pull -q --tls-verify=false "$2" && $p run --rm --cgroups=disabled --network=none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 "$2" true' sh "$work/$1-$2" "$host/roots:$1"
	umount "$work/$1-$2-pod/overlay" 2>/dev/null || true
}
for pair in "$@"; do
	suite=${pair%%=*} mirror=${pair#*=}
	ip netns exec "$one" "$rootctl" -q --cache "$work/c1" build "$suite" --mirror "$mirror" --insecure="$host" --cache-to "$host/roots" --cache-required
	ip netns exec "$one" "$rootctl" -q --cache "$work/c1" push --insecure="$host" "$suite" "$host/roots:$suite"
	blob=$(ip netns exec "$two" curl -sf -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://$host/v2/roots/manifests/$suite" |
		sed 's/.*"layers":\[{[^]]*"digest":"\([^"]*\)".*/\1/')
	rm -f "$work"/t-*
	for i in $(seq "$n"); do
		order="rootctl curl podman"
		[ $((i % 2)) = 1 ] || order="podman curl rootctl"
		for tool in $order; do
			sync -f "$work"
			case $tool in
			rootctl) timed t-rootctl rootctlrun "$suite" "$mirror" "$i" ;;
			curl) timed t-curl curltar "$blob" "$suite" "$i" ;;
			podman) if command -v podman >/dev/null; then timed t-podman podmanrun "$suite" "$i"; fi ;;
			esac
		done
	done
	echo "$suite: rootctl $(median "$work/t-rootctl") ms, curl and tar $(median "$work/t-curl") ms, podman $(median "$work/t-podman" 2>/dev/null || echo -) ms"
done
