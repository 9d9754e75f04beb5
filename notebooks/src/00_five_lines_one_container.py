# %% [markdown]
# # 00 · Five lines, one container
#
# **Afterwards you can** run a program in a container from Python, say whether a machine is fit for it, tell what a
# container costs, and find and remove what a crashed program has left behind.
#
# **You need** root on Linux, and `labrt/setup.sh lab`, which has brought you here. **It takes** about 30 minutes.

# %%
import labrt

result = labrt.run("busybox", "sh", "-c", "hostname; id; ps; ls /", network="none")
print(result.stdout)
print("exit code:", result.exit_code)

# %% [markdown]
# Read the answer once more. The program has a hostname that nobody gave to this machine. It is process 1. It sees no
# process but its own children, and a root directory with a dozen names in it: that of the image `busybox`. (It asked
# for no network; of these are notebooks 14 and 15.)
#
# No machine was started. That was one ordinary process, to which the kernel shows less than to others. The whole course
# is about how it is asked to.

# %% [markdown]
# ## Two numbers for one process
#
# A process that calls itself 1 must be some other number out here, for our 1 is long taken. **Predict first:** which
# one will it be, roughly? Put your guess below. To know where to aim: the number of this notebook's own Python is on
# the last line.

# %%
import os

guess = 4242  # your guess
print("this Python is process", os.getpid())

# %%
from labrt import lab

container = labrt.run("busybox", "sleep", "600", detach=True, memory="64m", network="none")
inside = container.exec("pidof", "sleep").stdout.strip()
outside = container.state.pid
lab.show.table(["who says so", "process id"], [["you", guess], ["the container", inside], ["the host", outside]])

# %% [markdown]
# The kernel deals out numbers in order, so yours was good if it was a little above this Python's. In a *namespace* of
# its own, the counting begins again at 1.
#
# Here is the same process from both sides. Dashed is what it sees; where the sign is ≠, the kernel gives two answers.

# %%
lab.sides(container.state.pid)

# %% [markdown]
# ## Know your host
#
# Whatever a container can do, the host's kernel does. So ask the host what it can do. Where something is missing, the
# last column is what to type. A warning makes something smaller or slower; only a failure is in the way.

# %%
lab.doctor()

# %% [markdown]
# ## What does it cost?
#
# We start the least of all programs, `true`, which ends at once: first as it is, then in a container. Each ten times,
# for the first is always slow, and we take the middle one.

# %%
import statistics
import subprocess
import time


def milliseconds(work, times=10):
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begin) * 1000)
    return statistics.median(taken)


# %%
bare = milliseconds(lambda: subprocess.run(["/bin/true"], check=True))
contained = milliseconds(lambda: labrt.run("busybox", "true", network="none"))
bars = [lab.show.Step("a process", bare, start=0), lab.show.Step("a process in a container", contained, start=0)]
lab.show.timeline(bars, title="From the call to its end, on this machine")

# %% [markdown]
# A virtual machine would bring a kernel of its own to boot. **Not measured here:** a small Debian in QEMU, without
# hardware support, took 13 to 20 seconds to boot, run one command and power off. With hardware support it is a few
# seconds. A container boots nothing: the kernel is already there.

# %% [markdown]
# And memory? What a process really takes for itself is its *proportional set size*: pages that it shares with others
# count for it in part. With the container comes a second process, its **monitor**, which keeps its output and waits for
# its end.

# %%
def kilobytes(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return int(next(line.split()[1] for line in file if line.startswith("Pss:")))


with subprocess.Popen(["sleep", "600"]) as bare_sleep:
    alone = kilobytes(bare_sleep.pid)
    bare_sleep.kill()
state = container.state
sleeper, monitor = kilobytes(state.pid), kilobytes(state.monitor)
rows = [["sleep", alone], ["sleep in a container", sleeper], ["its monitor", monitor]]
lab.show.table(["process", "kB"], rows)

# %% [markdown]
# The bare `sleep` is so small because it shares the C library with everybody; busybox is all in one file, and alone
# here.
#
# From this follows the *density*: how many of them fit. A virtual machine keeps the memory that it was given, say 512
# MB, whether it uses it or not.

# %%
with open("/proc/meminfo") as file:
    meminfo = {line.split(":")[0]: int(line.split()[1]) for line in file}
free = meminfo["MemAvailable"]
print(f"{free // 1024} MB to be had on this machine: room for")
print(f"{free // (sleeper + monitor):>7} containers that sleep")
print(f"{free // (512 * 1024):>7} virtual machines of 512 MB")

# %% [markdown]
# ## What it changes on the host
#
# The container is still asleep. We look at the host, take the container down, and look again. What is listed with a
# minus is what it had consisted of.

# %%
before = lab.snapshot()
container.remove(force=True)
before.compare(lab.snapshot(), caption="The host, before and after the container's end")

# %% [markdown]
# A *cgroup* (what the limit of 64 MB hung on), a few namespaces, a directory, and notes about them: that is all a
# container was. Note the mounts. It had some thirty, and none of them ever was among the host's.
#
# The **ledger** is labrt's notebook: whatever it asks of the kernel is written there first, and crossed out when it is
# gone.

# %%
lab.ledger()

# %% [markdown]
# ## When it goes wrong
#
# In Python, `with` undoes what was done. But nobody undoes anything after `kill -9`. Let us have that accident: a child
# process unites `/etc` with an empty directory, for all to see, and dies before it can take that down.

# %%
from labrt.linux import ledger, mounts, process, procfs


def careless():
    union = mounts.overlay(["/etc"])
    union.__enter__()  # what `with` does at its beginning,
    os._exit(1)  # and then the process is gone


print(process.spawn(careless).wait())
lab.ledger()

# %% [markdown]
# Four entries: two directories, and on each a mount. The process that made them is gone, they are not. That is no
# opinion of the ledger's. Here is the kernel's own list:

# %%
named = {entry.what for entry in ledger.entries()}
for mount in procfs.mountinfo():
    if mount.mount_point in named:
        print(mount.fstype, "on", mount.mount_point)

# %% [markdown]
# ## Exercise: clean up
#
# Write the function that takes down what a list of entries names. An entry has a `kind`, here `"mount"` or
# `"directory"`, and `what`, a path. There are `mounts.unmount(path)`, `os.rmdir(path)`, and `ledger.strike(entry)`,
# which crosses an entry out.
#
# The entries come in the order in which things were made. In which order should they go?

# %%
def clean_up(entries):
    """Take down what these entries name, and cross each of them out."""
    ### BEGIN SOLUTION: take each entry down, then ledger.strike(entry)
    for entry in reversed(entries):  # what was made last stands on the rest
        if entry.kind == "mount":
            mounts.unmount(entry.what)
        elif entry.kind == "directory":
            os.rmdir(entry.what)
        ledger.strike(entry)
    ### END SOLUTION


# %% [markdown]
# The check makes an accident of its own, calls your function, and then asks the kernel, not you: the list of mounts,
# the directories, the ledger. Not passed yet? Try again, and the hints become plainer; `lab.hint("00")` gives the next
# one at once, and after the last, `lab.solution("00")` shows one way to do it.

# %%
check = lab.check("00", clean_up)
check

# %% [markdown]
# Passed? Then do it for real, with the accident from above.

# %%
if check.passed:
    clean_up(ledger.entries())
lab.ledger()

# %% [markdown]
# You have written the heart of `labrt.reset()`. The real one is longer because it trusts nobody. It looks whether a pid
# is still the same process, whether a path still leads where it did, and it also takes down processes, cgroups and
# containers. Whenever you feel lost in this course, call it.

# %%
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **container** | an ordinary process to which the kernel shows a world of its own |
# | **image** | the files that it finds there: a root directory, packed |
# | **namespace** | the kernel's answer to "who sees what?": pids, mounts, hostname, … |
# | **cgroup** | its answer to "who may have how much?": memory, CPU, processes |
# | **ledger** | labrt's list of what it has asked for and not yet given back |

# %% [markdown]
# ## Three questions
#
# 1. A colleague says: "Containers are small virtual machines." What would you show them, and where does it fail?
# 2. `kill -9` hits a container's monitor. Which of the things in the snapshot can still be found, and by what?
# 3. Why must a thing be written into the ledger *before* it is made, and not after?

# %% [markdown]
# ## The source
#
# This is what you have used. It is meant to be read; `lab.source(ledger.recorded)` alone shows the code itself. Next
# comes notebook 01, where the container is still only a process.

# %%
lab.source(labrt.run, ledger.recorded, mounts.overlay, mounts.unmount, process.spawn, lab.ledger, lab.reset)
