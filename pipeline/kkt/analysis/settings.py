"""How KKT candidates are judged: the keys of `kkt.analysis:` in an experiment."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipeline.settings import Settings

Metric = Literal["ncc", "ncc_half", "ncc_quarter", "l2", "ssim"]
Scaling = Literal["min_max", "none"]
Vote = Literal["min", "mean", "median", "mode"]
Order = Literal["ssim", "correlation", "ncc", "l2", "psnr"]


class TrialSelection(Settings):
    """Which trials are judged. An adversary knows loss and agreement; training_set is for what-if, and labelled so.

    all: every trial. loss: the `keep` with the least stationarity loss, which need not be the best (the true data do
    not reach it). agreement: those whose candidates recur most nearly in other trials. training_set: those with the
    most hits.
    """

    by: Literal["all", "loss", "agreement", "training_set"] = Field(
        default="all", description="what trials are chosen by"
    )
    keep: PositiveInt | None = Field(default=None, description="trials that are left")

    @model_validator(mode="after")
    def _keep_where_needed(self):
        if (self.by == "all") != (self.keep is None):
            raise ValueError("keep is how many trials `by: loss`, `agreement` or `training_set` leaves; all needs none")
        return self


class FirstLayerSearch(Settings):
    """How the baseline's candidates, the weights of the first layer, are matched: by default as published.

    `metric`: null = ncc, l2 for images of less than four pixels a side.
    """

    metric: Metric | None = Field(
        default=None, description="of the neighbour search; none = ncc, l2 for images of less than four pixels a side"
    )
    best_buddies: bool = Field(default=True, description="a candidate stands only for the image it is nearest to")
    vote: Vote = Field(default="mean", description="over near-ties")
    near_tie: float = Field(default=1.1, ge=1, description="distance of a near-tie, in units of the nearest's")


class AnalysisSettings(Settings):
    """Matching of training images with candidates, and what the outcome is held against.

    `metric`: of the neighbour search; null = ncc_half, as the published notebook for CIFAR-10 (that for MNIST takes
    ncc), and l2 for images of less than four pixels a side.
    `scaling`: of x + mean before it is scored; null = min_max as published, none for those small images.
    `identify_by`: the score that tells a training image from its decoys; null = ssim, and correlation for grey images,
    whose plain background min-max scaling does not bring back.
    """

    metric: Metric | None = Field(
        default=None,
        description="of the neighbour search; none = ncc_half, l2 for images of less than four pixels a side",
    )
    best_buddies: bool = Field(default=False, description="a candidate stands only for the image it is nearest to")
    vote: Vote = Field(default="min", description="over near-ties; min = the nearest candidate alone")
    near_tie: float = Field(default=1.1, ge=1, description="distance of a near-tie, in units of the nearest's")
    scaling: Scaling | None = Field(default=None, description="of x + mean before it is scored; none = min_max")
    trials: TrialSelection = TrialSelection()
    duplicate_distance: PositiveFloat = Field(
        default=0.3, description="candidates nearer to one another than this count as one among an adversary's picks"
    )
    identify_by: Literal["ssim", "correlation"] | None = Field(
        default=None,
        description="score that tells a training image from its decoys; none = ssim, correlation for grey images",
    )
    decoys: PositiveInt | None = Field(
        default=None, description="unlearnt images each training image is told from; none = as many as there are, to 49"
    )
    first_layer: FirstLayerSearch = FirstLayerSearch()
    sheet: PositiveInt = Field(default=12, description="images in a row of a picture")
    sort_by: Order | None = Field(default=None, description="the score that pictures are sorted by; none = identify_by")
