# %% [markdown]
# # 09 · Control groups: time, and the way to the disk
#
# **Afterwards you can** give a running program more or less of a CPU, tell a ceiling from a share, limit what it writes
# to the disk, and read from the kernel's counters what that did to it.
#
# **You need** root on Linux, and the idea of a group from notebook 08. **It takes** about 40 minutes. We begin with a
# container that is never satisfied.

# %%
import labrt
from labrt import lab

container = labrt.run("busybox", "sh", "-c", "while :; do :; done", detach=True, cpus=0.5)
container

# %% [markdown]
# It does nothing, as fast as it can, and would use a whole CPU. It was given half of one. Does the kernel keep to that?
# We read its group's `cpu.stat` five times a second for a while. A filled bar is time that it ran, a dashed one
# is time that it *wanted* to run and was held.

# %% tags=["long"]
import time

from labrt.linux import cgroups, procfs

path = max((line.path for line in procfs.cgroup(container.state.pid)), key=len)
group = cgroups.load(path)


def measure(group, times=12, draw=None, samples=()):
    samples, draw, meter = list(samples), draw or lab.live(), lab.meters.Cpu(group)
    for _ in range(times):
        time.sleep(0.2)
        samples.append(meter())
        draw(lab.charts.periods(samples))
    return samples


samples = measure(group)

# %% [markdown]
# This is how the ceiling works: time is cut into periods of 100 ms. In each, the group has 50 ms to spend. Who has
# spent them is **throttled**: taken off the CPU until the next period begins.

# %%
with_limit = group.cpu.stat
lab.show.table(["cpu.stat", ""], [[name, value] for name, value in with_limit.items()])

# %% [markdown]
# ## While it runs
#
# The file is read by the kernel at any time, so a limit can be changed while the program runs. That is all that is
# behind *dynamic resource allocation*, and behind `docker update`. **Predict:** the limit falls to a fifth of a CPU.
# How much will the program run in the last intervals?

# %%
guess = lab.predict("09", "cpu.max = 0.2: how many CPUs will it use?", 0.5)  # your guess

# %% tags=["long"]
draw, samples = lab.live(), []
for cpus in (1.0, 0.5, 0.2):
    container.update(cpus=cpus)
    samples = measure(group, times=6, draw=draw, samples=samples)
used = sum(sample.ran for sample in samples[-5:]) / 5
guess.saw(round(used, 1))

# %% [markdown]
# The program was not asked, and not told. It only became slower. Where it waits for an answer within milliseconds,
# being held for 80 of each 100 ms hurts more than the number 0.2 says: look at `nr_throttled` first when a service is
# slow now and then.
#
# Now you. Turn the slider; the picture follows.

# %%
dial = lab.meters.dial(group)
dial

# %% [markdown]
# What the slider does, Python can do: the next cell turns it.

# %%
slider = dial.children[0]
slider.value = 0.3
time.sleep(1)
print("the slider says", slider.value, "and the kernel", group.cpu.max)

# %%
container.remove(force=True)  # the dial's picture stops, too

# %% [markdown]
# ## A share is no ceiling
#
# `cpu.max` holds even when nobody else wants the CPU. Often one wants something else: *all of it when there is nobody,
# and your part when there is*. That is `cpu.weight`: 100 if nobody says otherwise. It only counts in a queue, so for a
# queue we put two groups onto one CPU.

# %%
from contextlib import ExitStack

from labrt.linux import process


def spin():
    while True:
        pass


stack = ExitStack()
groups = {}
for name, weight in {"one": 100, "other": 200}.items():
    groups[name] = stack.enter_context(cgroups.create(f"lesson-{name}"))
    groups[name].cpu.weight = weight
    groups[name].cpuset.cpus = "0"
    stack.enter_context(process.spawn(spin, cgroup=groups[name]))

# %%
def usage(seconds=1):
    """CPUs used by each group; a value for the picture, and a text."""
    before = {name: group.cpu.stat["usage_usec"] for name, group in groups.items()}
    time.sleep(seconds)
    used = {name: (groups[name].cpu.stat["usage_usec"] - before[name]) / 1e6 / seconds for name in groups}
    return {name: {"CPUs": lab.charts.Bar(value, f"{value:.2f}")} for name, value in used.items()}


lab.charts.bars(usage(), title="Weights 100 and 200, on one CPU")

# %% [markdown]
# One third and two thirds. A weight says nothing by itself: what counts is its ratio to those beside it. And now the
# other one goes.

# %%
groups["other"].kill()
picture = lab.charts.bars(usage(), title="The same weights, and one has stopped")
stack.close()
picture

# %% [markdown]
# ## Exercise: one to three
#
# Write `share(light, heavy)`. It is given two groups that are empty yet. Set them so that of one CPU, the heavy group
# gets three times as much as the light one, **as long as both want it**. When one stops, the other may have it all.

# %%
def share(light, heavy):
    """Let two groups share one CPU, 1 to 3."""
    ### BEGIN SOLUTION: weights of 1 to 3, and the same single CPU for both
    light.cpu.weight, heavy.cpu.weight = 100, 300
    for group in (light, heavy):
        group.cpuset.cpus = "0"
    ### END SOLUTION


# %% [markdown]
# The check runs a busy loop in each, reads `cpu.stat` for a second, stops the heavy one, and reads on.

# %% tags=["long"]
check = lab.check("09", share)
check

# %% [markdown]
# ## The way to the disk
#
# A busy loop is easy to hold. What about a program that writes? `io.max` says for each disk how many bytes and requests
# may pass in a second. First without, then with 8 MiB a second. The program asks for `O_DIRECT`: past the page cache,
# straight to the disk.

# %%
import mmap
import os

MIB = 1 << 20


def pour(path, mib=12):
    """Write directly to the disk; return MiB per second."""
    page = mmap.mmap(-1, MIB)  # O_DIRECT wants memory that begins at a page
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
    begin = time.perf_counter()
    for _ in range(mib):
        os.write(fd, page)
    os.close(fd)
    return mib / (time.perf_counter() - begin)


# %% tags=["long"]
speeds = {}
with lab.workspace("lesson") as home, cgroups.create("lesson") as group:
    file = os.path.join(home, "poured")
    try:
        disk = lab.meters.disk(home)
        speeds["no limit"] = process.run_in_child(lambda: pour(file), cgroup=group)
        group.io.max = {disk: {"wbps": "8M"}}
        speeds["8 MiB/s"] = process.run_in_child(lambda: pour(file), cgroup=group)
        print("io.stat of", disk, group.io.stat.get(disk))
    except (labrt.errors.LabrtError, OSError) as error:
        lab.skipped(error)

# %%
rows = {name: {"MiB/s": lab.charts.Bar(speed, f"{speed:.1f} MiB/s")} for name, speed in speeds.items()}
lab.charts.bars(rows, title="Written past the page cache")

# %% [markdown]
# Without `O_DIRECT`, a program writes into memory, and the kernel carries that to the disk later. On v2 it remembers
# for whom, and holds that group; v1 does not know any more whose pages these were, and so its limit does not hold for
# most programs. That was one of the reasons to begin again with v2.

# %%
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **cpu.max** | a ceiling: so much time in each period, whoever else wants it or not |
# | **throttled** | held off the CPU until the next period |
# | **cpu.weight** | a share, counted only among those who want the same CPU now |
# | **cpuset.cpus** | on which CPUs a group may run at all |
# | **io.max** | bytes and requests per second, for each disk |

# %% [markdown]
# ## Three questions
#
# 1. A web server with `cpu.max` 0.5 answers most requests in 5 ms and some in 60. Where does 60 come from?
# 2. Two containers have weights 100 and 300, on an idle machine with 8 CPUs. How much does the first one get?
# 3. Why does a limit on `dd` without `oflag=direct` seem to do nothing on v1?
#
# Answers: 1: it had spent its 50 ms and waited up to 50 for the next period. 2: all that it wants: there is no queue.
# 3: it writes into the page cache; what goes to the disk later is nobody's.

# %% [markdown]
# ## The source
#
# See *sched(7)* and the kernel's Documentation/scheduler/sched-bwc.rst. Next comes notebook 10: where the files come
# from.

# %%
from labrt.linux.cgroups import controllers_v2

lab.source(controllers_v2.Cpu, controllers_v2.Io, cgroups.load, lab.meters.Cpu, lab.checks.divides)
