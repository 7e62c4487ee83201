"""The drawing of a layout has every accelerator of a replica, where the trainer's mesh puts it."""

import re

from mynah.train.layout import LayoutConfig
from mynah.web.pages.plan_mesh import Mesh, machine_svg, mesh_words


def test_stages_follow_each_other_machine_by_machine() -> None:
    mesh = Mesh(LayoutConfig(pipeline=4, replicate=3, shard=2, tensor=8), per_node=8)
    assert mesh.num_per_replica == 64
    assert [row.stages for row in mesh.rows] == [(0,), (1,), (2,), (3,)]
    # A stage of all three replicas is 48 ranks: six machines, of which the first two are ours.
    assert [[one.number for one in row.machines] for row in mesh.rows] == [
        [0, 1], [6, 7], [12, 13], [18, 19],
    ]  # fmt: skip


def test_every_accelerator_of_a_replica_is_drawn_once() -> None:
    layout = LayoutConfig(pipeline=3, replicate=2, shard=4, context=2, tensor=2)
    mesh = Mesh(layout, per_node=8)
    drawn = [
        stage for row in mesh.rows for one in row.machines for stage in one.stages
        if stage is not None
    ]  # fmt: skip
    assert sorted(drawn) == sorted([0, 1, 2] * 16)


def test_a_machine_may_be_shared_by_replicas() -> None:
    (row,) = Mesh(LayoutConfig(replicate=4, shard=4), per_node=8).rows
    (machine,) = row.machines
    assert machine.stages == (0, 0, 0, 0, None, None, None, None)
    assert machine_svg(machine, LayoutConfig(replicate=4, shard=4)).count('class="hollow"') == 4


def test_a_machine_may_hold_several_stages() -> None:
    (row,) = Mesh(LayoutConfig(pipeline=4, tensor=2, schedule="1f1b"), per_node=8).rows
    assert row.stages == (0, 1, 2, 3)
    assert row.machines[0].stages == (0, 0, 1, 1, 2, 2, 3, 3)


def test_fewer_accelerators_than_a_machine_holds() -> None:
    (row,) = Mesh(LayoutConfig(shard=3), per_node=8).rows
    assert row.machines[0].stages == (0, 0, 0)


def test_a_frame_stands_around_every_tensor_group() -> None:
    for tensor, frames in ((1, 0), (2, 4), (4, 2), (8, 1)):
        layout = LayoutConfig(shard=8 // tensor, tensor=tensor)
        (row,) = Mesh(layout, per_node=8).rows
        assert machine_svg(row.machines[0], layout).count('class="frame"') == frames


def test_stages_differ_in_shade() -> None:
    layout = LayoutConfig(pipeline=4, shard=8)
    drawings = [machine_svg(row.machines[0], layout) for row in Mesh(layout, per_node=8).rows]
    shades = [re.findall(r"--shade:(\d+)%", one)[0] for one in drawings]
    assert len(set(shades)) == 4
    assert shades[-1] == "100"


def test_the_layout_in_words() -> None:
    layout = LayoutConfig(pipeline=16, replicate=10, shard=8, tensor=8)
    assert mesh_words(Mesh(layout, per_node=8)) == (
        "10 replicas of 1,024 GPUs each, one drawn: 16 stages in a pipeline, the weights shared "
        "out over 8, every matrix cut in 8."
    )
    assert mesh_words(Mesh(LayoutConfig(), per_node=8)) == "One replica of 1 GPU."


def test_a_large_replica_is_drawn_as_blocks() -> None:
    assert not Mesh(LayoutConfig(shard=1024), per_node=8).is_large
    assert Mesh(LayoutConfig(shard=8192), per_node=8).is_large
