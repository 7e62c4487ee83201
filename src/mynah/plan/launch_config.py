"""What a launch is: a command, the nodes it runs on, and the place where they stand.

Reads nothing; the writers of launch files (``launch_*``) read it. All of them refuse here what
could not start.
"""

from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from mynah.config import parse_config
from mynah.errors import ConfigError
from mynah.train.layout import LayoutConfig

__all__ = ["Launch", "Site", "check_launch"]

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9@%+=:,./_-]*$", max_length=200)]
"""What means itself in shell, in a directive of Slurm and in YAML."""
Place = Annotated[str, Field(pattern=r"^/[^\x00-\x1f]*$", max_length=1000)]
Line = Annotated[str, Field(pattern=r"^[^\x00\n\r]*$", max_length=2000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where the nodes are and what they are called there; empty is what the place itself takes."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    mount: Annotated[str, Field(pattern=r"^/[A-Za-z0-9@%+=./_-]*$", max_length=200)] = "/shared"
    """Where every node sees the shared disk; workspace and keys lie below it."""
    keys: Annotated[str, Field(pattern=r"^(/[^\x00-\x1f]*)?$", max_length=1000)] = ""
    """Folder of the keys of the record (``MYNAH_KEYS``) on that disk; empty is the user's own,
    which a container loses."""
    setup: Line = ""
    """Shell line that each node runs first, such as ``source /shared/venv/bin/activate``."""
    health_check: Line = ""
    """Shell line that must succeed on a node beside what is checked anyway."""
    image: Word = ""
    """Container image with mynah and torch in it; on Slurm pyxis starts it."""
    volume_claim: Word = ""
    """Kubernetes and SkyPilot: the volume claim of the shared disk (ReadWriteMany)."""
    namespace: Word = "default"
    """Kubernetes: where the job lives."""
    cluster_domain: Word = "cluster.local"
    """Kubernetes: what names of services end with."""
    queue: Word = ""
    """Kubernetes: the queue of Kueue that admits the job."""
    partition: Word = ""
    """Slurm: the partition."""
    account: Word = ""
    """Slurm: who pays."""
    accelerator: Word = ""
    """SkyPilot: its name of the accelerator, such as ``H100``."""
    accelerator_resource: Word = "nvidia.com/gpu"
    """Kubernetes: the resource that a node offers its accelerators as."""
    network_resource: Word = ""
    """Kubernetes: the resource of RDMA adapters, such as ``rdma/ib``; one is asked for a node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A recipe in a layout on nodes: everything that its launch files say."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    recipe: Place
    """TOML file as every node sees it."""
    workspace: Place
    """Folder of the network as every node sees it: posts, corpus, checkpoints, record."""
    layout: LayoutConfig
    """How ranks share the work; goes before what the recipe says."""
    num_nodes: Annotated[int, Field(ge=1, le=100_000)]
    """Nodes that train."""
    num_accelerators_per_node: Annotated[int, Field(ge=1, le=256)]
    """Accelerators, hence processes, of each."""
    replicas: Literal["mesh", "torchft"] = "mesh"
    """``torchft`` starts each of ``layout.replicate`` groups by itself, and a lighthouse."""
    overrides: tuple[Line, ...] = ()
    """Other fields of the recipe, as ``--set`` takes them: ``checkpoint.every_s=600``."""
    name: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$")] = "mynah"
    """Of the job: lower case, at most 30 letters, so that names of pods stay legal."""
    device: Literal["cuda", "cpu"] = "cuda"
    """What a process computes on; ``cpu`` to try files out."""
    num_spare_nodes: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Nodes beyond those that train, to take the place of a broken one."""
    max_restarts: Annotated[int, Field(ge=0, le=10_000)] = 20
    """How often a job is started again before somebody has to look; of all groups together on
    Kubernetes, of each by itself elsewhere."""
    grace_s: Annotated[int, Field(ge=60, le=60_000)] = 300
    """Seconds from the signal to stop until all is killed: a checkpoint must fit."""
    time_limit_s: Annotated[int, Field(ge=0, le=10**8)] = 0
    """Seconds after which the job is stopped; 0 is never, on Slurm what the partition allows."""
    port: Annotated[int, Field(ge=1024, le=65535)] = 29400
    """On which the first node waits for the others."""
    site: Site = field(default_factory=Site)
    """Where."""

    @property
    def is_parted(self) -> bool:
        """Whether there are replica groups that live and die apart."""
        return self.num_groups > 1

    @property
    def num_groups(self) -> int:
        """Jobs that live and die apart; 1 in one mesh."""
        return self.layout.replicate if self.replicas == "torchft" else 1

    @property
    def nodes_per_group(self) -> int:
        """Nodes that train in one of them."""
        return self.num_nodes // self.num_groups

    @property
    def spares_per_group(self) -> int:
        """Nodes that wait in one of them."""
        return self.num_spare_nodes // self.num_groups


def check_launch(launch: Launch) -> Launch:
    """Return a launch whose fields are what they should be and fit each other.

    Raises:
        ConfigError: The first thing that is wrong, whatever the format.
    """
    launch = parse_config(Launch, asdict(launch), source="launch")
    num_ranks = launch.num_nodes * launch.num_accelerators_per_node
    if launch.layout.world_size != num_ranks:
        raise ConfigError(
            f"the layout has {launch.layout.world_size} ranks, {launch.num_nodes} nodes of "
            f"{launch.num_accelerators_per_node} accelerators have {num_ranks}",
            hint="change num_nodes, or layout.shard and its like; spare nodes are not counted",
        )
    if launch.replicas == "torchft":
        _check_groups(launch)
    for name, folder in (("workspace", launch.workspace), ("site.keys", launch.site.keys)):
        if folder and not PurePosixPath(folder).is_relative_to(launch.site.mount):
            raise ConfigError(
                f"{name} is {folder}, the nodes share {launch.site.mount}",
                hint="name a folder of the shared disk, or set site.mount to where it is",
            )
    return launch


def _check_groups(launch: Launch) -> None:
    groups = launch.layout.replicate
    if groups < 2:
        raise ConfigError(
            "replicas is 'torchft' and layout.replicate is 1: there is one group",
            hint="raise layout.replicate, or set replicas = 'mesh'",
        )
    for name, count in (("nodes", launch.num_nodes), ("spare nodes", launch.num_spare_nodes)):
        if count % groups:
            raise ConfigError(
                f"{count} {name} cannot be dealt to {groups} replica groups",
                hint=f"a group has whole nodes: choose a multiple of {groups}",
            )
