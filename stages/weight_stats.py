"""Mean, deviation and correlation of the weights of all training shadow models."""

from pipeline.config import Experiment
from pipeline.shadow import seeds
from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def settings(experiment: Experiment, shard: str) -> dict:
    return {"correlation": experiment.evaluation.correlates, **seeds.stream_identity(experiment)}


def run(work: Work) -> Result:
    """kept (P,) says which weights vary; mean, deviation (P',) float64 of those; correlation (P', P') float32."""
    from pipeline.shadow.recipe import training_weights
    from pipeline.statistics import Standardisation, correlation, moments_of

    experiment, inputs = work.experiment, work.inputs

    def blocks(what: str):
        made = training_weights(experiment, inputs.get("shadow_models"), inputs.get("deep_features"), work.device)
        for position, block in enumerate(made):
            yield block
            work.progress(position + 1, experiment.shadow_models.seeds, what)

    moments = moments_of(blocks("moments"))
    standardisation = Standardisation.of(moments)
    arrays = {name: getattr(standardisation, name).cpu().numpy() for name in ("kept", "mean", "deviation")}
    if experiment.evaluation.correlates:
        arrays["correlation"] = correlation(blocks("correlation"), standardisation).float().cpu().numpy()
    return Result(arrays, {"models": moments.count, "dropped_weights": standardisation.dropped})


STAGE = Stage(
    name="weight_stats",
    shards=lambda experiment: ["all"] if experiment.shadow_models else [],
    inputs=seeds.inputs,
    settings=settings,
    resources=lambda experiment: Resources("cpu", threads=2, memory_gb=6.0, seconds_per_shard=600.0),
    run=run,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
