# %% [markdown]
# # 03 · mnt: who sees my mount?
#
# **Afterwards you can** give a process a list of mounts of its own, say from `mountinfo` who will see a new mount, and
# stop one from leaking.
#
# **You need** root on Linux and notebook 02. **It takes** about 35 minutes.

# %%
import os
from contextlib import ExitStack

import labrt
from labrt import lab
from labrt.linux import mounts, process, procfs, syscalls

labrt.reset(quiet=True)
stack = ExitStack()
place = stack.enter_context(lab.workspace("place"))


def secret():
    syscalls.mount("secret", place, "tmpfs")
    open(f"{place}/diary", "w").close()
    return os.listdir(place)


print("inside: ", process.run_in_child(secret, namespaces="mnt"))
print("outside:", os.listdir(place))

# %% [markdown]
# A child mounted a file system at `place` (a *tmpfs*, which lives in memory), and saw it. We saw nothing. Yet both
# looked at the same path.
#
# A **mount namespace** is a list of mounts. A new one begins as a copy of the old; after that, each process resolves
# paths by its own. Simple. Or is it?

# %% [markdown]
# ## A leak
#
# Now the same once more, in a directory that *systemd* would have prepared. On most machines every mount is **shared**:
# so that a USB stick that you plug in shows up in all the namespaces that were made before.

# %%
shared = stack.enter_context(mounts.tmpfs(place))
mounts.set_propagation(place, "shared")
for name in ("leak", "later"):
    os.mkdir(f"{place}/{name}")


def mount_something():
    syscalls.mount("inside", f"{place}/leak", "tmpfs")


# %% [markdown]
# The child gets a mount namespace of its own, and mounts something below `place`. (labrt cuts all mounts of a new
# namespace off from the old ones at once; `propagation=None` leaves that out.)
#
# **Predict:** will the host see the mount? Put `True` or `False`.

# %%
guess = lab.predict("03", "Does the host see a mount from another mount namespace?", False)  # your guess

# %%
def host_sees(path):
    return path in {mount.mount_point for mount in procfs.mountinfo()}


process.run_in_child(mount_something, namespaces="mnt", propagation=None)
guess.saw(host_sees(f"{place}/leak"))

# %% [markdown]
# The child is gone, its namespace too, and its mount is on your host. It is in no ledger, for no one asked. We take it
# down by hand.

# %%
syscalls.umount2(f"{place}/leak")
print(host_sees(f"{place}/leak"))

# %% [markdown]
# ## Peers
#
# The copy in the new namespace is not just a copy: it is a **peer** of the original. What is mounted below one is
# mounted below all of its *peer group*. The kernel says who belongs together, in `/proc/self/mountinfo`: same number,
# same group.

# %%
def ours(word=None):
    if word:
        mounts.set_propagation(place, word)
    return next(mount for mount in procfs.mountinfo() if mount.mount_point == place)


def copied(word):
    return process.run_in_child(lambda: ours(word), namespaces="mnt", propagation=None)


before = ours()
words = ("shared", "slave", "private", "unbindable")
copies = {word: copied(word) for word in words}
lab.show.table(["in a new namespace, made", "mountinfo says"], [[w, m.propagation] for w, m in copies.items()])

# %% [markdown]
# `master:` is a group that this mount listens to. So here is who hears whom, drawn from these lines: an arrow goes from
# a mount to those that see what is mounted below it.

# %%
def arrow(host, copy):
    hears = host.shared is not None and host.shared in (copy.shared, copy.master)
    heard = copy.shared is not None and copy.shared == host.shared
    return "⇄" if hears and heard else "→" if hears else ""


Side, Link = lab.diagrams.Side, lab.diagrams.Link
inside = [f"{word}: {copy.propagation}" for word, copy in copies.items()]
links = [Link(0, row, arrow(before, copy)) for row, copy in enumerate(copies.values()) if arrow(before, copy)]
host = Side("the host's mount", [before.propagation])
lab.diagrams.pairs(host, Side("its copy in a new namespace", inside), links, title="Who hears whom")

# %% [markdown]
# | word | speaks | hears | for |
# |---|---|---|---|
# | shared | yes | yes | the host: all see a new disk |
# | slave | no | yes | a container that shall see what the host mounts later |
# | private | no | no | a container |
# | unbindable | no | no | and may not be bound elsewhere, so that nothing multiplies |
#
# With an `r` before it (`rslave`) a word is for all mounts below, too.

# %% [markdown]
# Not believed? Then measure it: for each word, a mount from inside and one from outside.

# %%
def inside(word, tell, listen):
    mounts.set_propagation(place, word)
    syscalls.mount("inside", f"{place}/leak", "tmpfs")
    os.write(tell, b"!")
    os.read(listen, 1)  # until the host has mounted one, too
    return host_sees(f"{place}/later")


# %%
def measure(word):
    (read, tell), (listen, answer) = pipes = os.pipe(), os.pipe()
    seen = []

    def outside():
        os.read(read, 1)
        seen.append(host_sees(f"{place}/leak"))
        syscalls.mount("outside", f"{place}/later", "tmpfs")
        os.write(answer, b"!")

    came = process.run_in_child(
        lambda: inside(word, tell, listen), namespaces="mnt", propagation=None, meanwhile=outside
    )
    close(pipes)
    return [word, "seen" if seen[0] else "not seen", "seen" if came else "not seen"]


# %%
def close(pipes):
    for fd in (fd for pipe in pipes for fd in pipe):
        os.close(fd)
    for name in ("leak", "later"):
        mounts.unmount(f"{place}/{name}")


headers = ["the copy is", "mounted inside: the host has", "mounted by the host: inside has"]
lab.show.table(headers, [measure(word) for word in words])

# %% [markdown]
# ## Exercise: stop the leak
#
# A container shall see the disks that the host mounts later, and keep its own mounts to itself. Write `stop_leak()`. It
# is called in a fresh mount namespace whose mounts are still peers of the host's, all of them, and changes that.

# %%
def stop_leak():
    """Let nothing that is mounted from now on out, and what the host mounts in."""
    ### BEGIN SOLUTION: mounts.set_propagation(path, word) does it, in one line
    mounts.set_propagation("/", "rslave")
    ### END SOLUTION


# %% [markdown]
# The check plays both sides in a world of its own: a shared mount as host, a copy of it, a mount in each direction; and
# reads `mountinfo` on both.

# %%
check = lab.check("03", stop_leak)
check

# %% [markdown]
# Passed? Then let the leaky child from above run again, behind your function.

# %%
def quietly():
    stop_leak()
    mount_something()


if check.passed:
    process.run_in_child(quietly, namespaces="mnt", propagation=None)
print("the host sees it:", host_sees(f"{place}/leak"))

# %%
stack.close()
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **mount** | a file system, attached to a directory |
# | **mount namespace** | a list of mounts; a process sees the paths of its own |
# | **propagation** | whether a mount made below one also appears below others |
# | **peer group** | mounts that tell each other everything; `shared:N` in mountinfo |
# | **slave** | hears its master, and is not heard; `master:N` |

# %% [markdown]
# ## Three questions
#
# 1. Why do most machines make everything shared, when private looks so much safer?
# 2. `mount --make-private /` was called, and mounts in `/run` still leak. Why?
# 3. A container binds `/` of the host into itself as `rshared`, and unmounts something in there. What happens?
#
# <details><summary>Answers</summary>
#
# - The first: a service in a namespace of its own would never see a disk that comes later.
# - The second: `/run` is a mount of its own; the word was for `/` alone. `--make-rprivate` reaches all.
# - The third: unmounts travel as well: it is gone on the host.
#
# </details>

# %% [markdown]
# ## The source
#
# See *mount_namespaces(7)*, "Shared subtrees": dense, and worth it. Next comes notebook 04: a root of one's own.

# %%
lab.source(mounts.set_propagation, mounts.tmpfs, procfs.mountinfo, procfs.MountInfo, syscalls.mount)
