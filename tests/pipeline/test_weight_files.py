"""A stranger's head is read under any prefix; what is no such head is refused in one line."""

import pytest
import torch

from pipeline.errors import UserError
from pipeline.shadow.heads import Head
from pipeline.shadow.settings import Training
from pipeline.weight_files import read_linear_layer


@pytest.mark.parametrize("prefix", ["", "fc.", "module.head."])
def test_a_linear_layer_is_read_under_any_prefix(tmp_path, prefix):
    layer = torch.nn.Linear(4, 3)
    torch.save({prefix + name: part for name, part in layer.state_dict().items()}, tmp_path / "head.pth")
    flat = read_linear_layer(str(tmp_path / "head.pth"), "key", 4, 3)
    torch.testing.assert_close(flat, torch.cat([layer.weight.flatten(), layer.bias]).detach())


def test_a_head_of_another_width_is_refused(tmp_path):
    torch.save(torch.nn.Linear(5, 3).state_dict(), tmp_path / "head.pth")
    with pytest.raises(UserError, match=r"key: head\.pth holds weight \(3, 5\), bias \(3,\); expected .* 4→3"):
        read_linear_layer(str(tmp_path / "head.pth"), "key", 4, 3)


def test_pytorchs_default_law_has_the_deviation_that_the_inversion_counts_with():
    training = Training(learning_rate=0.1, epochs=1, initial="pytorch_default")
    weights = torch.empty(500, Head(64, None, 10).size)
    Head(64, None, 10).draw_initial(weights, training, torch.Generator().manual_seed(0))
    assert weights.abs().max() <= 1 / 8
    assert weights.std().item() == pytest.approx(training.initial_deviation(64), rel=0.01)
