"""DP-SGD in the span of a training set is plain DP-SGD: step for step with the same noise, in law against Opacus."""

import pytest
import torch

from benchmarks.same_law import observe, p_values
from pipeline.errors import UserError
from pipeline.shadow.descent import impulse_response
from pipeline.shadow.heads import Head
from pipeline.shadow.settings import Training
from pipeline.shadow.span import Span, semidefinite_cholesky
from pipeline.shadow.train import train_heads
from tests.reference.shadow_training import plain_head, plain_loss

MNIST = {"learning_rate": 0.01, "weight_decay": 1e-5, "init_std": 0.002}
SAMPLING = {"sample_rate": 0.5, "steps": 64, "noise_multiplier": 1.23, "clip_norm": 4.0}
BINARY = {"classes": 1, "hidden": 8, "positive_weight": 3.0, "learning_rate": 0.1}


def shadow_data(training: Training, inputs: int = 256, models: int = 2):
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(models, 10, inputs, generator=generator).relu_()
    labels = torch.arange(10).expand(models, -1) % max(training.classes, 2)
    initial = torch.empty(models, Head(inputs, training.hidden, training.classes).size)
    initial.normal_(std=training.init_std, generator=generator)
    return features, labels, initial


def dp_sgd_with_explicit_noise(features, labels, training: Training, initial, seed: int, device) -> torch.Tensor:
    """Textbook DP-SGD in float64: a gradient for every sample, noise for every weight, that of train_heads' draws.

    The draws give noise in the span of X' step by step and the gathered noise orthogonal to it. Any split of the latter
    over the steps has the same effect; here step t gets the share of it that its response has.
    """
    private, generator = training.private, torch.Generator(device).manual_seed(seed)
    models, samples, inputs = features.shape
    width = training.hidden or training.classes
    upper_shapes = Head(inputs, training.hidden, training.classes).shapes[2:]

    def drawn(*shape):
        return torch.randn(models, *shape, generator=generator, device=device).cpu()

    steps = []
    for _ in range(private.steps):
        chance = torch.rand(models, 1, samples, generator=generator, device=device).cpu()
        steps.append((chance, drawn(width, samples), [drawn(*shape) for shape in upper_shapes]))
    weight_noise, bias_noise = drawn(width, inputs), drawn(width)
    response = torch.tensor(impulse_response(training, private.steps), dtype=torch.float64)
    shares = response.flip(0) / response.norm()

    extended = torch.cat([features.double(), torch.ones(models, samples, 1)], 2)
    basis = torch.linalg.pinv(Span(features).samples.double(), rtol=1e-5) @ extended
    orthogonal = torch.cat([weight_noise, bias_noise.unsqueeze(2)], 2).double()
    orthogonal = orthogonal - orthogonal @ basis.mT @ basis

    results = []
    for model in range(models):
        head = plain_head(inputs, training).double()
        torch.nn.utils.vector_to_parameters(initial[model].double(), head.parameters())
        optimizer = torch.optim.SGD(
            head.parameters(), training.learning_rate, training.momentum, weight_decay=training.weight_decay
        )
        for (chance, noise, upper_noise), share in zip(steps, shares, strict=True):
            sums = [torch.zeros_like(parameter) for parameter in head.parameters()]
            for x, y in [
                (features[model, i].double(), labels[model, i])
                for i in range(samples)
                if chance[model, 0, i] < private.sample_rate
            ]:
                value = plain_loss(training)(head(x.unsqueeze(0)), y.unsqueeze(0))
                gradients = torch.autograd.grad(value, head.parameters())
                norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
                for total, gradient in zip(sums, gradients, strict=True):
                    total += gradient * min(1.0, private.clip_norm / (norm.item() + 1e-6))
            first = noise[model].double() @ basis[model] + share * orthogonal[model]
            drawn = [first[:, :-1], first[:, -1], *(one[model].double() for one in upper_noise)]
            for parameter, total, xi in zip(head.parameters(), sums, drawn, strict=True):
                parameter.grad = (total + private.noise_multiplier * private.clip_norm * xi) / int(
                    samples * private.sample_rate
                )
            optimizer.step()
        results.append(torch.nn.utils.parameters_to_vector(head.parameters()).detach())
    return torch.stack(results)


def duplicate(features):
    features[:, 3] = features[:, 7] = features[:, 0]


def zero(features):
    features.zero_()


def constant(features):
    features.fill_(0.7)


def untouched(features):
    pass


@pytest.mark.parametrize("data", [untouched, duplicate, zero, constant])
@pytest.mark.parametrize(
    "terms", [MNIST, MNIST | {"momentum": 0.9}, MNIST | BINARY], ids=["linear", "momentum", "two layers"]
)
def test_the_same_noise_gives_plain_dp_sgds_weights(terms, data, device):
    training = Training(**terms, private=SAMPLING)
    features, labels, initial = shadow_data(training)
    data(features)
    generator = torch.Generator(device).manual_seed(8)
    weights = train_heads(features.to(device), labels, training, generator, initial.to(device)).cpu()
    explicit = dp_sgd_with_explicit_noise(features, labels, training, initial, 8, device)
    assert (weights - explicit).abs().max() <= 1e-5


def test_more_images_than_features():
    training = Training(**MNIST, private=SAMPLING)
    features, labels, initial = shadow_data(training, inputs=4)
    weights = train_heads(features, labels, training, torch.Generator().manual_seed(8), initial)
    assert (weights - dp_sgd_with_explicit_noise(features, labels, training, initial, 8, "cpu")).abs().max() <= 1e-5


def test_semidefinite_cholesky_of_a_rank_three_matrix():
    low = torch.randn(5, 8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrices = low @ low.mT
    factor, live = semidefinite_cholesky(matrices, 1e-12)
    assert live.sum(1).tolist() == [3] * 5
    assert torch.allclose(factor @ factor.mT, matrices, atol=1e-12)
    assert torch.equal(factor, factor.tril())


@pytest.mark.parametrize(
    ("terms", "clip_norm"),
    [(MNIST | {"learning_rate": 0.05}, 3.2), (MNIST | BINARY, 1.0)],
    ids=["linear", "two layers"],
)
def test_the_law_is_opacus(terms, clip_norm):
    """Two-sample tests at 1 %: weights, logits on held-out features and how many gradients would be clipped."""
    training = Training(**terms, private=SAMPLING | {"steps": 12, "clip_norm": clip_norm})
    reference = training.model_copy(update={"engine": "opacus"})
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(10, 24, generator=generator).relu_()
    labels = torch.arange(10) % max(training.classes, 2)
    held_out = torch.randn(3, 24, generator=generator).relu_()

    def trained(terms: Training, models: int, seed: int) -> torch.Tensor:
        sets = features.expand(models, -1, -1), labels.expand(models, -1)
        return train_heads(*sets, terms, torch.Generator().manual_seed(seed))

    ours, theirs = trained(training, 1000, 2), trained(reference, 200, 3)
    clipped = observe(ours, training, features, labels, held_out)[1]
    assert 0.02 < clipped.mean() < 0.98
    unlikely = {name: p for name, p in p_values(ours, theirs, training, features, labels, held_out).items() if p < 0.01}
    assert not unlikely


def test_a_rate_that_takes_nobody_is_refused():
    training = Training(**MNIST, private=SAMPLING | {"sample_rate": 0.05})
    features, labels, initial = shadow_data(training)
    with pytest.raises(UserError, match=r"0.05 takes less than one of 10 images"):
        train_heads(features, labels, training, torch.Generator(), initial)


def test_features_that_are_not_finite_name_the_model():
    training = Training(**MNIST, private=SAMPLING)
    features, labels, initial = shadow_data(training)
    features[1, 2, 3] = torch.nan
    with pytest.raises(UserError, match=r"^model 1: .*not finite"):
        train_heads(features, labels, training, torch.Generator().manual_seed(0), initial)
