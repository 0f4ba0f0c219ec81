"""Packs: every shard once, tasks of the wanted length, arrays no longer than the cluster takes."""

import pytest

from jobs.slurm.packs import pack

SHARDS = [f"train-{number:05d}" for number in range(2000)]


@pytest.mark.parametrize(
    ("seconds", "task_minutes", "limit", "packs", "longest", "minutes"),
    [
        (3, 30, None, 4, 500, 60),  # 600 would fit; four equal packs of 500 take 25 minutes, twice that and 10 to start
        (3, 10, None, 10, 200, 30),
        (60, 60, 30, 67, 30, 30),  # the partition's limit is the shorter one
        (1800, 30, 120, 2000, 1, 70),
        (36000, 30, 240, 2000, 1, 240),  # longer than the limit: goes on from its checkpoint
    ],
)
def test_a_pack_fills_a_task(seconds, task_minutes, limit, packs, longest, minutes):
    packing = pack(SHARDS, seconds, task_minutes, limit)
    assert [shard for part in packing.packs for shard in part] == SHARDS
    assert len(packing.packs) == packs
    assert max(map(len, packing.packs)) == longest
    assert packing.minutes == minutes


def test_arrays_hold_every_pack_once_and_no_more_than_the_cluster_takes():
    packing = pack(SHARDS, 600, 30, None)
    arrays = packing.arrays(100)
    assert [position for array in arrays for position in array] == list(range(len(packing.packs)))
    assert max(map(len, arrays)) <= 100
    assert len(arrays) == 7
