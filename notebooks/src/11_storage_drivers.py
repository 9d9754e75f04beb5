# %% [markdown]
# # 11 · Storage drivers
#
# **Afterwards you can** say what an engine wants of its storage, compare five ways to give it that by time and disk on
# your own machine, and have written the simplest of them yourself.
#
# **You need** root on Linux, and layers from notebook 10. **It takes** about 45 minutes. Which driver serves this
# machine, and which others could?

# %%
import labrt
from labrt import lab, paths
from labrt.engine import info
from labrt.storage import driver as drivers

print("this machine uses:", drivers.open_driver(None, paths.default()).name)
reasons = info.drivers(paths.default())
lab.show.table(["driver", "here"], [[name, reason or "works"] for name, reason in reasons.items()])

# %% [markdown]
# None of these answers is a guess. Each driver was *tried*, on the disk where your layers are. All five do the same
# job, and an image or a container cannot tell them apart:
#
# - take a layer in, on top of those below it;
# - give a container a root of its own on such a pile;
# - and give both back.

# %% [markdown]
# ## The same, five times
#
# The image for our comparison has a base of 12 MiB in 120 files, and a second layer that changes one file and removes
# one. We pack them ourselves.

# %%
import io
import os
import tarfile

from labrt.image import config
from labrt.image.digest import Digest


def pack(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


# %%
base = pack({f"file-{number}": os.urandom(1024) * 100 for number in range(120)})
change = pack({"file-0": b"changed", ".wh.file-1": b""})
diff_ids = [Digest.of(base), Digest.of(change)]
chain = config.chain_ids(diff_ids)
print(*chain, sep="\n")

# %% [markdown]
# Each driver gets a place of its own, and does the same: takes the two layers in, then makes ten containers, each of
# which mounts its root and changes one byte of one file. **Predict:** by what factor will the worst of them take more
# disk than the best?

# %%
guess = lab.predict("11", "Ten containers: worst disk divided by best disk?", 2)  # your guess

# %%
from labrt.linux import process


def start(driver, name, place):
    """Be a container: mount the root where nobody else sees it, and change a byte."""
    for mount in driver.mounts(name):
        mount.attach(place)
    with open(os.path.join(place, "file-7"), "r+b") as file:
        file.write(b"!")


def ten_containers(driver, place):
    for number in range(10):
        driver.prepare(f"c{number}", chain)
        process.run_in_child(lambda number=number: start(driver, f"c{number}", place), namespaces="mnt")


# %%
import time


def compare(name, home):
    """One driver's bars: the time for ten containers, and the disk that layers and containers take."""
    where = paths.default()._replace(state=os.path.join(home, name))
    driver, place = drivers.open_driver(name, where), os.path.join(home, f"root-{name}")
    os.mkdir(place)
    for number, archive in enumerate((base, change)):
        driver.add(chain[: number + 1], io.BytesIO(archive), diff_ids[number])
    begin = time.perf_counter()
    ten_containers(driver, place)
    seconds = time.perf_counter() - begin
    disk = sum(map(driver.usage, [*driver.layers(), *driver.containers()]))
    for number in range(10):
        driver.remove(f"c{number}")
    bar = lab.charts.Bar
    return {"time": bar(seconds, f"{seconds:.2f} s"), "disk": bar(disk, f"{disk / 2**20:.0f} MiB")}


# %% tags=["long"]
found, draw = {}, lab.live()
with lab.workspace("drivers") as home:
    for name, reason in reasons.items():
        found[name] = {"not here": reason} if reason else compare(name, home)
        draw(lab.charts.bars(found, title="Two layers, ten containers"))
if any(reasons.values()):
    lab.skipped(*filter(None, reasons.values()))

# %%
disks = [measures["disk"].value for measures in found.values() if "disk" in measures]
guess.saw(round(max(disks) / min(disks), 1))

# %% [markdown]
# ## Five ideas
#
# | driver | a layer is | a container costs |
# |---|---|---|
# | **vfs** | a full copy of all below it, changed | one more full copy |
# | **overlay** | its own files only | an empty directory; copy-up of whole files |
# | **aufs** | its own files only | the same; its rules, here answered by a program through FUSE |
# | **btrfs** | a snapshot of the one below, changed | one more snapshot; copies single blocks |
# | **devicemapper** | a snapshot of a whole disk | one more; copies single blocks, of a thin pool |
#
# overlay and aufs share *files*, and so also the page cache: ten containers that read the same program have it in
# memory once. btrfs and devicemapper share *blocks* on the disk. vfs shares nothing.

# %% [markdown]
# Docker began with AUFS in 2013, which Debian and Ubuntu had in their kernels, and Linux itself never. Red Hat's had no
# union at all, so for it the DeviceMapper driver was written. When overlayfs came into Linux, both faded away, and it
# is what Docker uses today. vfs stays, for tests, and where nothing else works.

# %% [markdown]
# ## Exercise: Copies
#
# Write the simplest driver. `Directories` does what all have in common: names, locks, half-made things. Three methods
# are missing:
#
# - `_unpack`: make the directory `target`, a copy of the layer below, and apply the stream to it;
# - `_make_root`: make what the container writes to, in its directory `container`;
# - `_mounts`: say how that becomes the container's root.
#
# `copy_tree(from, to)` copies with all attributes, and `self.diff(chain_id)` is where a layer's files are.

# %%
from labrt.image import layer
from labrt.linux.mounts import Mount
from labrt.storage.copy import copy_tree
from labrt.storage.directories import Directories

# %%
class Copies(Directories):
    name = "copies"
    can_use = staticmethod(lambda paths: None)  # it works everywhere

    def _unpack(self, target, below, stream):
        ### BEGIN SOLUTION: copy the layer below, or make an empty directory; return layer.apply(…)
        copy_tree(self.diff(below[-1]), target) if below else os.mkdir(target)
        return layer.apply(stream, target, whiteouts="delete")
        ### END SOLUTION

    def _make_root(self, container, chain_ids):
        ### BEGIN SOLUTION: a copy of the last layer, in a directory of the container's
        root = os.path.join(container, "root")
        copy_tree(self.diff(chain_ids[-1]), root) if chain_ids else os.mkdir(root)
        ### END SOLUTION

    def _mounts(self, container, chain_ids):
        ### BEGIN SOLUTION: one bind mount on "/"
        return [Mount("/", "bind", os.path.join(container, "root"), ("bind",))]
        ### END SOLUTION


# %% [markdown]
# The check is the suite that judges labrt's own drivers as well: it goes through what a driver promises, in mounts of
# its own, and stops at the first promise that is broken.

# %%
check = lab.check("11", Copies)
check

# %% [markdown]
# The same for labrt's own:

# %%
from labrt.storage.overlay import Overlay
from labrt.storage.vfs import Vfs

for kind in (Vfs, Overlay):
    if kind.can_use(paths.default()) is None:
        print(kind.__name__, lab.checks.drives(kind).saw)

# %% [markdown]
# ## And the container?
#
# It does not notice. Whatever the driver does ends in a list of mounts, made in the container's own mount namespace:

# %%
print(labrt.run("busybox", "sh", "-c", "grep ' / ' /proc/mounts").stdout[:300])

# %%
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **storage driver** | turns layers into a root, by whatever means |
# | **snapshot** | a copy that shares all blocks until one is written to |
# | **thin pool** | blocks that are handed out only when they are written |
# | **page cache** | file pages in memory; shared where *files* are shared |

# %% [markdown]
# ## Three questions
#
# 1. Which driver starts a container of a 4 GB image the slowest, and what does it do meanwhile?
# 2. A container changes one byte of a 10 GB file: what does that cost with overlay, and what with btrfs?
# 3. Why can the store not simply go on with another driver's layers?
#
# Answers: 1: vfs: it copies 4 GB. 2: overlay copies 10 GB, btrfs a block of some kilobytes. 3: a directory of files,
# one with all below it, and a disk's blocks are different things under the same name.

# %% [markdown]
# ## The source
#
# Next comes notebook 12: where layers get their names.

# %%
from labrt.storage.btrfs import Btrfs

lab.source(drivers.Driver, Directories, Vfs, Overlay, Btrfs, lab.checks.drives)
