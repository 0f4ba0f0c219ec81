"""An audit of the DP-SGD code itself: train with and without one record, and see how well the heads tell.

The record should be one that other records say little of, so that nothing hides its gradients: then a correct
implementation comes close to the trade-off it claims, and a wrong one, with noise forgotten or clipping misplaced,
crosses it. The adversary knows the initial weights, which all heads share, and sees the whole head, in the coordinates
where the record leaves its trace: the first layer along the part of the record's input that is orthogonal to all other
inputs, and the second layer as it is. There it uses Fisher's linear discriminant, fitted to one half of the heads.
"""

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.privacy.audit import Audit, audit
from pipeline.randomness import numpy_generator, torch_generator
from pipeline.shadow.accountant import guarantee
from pipeline.shadow.heads import Head
from pipeline.shadow.settings import Training
from pipeline.shadow.train import train_shard


def audit_training(
    features: Tensor, labels: Tensor, canary: int, training: Training, heads: int, purpose: tuple[str | int, ...]
) -> Audit:
    """The audit of `heads` heads trained with record `canary`, and as many without it; features (N, D), labels (N,).

    `purpose` seeds. Raises UserError where training is not private, or the canary lies in the span of the others.
    """
    if not training.private:
        raise UserError("an audit of DP-SGD needs private training: give shadow_models.training.private")
    samples, head = len(labels), Head(features.shape[1], training.hidden, training.classes)
    initial = torch.empty(1, head.size, device=features.device)
    if training.initial_weights:  # any that the adversary knows will do
        initial.zero_()
    else:
        head.draw_initial(initial, training, torch_generator(*purpose, "initial", device=features.device))
    trace = orthogonal_part(features, canary)
    indices, own_labels = torch.arange(samples).expand(heads, -1), labels.expand(heads, -1)
    tables = []
    for name, absent in (("with", None), ("without", torch.full((heads,), canary))):
        generator = torch_generator(*purpose, name, device=features.device)
        weights = train_shard(
            features, indices, own_labels, training, generator, initial.expand(heads, -1), absent=absent
        )
        weight, bias, *upper = head.split(weights)
        first = weight @ trace[:-1] + bias * trace[-1]
        tables.append(torch.cat([first, *(part.flatten(1) for part in upper)], 1).double().cpu().numpy())
    fitted = heads // 2
    score = discriminant(*(table[:fitted] for table in tables))
    h0, h1 = (score(table[fitted:])[:, None] for table in tables)
    return audit(h0, h1, guarantee(training.private, samples), numpy_generator(*purpose, "halves"))


def crafted(features: Tensor, record: int, generator: torch.Generator) -> Tensor:
    """features (N, D) with `record` replaced by one that no other record says anything of: orthogonal to all others, of
    their mean length. DP promises the same for it. Raises UserError where D leaves no such direction."""
    others = torch.cat([features[:record], features[record + 1 :]])
    if features.shape[1] <= len(others):
        raise UserError(
            f"a crafted canary needs more features than {len(others)} records; there are {features.shape[1]}"
        )
    drawn = torch.randn(features.shape[1], 1, generator=generator, device=features.device, dtype=features.dtype)
    direction = (drawn - others.mT @ torch.linalg.lstsq(others.mT, drawn, driver="gels").solution)[:, 0]
    changed = features.clone()
    changed[record] = direction / direction.norm() * others.norm(dim=1).mean()
    return changed


def orthogonal_part(features: Tensor, record: int) -> Tensor:
    """(D + 1,), of unit length: what of x' = (x, 1) of the record is orthogonal to x' of all others."""
    extended = torch.cat([features, features.new_ones(len(features), 1)], 1).double()
    own, others = extended[record], torch.cat([extended[:record], extended[record + 1 :]])
    rest = own - torch.linalg.lstsq(others.mT, own, driver="gelsd").solution @ others
    if rest.norm() < 1e-4 * own.norm():
        raise UserError(f"record {record} lies in the span of the others: choose another canary for the audit")
    return (rest / rest.norm()).to(features.dtype)


def discriminant(members: np.ndarray, others: np.ndarray):
    """Fisher's linear discriminant of two samples (n, d): a function of a table (m, d), low for a member."""
    centred = np.concatenate([members - members.mean(0), others - others.mean(0)])
    direction = np.linalg.pinv(centred.T @ centred / len(centred), rcond=1e-9) @ (others.mean(0) - members.mean(0))
    return lambda table: table @ direction
