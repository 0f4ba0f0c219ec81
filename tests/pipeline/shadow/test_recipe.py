"""Heads of an experiment's recipe, on features that are at hand."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.shadow.recipe import Recipe


@pytest.mark.parametrize("start", ["zero", "known"])
def test_equal_starts_differ_by_the_error_that_is_told(tiny, tmp_path, start):
    law = "shadow_models.training={classes: 10, learning_rate: 0.01, epochs: 4, initial: %s}"
    changes = [law % "zero"]
    if start == "known":
        torch.save(nn.Linear(256, 10).state_dict(), tmp_path / "start.pth")
        changes = [law % f"pytorch_default, initial_weights: {tmp_path}/start.pth"]
    features = torch.randn(30, 256, generator=torch.Generator().manual_seed(0)).relu()
    labels = np.arange(30) % 10
    recipe = Recipe(tiny(*changes), features, labels)
    indices = np.tile(np.arange(10), (40, 1))
    equal, apart = (recipe.train(indices, labels[indices], ("test",), error) for error in (0.0, 1e-3))
    assert torch.allclose(equal, equal[0].expand(40, -1), atol=1e-6)
    assert (apart - equal).std().item() == pytest.approx(1e-3, rel=0.05)
