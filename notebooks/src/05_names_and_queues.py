# %% [markdown]
# # 05 · uts and ipc: names and queues
#
# **Afterwards you can** give a process a hostname of its own, hide a message queue from it, and tell from two numbers
# whether two processes share a namespace.
#
# **You need** root on Linux and notebook 01. **It takes** about 20 minutes.

# %%
import os
import socket

import labrt
from labrt import lab
from labrt.linux import namespaces, process, syscalls
from labrt.linux.flags import CLONE

labrt.reset(quiet=True)


def renamed():
    syscalls.sethostname("vault")
    return socket.gethostname(), os.uname().release


print("inside: ", *process.run_in_child(renamed, namespaces="uts"))
print("outside:", socket.gethostname(), os.uname().release)

# %% [markdown]
# Two hostnames, one kernel. The **UTS** namespace is the smallest of all. It holds two strings, the hostname and the
# NIS domain name; `uname` hands them out, in a structure that was called `utsname` when Unix was for *time-sharing*.
#
# A new one begins with a copy. So a container has its host's name until somebody sets another.

# %% [markdown]
# ## Same inode, same namespace
#
# How can one know whether two processes share a namespace? Each is a file in `/proc/PID/ns`, and has a number, an
# inode. **Predict:** a child gets new `uts` and `ipc` namespaces. There are eight kinds: mnt, uts, ipc, net, pid, user,
# cgroup and time. How many of them does it share with us?

# %%
guess = lab.predict("05", "How many of the eight kinds are shared?", 8)  # your guess

# %%
import time

sleeper = process.spawn(lambda: time.sleep(600), namespaces="uts,ipc")
mine, its = namespaces.of("self"), namespaces.of(sleeper.pid)
guess.saw(len(mine.shared_with(its)))

# %%
container = labrt.run("busybox", "sleep", "600", detach=True)
lab.trees.namespaces({"this Python": "self", "the child": sleeper.pid, "a container": container.state.pid})

# %% [markdown]
# ≠ means: another one than ours. The container has nearly all of its own; what it shares with the host by default is
# `user` and `time`.
#
# These files are also doors. Who opens one can enter by `setns(2)`; that is how `docker exec` gets in.

# %%
def visit():
    namespaces.enter(container.state.pid, "uts")
    return socket.gethostname()


print("at home:", socket.gethostname(), "  in the container's:", process.run_in_child(visit))
container.remove(force=True)

# %% [markdown]
# ## ipc: queues that are no files
#
# Most of what processes share has a path, and so belongs to a *mount* namespace. But System V's message queues,
# semaphores and shared memory (1983) have only a number. Any process could find them by counting. We make one, in a
# world of our own to be tidy:

# %%
import subprocess


def sh(command):
    print("$", command, flush=True)
    subprocess.run(["sh", "-c", command], check=True)


def play():
    sh("ipcmk -Q")
    sh("ipcs -q")
    process.spawn(lambda: sh("ipcs -q"), namespaces="ipc").wait()


process.run_in_child(play, namespaces="ipc")

# %% [markdown]
# The second `ipcs` ran in yet another IPC namespace, and found nothing. The queue was there all the time. When the last
# process of a namespace ends, the kernel throws away what is in it; nobody has to clean up.
#
# PostgreSQL, for one, still guards its data directory by a segment of such memory. In two containers, two databases
# never see each other's.

# %% [markdown]
# POSIX queues are of the same namespace, though they do show themselves as files: in a file system of type `mqueue`,
# which is a window onto the namespace in which it was mounted.

# %%
def window():
    with lab.workspace("queues") as place:
        syscalls.mount("mqueue", place, "mqueue")
        open(f"{place}/orders", "w").close()  # a queue, made by opening it
        names = os.listdir(place)
        syscalls.umount2(place)
    return names


print("one namespace:", process.run_in_child(window, namespaces="ipc,mnt"))
print("another one:  ", os.listdir("/dev/mqueue") if os.path.isdir("/dev/mqueue") else "no window here")

# %% [markdown]
# ## Exercise: hide
#
# So far a child was *born* into new namespaces. A process can also move: `syscalls.unshare(flags)`. Write `hide()`.
# Afterwards the process that calls it has a hostname of its own, and sees no message queue. Outside, name and queue are
# as before. Each learner's hostname is another one; `lab.given.learner("your name")` makes it of your name. Yours is:

# %%
lab.given("05")

# %%
def hide():
    """Go out of sight of all queues, and take the name that you were given."""
    ### BEGIN SOLUTION: leave both namespaces, then take the name
    syscalls.unshare(CLONE.NEWUTS | CLONE.NEWIPC)
    syscalls.sethostname(lab.given("05").hostname)
    ### END SOLUTION


# %% [markdown]
# The check makes a queue, lets a child call your function, and compares `/proc/sysvipc/msg`, the hostname and the
# inode of `ipc` on both sides.

# %%
check = lab.check("05", hide)
check

# %% [markdown]
# Never call it here, in the notebook's own Python: only *one* of its dozen threads would move, and half of the cells
# would run in one world and half in the other. That is why everything happens in children.

# %%
sleeper.kill()
sleeper.wait()
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **UTS namespace** | hostname and NIS domain name |
# | **IPC namespace** | System V queues, semaphores, shared memory; POSIX queues |
# | **/proc/PID/ns** | the namespaces of a process, one file each; same inode, same namespace |
# | **unshare** | move into new namespaces |
# | **setns** | move into those of somebody else |

# %% [markdown]
# ## Three questions
#
# 1. Shared memory of POSIX lies in `/dev/shm`. By which namespace is it kept apart?
# 2. A process is in a new UTS namespace, and nobody knows. What does it change for the others?
# 3. Why does a namespace not need a name?
#
# <details><summary>Answers</summary>
#
# - The first: by the mount namespace, for it is a file on a tmpfs.
# - The second: nothing at all; a hostname is only an answer to who asks.
# - The third: a process that is in it, an open file or a mount of that file keeps it, and is the way to it.
#
# </details>

# %% [markdown]
# ## The source
#
# See *namespaces(7)*, *uts_namespaces(7)*, *ipc_namespaces(7)*. Next comes notebook 06, where numbers begin anew at 1.

# %%
lab.source(namespaces.of, namespaces.enter, namespaces.Namespaces, syscalls.unshare, syscalls.setns)
