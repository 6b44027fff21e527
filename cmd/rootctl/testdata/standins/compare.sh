# Run inside a root: each stand-in beside the program it stands in for, through the same calls. Prints what
# differs, and "fast path not taken" where the stand-in left a plain case to the program. Ends with "done".
here=/standins
export DPKG_MAINTSCRIPT_PACKAGE=pkg DPKG_MAINTSCRIPT_ARCH=amd64 LC_ALL=C
umask 022

# wrap NAME: the program goes to NAME.REAL, counted, and the stand-in takes its place.
wrap() {
	mv "$1" "$1.orig"
	printf '#!/bin/sh\necho x >>/count\nexec %s.orig "$@"\n' "$1" >"$1.REAL"
	cp "$here/${1##*/}.sh" "$1"
	chmod 755 "$1" "$1.REAL"
}

state() { # of all that a helper may have changed
	find /etc/systemd /var/lib/systemd /d -printf '%p %y %m %l\n' 2>/dev/null | sort
	find /var/lib/systemd -name '*.dsh-also' 2>/dev/null | sort | while read -r f; do echo "$f:" && cat "$f"; done
}

call() { # what it said, returned and left
	out=$("$@" 2>&1)
	echo "+ $*: $?"
	echo "$out" | sed -e 's/\.orig//g' -e 's/\.REAL//g'
	state
}

unit() { printf "$2" >"/lib/systemd/system/$1"; }

systemd() { # all calls for all units
	rm -rf /d /etc/systemd/system /var/lib/systemd/deb-systemd*
	mkdir -p /lib/systemd/system
	unit plain.timer '[Unit]\nDescription=x\n\n[Install]\nWantedBy=timers.target\n'
	unit nolf.service '[Install]\nWantedBy=multi-user.target'
	unit none.service '[Service]\nExecStart=/bin/true\n'
	unit two.service '[Install]\nWantedBy=multi-user.target\nWantedBy=graphical.target\n'
	unit list.service '[Install]\nWantedBy=multi-user.target graphical.target\n'
	unit also.service '[Install]\nWantedBy=multi-user.target\nAlso=plain.timer\n'
	unit alias.service '[Install]\nWantedBy=multi-user.target\nAlias=other.service\n'
	unit case.service '[Install]\nwantedby=multi-user.target\n'
	unit required.service '[Install]\nRequiredBy=multi-user.target\n'
	unit space.service '[Install]\n WantedBy=multi-user.target\n'
	unit at@.service '[Install]\nWantedBy=multi-user.target\nDefaultInstance=one\n'
	h=deb-systemd-helper
	for u in plain.timer nolf.service none.service two.service list.service also.service alias.service case.service at@.service gone.service; do
		for a in unmask '--quiet was-enabled' enable enable '--quiet was-enabled' debian-installed \
			update-state disable mask unmask purge update-state debian-installed; do
			call $h $a $u
		done
	done
	call $h enable plain.timer nolf.service
	call $h
	ln -s /dev/null /etc/systemd/system/none.service
	call $h unmask none.service
	DPKG_ROOT=/d call $h debian-installed plain.timer
}

maintscript() {
	rm -rf /d
	mkdir -p /d/dir /d/kept.dpkg-backup /d/kept
	touch /d/kept/.dpkg-staging-dir /d/conf
	ln -s dir /d/link
	h=dpkg-maintscript-helper
	for DPKG_MAINTSCRIPT_NAME in preinst postinst postrm ''; do
		export DPKG_MAINTSCRIPT_NAME
		for p in install configure 'install 1.0' 'configure 0.5' ''; do
			call $h rm_conffile /d/conf 1.0~ pkg -- $p
			call $h rm_conffile /d/conf 1:2.0-1~ -- $p
			call $h rm_conffile /d/conf -- $p
			call $h rm_conffile d/conf 1.0 -- $p
			call $h rm_conffile /d/conf notaversion -- $p
			call $h rm_conffile /d/conf 1.0_1 -- $p
			call $h mv_conffile /d/conf /d/new 1.0 -- $p
			call $h symlink_to_dir /d/link dir 1.0 pkg -- $p
			call $h dir_to_symlink /d/dir target 1.0 -- $p
			call $h dir_to_symlink /d/dir/ target 1.0 -- $p
			call $h dir_to_symlink /d/kept target 1.0 -- $p
			call $h supports rm_conffile
			call $h nonsense /d/conf -- $p
		done
		call $h rm_conffile /d/conf 1.0
		call $h
	done
}

systemd >/before
maintscript >>/before
wrap /usr/bin/deb-systemd-helper
wrap /usr/bin/dpkg-maintscript-helper
systemd >/after
maintscript >>/after
diff /before /after

# What a build is full of must not start the programs.
rm -rf /etc/systemd/system /var/lib/systemd/deb-systemd* /count
if [ ! -e /bin/systemctl ]; then # where it is (xenial), the program is asked
	for a in unmask debian-installed '--quiet was-enabled' enable update-state; do
		deb-systemd-helper $a plain.timer
	done
fi
DPKG_MAINTSCRIPT_NAME=preinst dpkg-maintscript-helper rm_conffile /x 1:2.0~ -- install
DPKG_MAINTSCRIPT_NAME=postinst dpkg-maintscript-helper dir_to_symlink /x ../y 2022g-1~ -- configure ''
[ ! -e /count ] || echo "fast path not taken $(wc -l </count) times"
echo "done: $(wc -l </before) lines"
