"""KKT attacks: one iteration in closed form, stacked and in float32, against the published way; and training a victim.

    python -m benchmarks.kkt [--training] [--only NAME] [--matmul-precision highest]

The published way takes the loss' gradient by differentiating the parameters' gradient (autograd twice), in float64, one
trial at a time, with SGD. Both work on the same victim from the same candidates and take turns in one run; the ratio is
the median over rounds of the paired times per iteration and trial. Beside it stands how far our gradients, in float32,
are from theirs.

With --training: a victim's way to flow time 1e4, on 500 of the embedded digits, odd against even. The flow is run to
its end in float32; plain gradient descent needs 10⁶ epochs in float64, of which ten are timed: its hours are time per
epoch × epochs.

Measured on one core of an AMD EPYC with AVX-512, torch 2.15, the other core idle; of eight runs:

                   published ms     ours ms      ratio
    MNIST m=40       51 …   56      5.1 …   5.3   9.8 … 10.7, median 10.3
    CIFAR m=40      115 …  123      9.2 …   9.4  12.3 … 13.4
    MNIST m=1000    601 …  627    214   … 218     2.8 …  2.9
    CIFAR m=1000   1180 … 1265    391   … 398     3.0 …  3.2
    MNIST victim    flow 92 s in 744 steps, plain descent 81 h: 3,100

The floor is matrix products at this processor's peak, 113 GFLOP/s in float32 and half of that in float64: 89 % of our
time at m = 1000, 80 % at m = 40. At m = 1000, MNIST, the published way needs 1.26 times as many multiplications: 2.5
times our time if both came as near to the peak; the rest of the ratio is its passes over memory, and 3.2 would be all
there is. Seven products of quarters instead of eight (Strassen), huge pages and another allocator's thresholds gained
nothing, or as much for the published way. `verified` takes torch's `medium` here, by which oneDNN makes the products,
as exactly and 8 % faster than by `highest`.
"""

import argparse
import statistics
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.clock import seconds
from pipeline.data.settings import DataSet
from pipeline.kkt.multipliers import candidate_labels
from pipeline.kkt.networks import Victim, initialise
from pipeline.kkt.objectives import stationarity_objective
from pipeline.kkt.optimizers import step
from pipeline.kkt.problems import load_problem
from pipeline.kkt.settings import NetworkSettings, ProblemSettings, VictimSettings
from pipeline.kkt.training import train_victim
from pipeline.precision import matmul_precision

ROUNDS = 7
ALPHA, MINIMUM, RATE = 50.0, 0.1, 1e-3
CONFIGURATIONS = {  # image shape, candidates, trials stacked
    "MNIST m=40": ((1, 28, 28), 40, 8),
    "CIFAR m=40": ((3, 32, 32), 40, 8),
    "MNIST m=1000": ((1, 28, 28), 1000, 1),
    "CIFAR m=1000": ((3, 32, 32), 1000, 1),
}
EPOCHS = 1_000_000
IMAGES = 500


class _SurrogateReLU(torch.autograd.Function):
    """As the published code has it: ReLU forward, σ(αz) backward."""

    @staticmethod
    def forward(ctx, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return z.relu()

    @staticmethod
    def backward(ctx, upstream: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return upstream * torch.sigmoid(ALPHA * z)


class PublishedLoop:
    """One trial of the published attack: a module's forward, autograd twice, two SGD optimizers with momentum."""

    def __init__(self, victim: Victim, candidates: Tensor, multipliers: Tensor):
        layers: list[nn.Module] = list(victim.double().layers)
        self.layers = layers
        self.labels = 2.0 * candidate_labels(len(candidates), 2).double() - 1
        self.candidates = candidates.double().clone().requires_grad_()
        self.multipliers = multipliers.double().clone().requires_grad_()
        self.optimizers = [torch.optim.SGD([one], RATE, 0.9) for one in (self.candidates, self.multipliers)]

    def iterate(self) -> None:
        values = self.candidates.flatten(1)
        for layer in self.layers[:-1]:
            values = _SurrogateReLU.apply(layer(values))
        outputs = self.layers[-1](values).squeeze() * self.labels
        parameters = [parameter for layer in self.layers for parameter in layer.parameters()]
        explained = torch.autograd.grad(
            outputs, parameters, self.multipliers / len(outputs), create_graph=True, retain_graph=True
        )
        loss = sum(
            (parameter.detach() - part).square().sum() for parameter, part in zip(parameters, explained, strict=True)
        )
        loss = loss + (self.candidates - 1).relu().square().sum() + (-1 - self.candidates).relu().square().sum()
        loss = loss + 5 * (MINIMUM - self.multipliers).relu().square().sum()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()


class ClosedForm:
    """The same iteration as the project makes it: stacked trials, float32, Adam."""

    def __init__(self, victim: Victim, candidates: Tensor, multipliers: Tensor):
        self.variables = [candidates.clone(), multipliers.clone()]
        self.moments = [[torch.zeros_like(one) for _ in range(2)] for one in self.variables]
        trials, count = multipliers.shape
        self.objective = stationarity_objective(victim.float(), candidate_labels(count, 2), "binary", "closed_form")
        self.given = {
            "relu_sharpness": torch.full((trials,), ALPHA),
            "minimum_multiplier": torch.full((trials,), MINIMUM),
        }
        self.rates, self.done = torch.full((trials,), RATE), 0

    def gradients(self) -> tuple[Tensor, Tensor]:
        found = self.objective(*self.variables, self.given)
        return found.candidates_gradient, found.multipliers_gradient

    def iterate(self) -> None:
        self.done += 1
        for variable, gradient, moments in zip(self.variables, self.gradients(), self.moments, strict=True):
            step("adam", variable, gradient, moments, self.rates, self.done)


def attacked(shape: tuple[int, ...]) -> Victim:
    """A D-1000-1000-1 network whose first layer is of the size that training gives it."""
    victim = Victim(NetworkSettings(init_std=0.003), shape, 1)
    initialise(victim, torch.Generator().manual_seed(0))
    return victim


def measure(shape: tuple[int, ...], count: int, trials: int) -> dict[str, float]:
    """Medians over rounds: seconds per iteration and trial of either way, their ratio, our gradients' error."""
    generator = torch.Generator().manual_seed(1)
    candidates = 0.1 * torch.randn(trials, count, *shape, generator=generator)
    multipliers = torch.rand(trials, count, generator=generator)
    published = PublishedLoop(attacked(shape), candidates[0], multipliers[0])
    ours = ClosedForm(attacked(shape), candidates, multipliers)
    gradient = ours.gradients()[0][0].double()
    published.iterate()
    error = float((gradient - published.candidates.grad).norm() / gradient.norm())
    ours.iterate()
    repeats = max(3, 400 // count)  # after the other's turn, caches are its
    rounds = []
    for _ in range(ROUNDS):
        theirs = seconds(lambda: [published.iterate() for _ in range(repeats)]) / repeats
        mine = seconds(lambda: [ours.iterate() for _ in range(repeats)]) / repeats / trials
        rounds.append({"published": theirs, "ours": mine, "ratio": theirs / mine})
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]} | {"error": error}


def plain_epoch(victim: Victim, inputs: Tensor, targets: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    functional.binary_cross_entropy_with_logits(victim(inputs)[:, 0], targets).backward()
    optimizer.step()


def measure_training() -> tuple[float, int, float]:
    """Seconds of the flow to flow time 1e4, its steps, and seconds of one plain epoch in float64."""
    digits = ProblemSettings(labels="odd_even", images_per_class=IMAGES // 2)
    problem = load_problem(digits, DataSet(name="mnist_digits", size=28), Path(), 0)
    inputs, labels = problem.images - problem.mean, problem.labels
    plain, victim = (untrained(inputs.shape[1:], dtype) for dtype in (torch.float64, torch.float32))
    optimizer = torch.optim.SGD(plain.parameters(), 0.01)
    epochs = [seconds(lambda: plain_epoch(plain, inputs, labels.double(), optimizer)) for _ in range(12)]
    steps: list[int] = []

    def follow_the_flow() -> None:
        history = train_victim(victim, inputs.float(), labels, VictimSettings(), "logistic")
        steps.append(history.step[-1])

    return seconds(follow_the_flow), steps[0], statistics.median(epochs[2:])


def untrained(shape: tuple[int, ...], dtype: torch.dtype) -> Victim:
    victim = Victim(NetworkSettings(), shape, 1).to(dtype)
    initialise(victim, torch.Generator().manual_seed(0))
    return victim


def show_training(console: Console) -> None:
    flow, steps, epoch = measure_training()
    table = Table("", "flow s", "steps", "plain epoch ms", "plain 10⁶ epochs h", "ratio")
    hours = epoch * EPOCHS / 3600
    ratio = f"{hours * 3600 / flow:,.0f}"
    table.add_row(f"{IMAGES} digits", f"{flow:.1f}", str(steps), f"{epoch * 1e3:.0f}", f"{hours:.0f}", ratio)
    console.print(table)


def show_iterations(console: Console, names: list[str], precision: str) -> None:
    table = Table("", "trials stacked", "published ms", "ours ms", "ratio", "relative error of our gradient")
    for name in names:
        shape, count, trials = CONFIGURATIONS[name]
        with matmul_precision(precision, torch.device("cpu")):
            found = measure(shape, count, trials)
        cells = f"{found['published'] * 1e3:.1f}", f"{found['ours'] * 1e3:.2f}", f"{found['ratio']:.1f}"
        table.add_row(name, str(trials), *cells, f"{found['error']:.0e}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--training", action="store_true", help="time the training of a victim instead")
    parser.add_argument("--only", choices=CONFIGURATIONS, help="one configuration")
    parser.add_argument("--matmul-precision", choices=["verified", "highest", "medium"], default="verified")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=120)
    if arguments.training:
        show_training(console)
    else:
        names = [arguments.only] if arguments.only else list(CONFIGURATIONS)
        show_iterations(console, names, arguments.matmul_precision)


if __name__ == "__main__":
    main()
