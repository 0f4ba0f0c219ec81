"""Rates and curves from the scores, against every null: pooled over classes, and for each class."""

from dataclasses import asdict

from pipeline.config import Experiment
from pipeline.errors import UserError
from pipeline.reconstruction.settings import modes
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def settings(experiment: Experiment, shard: str) -> dict:
    evaluation = experiment.evaluation
    return {
        "seed": experiment.seed,
        "threshold": evaluation.threshold,
        "false_positive_rates": evaluation.false_positive_rates,
        "bootstraps": evaluation.bootstraps,
    }


def check(experiment: Experiment) -> None:
    from pipeline.evaluation.rates import FEWEST_VICTIMS

    victims = experiment.shadow_models.test_models
    if victims < FEWEST_VICTIMS:
        raise UserError(
            f"shadow_models.test_models: {victims}; rates need at least {FEWEST_VICTIMS} victims. How exposed one "
            "model of your own is, `python -m jobs audit` tells: name it in the part subject"
        )


def run(work: Work) -> Result:
    """<null>/… of every null: what pipeline.evaluation.rates.Rates names, with a first axis of scopes S: all scores
    pooled, then class by class. A last axis of 3 is value, low and high of a 95 % interval.

    With several test seeds: <null>/by_seed/… and <null>/over_seeds/…, all classes pooled, as by_seed.py names them.
    <null>/published/…: what the paper prints, from all scores at once. <null>/recovered (2, G + 1): victims by how many
    of their images are recovered, H0 and H1; <null>/any_recovered (2, 3): at least one. false_positive_rates (F,).
    """
    import numpy as np

    from pipeline.evaluation.by_seed import rates_by_seed
    from pipeline.evaluation.curves import published
    from pipeline.evaluation.intervals import share
    from pipeline.evaluation.rates import rates, victims_by_recovered
    from pipeline.randomness import numpy_generator

    experiment, evaluation, scores = work.experiment, work.experiment.evaluation, work.inputs["min_mse"]
    threshold = evaluation.threshold
    if threshold is None:
        threshold = float(work.inputs["nearest_neighbour"].attributes("threshold")["threshold"])
    wanted = np.array(evaluation.false_positive_rates)
    every_h0 = scores.read(work.shard, "h0/min_mse")["h0/min_mse"]
    units = scores.read(work.shard, "h0/person")["h0/person"] if experiment.task.kind == "identity" else None
    test_seeds = experiment.shadow_models.test_seeds
    seed_of = scores.read(work.shard, "h0/seed")["h0/seed"] if test_seeds > 1 else None
    dealings = test_seeds if units is None else 1  # persons are units that come again in every dealing already
    classes = every_h0.shape[1] if every_h0.shape[1] > 1 else 0
    scopes = [slice(None), *(slice(k, k + 1) for k in range(classes))]
    arrays = {"false_positive_rates": wanted}
    for null in evaluation.nulls:
        h1 = scores.read(work.shard, f"h1/{null}/min_mse")[f"h1/{null}/min_mse"]
        # minus_one compares single records, on either side
        h0 = scores.read(work.shard, "h0/minus_one")["h0/minus_one"] if null == "minus_one" else every_h0
        table = []
        for position, scope in enumerate(scopes):
            generator = numpy_generator(experiment.seed, "roc", work.shard, null, position)
            held = h1[:, :, scope].reshape(len(h1), -1)
            terms = threshold, wanted, evaluation.bootstraps, generator, units, dealings
            table.append(asdict(rates(h0[:, scope], held, *terms)))
            work.progress(position + 1, len(scopes), f"scopes against {null}")
        arrays |= {f"{null}/{name}": np.stack([row[name] for row in table]) for name in table[0]}
        every_draw = h1.reshape(-1, h1.shape[2])
        as_printed = asdict(published(h0, every_draw, threshold, wanted))
        arrays |= {f"{null}/published/{name}": np.asarray(value) for name, value in as_printed.items()}
        hits = h0 <= threshold, every_draw <= threshold
        arrays[f"{null}/recovered"] = np.stack([victims_by_recovered(one) for one in hits])
        arrays[f"{null}/any_recovered"] = np.stack(
            [
                share(one, units if len(one) == len(h0) else None, dealings=dealings)
                for one in (hits[0].any(1)[:, None], (h1 <= threshold).any(2))
            ]
        )
        if test_seeds > 1:

            def rate(seed: int, rows: np.ndarray, null: str = null, h0: np.ndarray = h0, h1: np.ndarray = h1):
                generator = numpy_generator(experiment.seed, "roc", work.shard, null, "seed", seed)
                terms = threshold, wanted, evaluation.bootstraps, generator, None if units is None else units[rows]
                return rates(h0[rows], h1[rows].reshape(rows.sum(), -1), *terms)

            arrays |= {f"{null}/{name}": values for name, values in rates_by_seed(seed_of, rate).items()}
    main_null = evaluation.nulls[0]
    return Result(
        arrays,
        {
            "threshold": threshold,
            "threshold_pinned": evaluation.threshold is not None,
            "null": main_null,
            "auc": float(arrays[f"{main_null}/auc"][0, 0]),
        },
    )


STAGE = Stage(
    name="roc",
    shards=modes,
    inputs=lambda experiment: ["min_mse", "nearest_neighbour"],
    settings=settings,
    resources=lambda experiment: Resources("cpu", threads=1, memory_gb=2.0, seconds_per_shard=60.0),
    run=run,
    check=check,
    version=3,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
