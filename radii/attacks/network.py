"""Attacks on the network f itself, against deterministic radii.

Two searches, from several starts each: projected gradient descent on the margin inside the radius (Madry et al., ICLR
2018), and from outside, for the nearest adversarial input, the nearest point of the linearised boundary again and again
(Hasofer-Lind; with the gradients of DeepFool, Moosavi-Dezfooli et al., CVPR 2016). Formulas: docs/numerics.md 9.1.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from radii.attacks.ball import distance, dual_norm, projected, steepest
from radii.attacks.result import Attack, NotAttackable
from radii.norms import Norm

Classifier = Callable[[Tensor], Tensor]

INSIDE = 1 - 1e-6  # of a radius: where points strictly inside it are looked for
CLEAR = 2.0**-30  # of the larger of two logits: float64 is wrong about far less, unless a network is ill-conditioned
ANY = -1  # no class in particular
FAR = 32  # radii away, descent gives up
SQRT2 = math.nextafter(math.sqrt(2), 2)


def attack_network(
    classifier: Classifier,
    x: Tensor,
    *,
    prediction: int,
    radius: float,
    norm: Norm = "l2",
    steps: int = 10,
    rivals: int = 3,
    seed: int = 0,
    error: Callable[[float], float] | None = None,
) -> Attack:
    """The nearest input that f classifies otherwise than as ``prediction``, and whether it lies inside ``radius``.

    Args:
        classifier: (batch, *shape) to logits (batch, classes), in float64: what float32 confuses is no evidence.
        x: one float64 input without batch axis. It may leave the range of the data: certificates hold everywhere.
        rivals: other classes that are aimed at, those with the largest logits.
        error: upper bound of the l2 distance between the classifier's logits and those that the radius speaks of, given
            the l2 norm of its input (``NetworkBound.error.at``): a smaller change of class is no evidence.

    Raises:
        NotAttackable: there is no gradient.
        ValueError: x is not float64.
    """
    if x.dtype != torch.float64:
        raise ValueError(f"x must be float64, not {x.dtype}")
    search = _Search(classifier, x, prediction, norm, error or (lambda size: 0.0))
    targets, farther = search.rivals(rivals), 1
    if targets.numel():
        search.inside(radius * INSIDE, targets, steps, seed)
        search.nearest(targets, steps)
        while search.best is None and radius > 0 and farther < FAR:  # around a bend, or along axes
            farther *= 2
            search.inside(radius * farther, targets, steps, seed)
        search.bisect()
    return search.found(radius)


def margin_gradient(
    classifier: Classifier, points: Tensor, prediction: int, targets: Tensor | None
) -> tuple[Tensor, Tensor]:
    """``z_y - z_target`` of each point, and its gradient; ``targets`` as of :func:`rival_logits`.

    Raises ``NotAttackable`` where there is none.
    """
    points = points.detach().requires_grad_()
    try:
        with torch.enable_grad():
            logits = classifier(points)
            margins = logits[:, prediction] - rival_logits(logits, prediction, targets)
            [gradient] = torch.autograd.grad(margins.sum(), points)
    except RuntimeError as error:
        if "grad" not in str(error):
            raise
        raise NotAttackable("the network is not differentiable") from None
    return margins.detach(), gradient.detach()


def rival_logits(logits: Tensor, prediction: int, targets: Tensor | None) -> Tensor:
    """Each row's logit of its target; where that is ``ANY``, or there are none, the largest of other classes."""
    others = logits.clone()
    others[:, prediction] = -torch.inf
    largest = others.argmax(1)
    chosen = largest if targets is None else torch.where(targets == ANY, largest, targets)
    return logits.gather(1, chosen[:, None])[:, 0]


class _Search:
    """The nearest adversarial input so far."""

    def __init__(
        self, classifier: Classifier, x: Tensor, prediction: int, norm: Norm, error: Callable[[float], float]
    ) -> None:
        self.classifier, self.x, self.prediction, self.norm, self.error = classifier, x, prediction, norm, error
        self.best: tuple[float, int, Tensor] | None = None

    def logits(self, points: Tensor) -> Tensor:
        with torch.no_grad():
            return self.classifier(points)

    def rivals(self, most: int) -> Tensor:
        logits = self.logits(self.x[None])[0].clone()
        logits[self.prediction] = -torch.inf
        return logits.topk(min(most, len(logits) - 1)).indices

    def look_at(self, points: Tensor) -> None:
        """Keep the nearest of them that is clearly of another class."""
        logits = self.logits(points)
        for point, z in zip(points, logits, strict=True):
            other = int(z.argmax())
            # of a difference of two logits, at an input whose norm is rounded up
            error = SQRT2 * self.error(float(point.norm()) * (1 + 2.0**-6))
            doubt = max(CLEAR * float(z[[other, self.prediction]].abs().max()), error)
            if not bool(z.isfinite().all()) or not float(z[other] - z[self.prediction]) > doubt:
                continue
            away = distance(self.x.cpu().numpy(), point.cpu().numpy(), self.norm)
            if self.best is None or away < self.best[0]:
                self.best = (away, other, point.clone())

    def inside(self, radius: float, targets: Tensor, steps: int, seed: int) -> None:
        """PGD from the input, towards any class, and from a random point, towards each target."""
        if not radius > 0:
            return
        draw = torch.Generator().manual_seed(seed)
        delta = torch.randn((1 + len(targets), *self.x.shape), generator=draw, dtype=torch.float64).to(self.x.device)
        delta = projected(delta * radius, radius, self.norm)
        delta[0] = 0.0
        aims = torch.cat([targets.new_tensor([ANY]), targets])
        for step in range(steps):
            # the step falls, so that the last ones settle
            size = 2 * radius * (1 - step / steps)
            gradient = margin_gradient(self.classifier, self.x + delta, self.prediction, aims)[1]
            step_down = size * steepest(gradient.nan_to_num(0.0, 0.0, 0.0), self.norm)
            delta = projected(delta - step_down, radius, self.norm)
        self.look_at(self.x + delta)

    def nearest(self, targets: Tensor, steps: int) -> None:
        """Put x on the boundary of each target, linearised where the former step led; a little over it."""
        points = self.x.expand(len(targets), *self.x.shape)
        for step in range(steps):
            margins, gradient = margin_gradient(self.classifier, points, self.prediction, targets)
            slope = dual_norm(gradient, self.norm)
            at_x = margins - (gradient * (points - self.x)).flatten(1).sum(1)
            length = (at_x / slope * (1 + 1e-4)).nan_to_num(0.0, 0.0, 0.0)
            wanted = self.x - length.view(-1, *[1] * self.x.dim()) * steepest(gradient, self.norm)
            points = points + (wanted - points) * (0.7 if step else 1.0)  # whole steps go in circles around a bend
            self.look_at(points)

    def bisect(self, halvings: int = 14) -> None:
        """Come nearer on the straight line."""
        if self.best is None:
            return
        line, low, high = self.best[2] - self.x, 0.0, 1.0
        for _ in range(halvings):
            middle = (low + high) / 2
            before = self.best
            self.look_at((self.x + middle * line)[None])
            low, high = (low, middle) if self.best is not before else (middle, high)

    def found(self, radius: float) -> Attack:
        if self.best is None:
            return Attack(None, None, False, None)
        away, other, point = self.best
        broken = away < radius
        evidence: npt.NDArray[np.floating] | None = point.cpu().numpy() if broken else None
        return Attack(away, other, broken, evidence)
