"""Last until 18:00: capacity, charge and the time left become the controller's power budget, in whole numbers.

    (capacity x charge) / time left - everything else = what inference may draw   ─► Reading.power_mw

Reviewed every 15 s; a lower budget counts at once, a higher one only when it is 5 % above, so that the coarse steps of
a battery gauge do not make the rungs dance.
"""

from __future__ import annotations

from edgeslim.core.controller import MAX_POWER_MW
from edgeslim.core.ladder import Ladder
from edgeslim.core.signals import UNKNOWN

REVIEW_US = 15_000_000
_MW_PER_MWH_US = 3_600_000_000  # 1 mWh over 1 µs


class PowerBudget:
    """Keeps a device alive until a moment.

    Args:
        capacity_mwh: energy of the full battery.
        until_us: the moment, on the clock of the readings.
        base_mw: what the device draws without inference.
    """

    def __init__(self, *, capacity_mwh: int, until_us: int, base_mw: int) -> None:
        self._capacity_mwh, self._until_us, self._base_mw = capacity_mwh, until_us, base_mw
        self._reviewed_us = UNKNOWN
        self.power_mw = UNKNOWN

    def update(self, now_us: int, battery_permille: int) -> int:
        """The budget in mW; -1 while the charge (permille) was never known or once the moment has passed."""
        left_us = self._until_us - now_us
        if left_us <= 0:
            self.power_mw = UNKNOWN
        elif battery_permille >= 0 and (self._reviewed_us < 0 or now_us - self._reviewed_us >= REVIEW_US):
            self._reviewed_us = now_us
            affordable = self._capacity_mwh * battery_permille * _MW_PER_MWH_US // (1000 * left_us) - self._base_mw
            affordable = min(max(affordable, 0), MAX_POWER_MW)
            if self.power_mw < 0 or affordable < self.power_mw or affordable * 100 >= self.power_mw * 105:
                self.power_mw = affordable
        return self.power_mw

    def reachable(self, ladder: Ladder, inferences_per_ks: int) -> bool:
        """Whether the narrowest rung at ``inferences_per_ks`` inferences per 1000 s stays within the budget."""
        return self.power_mw < 0 or ladder.rungs[0].energy_uj * inferences_per_ks <= self.power_mw * 1_000_000
