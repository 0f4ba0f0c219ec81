"""What gradient inversion reports: how many images each attack recovers, how exactly, how fast, and pictures."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.report import figures
from pipeline.report.page import Chapter, Figure, Section, Table
from pipeline.store import Shards

Outcome = tuple[Mapping[str, np.ndarray], float, Sequence[str]]
ROWS = ("image", "original", "estimate", "mse", "psnr", "ssim", "lpips", "residual", "tolerance", "success")
COLUMNS = (
    "attack",
    "images",
    "certified",
    "median MSE",
    "worst MSE",
    "median PSNR, dB (range 1)",
    "median SSIM",
    "median LPIPS",
    "every estimate: median MSE",
    "every estimate: median PSNR, dB",
    "worst residual",
    "ms an image",
    "refusals",
)


def summary_row(attack: str, rows: Mapping[str, np.ndarray], seconds: float, refusals: Sequence[str]) -> list[object]:
    """Of all images of an attack; errors are over its successes, since what failed its certificate is no result.

    Under noise nothing is certified, and what an adversary is left with are the estimates: their medians stand apart.
    """
    success = rows["success"]
    count, certified = len(success), int(success.sum())
    told = "; ".join(refusals[:2]) + (f"; … {len(refusals)} kinds" if len(refusals) > 2 else "")
    finite = np.isfinite(rows["mse"])
    estimates = ["–", "–"]
    if finite.any():
        estimates = [f"{np.median(rows['mse'][finite]):.1e}", f"{np.median(rows['psnr'][finite]):.1f}"]
    if not certified:
        return [attack, count, "0", *"–––––", *estimates, "–", f"{1e3 * seconds / count:.1f}", told]
    mse, psnr, ssim, lpips, residual = (rows[name][success] for name in ("mse", "psnr", "ssim", "lpips", "residual"))
    return [
        attack,
        count,
        f"{certified} ({100 * certified / count:.0f} %)",
        f"{np.median(mse):.1e}",
        f"{mse.max():.1e}",
        f"{np.median(psnr):.1f}",
        f"{np.median(ssim):.4f}",
        f"{np.median(lpips):.4f}" if np.isfinite(lpips).all() else "–",
        *estimates,
        f"{residual.max():.1e}",
        f"{1e3 * seconds / count:.1f}",
        told,
    ]


def outcomes(shards: Shards, attacks: Sequence[str]) -> dict[str, Outcome]:
    """Attack → the rows of all its images, the seconds it took, the kinds of refusal, from the stage's shards."""
    found = {}
    for attack in attacks:
        own = shards.matching(f"{attack}-")
        records = [own.attributes(shard) for shard in own.names]
        refusals = sorted({refusal for record in records for refusal in json.loads(record["refusals"])})
        found[attack] = (own.concatenated(*ROWS), sum(float(record["seconds"]) for record in records), refusals)
    return found


def scores_table(attack: str, rows: Mapping[str, np.ndarray]) -> Table:
    """Every image: mse, psnr, ssim, the certificate's residual and tolerance, and whether it holds."""
    names = [name for name in ROWS if name not in ("original", "estimate")]
    return Table(names, [list(values) for values in zip(*(rows[name] for name in names), strict=True)], attack)


def chapter(found: Mapping[str, Outcome], shown: int) -> Chapter:
    """`found`: attack → (rows of all its images, seconds, kinds of refusal); `shown` images are pictured, the first."""
    summary = Table(COLUMNS, [summary_row(attack, *outcome) for attack, outcome in found.items()], "gradient_inversion")
    sheets = []
    for attack, (rows, _, _) in found.items():
        originals, estimates = (
            np.rint(np.nan_to_num(rows[name][:shown]).clip(0, 1) * 255).astype(np.uint8)[None]
            for name in ("original", "estimate")
        )
        caption = f"{attack}: originals over estimates, the first {originals.shape[1]} images; a line marks no success."
        drawing = figures.sheet(originals, (estimates, rows["success"][None, :shown]))
        sheets.append(Figure.of(drawing, caption, f"sheet_{attack}"))
    text = (
        "An image counts as recovered when the gradient recomputed at the estimate agrees with the given one (the "
        "certificate); MSE, PSNR and SSIM are over those, in pixels of [0, 1]. Published PSNR often takes 255 for that "
        "range and lies 48.1 dB higher."
    )
    answer = "; ".join(f"{row[0]}: {row[2]} of {row[1]} images certified" for row in summary.rows)
    section = Section("Gradient inversion", text, [summary], sheets)
    return Chapter([section], answer, [scores_table(attack, rows) for attack, (rows, _, _) in found.items()])
