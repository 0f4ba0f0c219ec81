"""Gradient inversion against a plain version of R-CONV and against DLG: same gradients, one process, one thread.

    python -m benchmarks.gradient_inversion

The plain version is what a careful reading of the paper gives: for each layer a dense square system, written row by row
in Python, of gradient rows (hidden layers) or weight rows (the first), solved by LU; no phases, no shared factor, no
refinement. It picks independent rows by one pivoted QR, and so is kinder than a rank after every row. "Alone" is the
first image under a network, whose weights must be factored; "factored before", each of the next. Medians are
over 5 images; DLG is one image, 300 steps of L-BFGS at most.

Measured on one core of an AMD EPYC (other work beside it), torch 2.15:

    network         images      method                          seconds an image   worst MSE   ratio
    lenet           1×32×32     plain R-CONV                              0.0674     2.0e-14     1.0
    lenet           1×32×32     ours, alone                               0.0410     3.5e-30     1.6
    lenet           1×32×32     ours, weights factored before             0.0122     2.5e-28     5.5
    lenet           1×32×32     ours, 20 together                         0.0104     3.2e-27     6.5
    lenet_a         3×32×32     plain R-CONV                              0.6993     1.5e-19     1.0
    lenet_a         3×32×32     ours, alone                               0.4789     2.3e-26     1.5
    lenet_a         3×32×32     ours, weights factored before             0.0240     1.7e-24    29.1
    lenet_a         3×32×32     ours, 20 together                         0.0215     1.7e-24    32.5
    lenet_all_relu  3×32×32     plain R-CONV                              0.4272     7.1e-28     1.0
    lenet_all_relu  3×32×32     ours, alone                               0.0406     6.8e-31    10.5
    lenet_all_relu  3×32×32     ours, weights factored before             0.0958     3.7e-29     4.5
    lenet_all_relu  3×32×32     ours, 20 together                         0.0816     5.2e-29     5.2
    dlg_lenet       3×32×32     DLG                                      16.9322     1.4e-05     1.0
    dlg_lenet       3×32×32     ours, alone                               0.2638     1.0e-24    64.2

`lenet_all_relu` factors nothing: its images differ in how many need weight rows beside their gradient's.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch
from torch import Tensor, nn

from pipeline.gradient_inversion.attack import attack
from pipeline.gradient_inversion.layers import Chain, Convolution, read_network
from pipeline.gradient_inversion.methods import METHODS
from pipeline.gradient_inversion.networks import build
from pipeline.gradient_inversion.step import Gradient, gradients_of_steps
from pipeline.randomness import torch_generator

CASES = (("lenet", (1, 32, 32), 10), ("lenet_a", (3, 32, 32), 10), ("lenet_all_relu", (3, 32, 32), 10))
IMAGES = 5
BATCH = 20
DLG_CASE = ("dlg_lenet", (3, 32, 32), 10)


def main() -> None:
    torch.set_num_threads(1)
    attack(*_example(*CASES[0], 1)[:2])  # the first use of linear algebra in a process costs half a second
    print(f"{'network':<16}{'images':<12}{'method':<31}{'seconds an image':>17}{'worst MSE':>12}{'ratio':>8}")
    for case in CASES:
        _against_plain(case)
    network, gradient, images = _example(*DLG_CASE, 1)
    method = METHODS["dlg"]
    dlg = _measure(
        lambda g: method.run(network, g, 1, method.settings(), torch_generator("dlg")).estimate[0], [gradient], images
    )
    ours = _measure(lambda g: attack(network, g).estimate[0], [gradient], images)
    _print(DLG_CASE, "DLG", *dlg, dlg[0])
    _print(DLG_CASE, "ours, alone", *ours, dlg[0])


def _against_plain(case: tuple) -> None:
    network, gradient, images = _example(*case, BATCH)
    singles = [{name: part[n : n + 1] for name, part in gradient.items()} for n in range(IMAGES)]
    plain = _measure(lambda g: _plain_r_conv(network, g), singles, images)
    alone = _measure(lambda g: attack(network, g).estimate[0], singles[:1], images)
    ours = _measure(lambda g: attack(network, g).estimate[0], singles, images)
    start = time.perf_counter()
    together = attack(network, gradient).estimate[:, 0]
    each = (time.perf_counter() - start) / BATCH
    _print(case, "plain R-CONV", *plain, plain[0])
    _print(case, "ours, alone", *alone, plain[0])
    _print(case, "ours, weights factored before", *ours, plain[0])
    _print(case, f"ours, {BATCH} together", each, float((together - images).square().mean((1, 2, 3)).max()), plain[0])


def _example(name: str, shape: tuple[int, int, int], classes: int, count: int) -> tuple[Chain, Gradient, Tensor]:
    """Smooth random images, a network with parameters from U(−0.5, 0.5) and each image's gradient."""
    generator = torch_generator("benchmark", name, *shape)
    coarse = torch.rand(count, shape[0], 6, 6, generator=generator, dtype=torch.float64)
    images = nn.functional.interpolate(coarse, size=shape[1:], mode="bicubic").clamp(0, 1)
    labels = torch.randint(classes, (count, 1), generator=generator)
    module = build(name, shape, classes, generator)
    return read_network(module, shape), gradients_of_steps(module, images[:, None], labels), images


def _measure(invert: Callable[[Gradient], Tensor], gradients: list[Gradient], images: Tensor) -> tuple[float, float]:
    """Median seconds an image, and the worst mean squared error; NaN where a method breaks down."""
    seconds, errors = [], []
    for gradient, image in zip(gradients, images, strict=False):
        start = time.perf_counter()
        found = invert(gradient)
        seconds.append(time.perf_counter() - start)
        errors.append(float((found.reshape(image.shape) - image).square().mean()))
    return statistics.median(seconds), float(np.max(errors))


def _print(case: tuple, method: str, seconds: float, error: float, reference: float) -> None:
    shape = "×".join(map(str, case[1]))
    print(f"{case[0]:<16}{shape:<12}{method:<31}{seconds:>17.4f}{error:>12.1e}{reference / seconds:>8.1f}", flush=True)


def _plain_r_conv(network: Chain, gradient: Gradient) -> Tensor:
    head = network.head[0]
    delta = gradient[f"{head.name}.bias"][0].numpy()
    largest = np.abs(delta).argmax()
    value = gradient[f"{head.name}.weight"][0, largest].numpy() / delta[largest]
    arriving = delta @ head.weight.numpy()
    for depth in reversed(range(len(network.convolutions))):
        layer = network.convolutions[depth]
        if np.isnan(value).any():
            return torch.full(network.image_shape, torch.nan)
        value, arriving = value.reshape(layer.output_shape), arriving.reshape(layer.output_shape)
        value[np.abs(value) < 1e-8 * np.abs(value).max()] = 0
        leak = getattr(layer.activation, "slope", 0.0)
        g = arriving * np.where(value > 0, 1.0, leak)
        weight_gradient = gradient[f"{layer.name}.weight"][0].numpy()
        if depth > 0 or leak == 0:
            found = _plain_from_gradient(layer, g, weight_gradient)
        else:
            found = _plain_from_weights(layer, np.where(value > 0, value, value / leak))
        arriving = layer.gradient_at_input(torch.from_numpy(g)[None, None])[0, 0].numpy()
        value = found
    return torch.from_numpy(value)


def _plain_from_gradient(layer: Convolution, g: np.ndarray, weight_gradient: np.ndarray) -> np.ndarray:
    """Row by row, then as many independent rows as there are pixels (pivoted QR), then LU for every channel."""
    _, height, width = layer.input_shape
    filters, out_height, out_width = layer.output_shape
    (stride, _), (padding, _) = layer.stride, layer.padding
    rows, targets = [], []
    for f in range(filters):
        for u in range(layer.weight.shape[2]):
            for v in range(layer.weight.shape[3]):
                row = np.zeros((height, width))
                for i in range(out_height):
                    for j in range(out_width):
                        y, x = stride * i + u - padding, stride * j + v - padding
                        if 0 <= y < height and 0 <= x < width:
                            row[y, x] += g[f, i, j]
                rows.append(row.ravel())
                targets.append(weight_gradient[f, :, u, v])
    matrix, target = np.array(rows), np.array(targets)
    chosen = scipy.linalg.qr(matrix.T, mode="r", pivoting=True)[1][: height * width]
    try:
        return scipy.linalg.solve(matrix[chosen], target[chosen]).T.reshape(layer.input_shape)
    except scipy.linalg.LinAlgError:
        return np.full(layer.input_shape, np.nan)


def _plain_from_weights(layer: Convolution, pre_activation: np.ndarray) -> np.ndarray:
    """Every output as a row over all pixels and channels; as many as there are unknowns, then LU."""
    channels, height, width = layer.input_shape
    _, out_height, out_width = layer.output_shape
    (stride, _), (padding, _) = layer.stride, layer.padding
    weight, bias = layer.weight.numpy(), layer.bias.numpy()
    rows, targets = [], []
    for i in range(out_height):
        for j in range(out_width):
            for f in range(channels * stride * stride):
                row = np.zeros((channels, height, width))
                for u in range(weight.shape[2]):
                    for v in range(weight.shape[3]):
                        y, x = stride * i + u - padding, stride * j + v - padding
                        if 0 <= y < height and 0 <= x < width:
                            row[:, y, x] = weight[f, :, u, v]
                rows.append(row.ravel())
                targets.append(pre_activation[f, i, j] - bias[f])
    return scipy.linalg.solve(np.array(rows), np.array(targets)).reshape(layer.input_shape)


if __name__ == "__main__":
    main()
