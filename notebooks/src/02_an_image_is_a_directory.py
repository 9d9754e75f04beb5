# %% [markdown]
# # 02 · An image is a directory
#
# **Afterwards you can** turn an image into a directory, run a program that takes that directory for the whole world,
# break out of it, and unpack a stranger's archive without harm.
#
# **You need** root on Linux and notebook 01. **It takes** about 35 minutes.

# %%
import os
from contextlib import ExitStack

import labrt
from labrt import lab
from labrt.engine.images import Images
from labrt.image import layer

labrt.reset(quiet=True)
stack = ExitStack()
box = stack.enter_context(lab.workspace("box"))
os.chmod(box, 0o755)
image = Images().get("busybox")
for part in image.manifest.layers:
    with Images().layout.open(part.digest) as archive:
        layer.apply(archive, box)
print(box, "has", *sorted(os.listdir(box)))

# %% [markdown]
# That is all there is to an image: archives, unpacked over each other, make a directory. It looks like the root of a
# small Linux, and that is how we use it now. The kernel is not in it. An image has none; it runs on yours.

# %%
lab.show.stack([lab.show.Sheet(str(part.digest.short), part.size) for part in image.manifest.layers])

# %% [markdown]
# ## chroot: start the paths elsewhere
#
# Each process has a *root directory*, at which a path that begins with `/` starts. `chroot(2)` sets another one, for
# this process and its children. We do it in a child, and let that become the image's shell.

# %%
from labrt.linux import process


def in_the_box(script):
    def child():
        os.chroot(box)
        os.chdir("/")
        os.execv("/bin/sh", ["sh", "-c", script])

    return process.spawn(child).wait()


in_the_box("echo I see: /*; echo I am process $$ on $(hostname), user $(id -u)")

# %% [markdown]
# It sees other files, and that is all. Its number is one of the host's, the hostname is yours, and the network too. A
# `chroot` is no container. It has been in Unix since 1979, to build and test a system beside the one that runs.
#
# Every directory has a number, its *inode*. **Predict:** out here, `/` and the box have the two numbers below. Which
# one has `/` in there?

# %%
print("outside: / is", os.stat("/").st_ino, "and the box is", os.stat(box).st_ino)
guess = lab.predict("02", "Which inode is / inside?", 2)  # your guess

# %%
def inside():
    os.chroot(box)
    return os.stat("/").st_ino, os.stat("/..").st_ino


root, parent = process.run_in_child(inside)
guess.saw(root)

# %%
Side, Link = lab.diagrams.Side, lab.diagrams.Link
outside = [("/", os.stat("/").st_ino), ("the box", os.stat(box).st_ino), ("the box/..", os.stat(box + "/..").st_ino)]
within = [("/", root), ("/..", parent)]
links = [
    Link(left, right, "=")
    for left, (_, number) in enumerate(outside)
    for right, (_, other) in enumerate(within)
    if number == other
]
sides = [[f"{name} is inode {number}" for name, number in rows] for rows in (outside, within)]
lab.diagrams.pairs(Side("outside", sides[0]), Side("inside", sides[1]), links, title="One directory, two names")

# %% [markdown]
# Nothing was copied, nothing mounted. The very same directory is called `/` in there. And `/..` leads to itself: when a
# path goes up, the kernel stops *at the root of the process*. Keep that sentence. It is the hole.

# %% [markdown]
# ## The way out
#
# The kernel stops when it comes by the root. So do not come by. A second `chroot` moves the root down, into `cell`,
# and leaves the working directory where it is: above. From there it goes up and up, and never meets its root.

# %%
def escape():
    os.chroot(box)
    os.chdir("/")
    os.mkdir("cell")
    os.chroot("cell")  # the root is below us now
    for _ in range(64):
        os.chdir("..")  # nothing stops us but the real one
    os.chroot(".")
    return os.stat("/").st_ino, sorted(os.listdir("/"))


number, names = process.run_in_child(escape)
print("I am in", number, "and read:", *names[:8], "…")
print("the host's / is", os.stat("/").st_ino)
os.rmdir(box + "/cell")

# %% [markdown]
# Out. No bug was needed for this, and it is in the manual: *"This call does not change the current working directory"*
# (chroot(2)). What it takes is the right to call `chroot` again, `CAP_SYS_CHROOT`, which root has.
#
# So `chroot` keeps an honest program in, and no root. Notebook 04 swaps the roots instead, and then there is nothing
# left above.

# %% [markdown]
# ## The other way out is the archive
#
# Before a program runs, somebody unpacks a stranger's archive, as root. In it are names. What is this one?

# %%
import io
import tarfile

raw = io.BytesIO()
with tarfile.open(fileobj=raw, mode="w") as archive:
    link = tarfile.TarInfo("way")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/cron.d"
    archive.addfile(link)
    job = tarfile.TarInfo("way/nightly")  # no .. in it, no / before it
    job.size = 12
    archive.addfile(job, io.BytesIO(b"* * * * * rm"))
raw.seek(0)
with tarfile.open(fileobj=raw) as archive:
    archive.list(verbose=False)

# %% [markdown]
# A link, and then a file through it: *path traversal*. Who unpacks that name by name has just got a new cron job.
# labrt's own `layer` takes every path as a process *inside* would, the link's too. The job lands in the archive's own
# `/etc`, and harms nobody:

# %%
raw.seek(0)
with lab.workspace("trap") as trap:
    layer.apply(raw, trap)
    for directory, _, files in os.walk(trap):
        print(directory, files)
print("on the host:", os.path.exists("/etc/cron.d/nightly"))

# %% [markdown]
# ## Exercise: unpack it safely
#
# Write `unpack(archive, root)` for a `tarfile.TarFile`. Directories, links and regular files whose place is below
# `root` are made, with the directories on the way; what leads out is left out, and it goes on with the next. Where a
# path *really* leads, `os.path.realpath` knows; `os.path.commonpath` compares.

# %%
def unpack(archive, root):
    """Unpack directories, symbolic links and files; leave out what leads out of root."""
    ### BEGIN SOLUTION: for each member: where does it lead? below root: make it
    top = os.path.realpath(root)
    for member in archive:
        place = os.path.realpath(os.path.join(top, member.name.lstrip("/")))
        if os.path.commonpath([top, place]) != top:
            continue
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if member.isdir():
            os.makedirs(place, exist_ok=True)
        elif member.issym():
            os.symlink(member.linkname, place)
        elif member.isreg():
            with open(place, "wb") as file:
                file.write(archive.extractfile(member).read())
    ### END SOLUTION


# %% [markdown]
# The check has an archive with five honest entries and five ways out, and looks at what lies where afterwards.

# %%
check = lab.check("02", unpack)
check

# %% [markdown]
# One gap stays, and it is not yours: between `realpath` and `open` another process could put a link there. labrt asks
# the kernel instead, by `openat2` with `RESOLVE_IN_ROOT`: look and open in one call.

# %%
stack.close()
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **image** | archives that, unpacked over each other, make a root directory |
# | **root directory** | where a process's paths that begin with `/` start; each process has one |
# | **chroot** | sets it; the working directory and open files stay as they are |
# | **inode** | a file's number; the same number on one file system is the same file |
# | **path traversal** | a name in an archive that leads out: by `..`, by `/`, through a link |

# %% [markdown]
# ## Three questions
#
# 1. A process opens the directory `/` and then calls `chroot`. Is it locked in?
# 2. Why did the image need no kernel, and what follows for an image that was made on a newer one?
# 3. Why is it not enough to look at all names of an archive before the first is unpacked?
#
# <details><summary>Answers</summary>
#
# - The first: no; `os.fchdir` on that descriptor leads out, so close it first.
# - The second: system calls go to the host's kernel; a program that wants newer ones than yours gets ENOSYS.
# - The third: the archive makes links while it is unpacked, and with them the same name leads elsewhere.
#
# </details>

# %% [markdown]
# ## The source
#
# `layer.apply` is the unpacker that every image goes through, and `open_in_root` the call that lets nothing out. Next
# comes notebook 03: mounts, and who sees them.

# %%
from labrt.linux import mounts, syscalls

lab.source(layer.apply, mounts.open_in_root, syscalls.openat2, lab.workspace)
