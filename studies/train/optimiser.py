"""Muon for the matrices inside the layers, AdamW for the rest."""

import torch
from torch import Tensor, nn


def orthogonal(g: Tensor, steps: int = 5) -> Tensor:
    """Returns roughly the nearest orthogonal matrix, by a Newton-Schulz iteration.

    Source: Jordan et al. 2024, Muon, https://kellerjordan.github.io/posts/muon/
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if g.shape[0] > g.shape[1] else x


class Muon(torch.optim.Optimizer):
    """Momentum steps whose direction is made orthogonal."""

    def __init__(self, params: list[nn.Parameter], lr: float, momentum: float = 0.95):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Takes one step."""
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.lerp_(p.grad, 1 - group["momentum"])
                direction = orthogonal(p.grad.lerp(m, group["momentum"]))
                scale = max(1.0, p.shape[0] / p.shape[1]) ** 0.5
                p.mul_(1 - group["lr"] * 0.05).add_(direction, alpha=-group["lr"] * scale)


class Both:
    """The two optimisers under one learning-rate schedule."""

    def __init__(self, model: nn.Module, matrix_lr: float = 0.02, other_lr: float = 3e-3):
        named = list(model.named_parameters())
        inner = [p for name, p in named if p.ndim == 2 and "layers" in name]
        other = [p for name, p in named if not (p.ndim == 2 and "layers" in name)]
        self.parts = [
            Muon(inner, matrix_lr),
            torch.optim.AdamW(other, other_lr, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self.peaks = [matrix_lr, other_lr]

    def step(self, share: float) -> None:
        """Steps with the given share of the peak rate, then clears the gradients."""
        for part, peak in zip(self.parts, self.peaks, strict=True):
            part.param_groups[0]["lr"] = peak * share
            part.step()
            part.zero_grad(set_to_none=True)


def share(step: int, steps: int, warmup: int = 40, decay: float = 0.6) -> float:
    """Returns the share of the peak rate: a short rise, a plateau, a linear fall to 0."""
    return min(1.0, (step + 1) / warmup, (steps - step) / (decay * steps))
