"""The linear response of torch.optim.SGD, found by running it on one weight."""

import pytest
import torch

from pipeline.shadow.descent import impulse_response, shrinkage
from pipeline.shadow.settings import Training


def run_sgd(training: Training, start: float, gradients: list[float]) -> list[float]:
    weight = torch.tensor([start], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD(
        [weight], lr=training.learning_rate, momentum=training.momentum, weight_decay=training.weight_decay
    )
    path = []
    for gradient in gradients:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        path.append(weight.item())
    return path


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_response_to_the_start_and_to_one_gradient(momentum, weight_decay):
    training = Training(learning_rate=0.1, momentum=momentum, weight_decay=weight_decay, epochs=1, init_std=1.0)
    assert shrinkage(training, 20)[1:] == pytest.approx(run_sgd(training, 1.0, [0.0] * 20), abs=1e-14)
    assert impulse_response(training, 20) == pytest.approx(run_sgd(training, 0.0, [1.0] + [0.0] * 19), abs=1e-14)
