"""Pre-train the backbone, unless the experiment names finished weights."""

import json
from pathlib import Path

from pipeline import located
from pipeline.config import Experiment
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def shards(experiment: Experiment) -> list[str]:
    if not experiment.backbone or experiment.backbone.weights:
        return []
    return [f"{experiment.backbone.name}-{experiment.pretrain.data.title}"]


def settings(experiment: Experiment, shard: str) -> dict:
    pretrain = experiment.pretrain
    return {
        **pretrain.model_dump(mode="json", exclude={"data"}),
        "data": pretrain.data.identity(experiment.paths.data_root),
        "backbone": experiment.backbone.name,
    }


def location(experiment: Experiment, stage: str, shard: str, fingerprint: str) -> Path:
    """Backbones are shared between experiments; other settings have another name."""
    return located(experiment.paths.models) / f"{shard}-{fingerprint[:10]}.h5"


def check(experiment: Experiment) -> None:
    from pipeline.data.sources import load
    from pipeline.networks.pretraining import initial_classifier

    source = load(experiment.pretrain.data, "pretrain", experiment.paths.data_root)
    initial_classifier(experiment.backbone.name, experiment.pretrain, source)


def run(work: Work) -> Result:
    """State dict of the trained classifier; beside it the same as a .pth, with a sidecar that says how it was made."""
    import io

    import torch

    from pipeline.data.sources import load
    from pipeline.networks.pretraining import accuracy, initial_classifier, pretrain
    from pipeline.networks.state import state_arrays, state_dict

    experiment, pretraining = work.experiment, work.experiment.pretrain
    root = experiment.paths.data_root
    source, held_out = (load(pretraining.data, split, root) for split in ("pretrain", "test"))
    classifier = initial_classifier(experiment.backbone.name, pretraining, source).to(work.device)
    epochs = sum(phase.epochs for phase in pretraining.phases)

    def after_epoch(epoch: int, loss: float, state: dict) -> None:
        work.progress(epoch, epochs, f"loss {loss:.4f}")
        work.checkpoint.offer(lambda: state)

    resume = work.checkpoint.load(work.device)
    losses = pretrain(classifier, source, pretraining, resume=resume, after_epoch=after_epoch)
    arrays = state_arrays(classifier)
    facts = {
        "backbone": experiment.backbone.name,
        "data": pretraining.data.name,
        "images": len(source),
        "epochs": epochs,
        "steps": sum(phase.epochs * -(-len(source) // phase.batch_size) for phase in pretraining.phases),
        "final_loss": losses[-1],
        "train_accuracy": accuracy(classifier, source),
        "held_out_accuracy": accuracy(classifier, held_out),
    }
    weights = io.BytesIO()
    torch.save(state_dict(arrays), weights)
    sidecar = json.dumps({**facts, "settings": settings(experiment, work.shard)}, indent=2) + "\n"
    stem = work.path.stem
    return Result(
        arrays=arrays | {"losses": losses},
        attributes=facts,
        files={f"{stem}.pth": weights.getvalue(), f"{stem}.json": sidecar.encode()},
    )


STAGE = Stage(
    name="pretrain",
    shards=shards,
    inputs=lambda experiment: [],
    settings=settings,
    resources=lambda experiment: Resources("gpu", experiment.pretrain.threads, 8.0, 3600.0),
    run=run,
    check=check,
    location=location,
    version=3,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
