"""The shell that a node runs, whoever starts it: its health check, then its part of the training.

Pure: a launch in, text out. Scripts take what differs from node to node from their environment.
"""

import shlex
from collections.abc import Sequence
from dataclasses import asdict

from mynah.plan.launch_config import Launch
from mynah.train.launching import OWN_STORE

__all__ = [
    "BASH",
    "LIGHTHOUSE_PORT",
    "health_script",
    "lighthouse_command",
    "node_script",
    "torchrun_files",
    "train_command",
]

BASH = "#!/usr/bin/env bash\n"
LIGHTHOUSE_PORT = 29510
"""torchft's own choice."""
JOIN_TIMEOUT_S = 1200
"""The first node waits so long for the last: images are pulled and disks are mounted meanwhile.
torch's own 600 s and, for the first word of the store, 60 s are for machines that stand ready."""
HEALTH_TIMEOUT_S = 600
"""A node whose check takes longer is as good as broken."""
KILL_MARGIN_S = 20
"""torchrun kills so long before it is killed itself, so that it is the one who says so."""
SECONDS_TO_DIE = 10


def train_command(launch: Launch) -> list[str]:
    """What every process of the layout runs, without its interpreter."""
    settings = {f"layout.{key}": value for key, value in asdict(launch.layout).items()}
    settings["replicas"] = launch.replicas
    sets = [f"{key}={value}" for key, value in settings.items()]
    command = ["mynah", "train", "run", launch.recipe, "--workspace", launch.workspace]
    return [*command, *(word for one in (*sets, *launch.overrides) for word in ("--set", one))]


def health_script(launch: Launch) -> str:
    """Ends with 0 when the node can take part."""
    num = launch.num_accelerators_per_node
    lines = [
        BASH + f"# {launch.name}: whether this node can take part. Exit code 0 is yes.",
        *_preamble(launch),
        f"test -w {shlex.quote(launch.workspace)}  # the shared disk is there",
    ]
    if launch.device == "cuda" and launch.site.accelerator_resource.startswith("nvidia.com/"):
        lines += [
            f'test "$(nvidia-smi --list-gpus | wc -l)" -ge {num}',
            "if command -v dcgmi > /dev/null; then dcgmi diag --run 1; fi",
        ]
    lines += [
        "# Products that must come out the same twice, and a sum over all accelerators.",
        f"timeout --kill-after {SECONDS_TO_DIE} {HEALTH_TIMEOUT_S} \\",
        f"    torchrun --standalone --nproc-per-node {num} \\",
        f"    -m mynah.plan.node_check --device {launch.device}",
    ]
    return _text([*lines, *([launch.site.health_check] if launch.site.health_check else [])])


def node_script(launch: Launch, *, max_restarts: int, is_alone: bool) -> str:
    """One node's part of the training, or of one replica group's.

    Args:
        launch: Checked.
        max_restarts: Of torchrun's; 0 where somebody else starts the job again.
        is_alone: Whether nobody else checks the node, with ``health_check.sh`` beside it, and keeps
            to the time limit.
    """
    needed = {
        "NODE_RANK": "the number of this node, from 0",
        "MAIN_ADDRESS": "the name or address of node 0",
    }
    run_id = launch.name
    if launch.is_parted:
        needed["REPLICA_GROUP_ID"] = (
            f"the number of its replica group, 0 to {launch.num_groups - 1}"
        )
        needed["TORCHFT_LIGHTHOUSE"] = f"http://HOST:{LIGHTHOUSE_PORT}"
        run_id += "-$REPLICA_GROUP_ID"
    lines = [
        BASH + f"# {launch.name}: node NODE_RANK of {launch.nodes_per_group}, counted from 0.",
        *_preamble(launch),
        *(f': "${{{name}:?{what}}}"' for name, what in needed.items()),
        "export " + " ".join([OWN_STORE, *needed]),
        *(['bash "$(dirname "$0")/health_check.sh"'] if is_alone else []),
        'is_host=0; if [ "$NODE_RANK" -eq 0 ]; then is_host=1; fi',
        "exec " + (_limited(launch) if is_alone else "") + "torchrun \\",
        *_torchrun_options(launch, max_restarts=max_restarts, run_id=run_id),
    ]
    command = train_command(launch)
    pairs = [" ".join(map(shlex.quote, pair)) for pair in _pairs(command[6:])]
    words = ["-m " + shlex.join(command[:6]), *pairs]
    return _text([*lines, " \\\n".join(f"    {word}" for word in words)])


def torchrun_files(launch: Launch) -> dict[str, str]:
    """Scripts for nodes that somebody else reaches: with ssh, a login to each, a scheduler."""
    node = node_script(launch, max_restarts=launch.max_restarts, is_alone=True)
    count = launch.nodes_per_group + launch.spares_per_group
    usage = [
        "#",
        f"# On {count} nodes, from a folder that has health_check.sh, too, with i from 0:",
        "#     NODE_RANK=i MAIN_ADDRESS=HOST bash node.sh",
        "# HOST is node 0, whose exit code is the answer: 0 is a finished training. When a process",
        "# dies, torchrun starts all again from the last checkpoint. SIGTERM saves one, and the",
        "# same lines go on from it; the exit code is then 1.",
    ]
    if launch.is_parted:
        usage[2:3] = [
            f"#     export REPLICA_GROUP_ID=0  # for each of {launch.num_groups} groups of nodes",
            f"#     export TORCHFT_LIGHTHOUSE=http://MACHINE:{LIGHTHOUSE_PORT}  # of lighthouse.sh",
            "#     NODE_RANK=i MAIN_ADDRESS=HOST bash node.sh",
        ]
    if launch.spares_per_group:
        usage += [
            f"# Any {launch.nodes_per_group} train, the others wait: one takes the place of",
            "# a node that is silent for 15 s, and ends with an error when it was never needed.",
        ]
    first, rest = node.split("\nset -", 1)
    files = {
        "node.sh": "\n".join([first, *usage]) + "\nset -" + rest,
        "health_check.sh": health_script(launch),
    }
    return files | lighthouse_files(launch)


def lighthouse_command() -> list[str]:
    """What says which replica groups live; the same manners as on one machine."""
    from mynah.train import replica_manager as manners

    return [
        "torchft_lighthouse",
        *("--min_replicas", "1"),
        *("--join_timeout_ms", str(manners.JOIN_TIMEOUT_MS)),
        *("--quorum_tick_ms", str(manners.QUORUM_TICK_MS)),
        *("--heartbeat_timeout_ms", str(manners.HEARTBEAT_TIMEOUT_MS)),
    ]


def lighthouse_files(launch: Launch) -> dict[str, str]:
    """The script of the lighthouse, where there are groups to look after."""
    if not launch.is_parted:
        return {}
    lines = [
        BASH + f"# {launch.name}: torchft's lighthouse, on a machine that stays.",
        "set -euo pipefail",
        *([launch.site.setup] if launch.site.setup else []),
        "exec " + shlex.join(lighthouse_command()),
    ]
    return {"lighthouse.sh": _text(lines)}


def _preamble(launch: Launch) -> list[str]:
    keys = launch.site.keys
    return [
        "set -euo pipefail",
        *([launch.site.setup] if launch.site.setup else []),
        *([f"export MYNAH_KEYS={shlex.quote(keys)}"] if keys else []),
    ]


def _torchrun_options(launch: Launch, *, max_restarts: int, run_id: str) -> list[str]:
    timeouts = f"join_timeout={JOIN_TIMEOUT_S},read_timeout={JOIN_TIMEOUT_S}"
    nproc = launch.num_accelerators_per_node
    return [
        f"    --nnodes {launch.nodes_per_group} --nproc-per-node {nproc} \\",
        f"    --max-restarts {max_restarts} --shutdown-timeout {launch.grace_s - KILL_MARGIN_S} \\",
        f'    --rdzv-backend c10d --rdzv-endpoint "$MAIN_ADDRESS:{launch.port}" \\',
        f'    --rdzv-id "{run_id}" --rdzv-conf "is_host=$is_host,{timeouts}" \\',
    ]


def _limited(launch: Launch) -> str:
    """Where nobody else knows of a limit; torchrun hands the signal on."""
    if not launch.time_limit_s:
        return ""
    return f"timeout --kill-after {launch.grace_s} {launch.time_limit_s} "


def _pairs(words: Sequence[str]) -> list[Sequence[str]]:
    return [words[start : start + 2] for start in range(0, len(words), 2)]


def _text(lines: Sequence[str]) -> str:
    return "\n".join(lines) + "\n"
