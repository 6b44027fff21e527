#!/bin/sh
# Does what deb-systemd-helper does for a unit that has one WantedBy= and no other line of [Install], on a
# system without systemctl. Everything else is left to the program itself, as is whatever is not understood.
# Only builtins where nothing has to be made.
real() { exec /usr/bin/deb-systemd-helper.REAL "$@"; }

action=$1 unit=$2
if [ "$1" = --quiet ] && [ "$2" = was-enabled ] && [ $# = 3 ]; then
	action=quiet-was-enabled unit=$3
elif [ $# != 2 ]; then
	real "$@"
fi
case $unit in
'' | [!A-Za-z0-9]* | *[!A-Za-z0-9._-]*) real "$@" ;;
esac
if [ -n "$DPKG_ROOT" ] || [ -z "$DPKG_MAINTSCRIPT_PACKAGE" ] || [ -n "$_DEB_SYSTEMD_HELPER_DEBUG" ] ||
	[ -n "$_DEB_SYSTEMD_HELPER_PURGE" ] || [ -e /bin/systemctl ] || [ -e /usr/bin/systemctl ] ||
	[ -e /run/systemd/system ] || [ "$(umask)" != 0022 ]; then
	real "$@"
fi
etc=/etc/systemd/system
enabled=/var/lib/systemd/deb-systemd-helper-enabled
state=$enabled/$unit.dsh-also

# The unit's target, "" if it has none.
target() {
	if [ -e "$etc/$unit" ] || [ -h "$etc/$unit" ]; then
		return 1
	fi
	path=/lib/systemd/system/$unit
	[ -f "$path" ] && [ ! -h "$path" ] || return 1
	target=
	while IFS= read -r line || [ -n "$line" ]; do
		case $line in
		WantedBy=*)
			[ -z "$target" ] || return 1
			target=${line#WantedBy=}
			case $target in
			'' | [!A-Za-z0-9]* | *[!A-Za-z0-9._-]*) return 1 ;;
			esac
			;;
		*[Bb][Yy]=* | *[Aa][Ll][Ss][Oo]=* | *[Aa][Ll][Ii][Aa][Ss]=* | *[Ii][Nn][Ss][Tt][Aa][Nn][Cc][Ee]=*) return 1 ;;
		esac
	done <"$path"
	link=$etc/$target.wants/$unit
}

# Whether there is no state yet, or exactly the link's.
recorded() {
	[ -e "$state" ] || return 0
	IFS= read -r first <"$state" && [ "$first" = "$link" ] && [ "$(cat "$state")" = "$link" ]
}

case $action in
unmask)
	if [ -e "$etc/$unit" ] || [ -h "$etc/$unit" ] ||
		[ -e /var/lib/systemd/deb-systemd-helper-masked ] || [ -e /var/lib/systemd/deb-systemd-user-helper-masked ]; then
		real "$@"
	fi
	;;
debian-installed)
	[ -f "$state" ]
	;;
quiet-was-enabled)
	[ -e "$state" ] || exit 0
	while IFS= read -r line; do
		[ -h "$line" ] || exit 1
	done <"$state"
	;;
enable)
	target && recorded || real "$@"
	[ -n "$target" ] || exit 0
	set -e
	wants=$enabled/$target.wants
	[ -d "$wants" ] || mkdir -p "$wants"
	[ -e "$state" ] || echo "$link" >"$state"
	[ -e "$wants/$unit" ] && exit 0
	if [ ! -h "$link" ]; then
		[ -d "${link%/*}" ] || mkdir -p "${link%/*}"
		ln -s "$path" "$link"
	fi
	: >"$wants/$unit"
	;;
update-state)
	target && recorded && [ -n "$target" ] || real "$@"
	set -e
	[ -d "$enabled" ] || mkdir -p "$enabled"
	[ -e "$state" ] || echo "$link" >"$state"
	;;
*)
	real "$@"
	;;
esac
