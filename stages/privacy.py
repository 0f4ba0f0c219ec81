"""Hold private training's guarantee against the scores: the trade-off f, reconstruction robustness, the least ε."""

from dataclasses import asdict

from pipeline.config import Experiment
from pipeline.reconstruction.settings import modes
from pipeline.shadow import seeds
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work

CANARIES = 4000
"""Heads with the crafted canary, and as many without."""


def shards(experiment: Experiment) -> list[str]:
    """None without noise, and none for scores that were imported: their training is not known."""
    private = experiment.shadow_models and experiment.shadow_models.training.private
    return modes(experiment) if private and "min_mse" not in experiment.imported else []


def settings(experiment: Experiment, shard: str) -> dict:
    return {"seed": experiment.seed, "training": experiment.shadow_models.training.identity(), "canaries": CANARIES}


def inputs(experiment: Experiment) -> list[str]:
    features = f"deep_features/{seeds.features_of(experiment, seeds.VICTIMS)}"
    return [features, f"shadow_models/{seeds.VICTIMS}", "min_mse", "baselines", "roc"]


def canary_audit(work: Work, indices) -> dict[str, float | bool]:
    """What an audit of the training itself finds: on a victim's set with a crafted canary as its first record, by heads
    trained with and without it. Nothing where the engine trains no neighbours, or features are too few."""
    import torch

    from pipeline.privacy.canary import audit_training, crafted
    from pipeline.privacy.verdict import facts_of
    from pipeline.randomness import torch_generator
    from pipeline.shadow.recipe import Recipe

    training, purpose = work.experiment.shadow_models.training, (work.experiment.seed, "privacy", "canary")
    recipe = Recipe.of(work.experiment, seeds.VICTIMS, work.inputs["deep_features"], work.device)
    shard = work.inputs["shadow_models"].read(seeds.VICTIMS, "labels")
    features = recipe.features[torch.as_tensor(indices[0]).long().to(work.device)]
    if training.engine == "opacus" or features.shape[1] <= len(features):
        return {}
    changed = crafted(features, 0, torch_generator(*purpose, device=work.device))
    labels = torch.as_tensor(shard["labels"][0]).long()
    found = facts_of(audit_training(changed, labels, 0, training, CANARIES, purpose))
    return {f"canary/{name}": value for name, value in found.items()}


def run(work: Work) -> Result:
    """<null>/ceiling, <null>/wanted_ceiling, <null>/above of every null, robustness/… and audit/bounds: see
    pipeline.privacy.verdict; the last two where minus_one is a null, the only one that f bounds. Attributes: the
    guarantee, and what the audits found, of the victims and (canary/…) of the training itself."""
    import numpy as np

    from pipeline.privacy.trade_off import trade_off
    from pipeline.privacy.verdict import audited, ceilings, robustness
    from pipeline.randomness import numpy_generator
    from pipeline.shadow.accountant import guarantee

    experiment, mode, inputs = work.experiment, work.shard, work.inputs
    indices = inputs["shadow_models"].read(seeds.VICTIMS, "indices")["indices"]
    claimed = guarantee(experiment.shadow_models.training.private, indices.shape[1])
    curve = trade_off(claimed.noise_multiplier, claimed.sample_rate, claimed.steps)
    rates, scores = inputs["roc"].read(mode), inputs["min_mse"]
    arrays, facts = {}, asdict(claimed) | canary_audit(work, indices)
    for null in experiment.evaluation.nulls:
        arrays |= ceilings(curve, rates, null, rates["false_positive_rates"])
    if "minus_one" in experiment.evaluation.nulls:
        names = ("h0/minus_one", "h1/minus_one/min_mse")
        h0, h1 = (scores.read(mode, name)[name] for name in names)
        units = scores.read(mode, "h0/person")["h0/person"] if experiment.task.kind == "identity" else None
        units = None if units is None else np.unique(units, return_inverse=True)[1]
        dealings = experiment.shadow_models.test_seeds if units is None else 1
        # images come again in every dealing, so victims of the first alone are independent; persons are units anyway
        part = slice(None) if dealings == 1 else scores.read(mode, "h0/seed")["h0/seed"] == 0
        found = audited(h0[part], h1[part], claimed, numpy_generator(experiment.seed, "privacy", mode), units)
        threshold = float(inputs["roc"].attributes(mode)["threshold"])
        arrays |= found.arrays | robustness(curve, inputs["baselines"].read(mode), h0, threshold, units, dealings)
        facts |= found.facts
    return Result(arrays, facts)


STAGE = Stage(
    name="privacy",
    shards=shards,
    inputs=inputs,
    settings=settings,
    resources=lambda experiment: Resources("cpu", threads=1, memory_gb=2.0, seconds_per_shard=60.0),
    run=run,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
