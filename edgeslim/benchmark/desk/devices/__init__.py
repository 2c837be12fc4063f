"""Where one can measure, one kind of device per file.

``get("host")``, ``get("ssh://user@board:2222")``, ``get("adb:SERIAL")``, ``get("ios:UDID")``; a kind's file is imported
only when it is asked for. Other installed packages bring more by entry points of the group ``edgeslim.devices``.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeslim.benchmark.desk.devices.base import Device, DeviceOptions
from edgeslim.errors import DeviceError
from edgeslim.registry import Registry

# kind → what makes a device from the rest of its name and the options
REGISTRY: Registry[Callable[[str, DeviceOptions], Device]] = Registry(
    "device",
    "edgeslim.devices",
    {
        "host": "edgeslim.benchmark.desk.devices.host:HostDevice",
        "ssh": "edgeslim.benchmark.desk.devices.ssh:SshDevice",
        "adb": "edgeslim.benchmark.desk.devices.adb:AdbDevice",
        "ios": "edgeslim.benchmark.desk.devices.ios:IosDevice",
    },
    error=DeviceError,
)
FORMS = ("host", "ssh://user@board[:port]", "adb[:serial]", "ios[:udid]")


def get(name: str, options: DeviceOptions | None = None) -> Device:
    """The device called ``name``; nothing is contacted yet.

    Raises:
        DeviceError: no such kind of device; the hint names the nearest.
    """
    kind, _, rest = name.partition(":")
    if kind == "host" and rest:
        raise DeviceError(f"no device {name!r}: there are {', '.join(FORMS)}", hint="host takes nothing after its name")
    return REGISTRY.get(kind)(rest, options or DeviceOptions())


__all__ = ["FORMS", "Device", "DeviceOptions", "get"]
