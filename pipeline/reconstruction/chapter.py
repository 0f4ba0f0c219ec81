"""What the reconstructor attack reports: rates with intervals against every null, curves and reconstructions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.attack import Finished
from pipeline.errors import Failure, UserError
from pipeline.evaluation.intervals import share
from pipeline.evaluation.rates import METHODS
from pipeline.head_inversion.section import unlike_caution
from pipeline.randomness import numpy_generator
from pipeline.reconstruction.cautions import cautions, of_victims
from pipeline.report import figures
from pipeline.report.page import Chapter, Figure, Section
from pipeline.report.table import Interval, Table
from pipeline.shadow.spent import SYMBOLS, epsilon, guarantee
from pipeline.store import Shards

METRICS = {"min_mse": "min-MSE", "psnr": "PSNR, dB", "ssim": "SSIM", "lpips": "LPIPS"}
COLUMNS_OF_SINGLES = 10
EPSILON = "ε"
HELD = ("ε at least", "κ", "ceiling 1 − f(κ)", "rebuilt")
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Outcome:
    """A mode's shards: the arrays of min_mse and of roc, and what the latter says of its threshold and main null."""

    mode: str
    scores: Arrays
    roc: Arrays
    threshold: float
    pinned: bool
    main_null: str
    said_of_lpips: str
    said_of_accuracy: str = ""

    @classmethod
    def of(cls, mode: str, min_mse: Shards, roc: Shards) -> "Outcome":
        """Of the stored scores and the stored rates."""
        facts = roc.attributes(mode)
        return cls(
            mode=mode,
            scores=min_mse.read(mode),
            roc=roc.read(mode),
            threshold=float(facts["threshold"]),
            pinned=bool(facts["threshold_pinned"]),
            main_null=str(facts["null"]),
            said_of_lpips=str(min_mse.attributes(mode)["lpips"]),
            said_of_accuracy=str(min_mse.attributes(mode).get("said_of_accuracy", "")),
        )

    @property
    def nulls(self) -> list[str]:
        """The one that rates are quoted against first."""
        found = [name.split("/")[1] for name in self.scores if name.startswith("h1/") and name.endswith("/min_mse")]
        return sorted(found, key=lambda null: (null != self.main_null, null))

    def rates(self, null: str) -> Arrays:
        return {name.removeprefix(null + "/"): array for name, array in self.roc.items() if name.startswith(null + "/")}

    def h1(self, null: str) -> np.ndarray:
        """(V, draws, G)."""
        return self.scores[f"h1/{null}/min_mse"]


def seeds_table(outcome: Outcome) -> Table:
    """Pooled rates of each test seed against the main null, and their mean over seeds."""
    rates, wanted = outcome.rates(outcome.main_null), outcome.roc["false_positive_rates"]
    apart = {name: rates[f"by_seed/{name}"] for name in ("auc", "tpr", "threshold_tpr", "threshold_fpr", "resolved")}
    rows = []
    for seed in range(len(apart["auc"])):
        auc, at, hits, false_hits = quoted(apart, seed, wanted)
        rows.append([f"test seed {seed}", auc, *at, hits, false_hits])
    over = {name: rates[f"over_seeds/{name}"] for name in ("auc", "tpr", "threshold_tpr", "threshold_fpr")}
    at = [Interval(*triple, bound=not ok) for triple, ok in zip(over["tpr"][0], apart["resolved"].all(0), strict=True)]
    ends = (Interval(*over[name]) for name in ("threshold_tpr", "threshold_fpr"))
    rows.append(["mean over seeds", Interval(*over["auc"]), *at, *ends])
    targets = [f"TPR at FPR {100 * rate:g} %" for rate in wanted]
    columns = ["victims of", "AUC", *targets, "TPR at threshold", "FPR at threshold"]
    return Table(columns, rows, f"seeds_{outcome.mode}")


def scopes(rates: Arrays) -> list[str]:
    return ["pooled", *(f"class {k}" for k in range(len(rates["auc"]) - 1))]


def quoted(rates: Arrays, scope: int, wanted: np.ndarray) -> tuple[Interval, list[Interval], Interval, Interval]:
    """AUC, empirical TPR at each wanted FPR, TPR and FPR at the threshold, of one scope."""
    at = [
        Interval(*triple, bound=not resolved)
        for triple, resolved in zip(rates["tpr"][scope, 0], rates["resolved"][scope], strict=True)
    ][: len(wanted)]
    ends = (Interval(*rates[name][scope]) for name in ("threshold_tpr", "threshold_fpr"))
    return Interval(*rates["auc"][scope]), at, *ends


def rates_table(outcome: Outcome, null: str) -> Table:
    """One row per scope: pooled, then every class."""
    rates, wanted = outcome.rates(null), outcome.roc["false_positive_rates"]
    targets = [f"TPR at FPR {100 * rate:g} %" for rate in wanted]
    rows = []
    for place, scope in enumerate(scopes(rates)):
        auc, at, hits, false_hits = quoted(rates, place, wanted)
        rows.append([scope, auc, *at, hits, false_hits])
    name = f"rates_{outcome.mode}" + ("" if null == outcome.main_null else f"_{null}")
    return Table(["scope", "AUC", *targets, "TPR at threshold", "FPR at threshold"], rows, name)


def nulls_table(outcome: Outcome) -> Table:
    """Pooled rates against every null."""
    rows = []
    for null in outcome.nulls:
        auc, at, _, false_hits = quoted(outcome.rates(null), 0, outcome.roc["false_positive_rates"])
        h1 = outcome.h1(null)
        rows.append([null.replace("_", " "), h1[:, :, 0].size, f"{h1.mean():.4f}", auc, *at, false_hits])
    targets = [f"TPR at FPR {100 * rate:g} %" for rate in outcome.roc["false_positive_rates"]]
    columns = ["null", "weights", "mean min-MSE", "AUC", *targets, "FPR at threshold"]
    return Table(columns, rows, f"nulls_{outcome.mode}")


def methods_table(outcome: Outcome, everything: bool = False) -> Table:
    """TPR by every method, and the FPR in the half that set no threshold: pooled, or of all scopes and nulls."""
    rows = []
    for null in outcome.nulls if everything else [outcome.main_null]:
        rates = outcome.rates(null)
        for place, scope in enumerate(scopes(rates)[: None if everything else 1]):
            for at, fpr in enumerate(outcome.roc["false_positive_rates"]):
                bound = not rates["resolved"][place, at]
                cells = [Interval(*rates["tpr"][place, method, at], bound=bound) for method in range(len(METHODS))]
                measured = [f"{value:.5f}" for value in rates["measured_fpr"][place, :, at]]
                rows.append([*([null, scope] if everything else []), float(fpr), *cells, *measured])
    columns = ["FPR", *(f"TPR, {name.replace('_', '-')}" for name in METHODS)]
    columns += ["measured FPR, empirical", "measured FPR, neyman-pearson"]
    name = f"methods_{outcome.mode}"
    return Table(["null", "scope", *columns] if everything else columns, rows, name + ("_all" if everything else ""))


def published_table(outcome: Outcome) -> Table:
    """The paper's own procedure: every score used for fits, thresholds and rates at once, curves of the last class."""
    found = outcome.rates(f"{outcome.main_null}/published")
    rates = zip(outcome.roc["false_positive_rates"], *(found[name] for name in METHODS), strict=True)
    rows = [[f"last class, FPR {100 * fpr:g} %", *(f"{value:.4f}" for value in values)] for fpr, *values in rates]
    pooled = (f"{float(found[name]):.4f}" for name in ("tpr_at_threshold", "fpr_at_threshold"))
    rows.append(["pooled, at threshold: TPR, FPR", *pooled, ""])
    return Table(
        ["as published", *(f"TPR, {name.replace('_', '-')}" for name in METHODS)], rows, f"published_{outcome.mode}"
    )


def accuracy_table(outcome: Outcome) -> Table:
    """How well the victims do what they were trained for; true-positive and -negative rates of heads with one logit."""
    person = outcome.scores.get("h0/person")
    units = None if person is None else np.unique(person, return_inverse=True)[1].reshape(-1)
    dealings = 1 if person is not None else int(outcome.scores["h0/seed"].max()) + 1
    kinds = {"": "accuracy", "_true_positive": "true-positive rate", "_true_negative": "true-negative rate"}
    kinds = {kind: title for kind, title in kinds.items() if f"victims/trained{kind}" in outcome.scores}
    rows = [
        [
            of,
            *(
                Interval(*share(outcome.scores[f"victims/{name}{kind}"][:, None], units, dealings=dealings))
                for kind in kinds
            ),
        ]
        for name, of in (("trained", "the images that trained each"), ("unseen", "all others of the split"))
    ]
    return Table(["right answers on", *kinds.values()], rows, f"victims_{outcome.mode}")


def likeness_table(outcome: Outcome) -> Table:
    """Means of every metric."""
    names = [name for name in METRICS if f"h0/{name}" in outcome.scores]
    sources = {"H0: real victims": "h0", **{f"H1: {null.replace('_', ' ')}": f"h1/{null}" for null in outcome.nulls}}
    rows = [
        [title, *(f"{outcome.scores[f'{place}/{name}'].mean():.4f}" for name in names)]
        for title, place in sources.items()
    ]
    return Table(["scores", *(f"mean {METRICS[name]}" for name in names)], rows, f"likeness_{outcome.mode}")


def recovery_table(outcome: Outcome) -> Table:
    """How many victims give away how many of their images."""
    counts, any_of = outcome.rates(outcome.main_null)["recovered"], outcome.rates(outcome.main_null)["any_recovered"]
    rows = [
        [number, int(found), f"{found / counts[0].sum():.4f}", f"{chance / counts[1].sum():.4f}"]
        for number, (found, chance) in enumerate(counts.T)
    ]
    rows.append(["one or more", int(counts[0, 1:].sum()), *(Interval(*triple) for triple in any_of)])
    return Table(["images recovered", "victims", "share, H0", "share, H1"], rows, f"recovered_{outcome.mode}")


def scores_table(outcome: Outcome) -> Table:
    """Every score: victim, group (class, or 0), null (or H0), draw, the metrics, and H0's nearest image (or -1)."""
    names = [name for name in METRICS if f"h0/{name}" in outcome.scores]
    h0 = [outcome.scores[f"h0/{name}"] for name in names]
    nearest = outcome.scores.get("h0/nearest", np.full(h0[0].shape, -1))
    rows = [
        ["H0", 0, victim, group, *(metric[victim, group] for metric in h0), nearest[victim, group]]
        for victim, group in np.ndindex(nearest.shape)
    ]
    for null in outcome.nulls:
        h1 = [outcome.scores[f"h1/{null}/{name}"] for name in names]
        rows += [
            [null, draw, victim, group, *(metric[victim, draw, group] for metric in h1), -1]
            for victim, draw, group in np.ndindex(h1[0].shape)
        ]
    return Table(["weights", "draw", "victim", "group", *names, "nearest_image"], rows, f"scores_{outcome.mode}")


def curve_table(outcome: Outcome) -> Table:
    """The pooled curve against the main null."""
    rates = outcome.rates(outcome.main_null)
    rows = [
        [fpr, *(Interval(*rates["curve"][0, method, place]) for method in range(len(METHODS)))]
        for place, fpr in enumerate(rates["curve_fpr"][0])
    ]
    return Table(["FPR", *(f"TPR, {name.replace('_', '-')}" for name in METHODS)], rows, f"curve_{outcome.mode}")


def sheets(outcome: Outcome, images: np.ndarray, shown: int) -> list[Figure]:
    """`shown` victims in even steps from best to worst, and as many at random; images (n, C, S, S): the test split."""
    if "h0/rebuilt" not in outcome.scores:
        return []
    h0 = outcome.scores["h0/min_mse"]
    rows = shown if h0.shape[1] > 1 else shown * COLUMNS_OF_SINGLES
    ranked = np.argsort(h0.mean(1), kind="stable")
    steps = ranked[np.linspace(0, len(ranked) - 1, min(rows, len(ranked))).round().astype(int)]
    chance = numpy_generator("sheet", outcome.mode).permutation(len(h0))[:rows]
    mark = "a red line marks one farther from its original than the nearest-neighbour threshold."
    drawn = [
        _sheet(
            outcome, images, steps, (), "ranked", f"from best to worst in even steps, the median in the middle; {mark}"
        )
    ]
    null = outcome.main_null
    beside, said = (), f"picked at random; {mark}"
    if f"h1/{null}/rebuilt" in outcome.scores:
        beside = ((outcome.scores[f"h1/{null}/rebuilt"], outcome.h1(null)[:, 0]),)
        said = f"and under them what the null's weights ({null.replace('_', ' ')}) give for the same images, {said}"
    return [*drawn, _sheet(outcome, images, chance, beside, "random", said)]


def _sheet(
    outcome: Outcome,
    images: np.ndarray,
    chosen: np.ndarray,
    beside: tuple[tuple[np.ndarray, np.ndarray], ...],
    name: str,
    said: str,
) -> Figure:
    """Of the victims `chosen` (n,); `beside`: further pictures (V, G, C, S, S) of all victims, with scores (V, G)."""
    scores = outcome.scores
    of_all = (scores["h0/rebuilt"], scores["h0/min_mse"]), *beside
    parts = [images[scores["h0/nearest"][chosen]]]
    for pictures, distances in of_all:
        parts += [pictures[chosen], distances[chosen] <= outcome.threshold]
    if parts[0].shape[1] == 1:
        columns = min(COLUMNS_OF_SINGLES, len(chosen))
        whole = len(chosen) // columns * columns
        parts = [part[:whole, 0].reshape(-1, columns, *part.shape[2:]) for part in parts]
    drawing = figures.sheet(parts[0], *zip(parts[1::2], parts[2::2], strict=True))
    return Figure.of(drawing, f"Originals over reconstructions, {said}", f"sheet_{name}_{outcome.mode}")


def drawings(outcome: Outcome) -> list[Figure]:
    """Histogram, curves, and what every class and every victim gives away."""
    main, mode = outcome.main_null, outcome.mode
    rates = outcome.rates(main)
    h0 = outcome.scores["h0/min_mse"]
    curves = {
        name: rates["curve"][0, place]
        for place, name in enumerate(METHODS)
        if np.isfinite(rates["curve"][0, place]).all()
    }
    others = {}
    for null in outcome.nulls[1:]:
        further = outcome.rates(null)
        others[null] = (further["curve_fpr"][0], further["curve"][0, 0, :, 0])
    found = [
        Figure.of(
            figures.histogram(h0, {null: outcome.h1(null) for null in outcome.nulls}, outcome.threshold),
            f"min-MSE of real victims and of the nulls. The numbers: scores_{mode}.csv.",
            f"histogram_{mode}",
        ),
        Figure.of(
            figures.roc(rates["curve_fpr"][0], curves, others),
            f"ROC, pooled; the band is the empirical curve's 95 %. The numbers: curve_{mode}.csv.",
            f"roc_{mode}",
        ),
    ]
    if len(rates["auc"]) > 1:
        wanted = outcome.roc["false_positive_rates"]
        place = int(np.argmin(np.abs(np.log(wanted / 0.01))))
        cells = {
            "at the threshold": [Interval(*triple) for triple in rates["threshold_tpr"]],
            f"at FPR {100 * wanted[place]:g} %": [
                quoted(rates, scope, wanted)[1][place] for scope in range(len(rates["auc"]))
            ],
        }
        labels = [name.removeprefix("class ") for name in scopes(rates)]
        caption = f"True-positive rates of each class, with 95 % intervals. The numbers: rates_{mode}.csv."
        found.append(Figure.of(figures.bars(labels, cells, "true-positive rate"), caption, f"classes_{mode}"))
        caption = f"How many images victims give away. The numbers: recovered_{mode}.csv."
        found.append(Figure.of(figures.recovered(rates["recovered"]), caption, f"recovered_{mode}"))
    return found


def chapter_of_mode(outcome: Outcome, images: np.ndarray, shown: int) -> Chapter:
    """`images` (n, C, S, S) uint8 are the test split; `shown` victims are pictured each way."""
    h0, main = outcome.scores["h0/min_mse"], outcome.main_null
    rates, unit = outcome.rates(main), "persons" if "h0/person" in outcome.scores else "victims"
    text = (
        f"{len(h0)} victims with {h0.shape[1]} reconstructions. Mean min-MSE {h0.mean():.4f} for real victims (H0), "
        f"{outcome.h1(main).mean():.4f} for weights that saw none of the images (H1, {main.replace('_', ' ')}). "
        f"The nearest-neighbour threshold {outcome.threshold:.4f} is "
        f"{'pinned by the experiment' if outcome.pinned else 'computed'}. Thresholds for a false-positive rate, and "
        "fits, come from one half of the victims and rates from the other, and the other way round. Intervals are "
        f"95 %, {unit} resampled; ≤ marks a rate that the sample cannot resolve. MSE is of images in [-1, 1]; PSNR and "
        f"SSIM are of [0, 1], range 1. {outcome.said_of_lpips}."
    )
    if "minus_one" in outcome.nulls:
        text += (
            " Of the nulls, minus one alone compares neighbouring training sets, so only its curve is bounded by the "
            "trade-off function of private training; the others change every record."
        )
    auc, hits = Interval(*rates["auc"][0]), Interval(*rates["threshold_tpr"][0])
    false_hits = Interval(*rates["threshold_fpr"][0])
    answer = (
        f"{outcome.mode}: AUC {auc}; {100 * hits.value:.0f} % of the victims' images are rebuilt within the "
        f"nearest-neighbour threshold, and {100 * false_hits.value:.1f} % from weights that saw none of them"
    )
    tables = [rates_table(outcome, main), nulls_table(outcome), methods_table(outcome), likeness_table(outcome)]
    if len(rates["auc"]) > 1:
        tables.append(recovery_table(outcome))
    warnings = cautions(
        h0,
        outcome.h1(main),
        outcome.rates(main),
        {null: outcome.rates(null) for null in outcome.nulls[1:]},
        outcome.roc["false_positive_rates"],
    )
    if "victims/trained" in outcome.scores:
        tables.append(accuracy_table(outcome))
        warnings += of_victims(outcome.scores["victims/trained"], outcome.scores["victims/unseen"])
    elif outcome.said_of_accuracy:
        text += f" {outcome.said_of_accuracy}."
    if "by_seed/auc" in rates:
        tables.append(seeds_table(outcome))
        text += (
            " The test seeds deal the same images again: intervals of a seed, and of all victims pooled, are about "
            "other images too, so pooling leaves them as wide; that of the mean over seeds is about other deals alone."
        )
    section = Section(
        f"Reconstruction, {outcome.mode}",
        text,
        [*tables, published_table(outcome)],
        [*drawings(outcome), *sheets(outcome, images, shown)],
        warnings=[*unlike_caution(outcome.scores), *warnings],
    )
    beside = [scores_table(outcome), curve_table(outcome), methods_table(outcome, everything=True)]
    beside += [rates_table(outcome, null) for null in outcome.nulls[1:]]
    return Chapter([section], answer, beside)


def threshold_section(nearest_neighbour: Shards) -> Section:
    """The nearest-neighbour threshold, class by class."""
    per_class = nearest_neighbour.read("threshold", "per_class")["per_class"]
    rows = [["all classes", f"{per_class.mean():.4f}"], *([f"class {k}", f"{v:.4f}"] for k, v in enumerate(per_class))]
    text = "Mean MSE, in [-1, 1], from a test image to the nearest training image of its class; averaged over classes."
    return Section("Nearest-neighbour threshold", text, [Table(["of", "threshold"], rows, "threshold")])


def held_to_claim(one: Finished, mode: str) -> list[object]:
    """The audit's lower bound on ε, and pooled over classes the prior's success κ, its ceiling and what was rebuilt."""
    unknown = ["–"] * len(HELD)
    try:
        privacy = one.shards_of("privacy")
    except Failure:
        return unknown
    if mode not in privacy.names or "epsilon_lower" not in privacy.attributes(mode):
        return unknown
    record, found = privacy.attributes(mode), privacy.read(mode)
    ends = (Interval(*map(float, found[f"robustness/{name}"][0])) for name in ("prior_success", "ceiling", "rebuilt"))
    return [round(float(record["epsilon_lower"]), 3), *ends]


def comparison(finished: Sequence[Finished]) -> Table:
    """One row per experiment and mode: what was trained, at what cost in privacy, and the pooled rates with intervals.

    Raises Failure where an experiment is not finished, UserError where they quote other false-positive rates.
    """
    rows, wanted = [], ()
    accounts = SYMBOLS if any(one.experiment.shadow_models.training.private for one in finished) else {}
    for one in finished:
        experiment, roc, scores = one.experiment, one.shards_of("roc"), one.shards_of("min_mse")
        training = experiment.shadow_models.training
        for mode in roc.names:
            outcome, record = Outcome.of(mode, scores, roc), scores.attributes(mode)
            if rows and tuple(outcome.roc["false_positive_rates"]) != wanted:
                raise UserError(
                    "compare: the experiments have other evaluation.false_positive_rates; give all the same"
                )
            wanted = tuple(outcome.roc["false_positive_rates"])
            auc, at, *at_threshold = quoted(outcome.rates(outcome.main_null), 0, outcome.roc["false_positive_rates"])
            unseen = record.get("accuracy_unseen")
            facts = [
                experiment.shadow_models.class_size,
                training.epochs or training.private.steps,
                training.init_std if training.initial == "normal" else training.initial,
                epsilon(one),
                *(guarantee(one).get(name, "–") for name in accounts),
                *(held_to_claim(one, mode) if accounts else ()),
                "–" if unseen is None else f"{float(unseen):.4f}",
            ]
            rows.append([experiment.title, mode, *facts, auc, *at, *at_threshold])
    facts = ["class size", "epochs or steps", "init std", EPSILON, *accounts.values(), *(HELD if accounts else ())]
    targets = [f"TPR at FPR {100 * rate:g} %" for rate in wanted]
    columns = ["experiment", "mode", *facts, "victim accuracy", "AUC", *targets, "TPR at threshold", "FPR at threshold"]
    return Table(columns, rows, "comparison")
