"""What the report says of inverted heads: how well features are recovered, and whether the adversary can tell."""

from collections.abc import Mapping

import numpy as np

from pipeline.randomness import numpy_generator
from pipeline.report.page import Section
from pipeline.report.table import Interval, Table

RESAMPLES = 1000
PARTS = 5
"""Parts of equal size into which pictures are cut, ranked by the error that the adversary expects."""

Arrays = Mapping[str, np.ndarray]


def interval(values: np.ndarray, weights: np.ndarray | None = None) -> Interval:
    """Mean of values (V, …) with its 95 % bootstrap interval, victims resampled; `weights` of the same shape pick."""
    weights = np.ones_like(values, dtype=float) if weights is None else weights.astype(float)
    sums, counts = ((part.reshape(len(values), -1).sum(1)) for part in (values * weights, weights))
    drawn = numpy_generator("report", "head_inversion").multinomial(
        len(values), np.full(len(values), 1 / len(values)), RESAMPLES
    )
    totals = drawn @ counts
    means = (drawn @ sums)[totals > 0] / totals[totals > 0]
    return Interval(float(sums.sum() / counts.sum()), *(float(end) for end in np.quantile(means, (0.025, 0.975))))


def ratio_interval(found: np.ndarray, expected: np.ndarray) -> Interval:
    """Σ found / Σ expected of values (V, …) with its 95 % bootstrap interval, victims resampled."""
    return interval(found / np.where(expected > 0, expected, 1), expected)


def features_table(scores: Arrays, groups: int, mode: str) -> Table:
    """Class by class and, where a class has several images, rank by rank: cosine, and error found and expected."""
    cosine, found, expected = (scores[f"features/{name}"] for name in ("cosine", "found", "expected"))
    images = cosine.shape[1]
    ranks = images // groups if images % groups == 0 else images
    rows = [["all images", interval(cosine), interval(found), interval(expected)]]
    for slot in range(images):
        label = f"class {slot // ranks}" + (f", rank {slot % ranks + 1}" if ranks > 1 else "")
        rows.append([label, *(interval(table[:, slot]) for table in (cosine, found, expected))])
    return Table(["image", "cosine", "error found", "error expected"], rows, f"features_{mode}")


def certainty_table(scores: Arrays, threshold: float, mode: str) -> Table:
    """Pictures in parts, from those whose features the adversary is surest of: the error, and what the pictures are."""
    chosen = scores["h0/slot"]
    expected, found = (np.take_along_axis(scores[f"features/{name}"], chosen, 1) for name in ("expected", "found"))
    distance = scores["h0/min_mse"]
    order = np.argsort(expected, axis=None, kind="stable")
    rows = []
    for number, part in enumerate(np.array_split(order, PARTS), 1):
        mask = np.zeros(expected.size, bool)
        mask[part] = True
        mask = mask.reshape(expected.shape)
        values = (expected, found, distance, (distance <= threshold).astype(float))
        rows.append([f"{number} of {PARTS}", *(interval(value, mask) for value in values)])
    columns = ["surest first", "error expected", "error found", "min-MSE", "share within the threshold"]
    return Table(columns, rows, f"certainty_{mode}")


def calibration_text(scores: Arrays, facts: Mapping[str, object]) -> str:
    said = f"it is calibrated on {facts['calibrated_on']} images that nothing was learnt from."
    alike = ~scores["features/unlike"]
    if alike.any():
        found, expected = (scores[f"features/{name}"][alike] for name in ("found", "expected"))
        said += f" Of these victims' images the error found is {ratio_interval(found, expected)} times that expected."
    return said


def unlike_caution(scores: Arrays) -> list[str]:
    """What must be said of heads that are unlike the shadow models, if there are such."""
    unlike = scores.get("features/unlike", np.zeros(0, bool))
    if not unlike.any():
        return []
    return [
        f"{int(unlike.sum())} of {len(unlike)} heads are unlike any shadow model: trained otherwise, on other classes, "
        "or not at all. Nothing is known of their images; take no picture of theirs for one."
    ]


def section(scores: Arrays, facts: Mapping[str, object], threshold: float, mode: str) -> Section:
    """`facts`: the attributes of the stored inversion."""
    closed, mean = (float(facts[f"cosine_of_closed_form_with_{name}_coefficients"]) for name in ("true", "mean"))
    text = (
        "The reconstructor read the features of the training images, recovered from the weights, not the weights "
        f"themselves. {facts['directions']} directions hold {100 * float(facts['variance_held']):.1f} % of the "
        "variance within classes. Cosines are of recovered and true features, the class mean taken off; errors are "
        "mean squared, in whitened units. On watched victims the Gaussian posterior reaches a cosine of "
        f"{mean:.3f} with the mean coefficients of shadow models and {closed:.3f} with the true ones, which no "
        f"adversary has; alternating between features and coefficients reaches {float(facts['cosine']):.3f}. Learning "
        f"rate × squared length of the mean features: {float(facts['curvature']):.3g}. The expected error is what the "
        f"adversary knows without the originals: {calibration_text(scores, facts)} Intervals are 95 %, victims "
        "resampled."
    )
    tables = [
        features_table(scores, scores["h0/min_mse"].shape[1], mode),
        certainty_table(scores, threshold, mode),
    ]
    return Section(f"Features recovered, {mode}", text, tables)
