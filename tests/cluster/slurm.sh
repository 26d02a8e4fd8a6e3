#!/usr/bin/env bash
# A real SLURM of several nodes on this machine, in a folder of its own (Debian: apt-get install slurm-wlm munge).
#   tests/cluster/slurm.sh start DIR [NODES]    then: export SLURM_CONF=DIR/slurm.conf
#   tests/cluster/slurm.sh stop DIR
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

start() {
    local dir=$1 nodes=${2:-2} port
    mkdir -p "$dir"/{state,log} && chmod 700 "$dir"
    port=$((10000 + RANDOM % 20000)) # below the ports that the system hands out
    dd if=/dev/urandom of="$dir/munge.key" bs=128 count=1 status=none
    chmod 600 "$dir/munge.key"
    # Nodes are names: one slurmd each, on ports of 127.0.0.1, with more cores than the machine has. A requeued job waits
    # cred_expire (SLURM's default: 120 s). MaxArraySize is small, so that arrays are split. A job of partition urgent
    # preempts one of main, which has GraceTime to leave.
    cat > "$dir/slurm.conf" <<EOF
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket,cred_expire=20
CryptoType=crypto/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,bf_interval=2
ReturnToService=2
JobRequeue=1
KillWait=60
MaxArraySize=5
PropagateResourceLimits=NONE
NodeName=n[1-$nodes] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + nodes))] CPUs=8 RealMemory=4096 State=UNKNOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=120
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2
EOF
    echo "CgroupAutomount=no" > "$dir/cgroup.conf"
    export SLURM_CONF=$dir/slurm.conf
    munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
        --log-file="$dir/log/munged.log" --seed-file="$dir/munge.seed"
    slurmctld
    for node in $(seq "$nodes"); do slurmd -N "n$node"; done
    for _ in $(seq 120); do
        if [ "$(sinfo --noheader --Node --partition=main --states=idle 2> /dev/null | wc -l)" = "$nodes" ]; then
            echo "export SLURM_CONF=$SLURM_CONF"
            return
        fi
        sleep 0.5
    done
    tail -n 20 "$dir"/log/*.log >&2
    stop "$dir"
    return 1
}

stop() {
    local pids
    pids=$(cat "$1"/slurmd.*.pid "$1/slurmctld.pid" "$1/munged.pid" 2> /dev/null || true)
    # shellcheck disable=SC2086
    [ -z "$pids" ] || kill $pids 2> /dev/null || true
}

"$@"
