#!/bin/sh
# The post-script: runs as root right after the snapshot, and lets your application go on.
#
# It does nothing yet: put your application's own commands at the end. It runs whenever the
# pre-script was started, also where that failed, where there was no snapshot, and at the next boot
# where the machine went down meanwhile (a restored machine too): so what it undoes may be undone
# already, and it must be able to run twice. Any exit status but 0 is a failure.
#
# $QUIESCE_PRE_STATUS   what the pre-script came to: ok, failed, timeout
# $QUIESCE_SNAPSHOT     what became of the snapshot: taken, failed, not-taken, unknown
# $QUIESCE_TIMEOUT_S    what is left of timeoutInSeconds
#
# A service that the pre-script stopped:
#     systemctl start my-service
#
# Root must be the owner and the mode must be 700, or it is not run. Try it: quiesce-guest check
set -eu
