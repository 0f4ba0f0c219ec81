"""Files of weights that others made: arrays and state dicts, read without running any code that they hold."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline import located
from pipeline.errors import UserError

SUFFIXES = (".npy", ".pth", ".pt")
WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts often save a state dict beside other things."""
FLOAT32_MAX = float(np.finfo(np.float32).max)


def existing(path: str, key: str) -> Path:
    """Where a file of the experiment's lies; raises UserError, naming the experiment's key, where there is none."""
    place = located(path)
    if not place.is_file():
        raise UserError(f"{key}: {place} does not exist")
    return place


def read(path: Path):
    """The array of a `.npy`, the state dict or the tensor of a `.pth`; real, finite numbers only."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path.name}: only .npy arrays and .pth state dicts can be imported")
    if path.suffix != ".npy":
        content = _load(path, path.name)
        return _check_tensor(path.name, "it", content) if _is_tensor(content) else _check_state(path.name, content)
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise UserError(f"{path.name}: cannot be read ({error.strerror or 'it is cut off'})") from error
    except Exception as error:  # a file that is no .npy fails in as many ways as the format has parts
        raise UserError(f"{path.name}: is no .npy array of numbers, or is damaged") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        what = getattr(array, "dtype", "several arrays")
        raise UserError(f"{path.name}: holds {what}; expected an array of real numbers")
    _check_numbers(path.name, "", np.isfinite(array), np.abs(array) <= FLOAT32_MAX)
    return array


def read_state(path: Path, where: str):
    """The state dict of a PyTorch file, alone in it or under one of WRAPPERS: names and tensors of finite numbers.

    Raises UserError that begins with `where`, which names the file or the key of the experiment that does.
    """
    return _check_state(where, _load(path, where))


def _load(path: Path, where: str):
    """Whatever a PyTorch file holds; no code in it is run."""
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror or 'it is cut off'})") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{where}: holds objects beside tensors, which could run code and are not loaded, or is damaged; save "
            "network.state_dict() alone"
        ) from error
    except Exception as error:  # a file that is none of PyTorch's fails in as many ways as the format has parts
        raise UserError(f"{where}: is no file of PyTorch tensors, or is damaged") from error


def _check_state(where: str, content):
    if isinstance(content, Mapping):
        content = next((content[name] for name in WRAPPERS if isinstance(content.get(name), Mapping)), content)
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{where}: is {_described(content)}; expected a state dict, names with tensors")
    for name, tensor in content.items():
        if not isinstance(name, str):
            raise UserError(f"{where}: {name} is no name; expected names with tensors of real numbers")
        _check_tensor(where, name, tensor)
    return content


def _check_tensor(where: str, name: str, tensor):
    import torch

    plain = _is_tensor(tensor) and tensor.layout is torch.strided
    if not plain or tensor.is_quantized or tensor.is_complex():
        raise UserError(f"{where}: {name} is {_described(tensor)}; expected names with tensors of real numbers")
    _check_numbers(where, name, tensor.isfinite(), tensor.abs() <= FLOAT32_MAX)
    return tensor


def _is_tensor(content) -> bool:
    import torch

    return isinstance(content, torch.Tensor)


def _described(content) -> str:
    import torch

    if isinstance(content, torch.Tensor):
        return "a quantised tensor" if content.is_quantized else f"a tensor ({content.dtype}, {content.layout})"
    return "nothing" if content is None else f"of type {type(content).__name__}"


def _check_numbers(where: str, name: str, finite, fits) -> None:
    for sound, why in ((finite, "are not finite"), (fits, "are too large for float32")):
        if not sound.all():
            wrong = int((~sound).sum())
            raise UserError(f"{where}: {wrong} of {len(sound.ravel())} numbers{f' of {name}' * bool(name)} {why}")


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
