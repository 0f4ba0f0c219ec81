"""Rates and curves from the scores: pooled over classes, and for each class."""

from pipeline.config import Experiment
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def settings(experiment: Experiment, shard: str) -> dict:
    judged = experiment.evaluation
    return {
        "seed": experiment.seed,
        "threshold": judged.threshold,
        "false_positive_rates": judged.false_positive_rates,
        "bootstraps": judged.bootstraps,
    }


def run(work: Work) -> Result:
    """Row 0 is pooled, row 1 + k class k. auc, threshold_tpr, threshold_fpr (S, 3) and tpr (S, F, 3) hold value, low
    and high of a 95 % interval; tpr_bound (S, F) marks rates the sample cannot resolve; curve (2, n) pooled FPR, TPR.
    """
    import numpy as np

    from pipeline.evaluation.rates import rates, roc_curve
    from pipeline.randomness import numpy_generator

    experiment, judged = work.experiment, work.experiment.evaluation
    threshold = judged.threshold
    if threshold is None:
        threshold = float(work.inputs["nearest_neighbour"].attributes("threshold")["threshold"])
    scores = work.inputs["min_mse"].read(work.shard, "h0", "h1")
    h0, h1 = scores["h0"], scores["h1"]
    classes = h0.shape[1] if h0.shape[1] > 1 else 0
    scopes = [slice(None), *(slice(k, k + 1) for k in range(classes))]
    table = []
    for position, scope in enumerate(scopes):
        generator = numpy_generator(experiment.seed, "roc", work.shard, position)
        found = rates(h0[:, scope], h1[:, scope], threshold, judged.false_positive_rates, judged.bootstraps, generator)
        table.append(found)
        work.progress(position + 1, len(scopes), "scopes")

    def interval(estimate) -> tuple[float, float, float]:
        return estimate.value, estimate.low, estimate.high

    return Result(
        {
            "auc": np.array([interval(row.auc) for row in table]),
            "tpr": np.array([[interval(estimate) for estimate in row.tpr_at_fpr] for row in table]),
            "tpr_bound": np.array([[estimate.bound for estimate in row.tpr_at_fpr] for row in table]),
            "threshold_tpr": np.array([interval(row.tpr_at_threshold) for row in table]),
            "threshold_fpr": np.array([interval(row.fpr_at_threshold) for row in table]),
            "false_positive_rates": np.array(judged.false_positive_rates),
            "curve": np.stack(roc_curve(h0, h1)),
        },
        {"threshold": threshold, "auc_pooled": table[0].auc.value},
    )


STAGE = Stage(
    name="roc",
    shards=lambda experiment: experiment.modes,
    inputs=lambda experiment: ["min_mse", "nearest_neighbour"],
    settings=settings,
    resources=lambda experiment: Resources("cpu", threads=1, memory_gb=2.0, seconds_per_shard=60.0),
    run=run,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
