"""Gradients as they are exposed: rounded, clipped, noised; the estimate and its refinement."""

import pytest
import torch

from pipeline.evaluation.image_metrics import mean_squared_error
from pipeline.gradient_inversion.attack import attack
from pipeline.gradient_inversion.refinement import refine
from pipeline.gradient_inversion.step import Exposure, norms
from pipeline.randomness import torch_generator


@pytest.fixture
def example(synthetic, exposed):
    images, labels = synthetic(4, (1, 16, 16))
    network, gradient = exposed("lenet_a", images, labels, init="default")
    return network, gradient, images, labels


def noisy(gradient, relative):
    """An exposure whose noise has `relative` times the norm of the clipped gradient, and that gradient."""
    coordinates = sum(part[0].numel() for part in gradient.values())
    exposure = Exposure(clip_norm=float(norms(gradient).min()), noise_multiplier=relative / coordinates**0.5)
    return exposure, exposure.apply(gradient, torch_generator("noise", str(relative)))


def test_float32_gradients(synthetic, exposed):
    images, labels = synthetic(6)
    network, gradient = exposed("lenet_a", images, labels)
    found = attack(network, Exposure(torch.float32).apply(gradient, torch_generator(0)))
    assert found.success.sum() >= 5
    assert mean_squared_error(found.estimate[:, 0], images).median() < 1e-9


def test_clipping_alone_hides_nothing(example):
    """Every step back is linear in the gradient: its scale cancels."""
    network, gradient, images, _ = example
    exposure = Exposure(clip_norm=1e-3)
    found = attack(network, exposure.apply(gradient, torch_generator(0)), exposure=exposure)
    assert found.success.all()
    assert mean_squared_error(found.images[:, 0], images).max() < 1e-18


def test_clipped_gradients_have_the_norm_they_are_clipped_to(example):
    _, gradient, _, _ = example
    assert torch.allclose(norms(Exposure(clip_norm=0.01).clip(gradient)), torch.tensor(0.01, dtype=torch.float64))


def test_precision_is_the_relative_size_of_the_noise(example):
    _, gradient, _, _ = example
    exposure, seen = noisy(gradient, 1e-3)
    clean = exposure.clip(gradient)
    error = norms({name: seen[name] - clean[name] for name in seen}) / norms(clean)
    assert torch.allclose(exposure.precision(seen), error, rtol=0.1)


def test_error_grows_with_the_noise_and_refinement_reduces_it(example):
    network, gradient, images, labels = example
    errors = []
    for relative in (1e-8, 1e-6, 1e-4):
        exposure, seen = noisy(gradient, relative)
        errors.append(mean_squared_error(attack(network, seen, exposure=exposure).estimate[:, 0], images))
    errors = torch.stack(errors)
    assert (errors.diff(dim=0) > 0).all()
    start = attack(network, seen, exposure=exposure).estimate
    refined = refine(network, seen, start, labels[:, None], exposure, steps=8, products=30)
    better = mean_squared_error(refined[:, 0], images)
    assert better.median() < 0.7 * errors[-1].median()
    assert (better < 1.2 * errors[-1]).all()


def test_drowned_gradients_are_no_success(example):
    network, gradient, _, _ = example
    exposure, seen = noisy(gradient, 1.0)
    assert not attack(network, seen, exposure=exposure).success.any()


def test_half_precision_is_refused_or_right(synthetic, exposed):
    images, labels = synthetic(4)
    network, gradient = exposed("lenet_a", images, labels)
    found = attack(network, Exposure(torch.float16).apply(gradient, torch_generator(0)))
    errors = mean_squared_error(found.estimate[:, 0], images)
    assert all(error < 1e-2 for error, success in zip(errors, found.success, strict=True) if success)
