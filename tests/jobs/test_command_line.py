"""What the command line says of itself, and of the experiments there are."""

import re

import pytest
from click.testing import CliRunner

from jobs.__main__ import jobs
from jobs.catalogue import describe, experiment_lines
from pipeline.layers import shipped_experiments

COMMANDS = sorted(jobs.commands)


def told(*words: str) -> str:
    result = CliRunner().invoke(jobs, words, terminal_width=80)
    assert result.exit_code == 0, result.output
    return result.output


def test_without_a_command_it_explains_itself():
    assert told() == told("--help")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_a_whole_sentence_in_the_list_and_explains_its_arguments(command):
    (line,) = re.findall(rf"^  {command} +(.*)$", told("--help"), re.MULTILINE)
    assert line.endswith(".")
    assert "..." not in line, "click shortens what does not fit"
    page = told(command, "--help")
    assert max(map(len, page.splitlines())) <= 80
    for argument in ("CONFIG", "STAGE"):
        usage, *rest = page.split("\n\n", 1)
        if argument in usage:
            assert re.search(rf"{argument} is .*such as", rest[0], re.DOTALL), "says what it is, with an example"


def test_every_shipped_experiment_is_listed_with_a_sentence():
    lines = told("list").splitlines()
    assert [line.split()[0] for line in lines] == [file.stem for file in shipped_experiments()]
    assert all(line.endswith((".", "?")) for line in lines)


def test_the_list_keeps_to_the_width_of_a_terminal():
    assert all(len(part) <= 80 for line in experiment_lines(80) for part in line.splitlines())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# One sentence, of\n# two lines. And more.\nseed: 1\n", "One sentence, of two lines."),
        ("# δ = N^-1.1 is no end. That was.\n", "δ = N^-1.1 is no end."),
        ("# No full stop\nseed: 1\n", "No full stop"),
        ("seed: 1\n# not at the head.\n", ""),
    ],
)
def test_the_sentence_is_the_first_of_the_comment_at_the_head(tmp_path, text, sentence):
    file = tmp_path / "one.yml"
    file.write_text(text)
    assert describe(file) == sentence
