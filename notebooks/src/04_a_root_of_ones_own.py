# %% [markdown]
# # 04 · pivot_root: a root of one's own
#
# **Afterwards you can** give a process a root that nobody gets out of, say what `EINVAL` and `EBUSY` mean on the way
# there, and read the plan by which labrt does it.
#
# **You need** root on Linux, and notebooks 02 and 03. **It takes** about 35 minutes.

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
for part in Images().get("busybox").manifest.layers:
    with Images().layout.open(part.digest) as archive:
        layer.apply(archive, box)
for name in ("old", "cell"):
    os.mkdir(f"{box}/{name}")

# %% [markdown]
# First the goal. In notebook 02 a process got out of a `chroot`, by another one and a row of `..`. Here is the same
# burglar, in the same box. Once it is locked in by `chroot`, once by what this notebook is about:

# %%
from labrt.linux import process, rootfs, syscalls
from labrt.linux.flags import MNT, MS


def burgle():
    os.chroot("/cell")
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    return sorted(os.listdir("/"))[:6]


def after(lock):
    def child():
        lock.execute()
        return burgle()

    return process.run_in_child(child, namespaces="mnt")


# %%
def locked_in():
    rootfs.Attach(box, rootfs.Mount("/", "bind", box, ("rbind",))).execute()
    rootfs.PivotRoot(box).execute()
    return burgle()


print("chroot:    ", *after(rootfs.ChangeRoot(box)))
print("pivot_root:", *process.run_in_child(locked_in, namespaces="mnt"))

# %% [markdown]
# The second one went up 64 times, and came out where it had gone in. `chroot` had said where paths start. `pivot_root`
# takes the **mount** that was `/` away and puts another in its place; what was above is above no more.

# %% [markdown]
# ## It is choosy
#
# Its manual page has a list of what it wants. It is quicker to hear the kernel itself. Each attempt is made by a
# child in a mount namespace of its own.
#
# **Predict:** will it take the box as it is, a plain directory? `True` or `False`:

# %%
guess = lab.predict("04", "Does pivot_root take a plain directory?", True)  # your guess

# %%
from labrt.linux import mounts


def bind():
    syscalls.mount(box, box, None, MS.BIND | MS.REC)


def a_plain_directory():
    syscalls.pivot_root(box, f"{box}/old")


def no_mount_on_a_mount():
    bind()
    syscalls.pivot_root(f"{box}/bin", f"{box}/bin")


def an_old_place_outside():
    bind()
    syscalls.pivot_root(box, "/tmp")


# %%
def a_shared_mount():
    bind()
    mounts.set_propagation("/", "rshared")
    syscalls.pivot_root(box, f"{box}/old")


def all_is_well():
    bind()
    syscalls.pivot_root(box, f"{box}/old")


# %%
import errno


def ask(attempt):
    try:
        process.run_in_child(attempt, namespaces="mnt")
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"


tries = [a_plain_directory, no_mount_on_a_mount, an_old_place_outside, a_shared_mount, all_is_well]
answers = {attempt.__name__.replace("_", " "): ask(attempt) for attempt in tries}
lab.show.table(["attempt", "the kernel says"], answers.items())

# %%
guess.saw(answers["a plain directory"] == "done")

# %% [markdown]
# | it says | because |
# |---|---|
# | EBUSY | the new root, or the old one's new place, lies on the mount that is `/` now: nothing to swap |
# | EINVAL | the new root is no mount point, |
# | | or the old one's new place is not below it, |
# | | or a mount is *shared*, and the swap would show in other namespaces |
#
# So a directory is made a mount by a *bind mount* onto itself, and all mounts become private first. (Where `/` is an
# initial ramdisk, as in some test machines, the kernel always says EINVAL.)

# %% [markdown]
# ## The tree flips
#
# Now slowly. A child binds the box, mounts a `/proc` in it to be able to look, and pivots: the old root goes to `/old`,
# which the manual calls *put_old*.
# Then it takes that off. Three looks at `mountinfo`:

# %%
def flip():
    bind()
    syscalls.mount("proc", f"{box}/proc", "proc")
    looks = {"before": lab.trees.mounts(only=("/", "/proc", "/sys", "/dev", box, f"{box}/proc"))}
    syscalls.pivot_root(box, f"{box}/old")
    os.chdir("/")
    looks["pivot_root"] = lab.trees.mounts(only=("/", "/proc", "/old", "/old/proc", "/old/sys", "/old/dev"))
    syscalls.umount2("/old", MNT.DETACH)
    return looks | {"umount": lab.trees.mounts()}


lab.diagrams.panels(process.run_in_child(flip, namespaces="mnt"), title="The mounts that the child sees")

# %% [markdown]
# What was root hangs below what was deep in it, like a glove turned inside out. `MNT_DETACH` cuts the branch off, with
# all that is on it: on your host nothing is unmounted, the child had a copy. After that no path leads there. What is
# not in the tree cannot be reached.

# %% [markdown]
# ## Exercise: enter
#
# Write `enter(root)`: afterwards `root` is `/`, and the old root is gone. `root` is a plain directory. You have
# `syscalls.mount`, `syscalls.pivot_root(new, old)` and `syscalls.umount2(path, MNT.DETACH)`.
#
# A trick from the manual spares you the directory `old`: be in the new root, and call `pivot_root(".", ".")`. The old
# root then lies *on* the new one, and `.` is what you take off.

# %%
def enter(root):
    """Take a directory for the root, and let go of the old one."""
    ### BEGIN SOLUTION: make it a mount, be in it, swap, take the old one off
    syscalls.mount(root, root, None, MS.BIND | MS.REC)
    os.chdir(root)
    syscalls.pivot_root(".", ".")
    syscalls.umount2(".", MNT.DETACH)
    os.chdir("/")
    ### END SOLUTION


# %% [markdown]
# The check goes in by your function, counts the mounts that can be reached, and sends the burglar.

# %%
check = lab.check("04", enter)
check

# %%
def live_there():
    enter(box)
    os.execv("/bin/sh", ["sh", "-c", "echo I see: /*; pwd"])


if check.passed:
    print(process.spawn(live_there, namespaces="mnt").wait())

# %% [markdown]
# ## As a plan
#
# A real root needs more than the swap: `/proc`, `/dev`, a few paths hidden. labrt writes that down as a list of
# operations, before anything is done. The last one is your exercise.

# %%
plan = rootfs.plan(box)
for step in [*plan[:6], f"… {len(plan) - 9} more …", *plan[-3:]]:
    print(step)

# %%
def live_well():
    rootfs.execute(plan)
    os.execve("/bin/sh", ["sh", "-c", "echo /dev/*; ps; wc -l < /proc/mounts"], {"PATH": "/bin"})


print(process.spawn(live_well, namespaces="mnt,pid,ipc").wait())

# %%
stack.close()
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **pivot_root** | swaps the mount at `/` for another one of the same namespace |
# | **bind mount** | a directory, mounted once more somewhere: here, onto itself |
# | **put_old** | where the old root goes, to be unmounted from there |
# | **MNT_DETACH** | out of the tree at once, and away when the last user is |
# | **plan** | a list of operations that can be read before they are executed |

# %% [markdown]
# ## Three questions
#
# 1. Why does `pivot_root` want a mount, when `chroot` takes any directory?
# 2. A process kept a descriptor of the old root open. Is it out of reach for that one?
# 3. Why does nothing of all this need a *user* namespace, and what would be easier with one?
#
# <details><summary>Answers</summary>
#
# - The first: it exchanges mounts, which have a parent and a place; a directory has neither.
# - The second: no, `os.fchdir` leads there. So a runtime closes everything before it executes the program.
# - The third: root may do it. With one, an ordinary user could: notebook 07.
#
# </details>

# %% [markdown]
# ## The source
#
# See *pivot_root(2)*, and in its notes `pivot_root(".", ".")`. Next comes notebook 05, and it is a short one: names.

# %%
lab.source(rootfs.PivotRoot, rootfs.ChangeRoot, rootfs.plan, rootfs.execute, syscalls.pivot_root)
