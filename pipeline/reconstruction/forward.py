"""The network as the training loop calls it: compiled where that is asked for and can be, its gradients averaged over
all processes where there are several."""

from collections.abc import Callable

import torch

from pipeline.networks.decoders import Decoder
from pipeline.processes import Processes
from pipeline.reconstruction.state import parameters_of

Forward = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]


def averaged_over(processes: Processes, network: Decoder, device: torch.device) -> Forward:
    """DistributedDataParallel. BatchNorm takes its statistics from a process's own part of the batch; those that are
    kept are the first process's."""
    if processes.size == 1:
        return network
    places = [device.index] if device.type == "cuda" else None
    return torch.nn.parallel.DistributedDataParallel(network, device_ids=places)


def compiled(
    forward: Forward, network: Decoder, batch_size: int, autocast: torch.autocast, device: torch.device
) -> tuple[Forward, bool]:
    """torch.compile, tried forwards and backwards on noise; `forward` itself, and False, where that fails."""
    before = parameters_of(network)
    z = torch.randn(batch_size, network.inputs, device=device, generator=torch.Generator(device).manual_seed(0))
    label = torch.zeros(batch_size, dtype=torch.int64, device=device) if network.classes else None
    try:
        attempt = torch.compile(forward, dynamic=False)
        with autocast:
            image = attempt(z, label)
        image.sum().backward()
        return attempt, True
    except Exception:  # no compiler, no Triton, an operator it does not know: it fails in as many ways as it has parts
        torch.compiler.reset()
        return forward, False
    finally:
        network.load_state_dict(before)
        network.zero_grad(set_to_none=True)
