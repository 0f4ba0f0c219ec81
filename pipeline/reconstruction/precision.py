"""In what precision the reconstructor is trained: parameters are float32 always, products may be narrower."""

import contextlib

import torch

from pipeline.errors import UserError
from pipeline.precision import matmul_precision
from pipeline.reconstruction.settings import Precision

NARROW = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def resolved(precision: Precision, device: torch.device) -> Precision:
    """What `auto` means on this device; raises UserError for what a GPU cannot do.

    On CPUs it is float32: some have bfloat16 units, which make a step 1.4 times as fast (benchmarks/reconstructor.py),
    but what a result is should not depend on the node of a cluster that made it. `precision: bfloat16` takes them.
    """
    if precision == "auto":
        if device.type != "cuda":
            return "float32"
        return "bfloat16" if _has_bfloat16(device) else "float16"
    if precision == "bfloat16" and device.type == "cuda" and not _has_bfloat16(device):
        raise UserError(
            f"reconstructor.precision=bfloat16: {torch.cuda.get_device_name(device)} has none; choose float16 or auto"
        )
    return precision


def _has_bfloat16(device: torch.device) -> bool:
    """In its matrix units: from compute capability 8.0 (Ampere) on. A V100 is 7.0 and would emulate it."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """The context of the forward pass and the loss."""
    dtype = NARROW.get(precision)
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def products(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[None]:
    """The context of a whole training: float32 products may be rounded to TF32 in it, unless float32 was chosen."""
    return matmul_precision("highest" if precision == "float32" else "high", device)


def loss_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """float16 loses small gradients unless the loss is scaled up; the others need it not."""
    return torch.amp.GradScaler(device.type, enabled=precision == "float16")
