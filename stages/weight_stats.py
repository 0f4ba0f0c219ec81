"""Mean, deviation and correlation of the weights of all training shadow models."""

from pipeline.store import Result
from stages.command import main
from stages.stage import Resources, Stage, Work


def run(work: Work) -> Result:
    """kept (P,) says which weights vary; mean, deviation (P',) float64 of those; correlation (P', P') float32."""
    import torch

    from pipeline.statistics import Standardisation, correlation, moments_of

    shards = work.inputs["shadow_models"].matching("train")

    def blocks(what: str):
        for position, block in enumerate(shards.blocks("weights")):
            yield torch.as_tensor(block).to(work.device)
            work.progress(position + 1, len(shards.names), what)

    moments = moments_of(blocks("moments"))
    standardisation = Standardisation.of(moments)
    arrays = {name: getattr(standardisation, name).cpu().numpy() for name in ("kept", "mean", "deviation")}
    if work.experiment.evaluation.null_weights == "correlation":
        arrays["correlation"] = correlation(blocks("correlation"), standardisation).float().cpu().numpy()
    return Result(arrays, {"models": moments.count, "dropped_weights": standardisation.dropped})


STAGE = Stage(
    name="weight_stats",
    shards=lambda experiment: ["all"] if experiment.shadow_models else [],
    inputs=lambda experiment: ["shadow_models"],
    settings=lambda experiment, shard: {"null_weights": experiment.evaluation.null_weights},
    resources=lambda experiment: Resources("cpu", threads=2, memory_gb=6.0, seconds_per_shard=600.0),
    run=run,
)

if __name__ == "__main__":
    main(STAGE, __doc__)
