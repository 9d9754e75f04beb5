"""What a control group uses, interval by interval; and a dial to turn while it runs. Notebook 09.

    meter = meters.Cpu(group)
    meter()                             a Sample: CPUs used and time held since the last call, and the limit now
    meters.dial(group)                  a slider for cpu.max, over a picture that follows; ends with the group
    meters.disk("/var/lib/labrt")       "254:0", the whole disk that a directory is on, as io.max wants it
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Any

from labrt.errors import LabrtError, NotSupported
from labrt.lab import charts
from labrt.lab.charts import Sample
from labrt.linux import cgroups

INTERVAL = 0.2  # seconds: two of the kernel's own periods of 100 ms


class Cpu:
    """Reads cpu.stat; each call is about the time since the one before."""

    def __init__(self, group: cgroups.Cgroup) -> None:
        self.group = group
        self._then = self._read()

    def _read(self) -> tuple[float, float, float]:
        stat = self.group.cpu.stat
        return time.monotonic(), stat.get("usage_usec", 0) / 1e6, stat.get("throttled_usec", 0) / 1e6

    def __call__(self) -> Sample:
        """Return what happened since the last call, in CPUs: 1.0 is one CPU all the time."""
        now, then = self._read(), self._then
        self._then = now
        seconds = max(now[0] - then[0], 1e-6)
        return Sample((now[1] - then[1]) / seconds, (now[2] - then[2]) / seconds, self.group.cpu.max)


def dial(group: cgroups.Cgroup, *, most: float = 1.0) -> Any:
    """Return a widget: a slider that writes cpu.max, up to `most` CPUs, and the group's last intervals below it.

    It is drawn by a thread of its own, so that cells go on being run; that ends when the group is gone.
    """
    import ipywidgets

    slider = ipywidgets.FloatSlider(
        value=most, min=0.05, max=most, step=0.05, description="cpu.max, in CPUs", continuous_update=False,
        style={"description_width": "initial"}, layout={"width": "460px"},
    )  # fmt: skip
    view = ipywidgets.HTML()

    def turn(change: dict[str, Any]) -> None:
        with contextlib.suppress(LabrtError):  # of a group that is gone
            group.cpu.max = change["new"]

    slider.observe(turn, "value")
    threading.Thread(target=_draw, args=(group, view), name="labrt-dial", daemon=True).start()
    naming = {"output_type": "display_data", "data": {"application/javascript": _NAMING}, "metadata": {}}
    return ipywidgets.VBox([slider, view, ipywidgets.Output(outputs=(naming,))])


# ipywidgets writes a label beside the handle, and does not tell who cannot see it; the handle may come later than this.
_NAMING = """(function name(tries) {
  const box = element.closest(".widget-vbox"), handle = box && box.querySelector(".noUi-handle");
  if (handle) handle.setAttribute("aria-label", box.querySelector(".widget-label").textContent);
  else if (tries) setTimeout(name, 50, tries - 1);
})(100)"""


def _draw(group: cgroups.Cgroup, view: Any) -> None:
    samples: list[Sample] = []
    with contextlib.suppress(LabrtError):
        meter = Cpu(group)
        while True:
            time.sleep(INTERVAL)
            samples = [*samples[1 - charts.LAST :], meter()]
            view.value = charts.periods(samples).html


def disk(path: str) -> str:
    """Return major:minor of the whole disk under a directory: partitions have no queue to limit.

    Raises NotSupported where there is none: tmpfs, btrfs and overlay have numbers of their own.
    """
    number = os.stat(path).st_dev
    about = os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if os.path.exists(f"{about}/partition"):
        about = os.path.dirname(about)
    try:
        with open(f"{about}/dev") as file:
            return file.read().strip()
    except OSError:
        remedy = "put LABRT_ROOT on an ext4 or xfs of a disk"
        raise NotSupported(f"{path} is on no disk of its own", remedy=remedy) from None
