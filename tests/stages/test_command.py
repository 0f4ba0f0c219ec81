"""`python -m stages.<stage>`: one stage, here, now; mistakes in one line."""

import subprocess
import sys
import tempfile

import click
import pytest

from pipeline import ROOT
from stages.command import run_command


def run(stage, *arguments):
    command = [sys.executable, "-m", f"stages.{stage}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def arguments(experiment):
    return [part for override in experiment.overrides for part in ("--set", override)]


def test_stages_one_by_one(tiny, tmp_path):
    given = ["demo", *arguments(tiny())]
    made = run("deep_features", *given)
    assert made.returncode == 0, made.stderr
    assert "images = 8000" in made.stdout
    one = run("shadow_models", *given, "--shard", "train-00001", "--device", "cpu")
    assert one.returncode == 0, one.stderr
    assert (tmp_path / "runs" / "demo" / "shadow_models" / "train-00001.h5").exists()
    again = run("shadow_models", *given, "--shard", "train-00001")
    assert "train-00001: done already" in again.stdout
    early = run("weight_stats", *given)
    assert early.returncode == 1
    assert "error: weight_stats all: shadow_models: 2 of 3 shards are not done" in early.stderr


def test_what_is_printed_into_a_full_device_or_nowhere_is_no_traceback():
    status = f"{sys.executable} -m jobs status kkt_red_blue"
    for into, code, said in (
        (">/dev/full", 1, "error: what is printed: No space left on device; the traceback is in "),
        (">&-", 0, ""),
        ("2>/dev/full --nonsense", 2, ""),
        ("| true; exit ${PIPESTATUS[0]}", None, ""),
    ):
        done = subprocess.run(["bash", "-c", f"{status} {into}"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.stderr.startswith(said), into
        assert len(done.stderr.splitlines()) == bool(said), done.stderr
        assert code in (None, done.returncode), into


def test_a_defect_is_one_line_that_says_where_the_traceback_is(tmp_path, monkeypatch, capsys):
    @click.command()
    def command():
        raise ZeroDivisionError("nobody thought of it\nand of this")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(SystemExit) as ended:
        run_command(command)
    assert ended.value.code == 1
    (saved,) = tmp_path.iterdir()
    said = "error: a defect of this program: ZeroDivisionError: nobody thought of it; the traceback is in "
    assert capsys.readouterr().err == f"{said}{saved}\n"
    assert "raise ZeroDivisionError" in saved.read_text()
    assert saved.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("stage", "more", "said"),
    [
        ("shadow_models", ["--shard", "train-9"], "has no such shard; there are 5: train-00000"),
        ("pretrain", [], "this experiment has nothing for the stage pretrain"),
        ("deep_features", ["--device", "tpu"], "'tpu' is not one of 'auto', 'cpu', 'cuda'"),
        ("shadow_models", ["--set", "shadow_models.models_per_seed=703"], "deal at most 702 models"),
        ("shadow_models", ["--set", "shadow_models.test_models=176"], "deal at most 175 models"),
        ("deep_features", ["--set", "data.name=cifar10", "--set", "paths.data=/nowhere"], "looked for /nowhere"),
        ("deep_features", ["--set", "backbone.weights=/nowhere.pth"], "backbone.weights: /nowhere.pth does not exist"),
        (
            "reconstructor",
            ["--set", "reconstructor.lpips=vgg", "--set", "reconstructor.lpips_weights=/nowhere.pth"],
            "reconstructor.lpips_weights: /nowhere.pth does not exist",
        ),
        ("reconstructor", ["--set", "reconstructor.average=1.5"], "reconstructor.average should be less than 1"),
        ("min_mse", ["--set", "shadow_models.test_models=1"], "1 of 1 victims found no other that was trained on none"),
        ("shadow_models", ["--bogus"], "No such option"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tiny, stage, more, said):
    done = run(stage, "demo", *arguments(tiny()), *more)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
