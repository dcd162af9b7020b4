#!/bin/sh
# The pre-script: runs as root right before the snapshot, and brings your application to rest.
#
# It does nothing yet: put your application's own commands at the end. Exit status 0 says that all
# that the application has acknowledged is on its disks, and stays as it is until the post-script
# runs. Any other says that it could not be brought to rest; the post-script then runs too.
#
# All attempts together have timeoutInSeconds of VMSnapshotPluginConfig.json; $QUIESCE_TIMEOUT_S is
# what is left of it. What this script prints is in the report (quiesce-guest report), and each line
# name=value that it appends to the file $QUIESCE_FACTS is kept with the recovery point.
#
# PostgreSQL, with data and WAL in the same snapshot:
#     runuser -u postgres -- psql -X -q -c CHECKPOINT
# Redis:
#     redis-cli SAVE
# A service that may stand still for a moment:
#     systemctl stop my-service
#
# Root must be the owner and the mode must be 700, or it is not run. Try it: quiesce-guest check
set -eu
