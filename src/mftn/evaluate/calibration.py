"""Temperature scaling: one number that calibrates probabilities (Guo et al., 2017)."""

import math

import torch
from torch import Tensor
from torch.nn.functional import nll_loss

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
"""Bounds of the temperature: where few samples are all right or all wrong, the fit would go to 0 or to infinity."""


def fit_temperature(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> float:
    """The T, within the bounds, that minimises the cross-entropy of softmax(logits / T) on held-out samples.

    Args:
        logits: (n, K), or (V, n, K) for V views of each sample whose probabilities are averaged.
        labels: (n,) class indices.
        class_weights: (K,) weight of the samples of each class; None for equal weights.
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
    return log_temperature.exp().clamp(MIN_TEMPERATURE, MAX_TEMPERATURE).item()


def fit_general_temperature(probabilities: Tensor, labels: Tensor) -> float:
    """The temperature to apply on top of calibrated probabilities for faces from elsewhere.

    How frequent the expressions are there is unknown, so every class has the same weight: a network trained where most
    faces are neutral or happy is right less often where they are not, and should be less confident.

    Args:
        probabilities: (n, K), averaged as by `mftn predict`.
        labels: (n,) class indices.
    """
    counts = labels.bincount(minlength=probabilities.shape[1])  # (K,)
    return fit_temperature(probabilities.double().clamp(min=1e-12).log(), labels, 1 / counts.clamp(min=1))
