"""Cluster files: what is narrower wins; mistakes are one line that names the file, the key and what is valid."""

import pytest

from jobs.slurm.cluster import load_cluster, task_options
from pipeline.errors import UserError
from stages.stage import Resources

SITE = """
account: ours
setup: [module load one]
extra: {qos: normal, nice: 5}
cpu: {partition: cpu, concurrent_tasks: 7}
gpu: {partition: gpu, gpus_per_node: 2, time_limit_minutes: 600, setup: [module load two], extra: {qos: high}}
stages:
  weight_stats: {memory_gb: 24, partition: big}
"""
ON_GPU = Resources("gpu", threads=4, memory_gb=8, seconds_per_shard=100)
ON_CPU = Resources("cpu", threads=2, memory_gb=1.5, seconds_per_shard=100)


@pytest.fixture
def written(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "site.yml"
        path.write_text(text)
        return str(path)

    return write


def test_what_is_narrower_wins(written):
    site = load_cluster(written(SITE))
    gpu = task_options(site, "reconstructor", ON_GPU, "auto")
    assert (gpu.device, gpu.partition, gpu.account, gpu.gpus_per_node) == ("cuda", "gpu", "ours", 2)
    assert (gpu.threads, gpu.memory_mb, gpu.time_limit_minutes) == (4, 8192, 600)
    assert gpu.setup == ("module load two",)
    assert gpu.extra == {"qos": "high", "nice": 5}
    cpu = task_options(site, "shadow_models", ON_CPU, "auto")
    assert (cpu.device, cpu.partition, cpu.gpus_per_node, cpu.concurrent_tasks) == ("cpu", "cpu", None, 7)
    assert cpu.memory_mb == 1536
    assert task_options(site, "weight_stats", ON_CPU, "auto").memory_mb == 24 * 1024
    assert task_options(site, "weight_stats", ON_CPU, "auto").partition == "big"
    assert task_options(site, "reconstructor", ON_GPU, "cpu").partition == "cpu"


def test_without_a_gpu_part_everything_runs_on_cpus_unless_a_gpu_is_asked_for(written):
    site = load_cluster(written("account: ours"))
    assert task_options(site, "reconstructor", ON_GPU, "auto").device == "cpu"
    with pytest.raises(UserError, match=r"--device cuda: .*site\.yml has no gpu part"):
        task_options(site, "reconstructor", ON_GPU, "cuda")


@pytest.mark.parametrize("name", ["default", "example"])
def test_the_shipped_files_are_valid(name):
    assert load_cluster(name).source == f"config_data/clusters/{name}.yml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partitions: gpu", "unknown key partitions; did you mean partition? Valid keys here: partition, account,"),
        ("gpu: {gpu_per_node: 1}", "unknown key gpu.gpu_per_node; did you mean gpus_per_node?"),
        ("task_minutes: 5", "task_minutes should be greater than or equal to 10, not 5"),
        ("concurrent_tasks: many", "concurrent_tasks should be a valid integer, not 'many'"),
        ("stages: {training: {memory_gb: 1}}", "stages.training: there is no stage training; the stages are pretrain"),
        ("extra: {array: 0-3}", "extra array is set by the engine"),
        ("- gpu", "should be a mapping of keys, not a list"),
        ("gpu: {", "cannot be read as YAML"),
    ],
)
def test_a_mistake_is_one_line(written, text, said):
    with pytest.raises(UserError) as refused:
        load_cluster(written(text))
    assert "site.yml" in str(refused.value)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(UserError, match="--cluster juwels: no such file; in config_data/clusters/ there are: default"):
        load_cluster("juwels")
