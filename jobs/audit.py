"""`python -m jobs audit`: what an audit needs of an experiment, and what it found."""

import json

from jobs.scan import StageState, scan
from pipeline.errors import UserError
from stages import stage_named
from stages.plan import Plan
from stages.stage import Stage

CARD = "card"


def refuse_without_subject(plan: Plan) -> None:
    if not plan.experiment.subject:
        raise UserError(
            f"{plan.experiment.source}: has no part subject; name the model and its training images: "
            "subject: {head: head.pth, images: mine.npz} (examples/my_head/audit.yml is such an experiment)"
        )


def behind_the_card(plan: Plan) -> list[StageState]:
    """The stages that the report card needs, each after those it reads, where something is left to do."""
    needed, waiting = set(), [stage_named(CARD)]
    while waiting:
        stage: Stage = waiting.pop()
        if stage.name not in needed:
            needed.add(stage.name)
            waiting += plan.inputs(stage)
    return [state for state in scan(plan) if state.stage.name in needed and state.todo]


def findings(plan: Plan) -> list[str]:
    """The verdict in a sentence, and where the card lies."""
    path = plan.path(stage_named(CARD), CARD)
    card = json.loads((path.parent / "card.json").read_bytes())
    return [card["verdict"], f"The report card: {path.parent / 'card.html'} (and card.json)"]
