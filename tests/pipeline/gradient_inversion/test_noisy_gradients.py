"""Gradients as they are exposed: rounded, clipped, noised; the estimate and its refinement."""

import pytest
import torch

from pipeline.evaluation.image_metrics import mean_squared_error
from pipeline.gradient_inversion.attack import attack
from pipeline.gradient_inversion.layers import read_network
from pipeline.gradient_inversion.networks import build
from pipeline.gradient_inversion.refinement import refine
from pipeline.gradient_inversion.settings import ExposedGradient
from pipeline.gradient_inversion.step import Exposure, norms
from pipeline.gradient_inversion.trial import expose
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


class TestBatchesAsDPSGDHasThem:
    """Each image's gradient is clipped, then the mean is taken, with noise of std σC/B (Abadi et al., algorithm 1)."""

    size = 4

    def batch(self, synthetic, clip_norm, noise_multiplier=0.0):
        images, labels = synthetic(self.size, (1, 16, 16), classes=100)
        options = {"init": "default", "filters": (4, 8, 64, 64), "activation": "relu"}
        network = read_network(build("lenet", (1, 16, 16), 100, torch_generator("dp"), **options), (1, 16, 16))
        described = ExposedGradient(clip_norm=clip_norm, noise_multiplier=noise_multiplier)
        return network, images, labels, expose(network, images[None], labels[None], described, torch_generator("n"))

    def by_a_plain_loop(self, network, images, labels, clip_norm):
        total, sizes = [0.0] * len(list(network.module.parameters())), []
        for image, label in zip(images, labels, strict=True):
            loss = torch.nn.functional.cross_entropy(network.module(image[None]), label[None])
            parts = torch.autograd.grad(loss, list(network.module.parameters()))
            sizes.append(float(torch.cat([part.flatten() for part in parts]).norm()))
            total = [sum_ + part * min(1, clip_norm / sizes[-1]) for sum_, part in zip(total, parts, strict=True)]
        return [part / len(images) for part in total], sizes

    def test_the_mean_is_of_clipped_gradients(self, synthetic):
        _, sizes = self.by_a_plain_loop(*self.batch(synthetic, 1.0)[:3], 1.0)
        clip_norm = sum(sizes) / len(sizes)  # clips some and not others
        assert min(sizes) < clip_norm < max(sizes)
        network, images, labels, seen = self.batch(synthetic, clip_norm)
        expected, _ = self.by_a_plain_loop(network, images, labels, clip_norm)
        for found, part in zip(seen.gradient.values(), expected, strict=True):
            assert torch.allclose(found[0], part, rtol=1e-12, atol=1e-15)

    def test_noise_on_the_mean_is_that_of_the_sum_over_the_batch_size(self, synthetic):
        clean = self.batch(synthetic, 0.5)[3].gradient
        seen = self.batch(synthetic, 0.5, 2.0)[3]
        noise = torch.cat([(seen.gradient[name] - clean[name]).flatten() for name in clean])
        assert noise.std().item() == pytest.approx(2.0 * 0.5 / self.size, rel=0.02)
        relative = noise.norm() / norms(seen.gradient)
        assert torch.allclose(seen.exposure.precision(seen.gradient), relative, rtol=0.02)

    def test_clipping_hides_nothing_and_the_certificate_knows_each_images_scale(self, synthetic):
        network, images, _, seen = self.batch(synthetic, 0.02)
        found = attack(network, seen.gradient, batch_size=self.size, exposure=seen.exposure)
        assert found.refusals == (None,)
        distance = (found.images[0][:, None] - images[None]).square().mean((2, 3, 4))
        assert distance.amin(0).max() < 1e-18

    def test_refinement_fits_the_clipped_mean(self, synthetic):
        """At the images themselves, with their own labels, nothing is left to fit: one step moves them nowhere."""
        network, images, labels, seen = self.batch(synthetic, 0.02)
        refined = refine(network, seen.gradient, images[None], labels[None], seen.exposure, steps=1, products=3)
        assert mean_squared_error(refined[0], images).max() < 1e-20


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
