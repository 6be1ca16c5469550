"""A metric of the user's own: what it is called with, and what it says about itself.

Known without torch.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from gancli.metrics.legend import Direction, Line

if TYPE_CHECKING:
    from torch import Tensor


class Metric:
    """The base of every metric of the user's own.

    A config names it below a name of the user's choice: `metrics.own.sharpness` is
    `{_target_: my_metrics.Sharpness, ...}`, whose further keys are the arguments of `__init__`. It
    is built anew for every evaluation. What it raises costs its own number and no other.

    Attributes:
        higher_is_better: Which way the number is better; None where neither way is, and then no
            best checkpoint follows it without metrics.best_mode.
    """

    higher_is_better: bool | None = None

    def __call__(self, images: Tensor, reals: Tensor) -> float:
        """Measures samples.

        Args:
            images: Samples, or what was made of the sources; at most so many as 2 GiB hold. uint8
                (N,C,H,W) on the CPU; points float32 (N,2) in data units. A copy: it may be changed.
            reals: Real images of the same size and type, as many or fewer, drawn by the seed of
                the evaluation; where images are translated, the targets in the images' order.

        Returns:
            One finite number. torch's random numbers are seeded by the evaluation, and no
            gradient is recorded.
        """
        raise NotImplementedError


def better_of(cls: type[Metric]) -> Direction:
    """Says which way a metric's number is better; "" where neither is."""
    if cls.higher_is_better is None:
        return ""
    return "higher" if cls.higher_is_better else "lower"


def describe_metric(name: str, metric: Metric, spec: dict[str, Any]) -> Line:
    """Makes the line of the legend for a metric of the user's own.

    Args:
        name: As the config calls it.
        metric: Built.
        spec: Its description, which tells two metrics of one name apart.
    """
    cls = type(metric)
    # of the class itself: inspect.getdoc would fall back to this base's
    words = (inspect.cleandoc(vars(cls).get("__doc__") or "").splitlines() or [""])[0]
    keys = ", ".join(f"{key}={value}" for key, value in spec.items() if key != "_target_")
    made = f"{spec['_target_']}({keys})"
    what = f"{words.rstrip('.')} ({made})" if words else made
    return Line(name, what, "", better_of(cls), "")
