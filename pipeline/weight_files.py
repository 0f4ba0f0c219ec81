"""Files of weights that others made: arrays and state dicts, read without running any code that they hold."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline import located
from pipeline.errors import UserError

SUFFIXES = (".npy", ".pth", ".pt")
WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts often save a state dict beside other things."""


def existing(path: str, key: str) -> Path:
    """Where a file of the experiment's lies; raises UserError, naming the experiment's key, where there is none."""
    place = located(path)
    if not place.is_file():
        raise UserError(f"{key}: {place} does not exist")
    return place


def read(path: Path):
    """The array of a `.npy`, the state dict of a `.pth`; finite numbers only."""
    import torch

    if path.suffix not in SUFFIXES:
        raise UserError(f"{path.name}: only .npy arrays and .pth state dicts can be imported")
    try:
        if path.suffix == ".npy":
            content = np.load(path, allow_pickle=False)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is no .npy or .pth fails in as many ways as the formats have parts
        raise UserError(f"{path.name}: cannot be read ({' '.join(str(error).split())[:100]})") from error
    if isinstance(content, Mapping):
        content = next((content[name] for name in WRAPPERS if isinstance(content.get(name), Mapping)), content)
    parts = content if isinstance(content, Mapping) else {"": content}
    for name, part in parts.items():
        try:
            numbers = torch.as_tensor(part)
        except (TypeError, ValueError, RuntimeError):
            raise UserError(f"{path.name}: {name or 'what it holds'} is no array of numbers") from None
        if not numbers.isfinite().all():
            wrong = int((~numbers.isfinite()).sum())
            raise UserError(
                f"{path.name}: {wrong} of {numbers.numel()} numbers{f' of {name}' * bool(name)} are not finite"
            )
    return content


def read_linear_layer(path: str, key: str, inputs: int, outputs: int):
    """(P,) float32 weights of one linear head, flat as shadow models are stored: weight (K, D), then bias (K,).

    A state dict with `weight` and `bias`, under any prefix; of a whole network the one layer of that shape. Or a flat
    `.npy`. Raises UserError, naming the experiment's `key`, for anything else.
    """
    import torch

    file = existing(path, key)
    content = read(file)
    if not isinstance(content, Mapping):
        flat = torch.as_tensor(content).flatten()
        if len(flat) != outputs * (inputs + 1):
            raise UserError(
                f"{key}: {file.name} holds {len(flat):,} numbers, a linear head {inputs}→{outputs} has "
                f"{outputs * (inputs + 1):,} (weight, then bias)"
            )
        return flat.float()
    shapes = {name: tuple(tensor.shape) for name, tensor in content.items()}
    fitting = [name for name, shape in shapes.items() if name.endswith("weight") and shape == (outputs, inputs)]
    biased = [name for name in fitting if shapes.get(f"{name.removesuffix('weight')}bias") == (outputs,)]
    if len(biased) != 1:
        raise UserError(
            f"{key}: {file.name} holds {_listed(shapes)}; expected one linear head {inputs}→{outputs}: weight "
            f"{(outputs, inputs)} and bias {(outputs,)}, under any prefix"
            + (f"; {' and '.join(biased)} are both such" if biased else "")
        )
    prefix = biased[0].removesuffix("weight")
    return torch.cat([content[prefix + part].detach().flatten().float() for part in ("weight", "bias")])


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    shown = [f"{name} {shape}" for name, shape in list(shapes.items())[:6]]
    return ", ".join(shown) + (f", … ({len(shapes)} in all)" if len(shapes) > 6 else "") or "nothing"
