# %% [markdown]
# # 08 · Control groups: memory and processes
#
# **Afterwards you can** hold a program to an amount of memory and a number of processes, watch it hit that wall, and
# say what the kernel counted; on cgroup v2 and on v1.
#
# **You need** root on Linux, and nothing of the notebooks before. **It takes** about 40 minutes. We begin with a fork
# bomb. It is safe: it may have 20 processes.

# %% tags=["long"]
import labrt
from labrt import lab

bomb = "f() { f | f & }; f; sleep 1"
result = labrt.run("busybox", "sh", "-c", bomb, pids_limit=20)
print(*result.stderr.splitlines()[-3:], sep="\n")

# %% [markdown]
# The shell calls `f`, which calls itself twice, each in a new process, and so on without end. On a machine without
# limits this is the last thing that you type. Here, `fork` said *no* when there were 20, and when the container ended,
# so did all of them.
#
# Namespaces decide what a process **sees**. What it may **have** is the business of *control groups*.

# %% [markdown]
# ## Nobody says no
#
# First, how it is without. This function forks children that only sleep, until somebody refuses. (`run_in_child` lets
# it do so in a small process of its own.) **Predict:** it stops by itself at 100. How far does it get?

# %%
import contextlib
import os
import signal
import time

guess = lab.predict("08", "How many children, without a limit?", 0)  # your guess

# %%
def fork_until_refused(most=100):
    children = []
    try:
        while len(children) < most:
            pid = os.fork()
            if pid == 0:
                time.sleep(60), os._exit(0)
            children.append(pid)
    except BlockingIOError as error:  # EAGAIN, see fork(2)
        print("refused:", error)
    for pid in children:
        os.kill(pid, signal.SIGKILL), os.waitpid(pid, 0)
    return len(children)


# %%
from labrt.linux import process

guess.saw(process.run_in_child(fork_until_refused))

# %% [markdown]
# ## A group is a directory
#
# A cgroup is made with `mkdir`. The kernel fills the new directory with files; what you write there are orders, what
# you read is what it counted. labrt's `cgroups.create` does the `mkdir`, and its `with` the `rmdir`.

# %%
from labrt.linux import cgroups

with cgroups.create("lesson") as group:
    group.pids.max = 20
    for name, directory in group.paths.items():
        print(f"{name:8} {directory}")
    with open(f"{group.paths.get('pids', directory)}/pids.max") as file:
        print("pids.max:", file.read())
    print("children:", process.run_in_child(fork_until_refused, cgroup=group))
    print("counted: ", group.pids.events)

# %% [markdown]
# 19 children, for the one that forked is in the group, too. `pids.events` counts each *no*.
#
# A group holds who is **in** it. The child was there before its first instruction, and all that it forks is born where
# it is. That is why nobody escapes by being quick.

# %% [markdown]
# ## Memory: the wall
#
# Now a program that takes 2 MiB, and again, and never gives back. The group may have 64 MiB. We look into
# `memory.current` every few hundredths of a second, and draw what we see.

# %%
MIB = 1 << 20


def hog():
    held = []
    while True:
        held.append(b"x" * (2 * MIB))  # written to, or the kernel would only promise it
        time.sleep(0.03)


# %%
def watch(group, program, title, seconds=20):
    """Run a program in the group; draw its memory until it ends."""
    points, draw, begin = [(0, 0)], lab.live(), time.monotonic()
    with process.spawn(program, cgroup=group) as child:
        while child.wait(0.05) is None and points[-1][0] < seconds:
            points.append((time.monotonic() - begin, group.memory.current / MIB))
            draw(lab.charts.climb(points, wall=64, title=title))
        end = str(child.exit or "still there")
    draw(lab.charts.climb(points, wall=64, title=title, end=end))
    return end


def walled():
    group = cgroups.create("lesson")
    group.memory.max = "64M"
    with contextlib.suppress(labrt.errors.LabrtError):
        group.memory.swap_max = 0  # some kernels do not count swap
    return group


# %% tags=["long"]
with walled() as group:
    print(watch(group, hog, "A hog in a group of 64 MiB"))
    print(group.memory.events)

# %% [markdown]
# At the wall the kernel looked for something to take back, found nothing, and sent `SIGKILL`: the **OOM killer**, *out
# of memory*. `oom_kill` counts its victims. The rest of the machine had memory to spare, and noticed nothing.
#
# With swap, the hog would have gone on, slowly, onto the disk. So whoever wants a wall says `memory.swap.max` too.

# %% [markdown]
# ## What counts as memory?
#
# Files that are read or written stay in the kernel's *page cache*, and that counts for the group that brought them in.
# Next comes a program that writes a file of 128 MiB, twice what it may have. **Predict:** how does it end, `"killed"`
# or `"exit code 0"`?

# %%
guess = lab.predict("08", "128 MiB through a group of 64 MiB: how does it end?", "killed")  # your guess

# %%
def writer():
    with open(os.path.join(home, "large"), "wb") as file:
        for _ in range(64):
            file.write(b"x" * (2 * MIB))
            time.sleep(0.01)


with lab.workspace("lesson") as home, walled() as group:
    end = watch(group, writer, "A writer in a group of 64 MiB")
    cached = group.memory.stat["file"]
print("of that, page cache:", cached // MIB, "MiB")
guess.saw(end)

# %% [markdown]
# It lives. What is in the page cache can be had again from the disk, so at the wall the kernel drops old pages and goes
# on. A container *at* its limit is not in trouble; one that is **over it with memory that cannot be dropped** is. Look
# at `memory.stat`: `anon` is what hurts, `file` is what can go.

# %% [markdown]
# ## Two versions of one idea
#
# Version 1, from 2008, has a tree of directories for each controller. Version 2, from 2016, has a single tree for all.
# The files have other names, and not everything of v2 is there in v1. This machine has:

# %%
rows = [[tree.mountpoint, f"v{tree.version}", " ".join(tree.controllers)] for tree in cgroups.detect().trees]
lab.show.table(["tree", "version", "controllers"], rows, caption=f"This machine is {cgroups.detect().mode}")

# %%
from labrt.linux.cgroups import controllers_v1, controllers_v2


def file_of(kind, word):
    return getattr(vars(kind).get(word), "name", "made of two files")


rows = []
for word in ("max", "low", "high", "swap_max", "current", "events"):
    old, new = file_of(controllers_v1.Memory, word), file_of(controllers_v2.Memory, word)
    rows.append([f"memory.{word}", new, "nothing" if old == new else old])
rows.append(["pids.max", file_of(controllers_v2.Pids, "max"), "the same"])
lab.show.table(["labrt's word", "file in v2", "file in v1"], rows)

# %% [markdown]
# One that v1 lacks is `memory.high`: not a wall but a slope. Above it a program is slowed down and made to give back,
# so that somebody has time to react. On v1 we can only say so:

# %%
with walled() as group:
    try:
        group.memory.high = "32M"
        print(watch(group, hog, "A slope at 32 MiB, a wall at 64", seconds=5), group.memory.events)
    except labrt.errors.NotSupported as error:
        lab.skipped(error)

# %% [markdown]
# ## Exercise: hold
#
# Write `hold(program)`: it runs a program, which is a function, in a group of its own with so much memory, no swap, and
# so many processes. When the program has ended, it returns three things: how it ended, the group's `memory.events`, and
# its `pids.events`. And nothing may stay behind.
#
# You have seen all that it takes: `cgroups.create`, `process.spawn(program, cgroup=group)`, `child.wait()`. How much
# and how many is another thing for each learner. For you:

# %%
lab.given("08")

# %%
def hold(program):
    """Run program() in a cgroup; return (exit, memory.events, pids.events)."""
    ### BEGIN SOLUTION: make a group, set three limits, spawn the program in it
    mib, pids = lab.given("08")
    with cgroups.create("hold") as group:
        group.memory.max = f"{mib}M"
        with contextlib.suppress(labrt.errors.LabrtError):
            group.memory.swap_max = 0
        group.pids.max = pids
        with process.spawn(program, cgroup=group) as child:
            exit = child.wait()
        return exit, group.memory.events, group.pids.events
    ### END SOLUTION


# %% [markdown]
# The check gives it three programs: one that looks up its own limits from inside, one that takes memory, one that
# forks. It believes the kernel, not the code.

# %%
check = lab.check("08", hold)
check

# %% [markdown]
# ## And in a container
#
# This is what `docker run -m 64m --pids-limit 20` means, no more and no less. The same hog, in the container's own
# words: `dd` wants a buffer of 200 MiB.

# %%
result = labrt.run("busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1", memory="64m", pids_limit=20)
print("exit code", result.exit_code, "= 128 + 9: killed" if result.exit_code == 137 else result.stderr)

# %%
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **cgroup** | a directory in a tree that the kernel watches; processes are in it, and so are their children |
# | **controller** | one kind of thing that is counted and limited: memory, pids, cpu, io |
# | **memory.max** | the wall: behind it, only what can be dropped makes room |
# | **OOM killer** | who ends a process when nothing can be dropped |
# | **page cache** | files in memory; counts, but can be dropped |
# | **v1, v2** | a tree per controller; one tree for all |

# %% [markdown]
# ## Three questions
#
# 1. A container of 512 MiB shows 510 MiB in use, for weeks. What do you look at before you give it more?
# 2. Why are `memory.max` and `pids.max` both needed against a fork bomb?
# 3. A process is moved into a group *after* it has taken 1 GiB. Whom does that memory count for?
#
# Answers: 1: `memory.stat`: is it `anon` or `file`? 2: each process takes little memory, and what runs out first are
# the machine's process numbers. 3: on v2, and on v1 by default, still for the group in which it was taken.

# %% [markdown]
# ## The source
#
# The kernel's own words are in *cgroups(7)* and in its Documentation/admin-guide/cgroup-v2.rst. Next comes notebook 09:
# time, and the way to the disk.

# %%
lab.source(cgroups.create, controllers_v2.Memory, controllers_v1.Memory, process.spawn, lab.checks.holds)
