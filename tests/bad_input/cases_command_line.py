"""Commands, options and arguments that are none."""

from tests.bad_input.case import QUICK, Case

STAGES = "the stages are pretrain, deep_features"
KNOWN = "no such experiment file; in config_data/ there are: celeba_n10"

CASES = [
    Case("unknown command", "jobs foo", 2, r"No such command 'foo'"),
    Case("no config", "jobs status", 2, "Missing argument 'CONFIG'"),
    Case("logs of an unknown stage", f"jobs logs kkt_red_blue {QUICK} nostage RUNS", 2, f"logs nostage: .*{STAGES}"),
]
