"""R3GAN: a GAN whose generator meets reals of its own, since its loss compares each fake with
one.
"""

from __future__ import annotations

import dataclasses

from gancli.game import Phase
from gancli.games.gan import GAN


class R3GAN(GAN):
    """Huang 2024: relativistic pairing with R1 and R2 (loss=rpgan_r1r2), and plain residual
    networks.
    """

    def phases(self) -> list[Phase]:
        d, g = super().phases()
        # The critic has just learnt from the batch of d.
        return [d, dataclasses.replace(g, fresh=True)]
