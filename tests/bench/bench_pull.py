"""How long from a registry to files on disk, beside podman, and beside skopeo with umoci.

    python -m tests.bench.bench_pull [RUNS] [debian|big]

Two images in Debian's docker-registry on loopback: `debian`, five layers with some 20,000 files, made of Debian's
packages, and `big`, one layer of 500 MB. Each way begins with an empty store, in turn: A B C A B C …

The limits of this machine for the same bytes, each alone, on one core: sha256 of what is sent and of what is unpacked,
inflating (ISA-L), writing the files. labrt's time as a multiple of the largest says what is left to win. Peak memory is
that of the largest process.

The packages and images stay in LABRT_BENCH_CACHE (default: /var/tmp/labrt-bench). Needs root, apt, docker-registry,
podman, skopeo and umoci; who is not installed is left out, and said so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from labrt.image.descriptor import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Descriptor
from labrt.image.digest import Digest
from labrt.image.layout import Layout
from labrt.image.platform import Platform
from labrt.image.reference import Reference

PROJECT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("LABRT_BENCH_CACHE", "/var/tmp/labrt-bench"))
BIG = 500 << 20  # bytes, compressed

# One layer each, base first. Together: some 20,000 files and 250 MB.
PACKAGES = (
    "bash coreutils dpkg perl-base debconf util-linux tar gzip sed grep findutils tzdata libc-bin libc6",
    "python3-minimal libpython3.11-stdlib libpython3.11-minimal libpython3.13-stdlib perl-modules-5.36",
    "gcc-12 cpp-12 gcc-14 cpp-14 binutils-common libgcc-12-dev",
    "git git-man less",
    "libboost1.74-dev libboost1.83-dev",
)


class Run(NamedTuple):
    """One way, once: seconds from start to end, seconds of CPU, peak bytes of memory of the largest process."""

    seconds: float
    cpu: float
    memory: int


# The images -----------------------------------------------------------------------------------------------------------


def store() -> Layout:
    """The two images as a layout, made once."""
    layout = Layout(CACHE / "layout")
    have = layout.references()
    if Reference.parse("localhost/debian").familiar not in map(_familiar, have):
        layers = [_layer(layout, CACHE / f"layer-{number}", names.split()) for number, names in enumerate(PACKAGES)]
        _name(layout, "localhost/debian", layers)
    if Reference.parse("localhost/big").familiar not in map(_familiar, have):
        _name(layout, "localhost/big", [_big(layout)])
    return layout


def _familiar(name: str) -> str:
    return Reference.parse(name).familiar


def _layer(layout: Layout, root: Path, packages: list[str]) -> tuple[Descriptor, Digest]:
    """Unpack packages and make a layer of them. What this release of Debian does not have is left out."""
    debs = root.with_suffix(".debs")
    debs.mkdir(parents=True, exist_ok=True)
    for package in packages:
        command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package]
        subprocess.run(command, cwd=debs, check=False, capture_output=True)
    for deb in sorted(debs.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(deb), str(root)], check=True)
    archive = root.with_suffix(".tar.gz")
    command = f"tar --sort=name --mtime=@0 --numeric-owner -C '{root}' -cf - . | gzip -n > '{archive}'"
    subprocess.run(["sh", "-c", command], check=True)
    return _put(layout, archive)


def _big(layout: Layout) -> tuple[Descriptor, Digest]:
    """One layer with one file: the other image's files over and over, which compress as files do."""
    tars = CACHE / "all.tar"
    subprocess.run(["tar", "-C", str(CACHE), "-cf", str(tars), "layer-0", "layer-1", "layer-2"], check=True)
    squeezed = int(subprocess.check_output(["sh", "-c", f"gzip -c '{tars}' | wc -c"]))
    times, rest = divmod(BIG * tars.stat().st_size // squeezed, tars.stat().st_size)
    content = CACHE / "content"
    with open(content, "wb") as file:
        for size in [tars.stat().st_size] * times + [rest]:
            with open(tars, "rb") as source:
                for _ in range(0, size, 1 << 20):
                    file.write(source.read(1 << 20))
    archive = CACHE / "big.tar.gz"
    command = f"tar --mtime=@0 -C '{CACHE}' -cf - content | gzip -n > '{archive}'"
    subprocess.run(["sh", "-c", command], check=True)
    content.unlink()
    tars.unlink()
    return _put(layout, archive)


def _put(layout: Layout, archive: Path) -> tuple[Descriptor, Digest]:
    from labrt.image.layer import compute_diff_id

    with open(archive, "rb") as file:
        digest = Digest("sha256", hashlib.file_digest(file, "sha256").hexdigest())
    size = archive.stat().st_size
    with open(archive, "rb") as file, layout.writer(digest, size) as writer:
        file.seek(writer.offset)
        while chunk := file.read(1 << 20):
            writer.write(chunk)
    with open(archive, "rb") as file:
        return Descriptor(OCI_LAYER_GZIP, digest, size), compute_diff_id(file)


def _name(layout: Layout, name: str, layers: list[tuple[Descriptor, Digest]]) -> None:
    here = Platform.host()
    config = json.dumps({
        "architecture": here.architecture, "os": "linux", "config": {"Cmd": ["bash"]},
        "rootfs": {"type": "layers", "diff_ids": [str(diff_id) for _, diff_id in layers]},
    }).encode()  # fmt: skip
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": Descriptor(OCI_CONFIG, layout.put(config), len(config)).to_json(),
        "layers": [layer.to_json() for layer, _ in layers],
    }).encode()  # fmt: skip
    layout.tag(Reference.parse(name), Descriptor(OCI_MANIFEST, layout.put(manifest), len(manifest)))


@contextlib.contextmanager
def registry(layout: Layout, names: list[str]) -> Iterator[str]:
    """Debian's docker-registry with these images, on a free port. Gives host:port."""
    sys.path.append(str(PROJECT / "tests" / "registry"))
    from oracles import docker_registry

    with docker_registry(CACHE / "registry") as host:
        for name in names:
            source = f"oci:{layout.path}:localhost/{name}:latest"
            quiet(["skopeo", "copy", "-q", "--dest-tls-verify=false", source, f"docker://{host}/{name}:1"])
        yield host


# The ways -------------------------------------------------------------------------------------------------------------


def ways(image: str, place: Path) -> dict[str, list[list[str]]]:
    """The command lines that bring `image` to `place`, by the name of the way; what is not installed is left out."""
    policy = ["--tls-verify=false", "-q"]
    podman = ["podman", "--root", f"{place}/root", "--runroot", f"{place}/run", "--storage-driver", "overlay"]
    found = {
        "labrt pull": [[sys.executable, "-m", "labrt", "pull", "-q", image]],
        "podman pull": [[*podman, "pull", *policy, image]],
        "skopeo copy + umoci unpack": [
            ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{image}", f"oci:{place}/oci:1"],
            ["umoci", "unpack", "--image", f"{place}/oci:1", f"{place}/bundle"],
        ],
    }
    return {name: commands for name, commands in found.items() if all(shutil.which(one[0]) for one in commands)}


def once(commands: list[list[str]], place: Path) -> Run:
    """Run one way, after the disk has come to rest."""
    place.mkdir()
    os.sync()
    begin, cpu, memory = time.perf_counter(), 0.0, 0
    for command in commands:
        process = subprocess.Popen(command, cwd=PROJECT, env={**os.environ, "LABRT_ROOT": f"{place}/labrt"},
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            raise SystemExit(f"{command[0]} failed: {process.returncode}")
        cpu, memory = cpu + usage.ru_utime + usage.ru_stime, max(memory, usage.ru_maxrss << 10)
    run = Run(time.perf_counter() - begin, cpu, memory)
    subprocess.run(["umount", str(place / "root" / "overlay")], check=False, capture_output=True)  # podman leaves it
    return run


def compare(host: str, name: str, runs: int, work: Path) -> dict[str, list[Run]]:
    """Run each way `runs` times, in turn, after once to warm up."""
    found: dict[str, list[Run]] = {}
    for number in range(runs + 1):
        for step, way in enumerate(ways("", work)):
            place = work / f"{name}-{number}-{step}"
            run = once(ways(f"{host}/{name}:1", place)[way], place)
            if number:
                found.setdefault(way, []).append(run)
            if name == "big":
                shutil.rmtree(place)  # but not of many files: ext4 makes new ones slowly where old ones just were
    return found


# The limits -----------------------------------------------------------------------------------------------------------


def limits(layout: Layout, name: str, work: Path) -> dict[str, float]:
    """Seconds for each thing that must be done with the image's bytes, each alone."""
    from isal import isal_zlib

    layers = layout.image(f"localhost/{name}").manifest.layers
    raws = []
    found = {"sha256 of what is sent": 0.0, "inflating": 0.0, "sha256 of what is unpacked": 0.0, "writing": 0.0}

    def measure(what: str, do: Callable[[], object]) -> None:
        begin = time.perf_counter()
        do()
        found[what] += time.perf_counter() - begin

    for number, layer in enumerate(layers):
        raw = work / f"raw-{number}"
        path = layout.blob_path(layer.digest)
        measure("sha256 of what is sent", lambda path=path: _sha256(path))
        measure("inflating", lambda path=path: _inflate(path, isal_zlib))
        subprocess.run(["sh", "-c", f"gzip -dc '{path}' > '{raw}'"], check=True)
        measure("sha256 of what is unpacked", lambda raw=raw: _sha256(raw))
        raws.append(raw)
    os.sync()
    for number, raw in enumerate(raws):
        root = work / f"limit-{number}"
        root.mkdir()
        measure("writing", lambda raw=raw, root=root: quiet(["tar", "-C", str(root), "-xpf", str(raw)]))
        raw.unlink()
    return found


def _sha256(path: str | Path) -> None:
    with open(path, "rb") as file:
        hashlib.file_digest(file, "sha256")


def _inflate(path: str, zlib: ModuleType) -> None:
    with open(path, "rb") as file:
        inflater = zlib.decompressobj(wbits=31)
        while data := file.read(1 << 16):
            while data:
                inflater.decompress(data, 1 << 18)
                data = inflater.unconsumed_tail


# The report -----------------------------------------------------------------------------------------------------------


def table(name: str, layout: Layout, found: dict[str, list[Run]], least: dict[str, float]) -> str:
    """Draw the result: medians, and the median of the ratios run by run."""
    image = layout.image(f"localhost/{name}")
    files = sum(_count(layout.blob_path(layer.digest)) for layer in image.manifest.layers)
    lines = [f"{name}: {len(image.manifest.layers)} layers, {files} files, {image.size >> 20} MiB compressed"]
    lines.append(f"  {'':30} {'median':>9} {'CPU':>8} {'memory':>8}   labrt / this")
    ours = found["labrt pull"]
    for way, runs in found.items():
        ratio = statistics.median(a.seconds / b.seconds for a, b in zip(ours, runs, strict=True))
        seconds, cpu = (statistics.median(values) for values in zip(*((r.seconds, r.cpu) for r in runs), strict=True))
        peak = max(run.memory for run in runs) >> 20
        lines.append(f"  {way:30} {seconds:7.2f} s {cpu:6.2f} s {peak:4} MiB   {ratio:6.2f}")
    seconds = statistics.median(run.seconds for run in ours)
    for what, value in least.items():
        lines.append(f"  {what:30} {value:7.2f} s {'':22} {seconds / value:6.2f}")
    return "\n".join(lines)


def _count(path: str) -> int:
    with tarfile.open(path, "r:gz") as archive:
        return sum(1 for _ in archive)


def quiet(command: list[str]) -> None:
    """Run a command; stop if it fails."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def main() -> None:
    """Measure and print."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    names = sys.argv[2:] or ["debian", "big"]
    CACHE.mkdir(parents=True, exist_ok=True)
    layout = store()
    missing = [program for program in ("podman", "skopeo", "umoci") if not shutil.which(program)]
    if missing:
        print(f"left out, as they are not installed: {', '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="labrt-bench-", dir="/var/tmp") as work, registry(layout, names) as host:
        for name in names:
            least = limits(layout, name, Path(work))
            print(table(name, layout, compare(host, name, runs, Path(work)), least), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
