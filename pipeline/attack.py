"""What an attack is to the rest of the program: its settings, its stages, its chapter of the report, its summary."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.config import Experiment
    from pipeline.report.page import Chapter
    from pipeline.report.table import Table
    from pipeline.store import Result, Shards

Contents = Mapping[str, Any]
"""Name of a file → its content: an array, or a state dict (name → tensor)."""


class Finished(Protocol):
    """A finished experiment: what it was, and the shards of any of its stages."""

    experiment: "Experiment"

    def shards_of(self, stage: str, wanted: list[str] | None = None) -> "Shards":
        """All shards of a stage, or the wanted ones; raises Failure when one is not there."""


@dataclass(frozen=True)
class Part:
    """A key that an attack adds to an experiment. Without a default, an experiment may leave it out."""

    settings: type[Settings]
    default: Settings | None = None


@dataclass(frozen=True)
class Reader:
    """How a shard is made of published files: from the experiment, the shard's name and the files' contents.

    `names` of the files; one given without a name gets the first. `make` raises UserError where a file does not fit.
    """

    make: "Callable[[Experiment, str, Contents], Result]"
    names: Sequence[str]


def _no_rule(experiment: "Experiment") -> None:
    pass


def _no_phrases(experiment: "Experiment", inputs: "Mapping[str, Shards]") -> list[str]:
    return []


def _nothing_shown(experiment: "Experiment") -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Attack:
    """A family of attacks, as the rest of the program sees it; everything else about it is in its own package.

    What has a default may be left out.

    name        of the family
    parts       key of an experiment → what may be written there
    stages      its stages, files in stages/, each after those it reads
    is_made     whether an experiment makes this attack, so that the report has a chapter on it
    refuse      raises ValueError where an experiment's parts do not fit together; called for every experiment
    describe    phrases for the report's opening sentence, from the experiment and the shards of stages
    shown       settings of the report itself, which its fingerprint holds
    chapter     of the report, from the experiment and the shards of stages
    summarise   one row, or more, for each of several finished experiments; the first column is the experiment's title,
                the second what of it the row is about
    readers     stage → how files of others' runs become its shards (`jobs import`)
    apart       whether it is told by a command and on a page of its own, so that the report neither has a chapter on it
                nor waits for it
    curves      columns of that summary which `jobs compare` draws along the key in which experiments differ
    """

    name: str
    parts: Mapping[str, Part]
    stages: Sequence[str]
    is_made: "Callable[[Experiment], bool]"
    chapter: "Callable[[Experiment, Mapping[str, Shards]], Chapter] | None" = None
    describe: "Callable[[Experiment, Mapping[str, Shards]], list[str]]" = _no_phrases
    shown: "Callable[[Experiment], dict[str, Any]]" = _nothing_shown
    summarise: "Callable[[Sequence[Finished]], Table] | None" = None
    refuse: "Callable[[Experiment], None]" = _no_rule
    readers: Callable[[], Mapping[str, Reader]] = dict
    apart: bool = False
    curves: Sequence[str] = ()
