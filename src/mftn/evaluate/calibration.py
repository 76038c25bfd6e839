"""Temperature scaling: one number that makes probabilities mean what they say (Guo et al., 2017)."""

import math

import torch
from torch import Tensor
from torch.nn.functional import nll_loss

LOWEST, HIGHEST = 0.05, 20.0
"""Where few samples are all right, or all wrong, no temperature is best: the fit would go to 0 or to infinity."""


def fit_temperature(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> float:
    """The T from `LOWEST` to `HIGHEST` that minimises the cross-entropy of softmax(logits / T) on held-out samples.

    Args:
        logits: (n, K), or (V, n, K) of V views of the samples whose probabilities are averaged.
        labels: (n,) class indices.
        class_weights: (K,) how much every sample of a class counts; None for all alike.
    """
    log_temperature = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")
    views = logits.detach().double().view(-1, *logits.shape[-2:])  # (V, n, K)
    weights = None if class_weights is None else class_weights.double()

    def closure() -> Tensor:
        optimizer.zero_grad()
        mean = (views / log_temperature.exp()).log_softmax(dim=2).logsumexp(dim=0) - math.log(len(views))  # (n, K)
        loss = nll_loss(mean, labels, weights)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return log_temperature.exp().clamp(LOWEST, HIGHEST).item()


def fit_general_temperature(probabilities: Tensor, labels: Tensor) -> float:
    """The temperature to put on top of calibrated probabilities for faces from elsewhere.

    Nobody knows how frequent the expressions are there, so that every class counts the same: a network trained where
    most faces are neutral or happy is right less often where they are not, and must be less sure.

    Args:
        probabilities: (n, K), as `mftn predict` averages them.
        labels: (n,) class indices.
    """
    counts = labels.bincount(minlength=probabilities.shape[1])  # (K,)
    return fit_temperature(probabilities.double().clamp(min=1e-12).log(), labels, 1 / counts.clamp(min=1))
