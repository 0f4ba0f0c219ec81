"""Do two samples of trained heads have the same law? Two-sample tests on weights, logits and clipped gradients."""

import torch
from scipy import stats

from pipeline.shadow.settings import Training
from tests.reference.shadow_training import plain_head, plain_loss


def p_values(ours, theirs, training: Training, features, labels, held_out) -> dict[str, float]:
    """For every kind of statistic the least p-value, times the number of tests it is the least of (Bonferroni).

    ours, theirs: weights (M, P) of heads trained on features (N, D) with labels (N,); held_out: (n, D).
    Means by Welch's test, whole distributions by Kolmogorov and Smirnov's.
    """
    ours, theirs = (statistics(weights, training, features, labels, held_out) for weights in (ours, theirs))
    found = {}
    for name in ours:
        pairs = list(zip(ours[name].T, theirs[name].T, strict=True))
        found[f"mean of {name}"] = min(stats.ttest_ind(*pair, equal_var=False).pvalue for pair in pairs) * len(pairs)
        if name != "clipped fraction":  # takes N + 1 values, which is no distribution for a test of ranks
            found[f"law of {name}"] = min(stats.ks_2samp(*pair).pvalue for pair in pairs) * len(pairs)
    return found


def statistics(weights, training: Training, features, labels, held_out) -> dict[str, torch.Tensor]:
    """(M, several) of every kind."""
    logits, clipped = observe(weights, training, features, labels, held_out)
    centred = logits - logits.mean(0)
    products = (centred.unsqueeze(2) * centred.unsqueeze(1)).flatten(1)
    return {
        "weights": weights[:, :: max(1, weights.shape[1] // 40)],
        "norm": weights.norm(dim=1, keepdim=True),
        "held-out logits": logits,
        "logits' covariance": products[:, :: max(1, products.shape[1] // 60)],
        "clipped fraction": clipped.unsqueeze(1),
    }


def observe(weights, training: Training, features, labels, held_out) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (M, n·K) on held-out features, and the fraction (M,) of samples whose gradient exceeds the clip norm."""
    head = plain_head(features.shape[1], training)

    def one_loss(parameters, x, y):
        logits = torch.func.functional_call(head, parameters, (x.unsqueeze(0),))
        return plain_loss(training)(logits, y.unsqueeze(0))

    sample_gradients = torch.func.vmap(torch.func.grad(one_loss), (None, 0, 0))
    logits, clipped = [], []
    for one in weights:
        torch.nn.utils.vector_to_parameters(one, head.parameters())
        parameters = {name: value.detach() for name, value in head.named_parameters()}
        gradients = sample_gradients(parameters, features, labels)
        norms = torch.cat([gradient.flatten(1) for gradient in gradients.values()], 1).norm(dim=1)
        logits.append(head(held_out).detach().flatten())
        clipped.append((norms > training.private.clip_norm).float().mean())
    return torch.stack(logits), torch.stack(clipped)
