"""The stationarity distance and its gradients against plain autograd, for every kind of network and condition."""

import pytest
import torch
from torch.nn import functional

from pipeline.kkt import products, stationarity
from pipeline.kkt.multipliers import candidate_labels, coefficients
from pipeline.kkt.networks import Victim, initialise
from pipeline.kkt.objectives import stationarity_objective
from pipeline.kkt.settings import Convolution, NetworkSettings
from pipeline.kkt.stationarity import METHODS, by_autograd, by_closed_form

SHAPE = (2, 3, 4)


def surrogate_relu(z, sharpness):
    """ReLU forward, σ(αz) backward, any number of times: softplus(αz)/α has just this derivative."""
    smooth = functional.softplus(z * sharpness, threshold=1e9) / sharpness
    return z.relu().detach() + smooth - smooth.detach()


def plainly(network, candidates, multipliers, labels, kind, sharpness):
    """Distance and gradients of one trial: a loop over layers, one backward pass for θ's gradient, one through it."""
    candidates, multipliers = candidates.clone().requires_grad_(), multipliers.clone().requires_grad_()
    weights = [layer.weight.detach().clone().requires_grad_() for layer in network.layers]
    bias = network.layers[0].bias.detach().clone().requires_grad_()
    values = candidates.flatten(1)
    for position, weight in enumerate(weights):
        values = values @ weight.t() + (bias if position == 0 else 0)
        if position < len(weights) - 1:
            values = surrogate_relu(values, sharpness)
    total = 0.0
    for n, label in enumerate(labels.tolist()):
        if kind == "binary":
            total = total + multipliers[n] * (2 * label - 1) * values[n, 0]
        elif kind == "general":
            total = total + multipliers[n] * values[n, 0]
        else:
            others = [k for k in range(values.shape[1]) if k != label]
            if kind == "runner_up":
                strongest = max(others, key=lambda k: values[n, k].item())
                total = total + multipliers[n] * (values[n, label] - values[n, strongest])
            else:
                total = total + sum(multipliers[n, k] * (values[n, label] - values[n, k]) for k in others)
    explained = torch.autograd.grad(total / len(labels), [*weights, bias], create_graph=True)
    distance = sum((w.detach() - g).square().sum() for w, g in zip([*weights, bias], explained, strict=True))
    return distance.detach(), *torch.autograd.grad(distance, (candidates, multipliers))


def drawn(kind, trials, count, outputs, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    candidates = torch.randn(trials, count, *SHAPE, generator=generator, dtype=torch.float64)
    size = (trials, count, outputs) if kind == "full" else (trials, count)
    multipliers = torch.rand(size, generator=generator, dtype=torch.float64) * 3
    if kind == "general":
        multipliers -= 1.5
    return candidates.to(dtype), multipliers.to(dtype)


def distance_and_gradients(method, network, candidates, multipliers, labels, kind, sharpness):
    multipliers = multipliers.clone().requires_grad_()
    found = METHODS[method](network)(candidates, sharpness, coefficients(kind, multipliers, labels))
    (gradient,) = torch.autograd.grad(found.coefficients, multipliers, found.coefficients_gradient)
    return found.distance, found.candidates_gradient, gradient


def relative(found, expected):
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@pytest.mark.parametrize("gram", [True, False])
@pytest.mark.parametrize("kind", ["binary", "runner_up", "full", "general"])
@pytest.mark.parametrize("hidden", [(7,), (7, 5), (6, 7, 5)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_closed_form_equals_autograd(victim, monkeypatch, hidden, kind, gram, dtype, tolerance):
    """2–4 weight layers, every condition, by Gram matrices or directly; trials have their own sharpness."""
    monkeypatch.setattr(stationarity, "gram_is_shorter", lambda *_: gram)
    outputs = 4 if kind in ("runner_up", "full") else 1
    network, labels = victim(hidden, outputs), candidate_labels(9, max(outputs, 2))
    candidates, multipliers = drawn(kind, 2, 9, outputs)
    sharpness = torch.tensor([3.0, 20.0], dtype=torch.float64)
    expected = [
        plainly(network, x, one, labels, kind, alpha)
        for x, one, alpha in zip(candidates, multipliers, sharpness, strict=True)
    ]
    rounded = (part.to(dtype) for part in (candidates, multipliers))
    found = distance_and_gradients("closed_form", network.to(dtype), *rounded, labels, kind, sharpness.to(dtype))
    for ours, theirs in zip(found, zip(*expected, strict=True), strict=True):
        assert relative(ours, torch.stack(theirs)) <= tolerance


def test_a_gram_matrix_by_quarters_is_the_gram_matrix(monkeypatch):
    monkeypatch.setattr(products, "SMALL_GRAM", 2)
    values = torch.randn(2, 13, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = products.gram(torch.full((2, 13, 13), torch.nan, dtype=torch.float64), values)
    assert torch.allclose(found, values @ values.mT, atol=1e-14)


@pytest.mark.parametrize("gram", [True, False])
def test_memory_that_is_written_again_holds_nothing_of_what_was_there(victim, monkeypatch, gram):
    monkeypatch.setattr(stationarity, "gram_is_shorter", lambda *_: gram)
    evaluate, labels = by_closed_form(victim((7, 5), 1)), candidate_labels(9, 2)
    candidates, multipliers = drawn("binary", 3, 9, 1)

    def found(trials):
        weigh = coefficients("binary", multipliers[trials], labels)
        one = evaluate(candidates[trials], torch.full((len(trials),), 20.0, dtype=torch.float64), weigh)
        return one.distance, one.candidates_gradient.clone(), one.coefficients_gradient

    first = found([0, 1])
    found([2])
    found([2, 1])
    assert all(torch.equal(one, other) for one, other in zip(first, found([0, 1]), strict=True))


@pytest.mark.parametrize("kind", ["binary", "full"])
def test_the_autograd_path_equals_plain_autograd(victim, kind):
    outputs = 3 if kind == "full" else 1
    network, labels = victim((7, 5), outputs), candidate_labels(6, max(outputs, 2))
    candidates, multipliers = drawn(kind, 2, 6, outputs)
    sharpness = torch.tensor([5.0, 30.0], dtype=torch.float64)
    found = distance_and_gradients("autograd", network, candidates, multipliers, labels, kind, sharpness)
    for trial in range(2):
        expected = plainly(network, candidates[trial], multipliers[trial], labels, kind, sharpness[trial])
        for ours, theirs in zip(found, expected, strict=True):
            assert relative(ours[trial], theirs) <= 1e-10


@pytest.mark.parametrize("activation", ["leaky_relu", "gelu", "sigmoid", "tanh"])
def test_other_activations_have_closed_forms_too(victim, activation):
    """The smooth ones against the network itself, differentiated twice, with no slope of ours in it."""
    network, labels = victim((7, 5), 1, activation), candidate_labels(6, 2)
    candidates, multipliers = drawn("binary", 1, 6, 1)
    sharpness = torch.full((1,), 8.0, dtype=torch.float64)
    arguments = network, candidates, multipliers, labels, "binary", sharpness
    found = distance_and_gradients("closed_form", *arguments)
    if activation == "leaky_relu":
        expected = distance_and_gradients("autograd", *arguments)
    else:
        x, one = candidates[0].requires_grad_(), multipliers[0].requires_grad_()
        total = (one * (2 * labels - 1) * network(x)[:, 0]).sum() / 6
        explained = torch.autograd.grad(total, list(network.parameters()), create_graph=True)
        pairs = zip(network.parameters(), explained, strict=True)
        distance = sum((weight.detach() - part).square().sum() for weight, part in pairs)
        expected = distance.detach(), *torch.autograd.grad(distance, (x, one))
    for ours, theirs in zip(found, expected, strict=True):
        assert relative(ours.flatten(), theirs.flatten()) <= 1e-10


def by_double_backward(network, forward, x, one, labels):
    """Distance and gradients of one trial from autograd of `forward`, a plain function of images."""
    x, one = x.clone().requires_grad_(), one.clone().requires_grad_()
    total = (one * (2 * labels - 1) * forward(x)[:, 0]).sum() / len(labels)
    explained = torch.autograd.grad(total, list(network.parameters()), create_graph=True)
    distance = sum(
        (weight.detach() - part).square().sum() for weight, part in zip(network.parameters(), explained, strict=True)
    )
    return distance.detach(), *torch.autograd.grad(distance, (x, one))


@pytest.mark.parametrize("gram", [True, False])
def test_biases_of_hidden_layers_are_part_of_the_condition(monkeypatch, gram):
    monkeypatch.setattr(stationarity, "gram_is_shorter", lambda *_: gram)
    network = Victim(NetworkSettings(hidden=(7, 6, 5), activation="tanh", bias="hidden", init_std=0.4), SHAPE, 1)
    initialise(network.double(), torch.Generator().manual_seed(0))
    assert [layer.bias is not None for layer in network.layers] == [True, True, True, False]
    labels, (candidates, multipliers) = candidate_labels(6, 2), drawn("binary", 1, 6, 1)
    expected = by_double_backward(network, network, candidates[0], multipliers[0], labels)
    for method in METHODS:
        arguments = network, candidates, multipliers, labels, "binary", torch.ones(1).double()
        for ours, theirs in zip(distance_and_gradients(method, *arguments), expected, strict=True):
            assert relative(ours.flatten(), theirs.flatten()) <= 1e-10


@pytest.mark.parametrize(("name", "function"), [("plain_relu", torch.relu), ("tanh", torch.tanh)])
def test_an_attack_may_take_another_activation_than_the_victims(victim, name, function):
    network, labels = victim((7, 5), 1, "leaky_relu"), candidate_labels(6, 2)
    candidates, multipliers = drawn("binary", 1, 6, 1)
    candidates = candidates.clamp(-1, 1)  # where no pixel is penalised

    def forward(x):
        first, second, last = network.layers
        return last(function(second(function(first(x.flatten(1))))))

    expected = by_double_backward(network, forward, candidates[0], multipliers[0], labels)
    for method in METHODS:
        objective = stationarity_objective(network, labels, "binary", method, name)
        given = {"relu_sharpness": torch.full((1,), 8.0).double(), "minimum_multiplier": torch.zeros(1).double()}
        found = objective(candidates, multipliers, given)
        assert float(found.terms["stationarity"]) == pytest.approx(float(expected[0]), rel=1e-12)
        assert relative(found.candidates_gradient[0], expected[1]) <= 1e-10
        assert relative(found.multipliers_gradient[0], expected[2]) <= 1e-10


def test_without_multipliers_nothing_is_explained(victim):
    """At λ = 0 the distance is ‖θ‖², for fully connected and convolutional victims."""
    for convolutions in ((), (Convolution(channels=3, kernel=2),)):
        network = victim(convolutions=convolutions)
        norm = sum(parameter.square().sum() for parameter in network.parameters()).detach()
        candidates, _ = drawn("binary", 2, 6, 1)
        evaluate = by_autograd if convolutions else by_closed_form
        found = evaluate(network)(candidates, torch.ones(2).double(), lambda logits: torch.zeros_like(logits))
        assert torch.allclose(found.distance, norm.expand(2), rtol=1e-12)


def test_a_convolution_that_sees_one_patch_is_a_fully_connected_layer(victim):
    """A kernel as large as the image: the same weights, so the same distance and the same gradients."""
    patch = victim((5,), shape=(2, 3, 3), convolutions=(Convolution(channels=7, kernel=3),))
    flat = victim((7, 5), shape=(2, 3, 3))
    patch.load_state_dict({name: one.view(patch.state_dict()[name].shape) for name, one in flat.state_dict().items()})
    candidates = torch.randn(1, 4, 2, 3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ones = (torch.full((1,), 10.0, dtype=torch.float64), lambda logits: torch.ones_like(logits))
    one, other = by_autograd(patch)(candidates, *ones), by_closed_form(flat)(candidates, *ones)
    assert relative(one.distance, other.distance) < 1e-12
    assert relative(one.candidates_gradient, other.candidates_gradient) < 1e-12


@pytest.mark.parametrize("kind", ["binary", "runner_up", "full", "general"])
def test_the_objectives_gradient_is_its_slope(victim, kind):
    """Central differences of all terms together; sharp enough that the surrogate is the derivative of ReLU itself."""
    outputs = 3 if kind in ("runner_up", "full") else 1
    network, labels = victim((7, 5), outputs), candidate_labels(6, max(outputs, 2))
    candidates, multipliers = drawn(kind, 1, 6, outputs)
    multipliers = multipliers - 0.5
    given = {"relu_sharpness": torch.full((1,), 1e9).double(), "minimum_multiplier": torch.full((1,), 0.7).double()}
    objective = stationarity_objective(network, labels, kind, "closed_form")
    here = objective(candidates, multipliers, given)
    generator = torch.Generator().manual_seed(3)
    for variable, gradient, place in (
        (candidates, here.candidates_gradient, 0),
        (multipliers, here.multipliers_gradient, 1),
    ):
        away = 1e-6 * torch.randn(variable.shape, generator=generator, dtype=torch.float64)
        ends = []
        for sign in (1, -1):
            moved = [candidates, multipliers]
            moved[place] = variable + sign * away
            ends.append(objective(*moved, given).total)
        assert relative(2 * (gradient * away).sum(), (ends[0] - ends[1]).squeeze()) < 1e-5
