#!/usr/bin/env bash
# Stop the cluster that up.sh started, by the process ids its daemons wrote, and remove its state and configuration.
set -uo pipefail

STATE=/var/lib/slurm-tests
CONFIG=/etc/slurm/slurm.conf
OURS="# a cluster for tests, written by tests/slurm/up.sh"
grep -qxF "$OURS" $CONFIG 2>/dev/null || exit 0

stop() { # PIDFILE NAME
    local process
    process=$(cat "$1" 2>/dev/null) || return 0
    [ "$(cat "/proc/$process/comm" 2>/dev/null)" = "$2" ] || return 0
    kill "$process"
    for _ in $(seq 100); do [ -d "/proc/$process" ] || return 0; sleep 0.1; done
    kill -9 "$process"
}

if timeout 5 squeue -h > /dev/null 2>&1; then
    timeout 10 scancel --user="$(id -un)"
    for _ in $(seq 100); do [ -n "$(timeout 5 squeue -h)" ] || break; sleep 0.1; done
fi
for node in a b c; do stop $STATE/run/slurmd-$node.pid slurmd & done
wait
stop $STATE/run/slurmctld.pid slurmctld
stop /run/munge/munged.pid munged
rm -rf $STATE $CONFIG /etc/slurm/cgroup.conf
