"""Two processes train one reconstructor together: started by torchrun, or by srun."""

import json
import os
import subprocess
import sys

import numpy as np

from pipeline import ROOT
from pipeline.processes import ALONE, Processes, started
from stages import stage_named
from stages.execution import make_shard
from stages.plan import Plan


def quiet(done, total, text):
    pass


def prepared(experiment) -> Plan:
    plan = Plan(experiment)
    for name in ("deep_features", "shadow_models", "weight_stats"):
        for shard in stage_named(name).shards(experiment):
            make_shard(plan, stage_named(name), shard, "cpu", quiet)
    return plan


def run(experiment, *launcher: str, **environment: str):
    sets = [part for override in experiment.overrides for part in ("--set", override)]
    return subprocess.run(
        [sys.executable, *launcher, "demo", *sets, "--device", "cpu"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_two_processes_train_as_one_does_and_one_writes(tiny):
    """The loss curve is that of one process with the whole batch, but for the draws; BatchNorm sees half batches."""
    changes = ("reconstructor.steps=120", "reconstructor.validate_every=40", "reconstructor.batch_size=32")
    plan = prepared(tiny(*changes))
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = run(plan.experiment, *torchrun, "-m", "stages.reconstructor")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written to") == 1
    shards = plan.finished(stage_named("reconstructor"))
    assert int(shards.attributes("conditional")["processes"]) == 2
    both = shards.read("conditional")
    plan.path(stage_named("reconstructor"), "conditional").unlink()
    make_shard(plan, stage_named("reconstructor"), "conditional", "cpu", quiet)
    alone = plan.finished(stage_named("reconstructor")).read("conditional")
    np.testing.assert_allclose(both["loss"], alone["loss"], rtol=0.1)
    assert both["loss"][-1] < 0.8 * both["loss"][0]


PROBE = """
import json, os, sys, torch
sys.path.insert(0, sys.argv[1])
from pipeline.processes import joined, started
from pipeline.networks.reconstructor import Reconstructor, initialise
from pipeline.reconstruction.forward import averaged_over
processes, device = started(), torch.device("cpu")
with joined(processes, device):
    network = Reconstructor(6, 1, 16, 2)
    initialise(network, torch.Generator().manual_seed(0))
    forward = averaged_over(processes, network, device)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(5):
        z = torch.randn(8, 6, generator=torch.Generator().manual_seed(10 * step + processes.rank))
        optimizer.zero_grad()
        forward(z, None).square().mean().backward()
        optimizer.step()
    flat = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    print(json.dumps([processes.rank, flat.double().sum().item(), flat.abs().max().item()]), flush=True)
"""


def test_both_processes_hold_the_same_weights(tmp_path):
    probe = tmp_path / "probe.py"
    probe.write_text(PROBE)
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_ID": str(os.getpid())}
    both = [
        subprocess.Popen(
            [sys.executable, probe, str(ROOT)],
            env={**os.environ, **step, "SLURM_PROCID": rank, "SLURM_LOCALID": rank},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    said = "".join(process.communicate(timeout=120)[0] for process in both)
    told = [json.loads(line) for line in said.splitlines() if line.startswith("[")]
    assert sorted(rank for rank, *_ in told) == [0, 1]
    assert told[0][1:] == told[1][1:]


def test_who_was_started_how(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    assert started() == ALONE
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert started() == ALONE, "a shell inside an allocation is no task of a step"
    for name, value in {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}.items():
        monkeypatch.setenv(name, value)
    assert started() == Processes(3, 4, 1)


def test_a_stage_of_many_shards_takes_one_process(tiny):
    torchrun = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    done = run(tiny(), "-m", "stages.deep_features", **torchrun)
    assert done.returncode == 2
    assert (
        "error: 2 processes were started, but deep_features is not multi-process; run its shards in parallel"
        in done.stderr
    )
