"""Where one can measure, one kind of device per file.

``get("host")``, ``get("ssh://user@board:2222")``, ``get("adb:SERIAL")``, ``get("ios:UDID")``; a kind's file is imported
only when it is asked for.
"""

from __future__ import annotations

import difflib
import importlib

from edgeslim.bench.devices.base import Device, DeviceOptions
from edgeslim.errors import DeviceError

# kind → module, class; the class takes the rest of the name and the options
_TABLE = {
    "host": ("edgeslim.bench.devices.host", "HostDevice"),
    "ssh": ("edgeslim.bench.devices.ssh", "SshDevice"),
    "adb": ("edgeslim.bench.devices.adb", "AdbDevice"),
    "ios": ("edgeslim.bench.devices.ios", "IosDevice"),
}
FORMS = ("host", "ssh://user@board[:port]", "adb[:serial]", "ios[:udid]")


def get(name: str, options: DeviceOptions | None = None) -> Device:
    """The device called ``name``; nothing is contacted yet.

    Raises:
        DeviceError: no such kind of device; the hint names the nearest.
    """
    kind, _, rest = name.partition(":")
    if kind not in _TABLE or (kind == "host" and rest):
        near = difflib.get_close_matches(kind, _TABLE, n=1)
        raise DeviceError(
            f"no device {name!r}: there are {', '.join(FORMS)}", hint=f"did you mean {near[0]!r}?" if near else None
        )
    module, attribute = _TABLE[kind]
    device: Device = getattr(importlib.import_module(module), attribute)(rest, options or DeviceOptions())
    return device


__all__ = ["FORMS", "Device", "DeviceOptions", "get"]
