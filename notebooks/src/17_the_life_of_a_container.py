# %% [markdown]
# # 17 · The life of a container
#
# **Afterwards you can** take a container through its states by hand, say which process keeps it alive, read its logs
# where they are written, stop it the right way, and bring one more program into it.
#
# **You need** root on Linux, namespaces from notebooks 03 to 07, cgroups from 08. **It takes** about 40 minutes. First
# we start a container from another Python, and shoot that one dead:

# %%
import subprocess
import sys

import labrt
from labrt import lab

program = """
import os, labrt
labrt.run("busybox", "sh", "-c", "while :; do date; sleep 1; done", name="survivor", detach=True)
os.kill(os.getpid(), 9)
"""
print("that Python ended with", subprocess.run([sys.executable, "-c", program]).returncode)

# %%
from labrt.engine.containers import Containers

container = Containers().get("survivor")
container

# %% [markdown]
# It lives. Who started it is dead, and nobody else is to be seen. So who reads what it prints, and who will know how it
# ended? We ask the host: who is the parent of the container's process 1?

# %%
from labrt.linux import procfs

pid = container.state.pid
rows = []
while pid > 1:
    stat = procfs.stat(pid)
    rows.append([pid, stat.comm, "monitor" if pid == container.state.monitor else ""])
    pid = stat.ppid
lab.show.table(["pid", "program", ""], rows, caption="From the container up to the host's process 1")

# %% [markdown]
# The **monitor**: one small process for each container. It holds the other ends of its pipes, writes the log, waits for
# the end, and notes the exit code. podman has `conmon`, containerd has its shims. That is why a daemon can be updated
# while containers run.

# %%
for entry in container.logs(tail=3):
    print(entry.time, entry.stream, entry.text, end="")
with open(container.runtime.log) as file:
    print("in the file:", file.readline())
container.remove(force=True)

# %% [markdown]
# ## Through the states
#
# `docker run` is two steps. **create** builds all: root, namespaces, cgroup, down to the last mount. **start** lets the
# program go. In between, the container's process 1 exists and waits. We take one through its life, and draw the way.

# %%
from labrt.engine.options import Options

journey = lab.lifecycle.Journey()
container = Containers().create(Options("busybox", ("sh", "-c", "echo started; sleep 600")))
journey("create", container.prepare, lambda: container.status)
before = procfs.stat(container.state.pid)
journey("start", container.start, lambda: container.status)
after = procfs.stat(container.state.pid)

# %%
rows = [["created", before.comm, before.starttime], ["running", after.comm, after.starttime]]
lab.show.table(["state", "program", "began at"], rows, caption=f"Process {container.state.pid}")

# %% [markdown]
# The same process: same number, same beginning, another program. *execve(2)* is all that *start* is in the end. This
# gap is there for a reason: a network can be plugged in, programs that the config names (*hooks*) can run, and one can
# attach to the output before the first byte is written.

# %%
from labrt.linux import cgroups

journey("pause", container.pause, lambda: container.status)
frozen = cgroups.load(container.state.cgroup).frozen
journey("unpause", container.unpause, lambda: container.status)
print("frozen, said its cgroup meanwhile:", frozen)

# %% [markdown]
# ## Stop
#
# `stop` sends `SIGTERM`, which a program may catch to put its things in order. If it is still there after ten seconds
# (here: one), comes `SIGKILL`, which nobody can catch. **Predict:** our shell waits for `sleep`. Which exit code, 143
# (128 + 15, SIGTERM) or 137 (128 + 9, SIGKILL)?

# %%
guess = lab.predict("17", "stop: which exit code?", 143)  # your guess

# %%
code = journey("stop", lambda: container.stop(timeout=1), lambda: container.status)
guess.saw(code)

# %% [markdown]
# Process 1 of a PID namespace is special: a signal for which it has no handler does *nothing* to it, SIGTERM included
# (notebook 06). So it took the full time, and then the kill. Does `docker stop` take ten seconds with your images? Then
# this is why, and `--init` helps.

# %%
journey("delete", container.remove, lambda: "removed")
journey

# %% [markdown]
# ## One more program
#
# `docker exec` starts nothing new. It makes a process that *enters* what is there: the cgroup, then the namespaces of
# process 1. Which of these are ours, and which the container's own?

# %%
from labrt.linux import namespaces

container = labrt.run("busybox", "sleep", "600", detach=True, memory="64m")
here, there = namespaces.of("self"), namespaces.of(container.state.pid)
both = here.shared_with(there)
rows = [[kind, here[kind].inode, there[kind].inode, "shared" if kind in both else ""] for kind in here]
lab.show.table(["namespace", "ours", "the container's", ""], rows)

# %% [markdown]
# ## Exercise: enter
#
# Write `enter(state, argv)`: run a command in a running container, and return its exit code. You have `state.pid`, the
# container's process 1 as the host sees it, and `state.cgroup`. The way of it:
#
# 1. `process.spawn(scout, cgroup=cgroups.load(state.cgroup))` makes a child, in the container's cgroup;
# 2. the scout calls `namespaces.enter(state.pid, "mnt,uts,…")`;
# 3. *setns(2)* moves nobody into a PID namespace but the **children** that come later: so it forks once more, and that
#    one calls `os.execvp(argv[0], argv)`.

# %%
import os

from labrt.linux import process


def enter(state, argv):
    """Run a command in a container; return its exit code."""
    ### BEGIN SOLUTION: spawn a scout in the cgroup; it enters, forks, and waits
    def scout():
        namespaces.enter(state.pid, "mnt,uts,ipc,net,pid,cgroup")
        child = os.fork()
        if child == 0:
            try:
                os.execvp(argv[0], argv)
            finally:
                os._exit(127)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    with process.spawn(scout, cgroup=cgroups.load(state.cgroup)) as child:
        return child.wait().code
    ### END SOLUTION


# %% [markdown]
# The check starts a container, has your function run a command in it that ends with 7, and compares what that sees from
# inside with what the kernel says of the container's process 1.

# %%
check = lab.check("17", enter)
check

# %% [markdown]
# Passed? Then look around in there:

# %%
if check.passed:
    enter(container.state, ["sh", "-c", "hostname; ps; cat /proc/self/cgroup | tail -n 1"])
container.remove(force=True)

# %%
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **create, start** | build all; let the program go |
# | **monitor, shim** | who stays with the container: its output, its log, its end |
# | **stop** | SIGTERM, time to tidy up, SIGKILL |
# | **exec** | one more process in the same cgroup and namespaces |
# | **delete** | gives back what create has made |

# %% [markdown]
# ## Three questions
#
# 1. What is lost when a monitor is killed, and what is not?
# 2. Why does `exec` join the cgroup first, and the namespaces after?
# 3. A container's process 1 ends, and a program of `exec` still runs in it. What becomes of that?
#
# Answers: 1: output from then on, and the exit code; the container's processes are the kernel's. 2: from inside, the
# host's cgroup tree is out of sight. 3: the kernel kills all of a PID namespace when its process 1 ends.

# %% [markdown]
# ## The source
#
# The states are in the OCI runtime-spec's runtime.md; see also *setns(2)* and *pid_namespaces(7)*. Next comes notebook
# 18: who gets out of it, and what stops them.

# %%
from labrt.runtime import joiner, monitor
from labrt.runtime.container import Container

lab.source(Container.create, Container.start, monitor, joiner.bring_in, namespaces.enter, lab.checks.enters)
