#!/bin/sh
# The hook of the QEMU guest agent, written by `quiesce-guest install qga`.
#
# freeze: runs the scripts of the hook directory in order, then lets quiesce hold the applications.
#         Whatever fails vetoes: everything is released again, and the agent freezes nothing.
# thaw:   lets quiesce release the applications, then runs the scripts in reverse. Until the
#         applications are released only built-ins of the shell are used: no process is started.
#
# Where the program is damaged (IncorrectPluginhostFile) it cannot say so: then nothing is held, and
# the agent freezes, unless the plugin configuration says otherwise.
program=@PROGRAM@
scripts=@SCRIPTS@
run=@RUN@

is_script() {
	case $1 in
	*~ | *.bak | *.orig | *.rpmnew | *.rpmorig | *.rpmsave | *.sample | *.dpkg-*) return 1 ;;
	esac
	[ -f "$1" ] && [ -x "$1" ]
}

thaw_scripts() {
	for script; do
		"$script" thaw || :
	done
}

is_damaged() { # a single file that we installed ends with the checksum of all that comes before
	read -r installed </etc/quiesce/installed && [ "$installed" = "$program" ] || return 1
	[ "$(head -c -64 "$program" | sha256sum | cut -c 1-64)" != "$(tail -c 64 "$program")" ]
} 2>/dev/null

is_false() { # whether a plugin configuration that only root can have written has the key as false
	find /etc/azure -maxdepth 1 -name 'VMSnapshot*PluginConfig.json' -user 0 ! -perm /022 \
		-exec grep -q "\"$1\"[[:space:]]*:[[:space:]]*false" {} \; -print | grep -q .
} 2>/dev/null

freeze() {
	set --
	for script in "$scripts"/*; do
		is_script "$script" || continue
		set -- "$script" "$@"
		if ! "$script" freeze; then
			thaw_scripts "$@"
			exit 4
		fi
	done
	"$program" hook qga freeze
	status=$?
	case $status in
	0 | 3 | 4) ;;
	*) # a backup without the application is better than none
		if is_damaged; then
			echo "quiesce: IncorrectPluginhostFile: $program is damaged: nothing is held" >&2
			status=0
			if is_false fsFreezeEnabled; then status=3; fi
			if is_false continueBackupOnFailure; then status=4; fi
		fi
		;;
	esac
	[ "$status" -eq 0 ] || thaw_scripts "$@"
	exit "$status"
}

thaw() {
	status=0
	line=$run/qga # where it is not there, or is just going, nothing of ours is held
	if { command exec 3<>"$line/req" 4<>"$line/ans" && command exec 5<"$line/ans"; } 2>/dev/null; then
		exec 4>&-
		echo thaw >&3
		read -r _ status <&5 || :
	fi
	exec 3>&- 4>&- 5>&-
	if [ -z "$status" ]; then # session and watchdog are dead
		"$program" hook qga thaw
		status=5
	fi
	set --
	for script in "$scripts"/*; do
		is_script "$script" && set -- "$script" "$@"
	done
	thaw_scripts "$@"
	exit "$status"
}

case $1 in
freeze) freeze ;;
thaw) thaw ;;
*) exit 2 ;;
esac
