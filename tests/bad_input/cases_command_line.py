"""Commands, options, paths and overrides that are none."""

from pathlib import Path

from tests.bad_input.case import QUICK, Case

STAGES = "the stages are pretrain, deep_features"
KNOWN = "no such experiment file.* `python -m jobs list` shows those in config_data/"
LONG = "a" * 300


def overridden(override: str, line: str, code: int = 2) -> Case:
    return Case(f"--set {override[:40]}", ("jobs", "status", "kkt_red_blue", "RUNS", "--set", override), code, line)


def a_directory(here: Path) -> None:
    (here / "e.yml").mkdir()


def a_fifo(here: Path) -> None:
    import os

    os.mkfifo(here / "e.yml")


def a_loop(here: Path) -> None:
    (here / "e.yml").symlink_to(here / "e.yml")


CASES = [
    Case("unknown command", "jobs foo", 2, r"No such command 'foo'"),
    Case("no command", "jobs", 0, r"Usage: "),
    Case("no config", "jobs status", 2, "Missing argument 'CONFIG'"),
    Case("no config to compare", "jobs compare", 2, "Missing argument 'CONFIG"),
    Case("no config to run", "jobs run", 2, "Missing argument 'CONFIG'"),
    Case("no config to unlock", "jobs unlock", 2, "Missing argument 'CONFIG'"),
    Case("unknown option", "jobs run kkt_red_blue --nonsense", 2, "No such option:? '?--nonsense'?"),
    Case("extra argument", "jobs run kkt_red_blue extra", 2, r"unexpected extra argument \(extra\)"),
    Case(
        "unknown executor", "jobs run kkt_red_blue --executor foo", 2, "'foo' is not one of 'inline', 'dask', 'slurm'"
    ),
    Case("unknown device", "jobs run kkt_red_blue --device tpu", 2, "'tpu' is not one of 'auto', 'cpu', 'cuda'"),
    Case("--set without a value", "jobs run kkt_red_blue --set", 2, "Option '--set' requires an argument"),
    Case("unknown --only", "jobs run kkt_red_blue RUNS --only nostage", 2, f"--only nostage: .*{STAGES}"),
    Case(
        "--only without work", "jobs run kkt_red_blue RUNS --only roc", 2, "--only roc: .* has nothing for this stage"
    ),
    Case(
        "--only without inputs", "jobs run kkt_red_blue RUNS --only kkt_attack", 1, "kkt_victim: 1 of 1 shards are not"
    ),
    Case(
        "--scheduler inline",
        "jobs run demo --executor inline --scheduler x",
        2,
        "--scheduler goes with --executor dask",
    ),
    Case(
        "--cluster inline", "jobs run kkt_toys --executor inline --cluster x", 2, "--cluster goes with --executor slurm"
    ),
    Case("--cluster and --scheduler", "jobs run demo --cluster x --scheduler y", 2, "choose one"),
    Case("slurm without cluster", "jobs run demo --executor slurm", 2, "--executor slurm needs --cluster FILE"),
    Case("unknown cluster", "jobs run demo --executor slurm --cluster nope", 2, "--cluster nope: no such file"),
    Case("long cluster", f"jobs run demo --executor slurm --cluster {LONG}", 2, "File name too long"),
    Case("cluster of no home", "jobs run demo --executor slurm --cluster ~nobodyhere/x", 2, "no such home directory"),
    Case("logs of an unknown stage", f"jobs logs kkt_red_blue {QUICK} nostage RUNS", 2, f"logs nostage: .*{STAGES}"),
    Case(
        "logs of an unknown shard", "jobs logs kkt_red_blue kkt_attack nope RUNS", 2, "nothing was logged of kkt_attack"
    ),
    Case("logs above the run", "jobs logs kkt_red_blue kkt_attack ../../x RUNS", 2, "nothing was logged of kkt_attack"),
    Case(
        "logs of a long shard", f"jobs logs kkt_red_blue kkt_attack {LONG} RUNS", 2, "nothing was logged of kkt_attack"
    ),
    Case("logs of a grid", "jobs logs kkt_toys kkt_victim RUNS", 2, "is a grid; choose one of its points"),
    Case("import into a grid", "jobs import kkt_toys kkt_victim x RUNS", 2, "is a grid; choose one of its points"),
    Case("compare what is unfinished", "jobs compare kkt_red_blue RUNS", 1, "kkt_victim: 1 of 1 shards are not done"),
    Case("compare what is not there", "jobs compare nope", 2, f"nope: {KNOWN}"),
    Case("report of nothing", "jobs report kkt_red_blue RUNS", 1, "kkt_victim: 1 of 1 shards are not done"),
    Case(
        "unknown shard", "stages.kkt_victim kkt_red_blue --shard nope RUNS", 2, "--shard nope: kkt_victim has no such"
    ),
    Case("a stage without inputs", "stages.kkt_attack kkt_red_blue RUNS", 1, "kkt_victim: 1 of 1 shards are not done"),
    Case("a stage with nothing", "stages.roc kkt_red_blue RUNS", 2, "has nothing for the stage roc"),
    Case("a stage of a grid", "stages.kkt_victim kkt_toys RUNS", 2, "is a grid; choose one of its points"),
    Case("a stage's unknown device", "stages.kkt_victim kkt_red_blue --device tpu RUNS", 2, "'tpu' is not one of"),
    Case("a stage's unknown option", "stages.kkt_victim kkt_red_blue --bogus", 2, "No such option"),
    Case(
        "unlock what is unlocked",
        "jobs unlock kkt_red_blue RUNS",
        0,
        "no lock, HERE/runs/kkt_red_blue/lock is not there",
    ),
    # --------------------------------------------------------------------------------------------- paths
    *(
        Case(f"{verb} of no experiment", f"jobs {verb} nope", 2, f"nope: {KNOWN}")
        for verb in ("run", "resume", "status", "cancel", "report", "unlock")
    ),
    Case("empty name", ("jobs", "status", ""), 2, KNOWN),
    Case("blank name", ("jobs", "status", " "), 2, KNOWN),
    Case("long name", f"jobs status {LONG}", 2, "cannot be opened .File name too long."),
    Case("very long path", f"jobs status {'a/' * 3000}", 2, "cannot be opened .File name too long."),
    Case("home of nobody", "jobs status ~nobodyhere/x.yml", 2, "there is no such home directory"),
    Case("Latin-1 name", ("jobs", "status", "gr\udcf6\udcdfe.yml"), 2, "the name is not UTF-8"),
    Case("line break in a name", ("jobs", "status", "a\nb"), 2, f"a b: {KNOWN}"),
    Case("markup in a name", ("jobs", "status", "[/x]"), 2, rf"\[/x\]: {KNOWN}"),
    Case("escape in a name", ("jobs", "status", "\x1b[31mred"), 2, rf"\[31mred: {KNOWN}"),
    Case("NUL device", "jobs status /dev/null", 2, f"/dev/null: {KNOWN}"),
    Case("zero device", "jobs status /dev/zero", 2, f"/dev/zero: {KNOWN}"),
    Case("directory", "jobs status HERE/e.yml", 2, KNOWN, make=a_directory),
    Case("fifo", "jobs status HERE/e.yml", 2, KNOWN, make=a_fifo),
    Case("link to itself", "jobs status HERE/e.yml", 2, KNOWN, make=a_loop),
    Case("path through a file", "jobs status /etc/passwd/x.yml", 2, KNOWN),
    Case(
        "umlaut in a file name", "jobs status HERE/größe.yml", 2, "name String should match", {"größe.yml": "kkt: {}\n"}
    ),
    Case("blank in a file name", ("jobs", "status", "HERE/a b.yml"), 2, "name String should", {"a b.yml": "kkt: {}\n"}),
    # ----------------------------------------------------------------------------------------- overrides
    overridden("nonsense", "--set nonsense: write it as key.of.the.experiment=value"),
    overridden("=1", "--set =1: write it as key.of.the.experiment=value"),
    overridden("", "write it as key.of.the.experiment=value"),
    overridden("a=1", "--set a=1: unknown key a"),
    overridden(".=1", "--set .=1: unknown key"),
    overridden("..=1", "--set ..=1: unknown key"),
    overridden("kkt..problem=1", "unknown key kkt.; did you|unknown key kkt."),
    overridden("kkt=5", "kkt should be a valid dictionary or instance of Kkt, not 5"),
    overridden("kkt=[1,2]", "kkt should be a valid dictionary or instance of Kkt"),
    overridden("kkt=", "asks for nothing"),
    overridden("kkt=null", "asks for nothing"),
    overridden("kkt={}", "next:  python -m jobs run", 0),
    overridden("seed=-1", "next:  python -m jobs run", 0),
    overridden("seed=10000000000000000000000000000000000", "next:  python -m jobs run", 0),
    *(
        overridden(f"seed={value}", "seed should be a valid integer")
        for value in (
            "true",
            "1.0",
            ".nan",
            ".inf",
            "x",
            "[1]",
            "{a: 1}",
            "null",
            "'1'",
            "1e3",
            "2024-01-01",
            "1:",
            "~",
        )
    ),
    *(
        overridden(f"seed={value}", "the value cannot be read as YAML")
        for value in (
            *(
                "[",
                "{",
                "*x",
                "!!python/object/apply:os.system [id]",
                "0x_",
                "2024-13-45",
                "!!int abc",
                "'",
                '"',
                "- a: b: c",
            ),
            *(
                "!!float x",
                "!!bool maybe",
                "!!timestamp x",
                "[" * 3000,
                "{a: 1, a: 2}",
                "@",
                "`",
                "%",
                "a\0b",
                "9" * 5000,
            ),
        )
    ),
    *(
        overridden(f"point={value}", "point String should match pattern")
        for value in ("../../../x", "..", ".", "a/b", "/tmp/x", "a b", "'a\\nb'", "''")
    ),
    overridden("point=5", "point should be a valid string, not 5"),
    overridden("point=", "next:  python -m jobs run", 0),
    overridden("extends=mnist_n10.yml", "unknown key extends"),
    overridden("source=x", "the key source is set by the program; remove it"),
    overridden("grid=5", "grid is a mapping of axes"),
    overridden("grid={seed: [1,2]}", "--set point=seed=2", 0),
    overridden("imported=[foo]", f"imported: there is no stage foo; {STAGES}"),
    overridden("imported=report", "imported should be a valid tuple, not 'report'"),
    overridden("resources.foo.device=cpu", f"resources.foo: there is no stage foo; {STAGES}"),
    overridden("resources.kkt_victim.device=tpu", "should be 'cpu' or 'gpu', not 'tpu'"),
    overridden("resources.kkt_victim.memory_gb=1e308", "memory_gb should be less than or equal to 100000"),
    overridden("resources.kkt_victim.memory_gb=0", "memory_gb should be greater than 0"),
    overridden("resources.kkt_victim.seconds_per_shard=1e308", "seconds_per_shard should be less than or equal to"),
    overridden("resources.kkt_victim.cores=1", "unknown key resources.kkt_victim.cores"),
    overridden("kkt.search.trials=100000000", "kkt.search.trials should be less than or equal to 100000"),
    overridden("paths.runs=~nobodyhere/x", "there is no such home directory"),
    overridden("paths.runs=5", "paths.runs should be a valid string, not 5"),
    overridden("paths.runs=", "paths.runs should be a valid string, not None"),
    overridden("paths.runs=/proc/x", "next:  python -m jobs run", 0),
    overridden("paths.runs=/dev/null", "next:  python -m jobs run", 0),
    *(
        Case(
            f"a run into {place[:20]}",
            ("jobs", "run", "kkt_red_blue", "--executor", "inline", "--set", f"paths.runs={place}"),
            2,
            "paths.runs: .* cannot be written",
        )
        for place in ("/proc/x", "/dev/null", "/etc/passwd", LONG)
    ),
    Case("a run of no home", "jobs run kkt_red_blue --set paths.runs=~nobodyhere/x", 2, "no such home directory"),
    Case("markup in the runs", "jobs status kkt_red_blue --set paths.runs=HERE/[/x]", 0, r"paths.runs=HERE/\[/x\]"),
    Case("bold in the runs", "jobs status kkt_red_blue --set paths.runs=HERE/[bold]", 0, r"paths.runs=HERE/\[bold\]"),
    Case("an emoji's name", "jobs status kkt_red_blue --set paths.runs=HERE/:smile:/", 0, r"paths.runs=HERE/:smile:/"),
]
