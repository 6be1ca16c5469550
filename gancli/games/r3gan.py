"""R3GAN: a GAN whose generator meets reals of its own.

Its loss compares each fake with a real one.
"""

from __future__ import annotations

import dataclasses

from gancli.game import Phase
from gancli.games.gan import GAN


class R3GAN(GAN):
    """Huang 2024: relativistic pairing with R1 and R2, and plain residual networks.

    The loss is loss=rpgan_r1r2.
    """

    def phases(self) -> list[Phase]:
        """Draws fresh reals for g, as the authors' code does; nimg counts them once."""
        d, g = super().phases()
        # The discriminator has just learnt from the batch of d.
        return [d, dataclasses.replace(g, fresh=True)]
