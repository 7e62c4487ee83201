"""Files for Slurm: a job that checks its nodes, trains, and starts again on those that are well.

Pure: a launch in, texts by file name out. Directives and commands are those of Slurm 23.02 and
later (https://slurm.schedmd.com/sbatch.html, srun.html, scontrol.html).
"""

from mynah.plan.launch_config import Launch
from mynah.plan.launch_scripts import (
    BASH,
    LIGHTHOUSE_PORT,
    health_script,
    lighthouse_command,
    node_script,
)

__all__ = ["slurm_files"]

LIGHTHOUSE_FILE = "lighthouse.address"
FUNCTIONS = r"""
# Nodes of this job that answer Slurm, pass health_check.sh and are not excluded, one a line.
healthy_nodes() {
    local nodes count
    nodes=$(sinfo --noheader --Node --responding --nodes "$SLURM_JOB_NODELIST" --format %N |
        sort --unique | grep --line-regexp --invert-match --file excluded_nodes.txt)
    if [ -z "$nodes" ]; then return; fi
    count=$(wc -l <<< "$nodes")
    # shellcheck disable=SC2016  # the name is for the node to fill in
    srun --nodes "$count" --ntasks "$count" --ntasks-per-node 1 \
        --nodelist "$(paste -sd, <<< "$nodes")" --kill-on-bad-exit=0 --wait=0 "${container[@]}" \
        bash -c 'bash health_check.sh >&2 && echo "$SLURMD_NODENAME"' | sort
}

# Another job takes over, on nodes among which those that are not well are not.
start_elsewhere() {
    scontrol show hostnames "$SLURM_JOB_NODELIST" |
        grep --line-regexp --invert-match --file <(printf '%s\n' "${healthy[@]}") |
        sort --unique - excluded_nodes.txt > excluded_nodes.new
    mv excluded_nodes.new excluded_nodes.txt
    sbatch ${SLURM_ARRAY_TASK_ID:+--array="$SLURM_ARRAY_TASK_ID"} \
        --exclude "$(paste -sd, excluded_nodes.txt)" train.sbatch
}

# SIGTERM goes to every process of the job step: each saves its part of a checkpoint and ends.
asked=no
# shellcheck disable=SC2329  # the trap calls it
stop() {
    asked=yes
    scancel --signal=TERM "$SLURM_JOB_ID"
}
trap stop USR1 TERM

# The time is up, or somebody needs the nodes.
queue_again_if_asked() {
    if [ "$asked" = yes ]; then
        scontrol requeue "$SLURM_JOB_ID"
        exit 0
    fi
}

finish() {
    FINISH
    exit "$1"
}
"""
LOOP = r"""
for attempt in $(seq 0 MAX_RESTARTS); do
    mapfile -t healthy < <(healthy_nodes)
    queue_again_if_asked
    if [ "${#healthy[@]}" -eq 0 ]; then
        echo "error: no node passes health_check.sh, so it may be that which is wrong" >&2
        finish 1
    fi
    if [ "${#healthy[@]}" -lt NODES ]; then
        echo "error: ${#healthy[@]} nodes are well, NODES are needed" >&2
        start_elsewhere
        exit 1
    fi
    echo "start $attempt: NODES nodes, the first is ${healthy[0]}"
    export MAIN_ADDRESS="${healthy[0]}"
    # shellcheck disable=SC2016  # the names are for the node to fill in
    srun --nodes NODES --ntasks NODES --ntasks-per-node 1 --kill-on-bad-exit=1 "${container[@]}" \
        --nodelist "$(IFS=,; echo "${healthy[*]:0:NODES}")" \
        bash -c 'NODE_RANK=$((SLURM_PROCID + 1))
            if [ "$SLURMD_NODENAME" = "$MAIN_ADDRESS" ]; then NODE_RANK=0; fi
            export NODE_RANK
            exec bash node.sh' &
    step=$!
    status=0
    wait "$step" || status=$?
    while kill -0 "$step" 2> /dev/null; do  # a signal ends wait, not the step
        status=0
        wait "$step" || status=$?
    done
    if [ "$status" -eq 0 ]; then finish 0; fi
    queue_again_if_asked
done
echo "error: it ended with exit code $status after MAX_RESTARTS restarts" >&2
finish "$status"
"""
WAIT_FOR_LIGHTHOUSE = f"""
export REPLICA_GROUP_ID="$SLURM_ARRAY_TASK_ID"
until [ -s {LIGHTHOUSE_FILE} ]; do sleep 5; done
TORCHFT_LIGHTHOUSE=$(cat {LIGHTHOUSE_FILE})
export TORCHFT_LIGHTHOUSE
"""


def slurm_files(launch: Launch) -> dict[str, str]:
    """The batch script and what it starts; ``submit.sh`` hands it in.

    Args:
        launch: Checked.
    """
    files = {
        "submit.sh": _submit(launch),
        "train.sbatch": _batch(launch),
        "node.sh": node_script(launch, max_restarts=0, is_alone=False),
        "health_check.sh": health_script(launch),
        "excluded_nodes.txt": "",
    }
    return files | ({"lighthouse.sbatch": _lighthouse(launch)} if launch.is_parted else {})


def _batch(launch: Launch) -> str:
    num_jobs = launch.num_groups
    directives = {
        "job-name": launch.name,
        "output": "%x-%A-%a.log" if num_jobs > 1 else "%x-%j.log",
        "open-mode": "append",
        **({"array": f"0-{num_jobs - 1}"} if num_jobs > 1 else {}),
        "nodes": str(launch.nodes_per_group + launch.spares_per_group),
        "ntasks-per-node": "1",
        **_devices(launch),
        **_place(launch),
        **({"time": slurm_time(launch.time_limit_s)} if launch.time_limit_s else {}),
        "signal": f"B:USR1@{launch.grace_s}",
    }
    spares = launch.spares_per_group
    lines = [
        BASH.rstrip(),
        *(f"#SBATCH --{name}={value}" for name, value in directives.items()),
        "#SBATCH --exclusive",
        "#SBATCH --requeue",
        "#SBATCH --no-kill",
        "#",
        f"# Trains on {launch.nodes_per_group} nodes, {spares} spare. Hand it in with submit.sh,",
        "# from a folder that every node sees. When a process or a node dies, it starts again from",
        "# the last checkpoint, on nodes that pass health_check.sh. Shortly before the time is up",
        "# it saves one and queues itself again.",
        "set -uo pipefail",
        'cd "$SLURM_SUBMIT_DIR" || exit 1',
        "touch excluded_nodes.txt",
        *_container(launch),
        *(WAIT_FOR_LIGHTHOUSE.strip().splitlines() if num_jobs > 1 else []),
    ]
    body = FUNCTIONS + LOOP
    done = '    touch "group-$REPLICA_GROUP_ID.done"\n' if num_jobs > 1 else ""
    body = body.replace("    FINISH\n", done)
    body = body.replace("MAX_RESTARTS", str(launch.max_restarts))
    return "\n".join(lines) + "\n" + body.replace("NODES", str(launch.nodes_per_group))


def _submit(launch: Launch) -> str:
    train = 'sbatch --parsable ${excluded:+--exclude="$excluded"} train.sbatch'
    lines = [
        f"{BASH}# {launch.name}: hands the job in. Nodes to avoid stand in excluded_nodes.txt,",
        "# one a line; the job adds those that fail its checks.",
        "set -euo pipefail",
        'cd "$(dirname "$0")"',
        "touch excluded_nodes.txt",
        "excluded=$(paste -sd, excluded_nodes.txt)",
    ]
    if not launch.is_parted:
        return "\n".join([*lines, train]) + "\n"
    lines += [
        f"rm -f {LIGHTHOUSE_FILE} group-*.done",
        "sbatch --parsable lighthouse.sbatch",
        train,
    ]
    return "\n".join(lines) + "\n"


def _lighthouse(launch: Launch) -> str:
    directives = {
        "job-name": f"{launch.name}-lighthouse",
        "output": "%x-%j.log",
        "nodes": "1",
        "ntasks": "1",
        **_place(launch),
    }
    command = " ".join(lighthouse_command())
    count = launch.num_groups
    lines = [
        BASH.rstrip(),
        *(f"#SBATCH --{name}={value}" for name, value in directives.items()),
        "#SBATCH --requeue",
        "#",
        "# torchft's lighthouse: says which replica groups live, for as long as there are any.",
        "# Needs no accelerator.",
        "set -euo pipefail",
        'cd "$SLURM_SUBMIT_DIR"',
        *([launch.site.setup] if launch.site.setup and not launch.site.image else []),
        *_container(launch),
        'srun "${container[@]}" ' + command + " &",
        "lighthouse=$!",
        f'echo "http://$(hostname --fqdn):{LIGHTHOUSE_PORT}" > {LIGHTHOUSE_FILE}',
        f"until [ \"$(find . -maxdepth 1 -name 'group-*.done' | wc -l)\" -ge {count} ]; do",
        '    kill -0 "$lighthouse"',
        "    sleep 5",
        "done",
        f"rm {LIGHTHOUSE_FILE}",
        'kill "$lighthouse"',
    ]
    return "\n".join(lines) + "\n"


def slurm_time(seconds: int) -> str:
    """As ``--time`` reads it: days-hours:minutes:seconds."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}-{hour:02}:{minute:02}:{second:02}"


def _devices(launch: Launch) -> dict[str, str]:
    count = launch.num_accelerators_per_node
    return {"gpus-per-node": str(count)} if launch.device == "cuda" else {}


def _place(launch: Launch) -> dict[str, str]:
    named = {"partition": launch.site.partition, "account": launch.site.account}
    return {name: value for name, value in named.items() if value}


def _container(launch: Launch) -> list[str]:
    """Options of pyxis (https://github.com/NVIDIA/pyxis); none without an image."""
    if not launch.site.image:
        return ["container=()"]
    mounts = f"{launch.site.mount}:{launch.site.mount},$SLURM_SUBMIT_DIR:$SLURM_SUBMIT_DIR"
    return [
        "container=(",
        f"    --container-image={launch.site.image}",
        f'    "--container-mounts={mounts}"',
        '    --container-workdir="$SLURM_SUBMIT_DIR"',
        ")",
    ]
