"""Before the class comes in: whether everything is here that a session will need.

    lab.preflight()                     for all notebooks; on the command line `labrt lab check`
    lab.preflight("08", "18")           for these; with pull=True, what is not here is fetched

More than the doctor's look at the machine (that is the first line): the images that the notebooks name are here, whole
and unpacked, Jupyter is, its port is free, networks can be laid, nothing is left of the session before, and a container
is really started.
"""

from __future__ import annotations

import glob
import importlib.util
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from labrt import paths
from labrt.errors import LabrtError, NotFound
from labrt.lab.daemon import find_docker
from labrt.lab.doctor import doctor
from labrt.lab.doctor.report import Check, Report, Status
from labrt.linux import ledger

NOTEBOOKS = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "notebooks")
LAST = 21
Answer = tuple[Status, str] | tuple[Status, str, str]
MODULES = ("jupyterlab", "ipykernel", "ipywidgets")
# Programs of others that a notebook shows beside labrt; without them it says so, and goes on.
HELPERS: Mapping[str, tuple[str, ...]] = {"runc": ("16", "21"), "skopeo": ("12", "13"), "docker": ("19",)}
_NETWORK = ("bridge", "nft", "forwarding")
NETWORKS = ("14", "15")  # these lay cables and write rules
PORT = 8888  # JupyterLab's, see setup.sh
_USED = re.compile(r"""(?<!subprocess\.)\b(?:run|pull|reference|Options)\(\s*["']([a-z0-9][\w./-]*(?::[\w.-]+)?)["']""")
_FROM = re.compile(r"""(?:^|["'])FROM ([a-z0-9][\w./-]*(?::[\w.-]+)?)""", re.MULTILINE)
_MADE = re.compile(r"""\btag\s*=\s*["']([^"']+)["']|^FROM .* AS (\w+)$""", re.MULTILINE)


def preflight(*numbers: str, pull: bool = False) -> Report:
    """Look at everything that these notebooks need, or all of them. Raises NotFound for one that there is not.

    `pull`: images that are not here are fetched, those that are not unpacked are, and only then it is looked.
    """
    found_here = sorted(glob.glob(os.path.join(NOTEBOOKS, "[0-9][0-9]_*.ipynb")))
    here = {os.path.basename(path)[:2]: path for path in found_here}
    for number in numbers:
        if number not in here:
            raise NotFound(f"there is no notebook {number!r}", remedy=f"there are {', '.join(here) or 'none'}")
    wanted = {number: path for number, path in here.items() if number in numbers or not numbers}
    found: list[Check] = [_ask("machine", _machine), _ask("notebooks", partial(_notebooks, wanted, bool(numbers)))]
    found += [_ask("jupyter", _jupyter), _ask("port", _port)]
    if set(NETWORKS) & set(wanted):
        found.append(_ask("networks", _networks))
    for name in images(wanted.values()):
        found.append(_ask(f"image {name}", partial(_fetched if pull else _image, name)))
    found += [_ask(name, partial(_helper, name)) for name, users in HELPERS.items() if set(users) & set(wanted)]
    found += [_ask("leftovers", _leftovers), _ask("progress", _progress), _ask("container", _container)]
    return Report(tuple(found))


def _ask(name: str, question: Callable[[], Answer]) -> Check:
    """Put a question; its answer is a status, what was seen, and where it is not ok what to type."""
    try:
        return Check(name, *question())
    except LabrtError as error:
        return Check(name, "fail", error.message, error.remedy)


def images(notebooks: Iterable[str]) -> list[str]:
    """Name the images that notebooks, given by their paths, start, pull or build on, but for those that they make."""
    used, made = set(), set()
    for path in notebooks:
        with open(path, encoding="utf-8") as file:
            cells = json.load(file)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        used |= {*_USED.findall(text), *_FROM.findall(text)}
        made |= {"scratch", *(name for names in _MADE.findall(text) for name in names)}
    return sorted(used - made)


def _machine() -> Answer:
    report = doctor()
    bad = [check.name for check in report if check.status == "fail"]
    minded = [check.name for check in report if check.status == "warn"]
    if bad:
        return "fail", f"the doctor finds {', '.join(bad)} failed", "labrt doctor"
    if minded:
        return "warn", f"the doctor warns of {', '.join(minded)}", "labrt doctor"
    return "ok", f"the doctor asked {len(report)} questions"


def _notebooks(wanted: Mapping[str, str], chosen: bool) -> Answer:
    if not wanted:
        return "fail", f"none in {NOTEBOOKS}", "git clone the whole checkout: the course is beside labrt/"
    missing = [] if chosen else [number for number in map("{:02}".format, range(LAST + 1)) if number not in wanted]
    if missing:
        return "warn", f"{len(wanted)} are here; not {', '.join(missing)}", "git pull"
    return "ok", ", ".join(wanted) if chosen else f"all {len(wanted)} are here"


def _jupyter() -> Answer:
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        return "fail", f"not installed: {', '.join(missing)}", "sudo sh labrt/setup.sh lab"
    return "ok", ", ".join(MODULES)


def _port() -> Answer:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what is only fading away is in nobody's way
        try:
            sock.bind(("127.0.0.1", PORT))
        except OSError:
            return "warn", f"{PORT} is taken: by JupyterLab already, or JupyterLab takes another", "ss -tlnp"
    return "ok", f"{PORT} is free for JupyterLab"


def _networks() -> Answer:
    from labrt.lab import stations

    lacking = stations.lacking()
    if lacking:
        return "warn", f"{', '.join(NETWORKS)} will skip what this kernel lacks: {lacking}", "labrt doctor"
    return "ok", "cables, switches and rules can be made"


def _fetched(name: str) -> Answer:
    """Fetch an image that is not here, unpack one that is not, and look."""
    from labrt.engine.images import Images

    images = Images()
    try:
        image = images.find(name)
    except NotFound:
        image = images.pull(name)
    images.unpack(image)
    return _image(name)


def _image(name: str) -> Answer:
    """Look whether all blobs of an image are here, and unpacked: then nobody waits for a network, or a disk."""
    from labrt.engine.images import Images

    images = Images()
    try:
        image = images.find(name)
    except NotFound:
        return "fail", "not here: each learner would pull it", f"labrt pull {name}"
    lost = [layer.digest.short for layer in image.manifest.layers if not images.layout.has(layer.digest)]
    if lost:
        return "fail", f"layers are lost: {', '.join(lost)}", f"labrt rmi {name} && labrt pull {name}"
    if not all(images.driver.has(chain_id) for chain_id in image.config.chain_ids):
        return "warn", "here, and not unpacked: the first start will take longer", f"labrt run --rm {name} true"
    return "ok", f"here and unpacked, {image.id.short}"


def _helper(name: str) -> Answer:
    found = find_docker() if name == "docker" else shutil.which(name)
    if found:
        return "ok", found
    return "warn", f"absent: {', '.join(HELPERS[name])} will show a part less", f"sudo apt-get install -y {name}"


def _leftovers() -> Answer:
    # An ordinary user's keeper and the default network stay on purpose, for the next container.
    left = [one for one in ledger.entries() if one.detail.get("role") != "keeper" and one.kind not in _NETWORK]
    if left:
        kinds = ", ".join(sorted({entry.kind for entry in left}))
        return "warn", f"{len(left)} of a session before: {kinds}", "labrt reset"
    return "ok", "nothing is left of a session before"


def _progress() -> Answer:
    place = above = paths.progress()
    while not os.path.exists(above):
        above = os.path.dirname(above)
    if not os.access(above, os.W_OK):
        return "fail", f"{place} cannot be written: what passed would not be kept", f"sudo chown -R $(id -u) {above}"
    return "ok", f"kept in {place}"


def _container() -> Answer:
    from labrt.engine import run
    from labrt.engine.images import Images

    try:
        Images().find("busybox")
    except NotFound:
        return "warn", "not tried: busybox is not here", "labrt pull busybox"
    begin = time.perf_counter()
    result = run("busybox", "echo", "ready", progress=False, network="none")  # so that to look leaves nothing
    if (result.exit_code, result.stdout) != (0, "ready\n"):
        return "fail", f"it ended with {result.exit_code}: {result.stderr.strip()[:120]}", "labrt doctor"
    return "ok", f"started, answered and gone in {(time.perf_counter() - begin) * 1000:.0f} ms"
