#!/usr/bin/env bash
# The steps of action.yml. Each is one word; what they tell each other goes through GITHUB_OUTPUT.
set -euo pipefail
bin="$RUNNER_TEMP/rootctl-bin"
file="$RUNNER_TEMP/rootctl-roots"
PATH="$bin:$PATH"
read -r -a roots <<<"$INPUT_ROOTS"
read -r -a flags <<<"$INPUT_FLAGS"

rc() {
	if [ "$INPUT_SUDO" = true ]; then sudo -E "$(command -v rootctl)" "$@"; else rootctl "$@"; fi
}
tell() { echo "$1=$2" >>"$GITHUB_OUTPUT"; }

install() {
	mkdir -p "$bin"
	if [ -n "$INPUT_VERSION" ]; then
		[ -n "$INPUT_SHA256" ] || { echo "rootctl: version without sha256: give the line of SHA256SUMS" >&2; exit 2; }
		case "$(uname -m)" in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) echo "rootctl: no program for $(uname -m)" >&2; exit 1 ;; esac
		curl -fsSL --retry 3 -o "$bin/part" "$INPUT_URL/v$INPUT_VERSION/rootctl-linux-$arch"
		echo "$INPUT_SHA256  $bin/part" | sha256sum -c --quiet || { rm -f "$bin/part"; exit 1; }
		chmod 755 "$bin/part"
		mv "$bin/part" "$bin/rootctl"
	fi
	ln -sfn "$(command -v rootctl)" "$bin/rootctl-shell"
	echo "$bin" >>"$GITHUB_PATH"
	rc doctor || true # what is missing is said; whether it is needed, the steps below will tell
}

key() {
	json=$(rc cache key --json "${flags[@]}" "${roots[@]}")
	tell key "$(sed -n 's/^  "key": "\(.*\)",\{0,1\}$/\1/p' <<<"$json")"
	{
		echo "restore-keys<<END-OF-KEYS"
		sed -n '/^  "restore-keys": \[/,/^  \]/s/^    "\(.*\)",\{0,1\}$/\1/p' <<<"$json"
		echo END-OF-KEYS
	} >>"$GITHUB_OUTPUT"
	tell file "$file"
}

restore() {
	ms=0
	if [ -e "$file" ]; then
		begin=$(date +%s%N)
		# A damaged file is a miss: the next step builds.
		if rc cache restore "$file"; then ms=$((($(date +%s%N) - begin) / 1000000)); fi
		rm -f "$file"
	fi
	tell restore-ms "$ms"
}

ensure() {
	json=$(rc ensure --json "${flags[@]}" "${roots[@]}")
	field() { sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" <<<"$json"; }
	field digest | paste -sd ' ' >"$file.digests"
	tell digest "$(cat "$file.digests")"
	{
		echo "| root | how | digest | ms |"
		echo "|---|---|---|---|"
		paste -d '|' <(field name) <(field how) <(field digest) <(field ms) | sed 's/^/| /; s/|\([^ ]\)/ | \1/g; s/$/ |/'
	} >>"$GITHUB_STEP_SUMMARY"
}

save() {
	local names=() digests i
	read -r -a digests <"$file.digests"
	for i in "${!roots[@]}"; do # with flags a root may have no name
		if rc show "${roots[i]}" >/dev/null 2>&1; then names+=("${roots[i]}"); else names+=("${digests[i]}"); fi
	done
	rc cache save "$file" "${names[@]}"
	[ "$INPUT_SUDO" != true ] || sudo chown "$(id -u):$(id -g)" "$file"
}

case "${1-}" in
install | key | restore | ensure | save) "$1" ;;
*) echo "usage: action.sh install|key|restore|ensure|save" >&2; exit 2 ;;
esac
