#!/usr/bin/env bash
# A real SLURM on this one machine, for tests: three emulated nodes, every socket on loopback, no systemd, no cgroups.
# Run as root on Debian 12 (slurm-wlm 22.05); safe to run again; down.sh stops it and removes its configuration.
#
#   MAX_ARRAY_SIZE=1001   MaxArraySize        (a value changed while the cluster runs restarts it)
#
# There is no accounting (`sacct` fails), as on many sites. Partitions: `debug`, the default, on nodes a and b; `spot`,
# on node c, whose jobs are requeued when `high` wants the node, after 10 s of grace.
set -euo pipefail

MAX_ARRAY=${MAX_ARRAY_SIZE:-1001}
STATE=/var/lib/slurm-tests
CONFIG=/etc/slurm/slurm.conf
OURS="# a cluster for tests, written by tests/slurm/up.sh"
HOST=$(hostname -s)

fail() { echo "tests/slurm/up.sh: $*" >&2; exit 1; }
running() { [ "$(cat "/proc/$(cat "$1" 2>/dev/null || echo 0)/comm" 2>/dev/null)" = "$2" ]; }
until_true() {
    for _ in $(seq 300); do if "$@" > /dev/null 2>&1; then return 0; fi; sleep 0.1; done
    return 1
}

[ "$(id -u)" = 0 ] || fail "needs root"
if [ -e $CONFIG ] && ! grep -qxF "$OURS" $CONFIG; then fail "$CONFIG belongs to another cluster; left alone"; fi

if ! command -v slurmctld slurmd sbatch munged > /dev/null; then
    echo "installing SLURM"
    # the packages must not start daemons of their own
    [ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; policy=1; }
    chmod +x /usr/sbin/policy-rc.d
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || true
    apt-get install -y -qq --no-install-recommends slurm-wlm munge > /tmp/slurm-install.log 2>&1 \
        || { tail /tmp/slurm-install.log; fail "apt-get could not install slurm-wlm"; }
    [ -z "${policy:-}" ] || rm /usr/sbin/policy-rc.d
fi

# the daemons listen on the address of this host's name
if [ "$(getent ahostsv4 "$HOST" | awk 'NR == 1 {print $1}')" != 127.0.0.1 ]; then
    hosts=$(cat /etc/hosts)
    printf '127.0.0.1 %s\n%s\n' "$HOST" "$hosts" > /etc/hosts
fi

wanted=$(mktemp)
cat > "$wanted" <<CONF
$OURS
ClusterName=tests
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=26817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# a requeued job may start again after 3 s instead of 120 s
AuthInfo=cred_expire=3
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$STATE/control
SlurmdSpoolDir=$STATE/spool-%n
SlurmctldPidFile=$STATE/run/slurmctld.pid
SlurmdPidFile=$STATE/run/slurmd-%n.pid
SlurmctldLogFile=$STATE/log/slurmctld.log
SlurmdLogFile=$STATE/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
# nodes may say they have more than this machine
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
ReturnToService=2
KillWait=5
CompleteWait=0
MessageTimeout=10
SlurmctldTimeout=30
SlurmdTimeout=60
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0,sched_min_interval=100000
JobRequeue=1
MaxArraySize=$MAX_ARRAY
MaxJobCount=20000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=a NodeHostname=$HOST NodeAddr=127.0.0.1 Port=27001 CPUs=4 RealMemory=64000
NodeName=b NodeHostname=$HOST NodeAddr=127.0.0.1 Port=27002 CPUs=4 RealMemory=64000
NodeName=c NodeHostname=$HOST NodeAddr=127.0.0.1 Port=27003 CPUs=4 RealMemory=64000
PartitionName=debug Nodes=a,b Default=YES MaxTime=1-0 DefaultTime=10
PartitionName=spot Nodes=c MaxTime=1-0 DefaultTime=10 PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName=high Nodes=c MaxTime=1-0 DefaultTime=10 PriorityTier=9 PreemptMode=OFF
CONF
cmp -s "$wanted" $CONFIG || "$(dirname "$0")/down.sh"
mkdir -p $STATE/{run,log,control,spool-a,spool-b,spool-c} /etc/slurm
install -m 644 "$wanted" $CONFIG
rm "$wanted"
echo "CgroupPlugin=cgroup/v1" > /etc/slurm/cgroup.conf # unused, but looked for

if ! munge -n > /dev/null 2>&1; then
    [ -s /etc/munge/munge.key ] || (umask 077; head -c 1024 /dev/urandom > /etc/munge/munge.key)
    chown munge: /etc/munge/munge.key
    chmod 400 /etc/munge/munge.key
    install -d -o munge -g munge /run/munge
    install -d -o munge -g munge -m 700 /var/log/munge /var/lib/munge
    rm -f /run/munge/munge.socket.2
    setpriv --reuid=munge --regid=munge --clear-groups munged
    until_true munge -n || fail "munged does not answer"
fi
running $STATE/run/slurmctld.pid slurmctld || slurmctld
for node in a b c; do
    running $STATE/run/slurmd-$node.pid slurmd || slurmd -N $node
done
ready() { [ "$(sinfo -h -N -p debug,spot -o %T | grep -cE '^(idle|mixed|allocated|completing)$')" = 3 ]; }
until_true ready || { sinfo -N -l; fail "the nodes do not come up; see $STATE/log"; }
echo "SLURM is up: $(sinfo -h -p debug,spot -o '%P %D×%c CPUs %T' | tr '\n' ' '), MaxArraySize $MAX_ARRAY"
