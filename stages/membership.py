"""Infer membership from the same heads: LiRA and RMIA, to hold reconstruction against."""

from dataclasses import asdict

from pipeline.config import Experiment
from pipeline.shadow import seeds
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work

SHARD = "victims"


def nulls(experiment: Experiment) -> list[str]:
    """The two that ask of one image at a time; the first is what reconstruction is set beside."""
    return ["other_victims", *(["minus_one"] if "minus_one" in experiment.evaluation.nulls else [])]


def settings(experiment: Experiment, shard: str) -> dict:
    judged = experiment.evaluation
    return {
        "seed": experiment.seed,
        **experiment.membership.model_dump(mode="json"),
        "nulls": nulls(experiment),
        "false_positive_rates": judged.false_positive_rates,
        "bootstraps": judged.bootstraps,
        **seeds.stream_identity(experiment),
    }


def inputs(experiment: Experiment) -> list[str]:
    first = seeds.training_seed(0)
    streamed = experiment.shadow_models.source == "stream"
    features = {seeds.features_of(experiment, seed) for seed in (first, seeds.VICTIMS)}
    return [
        *(f"deep_features/{name}" for name in sorted(features)),
        f"shadow_models/{seeds.VICTIMS}",
        *([] if streamed else [f"shadow_models/{first}"]),
    ]


def check(experiment: Experiment) -> None:
    from pipeline.errors import UserError
    from pipeline.evaluation.minus_one import refuse_untrainable

    shadow, asked = experiment.shadow_models, experiment.membership
    if experiment.task.kind == "identity":
        raise UserError("membership: task.kind identity is not supported; leave the part membership out")
    if shadow.data:
        raise UserError(
            "membership: needs shadow models of the same classes; leave out shadow_models.data or membership"
        )
    if asked.shadows > shadow.models_per_seed:
        raise UserError(
            f"membership.shadows: {asked.shadows} are more than shadow_models.models_per_seed, {shadow.models_per_seed}"
        )
    if "minus_one" in nulls(experiment):
        from pipeline.data.sources import load

        labels = load(experiment.data, "test", experiment.paths.data_root).labels
        refuse_untrainable(shadow.training, seeds.deal(experiment, seeds.VICTIMS, labels)[0].shape[1])


def run(work: Work) -> Result:
    """<attack>/members (V, N): scores of every victim's own images, the higher the likelier a member. <attack>/<null>/
    others (V, N): the same images scored on heads that were trained without them; <attack>/<null>/auc, tpr, resolved,
    curve_fpr, curve: see pipeline.membership.rating. false_positive_rates (F,).

    Of private training against minus_one: <attack>/minus_one/ceiling (n,), 1 − f at curve_fpr, <attack>/audit/bounds
    (2, 2) and the attributes <attack>/refuted, …, as pipeline.privacy.verdict has them.
    """
    import numpy as np

    from pipeline.membership.rating import membership_rates
    from pipeline.randomness import numpy_generator

    experiment, judged, purpose = work.experiment, work.experiment.evaluation, (work.experiment.seed, "membership")
    evidence, heads, without = evidence_of(work, purpose)
    samples = heads.shape[1]
    of_members = evidence.scores(lambda victim: heads[victim], experiment.membership)
    arrays = {f"{name}/members": scores for name, scores in of_members.items()}
    arrays["false_positive_rates"], facts = np.array(judged.false_positive_rates), {}
    for null in nulls(experiment):
        of_others = evidence.scores(without[null], experiment.membership)
        for name, others in of_others.items():
            generator = numpy_generator(*purpose, "rates", name, null)
            found = membership_rates(
                of_members[name], others, judged.false_positive_rates, judged.bootstraps, generator
            )
            found["others"] = others
            arrays |= {f"{name}/{null}/{key}": values for key, values in found.items()}
    private = experiment.shadow_models.training.private
    if private and "minus_one" in nulls(experiment):
        from pipeline.privacy.trade_off import trade_off
        from pipeline.privacy.verdict import audited
        from pipeline.shadow.accountant import guarantee

        claimed = guarantee(private, samples)
        facts |= asdict(claimed)
        curve = trade_off(claimed.noise_multiplier, claimed.sample_rate, claimed.steps)
        for name, scores in of_members.items():
            generator = numpy_generator(*purpose, "audit", name)
            others = arrays[f"{name}/minus_one/others"]
            found = audited(-scores, -others[:, None], claimed, generator, None)
            arrays[f"{name}/minus_one/ceiling"] = curve.largest_tpr(arrays[f"{name}/minus_one/curve_fpr"])
            arrays |= {f"{name}/{key}": values for key, values in found.arrays.items()}
            facts |= {f"{name}/{key}": value for key, value in found.facts.items()}
    return Result(arrays, facts)


def evidence_of(work: Work, purpose: tuple[str | int, ...]):
    """The Evidence; the victims' heads (V, N, P), one a victim, repeated; null → (victim → heads (N, P) without)."""
    import numpy as np
    import torch

    from pipeline.evaluation.nulls import other_victims
    from pipeline.membership.inference import Evidence
    from pipeline.membership.shadows import Base, odds_with
    from pipeline.randomness import numpy_generator
    from pipeline.shadow.recipe import Recipe, head_of

    experiment, asked, device = work.experiment, work.experiment.membership, work.device
    first, head = seeds.training_seed(0), head_of(experiment)
    theirs, own = (Recipe.of(experiment, seed, work.inputs["deep_features"], device) for seed in (seeds.VICTIMS, first))
    shard = work.inputs["shadow_models"].read(seeds.VICTIMS)
    streamed = experiment.shadow_models.source == "stream"
    made = vars(own.make(first)) if streamed else work.inputs["shadow_models"].read(first)

    indices, labels = (torch.as_tensor(shard[name]).long().to(device) for name in ("indices", "labels"))
    victims, samples = indices.shape
    weights, dealt, learnt = (
        torch.as_tensor(made[name][: asked.shadows]).to(device) for name in ("weights", "indices", "labels")
    )
    base = Base(weights.float(), dealt.long() + len(theirs.features), learnt.long())
    both = Recipe(experiment, torch.cat([theirs.features, own.features]), theirs.labels)

    def train(sets: torch.Tensor, goals: torch.Tensor, block: int) -> torch.Tensor:
        return both.train(sets.cpu().numpy(), goals.cpu().numpy(), (*purpose, "with", block)).float()

    places = torch.arange(samples, device=device).repeat(victims)
    members = odds_with(
        head, base, indices.flatten(), places, labels.flatten(), both.features, train, work.progress
    ).view(victims, samples, -1)
    unused = np.setdiff1d(np.arange(len(own.features)), dealt.cpu().numpy())
    chosen = numpy_generator(*purpose, "population").permutation(unused)[: asked.population]
    known = np.isin(own.labels, experiment.task.positive) if experiment.task.kind == "binary" else own.labels
    population = tuple(torch.as_tensor(table).to(device) for table in (own.features.cpu()[chosen], known[chosen] + 0))
    evidence = Evidence.of(head, base, (theirs.features[indices], labels), members, population)

    heads = torch.as_tensor(shard["weights"]).float().to(device)[:, None].expand(-1, samples, -1)
    partner = other_victims(shard["indices"], shard["indices"], numpy_generator(*purpose, "other_victims"))
    without = {"other_victims": lambda victim: heads[partner[victim]]}
    if "minus_one" in nulls(experiment):
        lacking = [
            theirs.train(
                shard["indices"], shard["labels"], (*purpose, "minus_one", place), absent=torch.full((victims,), place)
            ).float()
            for place in range(samples)
        ]
        stacked = torch.stack(lacking, 1)
        without["minus_one"] = lambda victim: stacked[victim]
    return evidence, heads, without


STAGE = Stage(
    name="membership",
    shards=lambda experiment: [SHARD] if experiment.membership else [],
    inputs=inputs,
    settings=settings,
    resources=lambda experiment: Resources("cpu", threads=1, memory_gb=4.0, seconds_per_shard=120.0),
    run=run,
    check=check,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
