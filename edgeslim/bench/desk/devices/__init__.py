"""Where one can measure, one kind of device per file.

``get("host")``, ``get("ssh://user@board:2222")``, ``get("adb:SERIAL")``, ``get("ios:UDID")``; a kind's file is imported
only when it is asked for.
"""

from __future__ import annotations

import importlib

from edgeslim.bench.desk.devices.base import Device, DeviceOptions
from edgeslim.errors import DeviceError, did_you_mean

# kind → module, class; the class takes the rest of the name and the options
_TABLE = {
    "host": ("edgeslim.bench.desk.devices.host", "HostDevice"),
    "ssh": ("edgeslim.bench.desk.devices.ssh", "SshDevice"),
    "adb": ("edgeslim.bench.desk.devices.adb", "AdbDevice"),
    "ios": ("edgeslim.bench.desk.devices.ios", "IosDevice"),
}
FORMS = ("host", "ssh://user@board[:port]", "adb[:serial]", "ios[:udid]")


def get(name: str, options: DeviceOptions | None = None) -> Device:
    """The device called ``name``; nothing is contacted yet.

    Raises:
        DeviceError: no such kind of device; the hint names the nearest.
    """
    kind, _, rest = name.partition(":")
    if kind not in _TABLE or (kind == "host" and rest):
        raise DeviceError(f"no device {name!r}: there are {', '.join(FORMS)}", hint=did_you_mean(kind, _TABLE))
    module, attribute = _TABLE[kind]
    device: Device = getattr(importlib.import_module(module), attribute)(rest, options or DeviceOptions())
    return device


__all__ = ["FORMS", "Device", "DeviceOptions", "get"]
