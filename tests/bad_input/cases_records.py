"""Locks, records of failures and submissions, logs, cluster files and SLURM's answers that are not what they should be."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.lock import DEAD_AFTER_SECONDS, Owner
from tests.bad_input.case import QUICK, Case, finished_run

RUN = f"jobs run kkt_red_blue {QUICK} RUNS --executor inline"
STATUS = f"jobs status kkt_red_blue {QUICK} RUNS"
UNLOCK = f"jobs unlock kkt_red_blue {QUICK} RUNS"
DRY = "jobs run kkt_red_blue RUNS --executor slurm --dry-run --cluster HERE/site.yml"
RECORD = {
    "stage": "kkt_victim",
    "shard": "victim",
    "message": "said",
    "traceback": "",
    "host": "h",
    "process": 1,
    "job_id": "",
    "time": "2024-01-01 00:00:00",
    "rerun": "again",
}


def unreported(here: Path) -> Path:
    """A finished run without its report: the shortest that there is to do."""
    run = finished_run(here)
    for path in (run / "report").iterdir():
        path.unlink()
    return run


def locked(content: str | dict, old: bool = False) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        path = unreported(here) / "lock"
        given = json.dumps({**Owner.here("run").model_dump(), **content}) if isinstance(content, dict) else content
        path.write_text(given)
        if old:
            then = time.time() - DEAD_AFTER_SECONDS - 60
            os.utime(path, (then, then))

    return make


def in_place(name: str, content: str | bytes) -> Callable[[Path], None]:
    """A file in the directory of a run of which nothing is done."""

    def make(here: Path) -> None:
        path = here / "runs" / "kkt_red_blue" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def linked(target: str) -> Callable[[Path], None]:
    return lambda here: (unreported(here) / "lock").symlink_to(target)


def a_directory(here: Path) -> None:
    (unreported(here) / "lock").mkdir()


def a_fifo(here: Path) -> None:
    os.mkfifo(unreported(here) / "lock")


def site(wrong: str, content: str, line: str, code: int = 2) -> Case:
    return Case(f"cluster: {wrong}", DRY, code, line, {"site.yml": content})


NOBODY = {
    "empty": "",
    "a list": "[]",
    "a number": "5",
    "half of it": '{"what": "run", "ho',
    "no JSON": "hello",
    "other keys": '{"a": 1}',
    "an older form": '{"what": "run", "host": "x", "process": 1, "since": 0}',
    "a path as process": '{"what": "run", "host": "x", "process": "../x", "since": 0}',
    "a thousand brackets": "[" * 1000,
}
FAILED = "kkt_victim/victim.json"
BAD_RECORDS = {
    "truncated": '{"stage": ',
    "empty": "",
    "of other keys": '{"a": 1}',
    "a list": "[]",
    "not UTF-8": b"\xff\xfe",
    "a number as message": json.dumps({**RECORD, "message": 5}),
    "a thousand brackets": "[" * 1000,
}

CASES = [
    # --------------------------------------------------------------------------------------------- locks
    Case("lock of this process", RUN, 1, "is being worked on by `run`, process", make=locked({})),
    Case("lock of another host", RUN, 1, "process 7 on elsewhere", make=locked({"host": "elsewhere", "process": 7})),
    Case("lock of a silent host", RUN, 0, "that process is gone", make=locked({"host": "elsewhere"}, old=True)),
    Case("lock of an earlier boot", RUN, 0, "that process is gone", make=locked({"boot": "x"})),
    Case(
        "lock of a process id given again",
        RUN,
        0,
        "that process is gone",
        make=locked({"process": 1, "started": 99**9}),
    ),
    Case("lock of no process", RUN, 0, "that process is gone", make=locked({"process": 2**22 + 1})),
    Case("markup in a lock", RUN, 1, r"worked on by `\[/red\]`", make=locked({"what": "[/red]"})),
    Case(
        "markup in a dead lock", RUN, 0, r"lock of `\[/red\]`.* is broken", make=locked({"what": "[/red]", "boot": ""})
    ),
    *(
        Case(f"lock {wrong}", RUN, 1, "HERE/runs/kkt_red_blue/lock: names no holder", make=locked(content))
        for wrong, content in NOBODY.items()
    ),
    *(
        Case(f"old lock {wrong}", RUN, 0, "lock of nobody .*is broken", make=locked(content, old=True))
        for wrong, content in NOBODY.items()
    ),
    *(
        Case(f"unlock {wrong}", UNLOCK, 0, r"removed HERE/runs/kkt_red_blue/lock", make=locked(content))
        for wrong, content in NOBODY.items()
    ),
    Case("lock is a dangling link", RUN, 1, "names no holder", make=linked("/nowhere/x")),
    Case("lock is a link to itself", RUN, 1, "names no holder", make=linked("lock")),
    Case("lock is a link to a device", RUN, 1, "names no holder", make=linked("/dev/zero")),
    Case("unlock a dangling link", UNLOCK, 0, "removed HERE/runs/kkt_red_blue/lock", make=linked("/nowhere/x")),
    Case("lock is a directory", RUN, 1, "is in the place of the lock file and is no file; remove it", make=a_directory),
    Case("lock is a fifo", RUN, 1, "is in the place of the lock file and is no file; remove it", make=a_fifo),
    Case("unlock a directory", UNLOCK, 1, "is in the place of the lock file and is no file", make=a_directory),
    Case("unlock what is held", UNLOCK, 1, r"lock: is held by `run`, process .* which is alive", make=locked({})),
    Case("unlock by force what is held", f"{UNLOCK} --force", 1, "which is alive; end that process", make=locked({})),
    Case("unlock what may be held", UNLOCK, 1, "which may be alive there; --force", make=locked({"host": "elsewhere"})),
    Case("unlock by force", f"{UNLOCK} --force", 0, "was held by .*elsewhere", make=locked({"host": "elsewhere"})),
    Case(
        "unlock what is dead",
        UNLOCK,
        0,
        "removed HERE/runs/kkt_red_blue/lock, which was held by",
        make=locked({"boot": ""}),
    ),
    # ------------------------------------------------------------------------------------------- records
    *(
        Case(
            f"failure record {wrong}",
            STATUS,
            0,
            "next:  python -m jobs run",
            make=in_place(f"failures/{FAILED}", content),
        )
        for wrong, content in BAD_RECORDS.items()
    ),
    Case(
        "markup in a failure",
        STATUS,
        0,
        r"\[/a\] \[bold\] said",
        make=in_place(f"failures/{FAILED}", json.dumps({**RECORD, "message": "[/a] [bold] said"})),
    ),
    *(
        Case(
            f"submission {wrong}",
            STATUS,
            0,
            "next:  python -m jobs run",
            make=in_place("slurm/kkt_victim/0001.json", content),
        )
        for wrong, content in BAD_RECORDS.items()
    ),
    Case("a submission's odd name", STATUS, 0, "next:", make=in_place("slurm/kkt_victim/1x.json", "{}")),
    Case(
        "log that is not UTF-8",
        f"jobs logs kkt_red_blue kkt_victim {QUICK} RUNS",
        0,
        "2024-01-01 00:00:00  .victim",
        make=in_place("logs/kkt_victim/x.log", b"2024-01-01 00:00:00  \xffvictim\n"),
    ),
    Case(
        "markup in a log",
        f"jobs logs kkt_red_blue kkt_victim {QUICK} RUNS",
        0,
        r"\[/red\]",
        make=in_place("logs/kkt_victim/x.log", "2024-01-01 00:00:00  [/red]\n"),
    ),
    # ------------------------------------------------------------------------------------------ clusters
    site("a list", "- gpu\n", "should be a mapping of keys, not a list"),
    site("broken", "gpu: {\n", "cannot be read as YAML"),
    site("not UTF-8", "gpu: ö\n".encode("latin-1").decode("latin-1") + "\0", "cannot be read as YAML"),
    site("a key twice", "account: a\naccount: b\n", "the key account is there twice"),
    site("unknown key", "partitions: gpu\n", "unknown key partitions; did you mean partition"),
    site(
        "unknown key of a part", "gpu: {gpu_per_node: 1}\n", "unknown key gpu.gpu_per_node; did you mean gpus_per_node"
    ),
    site("unknown stage", "stages: {training: {}}\n", "stages.training: there is no stage training"),
    site("the key source", "source: x\n", "the key source is set by the program"),
    site("engine's option", "extra: {array: 0-3}\n", "extra array is set by the engine"),
    site("option with dashes", "extra: {--qos: x}\n", "extra '--qos' is no option of sbatch; write it without dashes"),
    site("option with a line break", 'extra: {"qos\\n#SBATCH --x": y}\n', "is no option of sbatch"),
    site("option with a blank", "extra: {qos x: y}\n", "is no option of sbatch"),
    *(
        site(f"{shown}", f"{text}\n", "should be one line without control characters")
        for shown, text in [
            ("line break in partition", 'partition: "a\\nrm -rf x"'),
            ("line break in account", 'account: "a\\nb"'),
            ("line break in constraint", 'constraint: "a\\nb"'),
            ("line break in extra", 'extra: {qos: "a\\nb"}'),
            ("line break in set-up", 'setup: ["module load x\\nrm -rf x"]'),
            ("return in partition", 'partition: "a\\rb"'),
            ("NUL in account", 'account: "a\\0b"'),
            ("escape in account", 'account: "a\\eb"'),
            ("line separator in account", 'account: "a\\Lb"'),
            ("line break in a stage's", 'stages: {kkt_victim: {account: "a\\nb"}}'),
            ("line break in the GPUs'", 'gpu: {partition: "a\\nb"}'),
        ]
    ),
    *(
        site(f"{key}: {value}", f"{key}: {value}\n", f"{key} should be")
        for key, value in [
            ("task_minutes", "5"),
            ("task_minutes", "61"),
            ("task_minutes", "x"),
            ("concurrent_tasks", "many"),
            ("concurrent_tasks", "0"),
            ("concurrent_tasks", "-1"),
            ("memory_gb", "0"),
            ("memory_gb", ".nan"),
            ("memory_gb", ".inf"),
            ("gpus_per_node", "0"),
            ("gpus_per_node", "1.5"),
            ("time_limit_minutes", "-5"),
            ("time_limit_minutes", "1h"),
            ("warning_seconds", "0"),
            ("setup", "5"),
            ("setup", "module load x"),
            ("extra", "[a]"),
            ("extra", "x"),
            ("account", "5"),
            ("partition", "[a]"),
            ("constraint", "yes"),
            ("gpu", "5"),
            ("cpu", "[]"),
            ("stages", "[a]"),
        ]
    ),
    Case(
        "--device cuda without a gpu part", f"{DRY} --device cuda", 2, "has no gpu part", {"site.yml": "account: x\n"}
    ),
    Case("empty cluster file", DRY, 0, "#SBATCH", {"site.yml": ""}),
]
