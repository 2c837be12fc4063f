"""Conformance suites for those who bring a target or a network of their own.

    from edgeslim.testing import check_target

    def test_my_target_keeps_its_promises(tmp_path):
        check_target(MyTarget(), tmp_path)

``TARGET_CHECKS`` and ``NETWORK_CHECKS`` are the same checks one by one, for a parametrised test.
"""

from __future__ import annotations

from edgeslim.testing.expect import ConformanceError
from edgeslim.testing.networks import NETWORK_CHECKS, NetworkCase, check_network
from edgeslim.testing.targets import TARGET_CHECKS, TargetCase, check_target

__all__ = [
    "NETWORK_CHECKS",
    "TARGET_CHECKS",
    "ConformanceError",
    "NetworkCase",
    "TargetCase",
    "check_network",
    "check_target",
]
