#!/bin/sh
# dpkg-maintscript-helper repairs what an older version of a package left. At a first installation, which has
# no second parameter after the --, there is no older version and nothing to do, unless a directory or link was
# put aside. Everything else is left to the program itself, as is whatever is not understood. Only builtins.
first_installation() {
	[ -z "$DPKG_ROOT" ] && [ -n "$DPKG_MAINTSCRIPT_PACKAGE" ] && [ -z "$DPKG_DEBUG" ] || return 1
	case $DPKG_MAINTSCRIPT_NAME in
	preinst) action=install ;;
	postinst) action=configure ;;
	*) return 1 ;;
	esac
	case $2 in
	/*[!/]) ;;
	*) return 1 ;;
	esac
	case $1 in
	rm_conffile)
		[ $# -ge 4 ] || return 1
		shift 2
		;;
	mv_conffile | symlink_to_dir | dir_to_symlink)
		[ $# -ge 5 ] && [ -n "$3" ] && [ ! -e "$2.dpkg-backup" ] && [ ! -h "$2.dpkg-backup" ] || return 1
		case $1$3 in
		mv_conffile[!/]*) return 1 ;;
		esac
		shift 3
		;;
	*) return 1 ;;
	esac
	if [ "$1" != -- ]; then
		case $1 in # a version that dpkg surely takes for one
		[0-9]*:*:* | [0-9][0-9]*:* | [!0-9]* | [0-9][!:]*:* | *[!A-Za-z0-9.+~:-]* | '') return 1 ;;
		esac
		shift
	fi
	if [ $# -ge 3 ] && [ "$1" != -- ]; then
		shift
	fi
	[ "$1" = -- ] && [ "$2" = $action ] && [ $# -le 3 ] && [ -z "$3" ]
}

first_installation "$@" || exec /usr/bin/dpkg-maintscript-helper.REAL "$@"
