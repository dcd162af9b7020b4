#!/bin/sh
# The hook of the QEMU guest agent, written by `quiesce-guest install qga`.
#
# freeze: runs the scripts of the hook directory in order, then lets quiesce hold the applications.
#         Whatever fails vetoes: everything is released again, and the agent freezes nothing.
# thaw:   lets quiesce release the applications, then runs the scripts in reverse. Until the
#         applications are released only built-ins of the shell are used: no process is started.
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
