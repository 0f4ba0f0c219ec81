"""Scores of pairs against closed forms and published values, and the way from candidates to scores."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import ROOT
from pipeline.errors import Failure
from pipeline.kkt.analysis.match import Matching, match
from pipeline.kkt.analysis.neighbours import Neighbours, elect
from pipeline.kkt.analysis.scores import correlation, min_max_scaled, pair_scores, to_pixels
from pipeline.kkt.analysis.settings import AnalysisSettings

TILES = ROOT.parent / "shared" / "data" / "kkt" / "haim2022_notebook_top30_pairs.npz"


def test_min_max_scaling_is_of_each_image_over_all_its_channels():
    images = torch.tensor([[1.0, 3.0, 2.0], [0.5, 0.5, 0.5]])[..., None, None]
    assert min_max_scaled(images).flatten(1).tolist() == [[0, 1, 0.5], [0, 0, 0]]
    assert to_pixels(images, torch.ones(3, 1, 1), "none").flatten().max() == 1


def test_scores_of_a_pair_are_their_closed_forms():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 6, 6, generator=generator, dtype=torch.float64)
    others = torch.rand(4, 3, 6, 6, generator=generator, dtype=torch.float64)
    scores = pair_scores(images, others)
    for k in range(4):
        a, b = images[k].numpy().ravel(), others[k].numpy().ravel()
        assert float(scores["correlation"][k]) == pytest.approx(np.corrcoef(a, b)[0, 1])
        assert float(scores["l2"][k]) == pytest.approx(np.linalg.norm(a - b))
        assert float(scores["psnr"][k]) == pytest.approx(-10 * np.log10(((a - b) ** 2).mean()))
        assert float(scores["max_error"][k]) == pytest.approx(np.abs(a - b).max())
    assert torch.equal(correlation(torch.ones_like(images), others), torch.zeros(4, dtype=torch.float64))


def test_single_pixels_have_no_structure_to_compare():
    scores = pair_scores(torch.rand(2, 3, 1, 1), torch.rand(2, 3, 1, 1))
    assert scores["ssim"].isnan().all()
    assert scores["max_error"].isfinite().all()
    assert scores["correlation"].isfinite().all()


# ------------------------------------------------------------------------------- published tiles, the whole way


@pytest.fixture(scope="module")
def tiles():
    if not Path(TILES).exists():
        pytest.skip("the published tiles are not here")
    with np.load(TILES) as file:
        return {name: torch.from_numpy(file[name]) for name in file}


@pytest.mark.parametrize(
    ("source", "above", "best"), [("cifar_recon", 17, 0.6365), ("cifar_w1", 4, 0.611), ("mnist_recon", 0, 0.239)]
)
def test_published_tiles_get_their_published_scores_and_counts(tiles, source, above, best):
    """Taken as candidates of any contrast around a mean, each tile comes back as pixels and scores as published."""
    originals, rebuilt = (tiles[f"{source}_{part}"].double() / 255 for part in ("yy", "xx"))
    mean = originals.mean(0)
    contrast = torch.linspace(0.05, 0.9, len(rebuilt), dtype=torch.float64)[:, None, None, None]
    pixels = to_pixels(contrast * rebuilt + 0.01 - mean, mean, "min_max")
    scores = pair_scores(pixels, originals)
    assert (scores["ssim"] - tiles[f"{source}_ssim"]).abs().max() < 1e-3
    assert (scores["ssim"] > 0.4).sum() == above
    assert float(scores["ssim"].max()) == pytest.approx(best, abs=1e-3)


def test_every_published_reconstruction_is_found_again_among_all_of_them(tiles):
    originals, rebuilt = (tiles[f"cifar_recon_{part}"].double() / 255 for part in ("yy", "xx"))
    mean = originals.mean(0)
    how = Matching.of(AnalysisSettings(), mean)
    shuffled = torch.randperm(len(rebuilt), generator=torch.Generator().manual_seed(0))
    found = match(originals, (rebuilt - mean)[shuffled], how)
    right = shuffled[found.candidate] == torch.arange(len(originals))
    assert int(right.sum()) >= 29
    assert (found.scores["ssim"] > 0.4).sum() == 17


# ---------------------------------------------------------------------------------------------- votes, failures


@pytest.mark.parametrize(("vote", "value"), [("min", 1.0), ("mean", 3.0), ("median", 2.0), ("mode", 1.0)])
def test_votes_are_over_near_ties_alone(vote, value):
    candidates = torch.tensor([1.0, 2.0, 6.0, 1.0, 5.0, 100.0]).view(6, 1, 1, 1)
    found = Neighbours(torch.arange(6)[None], torch.tensor([[1.0, 1.0, 1.05, 1.09, 1.1, 1.2]]))
    assert elect(candidates, found, vote, 1.1).item() == value


def test_an_image_without_a_candidate_of_its_own_has_no_score():
    images = torch.tensor([0.0, 1.0, 5.0]).view(3, 1, 1, 1)
    how = Matching(torch.zeros(1, 1, 1), "l2", True, "min", 1.1, "none", "ssim")
    found = match(images, torch.tensor([0.0, 0.9]).view(2, 1, 1, 1), how)
    assert found.candidate.tolist() == [0, 1, -1]
    assert found.scores["max_error"][2].isnan()


def test_candidates_that_are_not_finite_are_named():
    candidates = torch.zeros(5, 1, 4, 4)
    candidates[3, 0, 1, 1] = torch.nan
    with pytest.raises(Failure, match="candidate 3 of 5"):
        match(torch.rand(2, 1, 4, 4), candidates, Matching.of(AnalysisSettings(), torch.zeros(1, 4, 4)))
