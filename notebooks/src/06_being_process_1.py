# %% [markdown]
# # 06 · pid: being process 1
#
# **Afterwards you can** find a container's process among the host's, say why `kill -9 1` fails inside and what dies
# when process 1 does, and write an *init* that leaves no zombies.
#
# **You need** root on Linux and notebook 01. **It takes** about 35 minutes.

# %%
import os

import labrt
from labrt import lab
from labrt.linux import process, procfs, syscalls

labrt.reset(quiet=True)
print("inside I am process", process.run_in_child(os.getpid, namespaces="pid"))
print("outside I am", os.getpid())

# %% [markdown]
# In a new **PID namespace** the kernel counts from 1 again. Nothing else is new: same program, same memory. The first
# one in there is process 1, with all the honours and duties of the machine's own.
#
# ## One process, two numbers
#
# The old number is not gone. A process has one in its own namespace, and one in each namespace around it.

# %%
import time

container = labrt.run("busybox", "sh", "-c", "sleep 600 & sleep 601 & wait", detach=True)
first = container.state.pid
while len(procfs.children(first)) < 2:
    time.sleep(0.01)
outside = [first, *procfs.children(first)]
inside = [procfs.status(pid)["NSpid"].split()[-1] for pid in outside]

# %%
Side, Link = lab.diagrams.Side, lab.diagrams.Link
names = [procfs.stat(pid).comm for pid in outside]
left = Side("the host counts", [f"{pid}  {name}" for pid, name in zip(outside, names, strict=True)])
right = Side("the container counts", [f"{pid}  {name}" for pid, name in zip(inside, names, strict=True)])
lab.diagrams.pairs(left, right, [Link(row, row, "=") for row in range(3)], title="One process, two numbers")

# %% [markdown]
# `NSpid` in `/proc/PID/status` lists them all, from the outermost in. Names work downwards only: the host can name
# every process of the container, and the container none of the host's. Whom you cannot name, you cannot signal.

# %% [markdown]
# ## A window that lies
#
# How do programs know about others? From `/proc`, which is a file system: it shows the namespace of *the one who
# mounted it*. **Predict:** a child in a new PID namespace looks into the old `/proc`. How many processes does it see?

# %%
guess = lab.predict("06", "How many processes are in the old /proc?", 1)  # your guess

# %%
def census():
    old = sum(name.isdecimal() for name in os.listdir("/proc"))
    syscalls.mount("proc", "/proc", "proc")
    return old, sum(name.isdecimal() for name in os.listdir("/proc"))


old, new = process.run_in_child(census, namespaces="pid,mnt")
print("in a /proc of its own:", new)
guess.saw(old)

# %% [markdown]
# It cannot signal them, but it can read their command lines: a leak. So a PID namespace without a mount namespace, and
# a `/proc` of its own, is only half a wall.

# %% [markdown]
# ## Immortal
#
# If process 1 of the machine died, nobody would be left to adopt orphans: the kernel would panic. So it protects
# process 1 from signals for which it has no handler, even from SIGKILL. And inside a PID namespace?
#
# **Predict:** root in a container types `kill -9 1`. Is process 1 still there afterwards? `True` or `False`:

# %%
guess = lab.predict("06", "Does process 1 survive kill -9 from inside?", False)  # your guess

# %%
done = container.exec("kill", "-9", "1")
alive = os.path.exists(f"/proc/{first}") and procfs.stat(first).state != "Z"
print("kill said", done.exit_code)
guess.saw(alive)

# %% [markdown]
# `kill` reported success, and nothing happened. From *outside* the same process is one of many: there is no protection
# from an ancestor. And with process 1 the kernel kills all others in there, at once:

# %%
import signal

before = [lab.trees.processes(container.state.monitor)]
os.kill(first, signal.SIGKILL)
container.wait()
left = [pid for pid in outside if os.path.exists(f"/proc/{pid}")]
after = [lab.diagrams.Node(f"{len(left)} of 3 are left")]
lab.diagrams.panels({"before": before, "after kill -9 from outside": after}, title="When process 1 dies")

# %%
container.remove(force=True)

# %% [markdown]
# ## Zombies that nobody wants
#
# Orphans go to process 1, and so do their ends. The machine's own process 1 waits for whoever ends. But in a container
# process 1 is *your* program: a web server, a database, here `sleep`. Has it ever heard of other people's children?

# %%
script = "(sleep 0.1 &); (sleep 0.1 &); exec sleep 600"
container = labrt.run("busybox", "sh", "-c", script, detach=True)
pid = container.state.pid
while [child.mark for child in lab.trees.processes(pid).children] != ["zombie", "zombie"]:
    time.sleep(0.01)
lab.diagrams.tree([lab.trees.processes(pid)], title="A container whose process 1 waits for nobody")

# %% [markdown]
# Two zombies, and they will stay as long as the container does. Where one is left every ten seconds, there are
# thousands after a day. `docker run --init`, and `labrt run --init`, put a small program in front that waits for them.

# %%
container.remove(force=True)

# %% [markdown]
# ## Exercise: an init
#
# Write `init(argv)`. It is called as process 1. It starts the program as a child, waits for **whoever** ends, and
# returns the program's exit code as soon as *that* one has ended. A SIGTERM is for the program: pass it on, or
# `docker stop` waits in vain.

# %%
def init(argv):
    """Be process 1: run a program, reap everybody, end with the program's exit code."""
    ### BEGIN SOLUTION: fork and exec, pass on SIGTERM, then os.wait() in a loop
    program = os.fork()
    if program == 0:
        try:
            os.execvp(argv[0], argv)
        finally:
            os._exit(127)
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(program, number))
    while True:
        pid, status = os.wait()
        if pid == program:
            return os.waitstatus_to_exitcode(status)
    ### END SOLUTION


# %% [markdown]
# The check makes your function process 1 of a new namespace, over a program that leaves three orphans: two end soon,
# one never. The program itself looks for zombies in `/proc`. A second one waits for a SIGTERM. This takes some seconds.

# %%
check = lab.check("06", init)
check

# %%
def family():
    syscalls.mount("proc", "/proc", "proc")
    return init(["sh", "-c", "(sleep 0.1 &); sleep 0.3; ps -o pid,ppid,stat,args; exit 3"])


if check.passed:
    print(process.spawn(family, namespaces="pid,mnt").wait())

# %%
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **PID namespace** | a count of its own; nested: who is outside has numbers for all inside |
# | **NSpid** | all the numbers of a process, the outermost first |
# | **process 1** | adopts orphans, is safe from signals without a handler; when it ends, all end |
# | **init** | a process 1 that waits for whoever ends, and passes signals on |
# | **/proc** | shows the PID namespace in which it was mounted |

# %% [markdown]
# ## Three questions
#
# 1. `unshare(CLONE_NEWPID)` leaves the caller where it is; only its next child is inside. Why so?
# 2. `docker stop` takes ten seconds for one image, and none for another. What do you look at?
# 3. Why does a container end when its process 1 does, although a daemon of it still has work?
#
# <details><summary>Answers</summary>
#
# - The first: a process's number never changes while it lives; too many programs remember it.
# - The second: whether its process 1 has a handler for SIGTERM; after ten seconds comes SIGKILL, from outside.
# - The third: without process 1 nobody would adopt orphans, so the kernel ends the namespace.
#
# </details>

# %% [markdown]
# ## The source
#
# See *pid_namespaces(7)*. Next comes notebook 07: root, who is not root.

# %%
lab.source(process.spawn, procfs.status, procfs.children, lab.sides, syscalls.clone3)
