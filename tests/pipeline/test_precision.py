"""`verified` never costs exactness: it is judged by a product, not by a processor's name."""

import pytest
import torch

from pipeline import precision
from pipeline.precision import matmul_precision, product_error

CPU = torch.device("cpu")


def test_verified_is_as_exact_as_highest():
    before = torch.get_float32_matmul_precision()
    with matmul_precision("verified", CPU):
        chosen = torch.get_float32_matmul_precision()
    assert product_error(chosen, CPU) <= 4 * product_error("highest", CPU) < 1e-5
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize(
    ("errors", "chosen"),
    [
        ({"medium": 4e-7, "high": 2e-7, "highest": 2e-7}, "medium"),
        ({"medium": 3e-3, "high": 4e-7, "highest": 2e-7}, "high"),
        ({"medium": 3e-3, "high": 3e-4, "highest": 2e-7}, "highest"),
    ],
)
def test_a_rounding_routine_is_not_taken(monkeypatch, errors, chosen):
    monkeypatch.setattr(precision, "product_error", lambda one, device: errors[one])
    with matmul_precision("verified", CPU):
        assert torch.get_float32_matmul_precision() == chosen
