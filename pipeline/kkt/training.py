"""Training a victim to a loss near zero, by plain gradient descent or along the gradient flow of the log-loss."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from pipeline.checkpoint import Checkpoint
from pipeline.errors import Failure
from pipeline.kkt.networks import Victim, squared_norm
from pipeline.kkt.settings import VictimSettings
from pipeline.kkt.victim_losses import LOG_LOSSES, errors
from pipeline.unattended import NO_CHECKPOINT, silent

RECORD_EVERY = 1.02
"""History is kept at steps that grow by this factor: all of the first fifty, 700 of the first million."""
REPORT_EVERY = 20
EVALUATION_BLOCK = 1000
ALL = slice(None)


@dataclass
class History:
    """How training went: the step, its flow time, the natural logarithm of the loss, and ‖θ‖².

    `snapshots`: step → the network's state before it, where the settings ask for them.
    """

    step: list[int] = field(default_factory=list)
    flow_time: list[float] = field(default_factory=list)
    log_loss: list[float] = field(default_factory=list)
    squared_norm: list[float] = field(default_factory=list)
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def series(self) -> dict[str, list]:
        """The four lists by name."""
        return {name: values for name, values in vars(self).items() if name != "snapshots"}

    def record(self, step: int, flow_time: float, log_loss: float, squared_norm: float) -> None:
        for values, value in zip(self.series.values(), (step, flow_time, log_loss, squared_norm), strict=True):
            values.append(value)

    def wants(self, step: int) -> bool:
        return not self.step or step >= RECORD_EVERY * self.step[-1]


def train_victim(
    network: Victim,
    inputs: Tensor,
    labels: Tensor,
    settings: VictimSettings,
    loss: str,
    *,
    order: Callable[[int], Tensor] | None = None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
    progress: Callable[[int, int, str], None] = silent,
) -> History:
    """Train in place on inputs (n, C, H, W), the mean taken off, and classes (n,); see VictimSettings for the methods.

    The step comes from the gradient g of log L: of length min(learning_rate, decrease/‖g‖²) along g for the flow, and
    learning_rate · L for plain descent, which is the gradient of L. Ends at `flow_time` (flow), `steps` or `stop_loss`.
    `order(epoch)` (n,) is the order in which an epoch goes through mini-batches, where the settings ask for them; their
    history, and `stop_loss`, are of all images, looked at when history is kept.
    Raises Failure when the loss is not finite any more.
    """
    parameters = list(network.parameters())
    velocities = [torch.zeros_like(parameter) for parameter in parameters] if settings.momentum else []
    history, start, flow_time = History(), 0, 0.0
    if state := checkpoint.load(inputs.device):
        network.load_state_dict(state["network"])
        history, start, flow_time = History(**state["history"]), state["step"], state["flow_time"]
        velocities = state["velocities"]

    def log_loss_of(batch: Tensor | slice) -> Tensor:
        return LOG_LOSSES[loss](network(inputs[batch]).double(), labels[batch])

    for step in range(start, settings.steps):
        if settings.snapshot_every and step % settings.snapshot_every == 0:
            history.snapshots[step] = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        batch = _batch(step, len(labels), settings.batch_size, order) if settings.batch_size else ALL
        log_loss = log_loss_of(batch)
        value = log_loss.item()
        if not value < math.inf:
            raise Failure(
                f"the victim's training diverged: log-loss {value} at step {step}; lower kkt.victim.learning_rate"
            )
        of_all = value
        if settings.batch_size:
            with torch.no_grad():
                of_all = log_loss_of(ALL).item() if history.wants(step) else math.inf
        ended = of_all < math.log(settings.stop_loss) or (settings.method == "flow" and flow_time >= settings.flow_time)
        if ended or history.wants(step):
            history.record(step, flow_time, of_all, squared_norm(network))
        if ended:
            break
        gradients = torch.autograd.grad(log_loss, parameters)
        if settings.method == "flow":
            steepness = sum(gradient.double().square().sum() for gradient in gradients).item()
            rate = min(settings.learning_rate, settings.decrease / steepness)
            flow_time += rate * math.exp(-value)
            _descend(parameters, gradients, rate)
        else:
            flow_time += settings.learning_rate
            gradients = [gradient * math.exp(value) for gradient in gradients]
            _descend_with_momentum(parameters, gradients, velocities, settings)
        if step % REPORT_EVERY == 0:
            progress(step, settings.steps, f"loss {math.exp(value):.3g}, flow time {flow_time:.3g}")

        def state(step: int = step, flow_time: float = flow_time) -> dict:
            parts = {"network": network.state_dict(), "velocities": velocities, "history": asdict(history)}
            return {**parts, "step": step + 1, "flow_time": flow_time}

        checkpoint.offer(state)
    else:
        with torch.no_grad():
            value = log_loss_of(ALL).item()
        history.record(settings.steps, flow_time, value, squared_norm(network))
    return history


def _batch(step: int, count: int, size: int, order: Callable[[int], Tensor]) -> Tensor:
    """Indices of the images of a step; the last batch of an epoch has what is left."""
    epoch, place = divmod(step, -(-count // size))
    return order(epoch)[place * size : (place + 1) * size]


@torch.no_grad()
def _descend(parameters: list[Tensor], gradients: tuple[Tensor, ...], rate: float) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.sub_(gradient, alpha=rate)


@torch.no_grad()
def _descend_with_momentum(
    parameters: list[Tensor], gradients: list[Tensor], velocities: list[Tensor], settings: VictimSettings
) -> None:
    """As torch.optim.SGD: weight decay joins the gradient, the velocity is not damped."""
    for position, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
        direction = gradient.add(parameter, alpha=settings.weight_decay)
        if velocities:
            direction = velocities[position].mul_(settings.momentum).add_(direction)
        parameter.sub_(direction, alpha=settings.learning_rate)


@torch.no_grad()
def error_rate(network: Victim, inputs: Tensor, labels: Tensor) -> float:
    """Fraction of images on the wrong side."""
    wrong = [
        errors(network(block), of_block)
        for block, of_block in zip(inputs.split(EVALUATION_BLOCK), labels.split(EVALUATION_BLOCK), strict=True)
    ]
    return torch.cat(wrong).double().mean().item()
