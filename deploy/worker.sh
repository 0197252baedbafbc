#!/bin/sh
# Run a command of the pipeline where a supervisor restarts whatever exits with an error.
# Exit code 78 means that an operator must act first, and a restart would only repeat it. Compose cannot tell
# exit codes apart, so 78 becomes 0 here, which `restart: on-failure` leaves alone.
pipeline "$@" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null' TERM INT
while :; do
    wait "$child"
    code=$?
    # A signal ends the waiting, not the child: wait on.
    kill -0 "$child" 2>/dev/null || break
done
if [ "$code" -eq 78 ]; then
    echo "pipeline $1: not started again, since it exited with 78: see the message above" >&2
    exit 0
fi
exit "$code"
