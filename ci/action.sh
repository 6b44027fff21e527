#!/usr/bin/env bash
# The steps of action.yml. Each is one word; what they tell each other goes through GITHUB_OUTPUT.
set -euo pipefail
bin="$RUNNER_TEMP/rootctl-bin" # on PATH; what lies there calls what lies in real
file="$RUNNER_TEMP/rootctl-roots"
PATH="$bin:$PATH"
read -r -d '' -a roots <<<"$INPUT_ROOTS" || true # lines as well as words: its end is no error
read -r -d '' -a flags <<<"$INPUT_FLAGS" || true

tell() { echo "$1=$2" >>"$GITHUB_OUTPUT"; }

install() {
	mkdir -p "$bin/real"
	if [ -n "$INPUT_VERSION" ]; then fetch; else
		found=$(command -v rootctl) || { echo "rootctl: it is not on PATH: give version and sha256" >&2; exit 1; }
		[ "$found" = "$bin/rootctl" ] || ln -sfn "$found" "$bin/real/rootctl" # else the job calls the action again
	fi
	ln -sfn rootctl "$bin/real/rootctl-shell"
	for name in rootctl rootctl-shell; do
		if [ "$INPUT_SUDO" = true ]; then
			# sudo has a PATH of its own, and the steps' is wanted. -n: nobody is there to type a password.
			printf '#!/usr/bin/env bash\nexec sudo -n -E /usr/bin/env "PATH=$PATH" %q "$@"\n' "$bin/real/$name" >"$bin/part"
			chmod 755 "$bin/part"
			mv "$bin/part" "$bin/$name"
		else
			ln -sfn "real/$name" "$bin/$name"
		fi
	done
	echo "$bin" >>"$GITHUB_PATH"
	rootctl doctor || true # what is missing is said; whether it is needed, the steps below will tell
}

# fetch puts the program there if it is the one that was asked for, and nothing else.
fetch() {
	[ -n "$INPUT_SHA256" ] || { echo "rootctl: version without sha256: give the line of SHA256SUMS" >&2; exit 2; }
	case "$(uname -m)" in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) echo "rootctl: no program for $(uname -m)" >&2; exit 1 ;; esac
	trap 'rm -f "$bin/real/part"' EXIT
	curl -fsSL --retry 3 -o "$bin/real/part" "$INPUT_URL/v${INPUT_VERSION#v}/rootctl-linux-$arch"
	sum=$(sha256sum <"$bin/real/part")
	if [ "${sum%% *}" != "${INPUT_SHA256,,}" ]; then
		echo "rootctl: rootctl-linux-$arch of $INPUT_VERSION has sha256 ${sum%% *}, and $INPUT_SHA256 is asked for: not installed" >&2
		exit 1
	fi
	chmod 755 "$bin/real/part"
	mv "$bin/real/part" "$bin/real/rootctl"
}

key() {
	json=$(rootctl cache key --by-release --json "${flags[@]}" -- "${roots[@]}")
	tell key "$(sed -n 's/^  "key": "\(.*\)",\{0,1\}$/\1/p' <<<"$json")"
	{
		echo "restore-keys<<END-OF-KEYS"
		sed -n '/^  "restore-keys": \[/,/^  \]/s/^    "\(.*\)",\{0,1\}$/\1/p' <<<"$json"
		echo END-OF-KEYS
	} >>"$GITHUB_OUTPUT"
	tell file "$file"
	local i lock=
	for i in "${!flags[@]}"; do
		case "${flags[i]}" in --lock) lock=${flags[i + 1]} ;; --lock=*) lock=${flags[i]#--lock=} ;; esac
	done
	[ -z "$lock" ] || echo "ROOTCTL_LOCK=$(realpath "$lock")" >>"$GITHUB_ENV" # for the steps' shells
}

restore() {
	ms=0
	if [ -e "$file" ]; then
		begin=$(date +%s%N)
		# A damaged file is a miss: the next step builds.
		if rootctl cache restore "$file"; then ms=$((($(date +%s%N) - begin) / 1000000)); fi
		rm -f "$file"
	fi
	tell restore-ms "$ms"
}

ensure() {
	json=$(rootctl ensure --json "${flags[@]}" -- "${roots[@]}")
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
		if rootctl show "${roots[i]}" >/dev/null 2>&1; then names+=("${roots[i]}"); else names+=("${digests[i]}"); fi
	done
	rootctl cache save "$file" "${names[@]}"
}

case "${1-}" in
install | key | restore | ensure | save) "$1" ;;
*) echo "usage: action.sh install|key|restore|ensure|save" >&2; exit 2 ;;
esac
