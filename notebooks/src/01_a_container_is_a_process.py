# %% [markdown]
# # 01 · A container is a process
#
# **Afterwards you can** start a program with `fork` and `execve`, read how it ended, tell a zombie from a process, and
# say what a container inherits from all this.
#
# **You need** root on Linux and notebook 00. **It takes** about 35 minutes.

# %%
import labrt
from labrt import lab
from labrt.linux import procfs

labrt.reset(quiet=True)
container = labrt.run("busybox", "sleep", "600", detach=True)
print(procfs.stat(container.state.pid))
print(procfs.stat(container.state.monitor))

# %% [markdown]
# There it is, in the host's own `/proc`: a container is an entry in the kernel's table of processes. Its parent is an
# ordinary process, too, and that one has a parent in turn, up to process 1.
#
# So before there are containers, there are processes. We take this one down, and make some by hand.

# %%
container.remove(force=True)

# %% [markdown]
# ## fork: one becomes two
#
# `os.fork()` is called once and comes back twice: in the parent it returns the child's number, in the child 0. Both go
# on at the same line, with the same variables, each with a copy of its own.
#
# **Predict:** the child adds 1 to `x`. What is `x` in the parent afterwards?

# %%
guess = lab.predict("01", "What is x in the parent?", 42)  # your guess

# %%
import os

from labrt.linux import process


def two():
    x = 41
    pid = os.fork()
    if pid == 0:
        x = x + 1
        print("child ", os.getpid(), "of", os.getppid(), "has x =", x)
        os._exit(0)
    os.waitpid(pid, 0)
    print("parent", os.getpid(), "of", os.getppid(), "has x =", x)
    return x


guess.saw(process.run_in_child(two))

# %% [markdown]
# The memory was copied: nothing that the child does to its variables reaches the parent.
#
# Why `run_in_child`? This notebook's Python has a dozen threads, and a child that forgot its `os._exit` would become a
# second kernel, answering your cells as well. So all forks here happen in a small process of their own.

# %% [markdown]
# ## execve: another program, the same process
#
# `fork` makes another process, of the same program. `execve` makes another program, of the same process: the number
# stays, and the parent, and the open files. Code and variables are gone, so there is nobody left for it to return to.

# %%
def story():
    gate, opener = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(gate, 1)  # wait for the word
        os.execvp("sleep", ["sleep", "60"])
    stages = {"fork": [lab.trees.processes()]}
    os.write(opener, b"!")
    while procfs.stat(pid).comm != "sleep":
        time.sleep(0.01)
    stages["execve"] = [lab.trees.processes()]
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # see that it has ended, no more
    stages["its end"] = [lab.trees.processes()]
    os.waitpid(pid, 0)
    return stages | {"wait": [lab.trees.processes()]}


# %%
import signal
import time

lab.diagrams.panels(process.run_in_child(story), title="A process and its child, in four looks at /proc")

# %% [markdown]
# Two things are worth a second look. Between `fork` and `execve` the name changed, and the number did not. And between
# its end and `wait` the child was dead, and still there.

# %% [markdown]
# ## wait: how did it end?
#
# A parent learns from `waitpid` how its child ended: a *wait status*, in which there are two numbers. The upper byte is
# the exit code; the lower one is the signal that killed it, or 0.
#
# **Predict:** a shell shows one number only. Which one for a program that was killed by signal 9?

# %%
guess = lab.predict("01", "What does a shell say of a program that signal 9 has killed?", 9)  # your guess

# %%
def statuses():
    found = []
    for script in ("exit 0", "exit 3", "kill -9 $$", "kill -15 $$"):
        pid = os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", script)  # fork and execve in one
        _, status = os.waitpid(pid, 0)
        found.append([script, f"0x{status:04x}", status >> 8, status & 0x7F])
    return found


rows = process.run_in_child(statuses)
lab.show.table(["program", "status", "exit code", "signal"], rows)

# %%
import subprocess

done = subprocess.run(["sh", "-c", "sh -c 'kill -9 $$'; echo $?"], capture_output=True, text=True)
guess.saw(int(done.stdout))

# %% [markdown]
# 128 + 9. By this convention one number says both, and `docker run` follows it: 137 is what you see when a container
# ran into its memory limit, for the kernel kills with signal 9.

# %% [markdown]
# ## Zombies
#
# The kernel must keep the status until somebody asks. So of an ended process one thing stays: its entry in the table,
# in state `Z`. It has no memory, no files, no code; only a number and a status. Can one kill it?

# %%
def zombie():
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    rows = [["after its end", procfs.stat(pid).state]]
    os.kill(pid, signal.SIGKILL)
    rows.append(["after kill -9", procfs.stat(pid).state])
    _, status = os.waitpid(pid, 0)
    rows.append(["after wait", "gone" if not os.path.exists(f"/proc/{pid}") else "still there"])
    return [*rows, ["and its exit code was", os.waitstatus_to_exitcode(status)]]


lab.show.table(["", "state"], process.run_in_child(zombie))

# %% [markdown]
# You cannot kill who is dead. Only a `wait` by its parent lets a zombie go; it is *reaped*. A few of them cost next to
# nothing, but numbers run out: a machine with as many zombies as `pid_max` starts nothing any more.

# %%
with open("/proc/sys/kernel/pid_max") as file:
    print("numbers to give away:", file.read().strip())

# %% [markdown]
# And when the parent dies first? Then the child is an *orphan*, and is given a new parent: process 1, or a nearer
# ancestor that has asked for it (a *subreaper*). To wait for strangers is the one duty of process 1. In a container,
# process 1 is your program. Notebook 06 is about what follows.

# %%
def orphan():
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        first = os.getpid()
        if os.fork() == 0:
            while os.getppid() == first:  # until the parent has gone
                time.sleep(0.01)
            os.write(write, f"my parent was {first}, and is {os.getppid()} now".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return os.read(read, 100).decode()


print(process.run_in_child(orphan, namespaces="pid"))

# %% [markdown]
# ## Exercise: a relay
#
# Between you and a container's program stands a process that starts it, waits, and ends as it ended. Write its heart:
# `relay(argv)` runs a program as a child and returns the number that a shell would show. A program that is not there
# is 127. And if the relay is sent a SIGTERM, it passes it on to the child.

# %%
def relay(argv):
    """Run a program as a child; return what a shell would say of its end."""
    ### BEGIN SOLUTION: fork; the child becomes the program, the parent waits and returns a code
    pid = os.fork()
    if pid == 0:
        try:
            os.execvp(argv[0], argv)
        finally:  # it comes back only when it has failed
            os._exit(127)
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(pid, number))
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)  # minus the signal, where one has killed it
    return code if code >= 0 else 128 - code
    ### END SOLUTION


# %% [markdown]
# The check lets your relay run five programs in a world of its own, and looks into `/proc` for what is left. Not passed
# yet? Try again: the hints become plainer. `lab.hint("01")` gives the next one at once.

# %%
check = lab.check("01", relay)
check

# %% [markdown]
# Passed? What you wrote is kept in your home. `lab.progress.learned("01")` gives it back, in any notebook.

# %%
lab.progress()

# %%
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **fork** | one process becomes two, alike but for a number |
# | **execve** | another program in the same process; comes back only on failure |
# | **wait status** | how a child ended: an exit code or a signal, for its parent to read |
# | **zombie** | a process that has ended and was not waited for |
# | **orphan** | a process whose parent has ended; process 1 or a subreaper becomes its parent |

# %% [markdown]
# ## Three questions
#
# 1. Why does the kernel not throw the exit code away when nobody waits?
# 2. A container's log says "exited with 143". What has happened, and who may have done it?
# 3. `os._exit(127)` stands in a `finally`. What would happen in a notebook without it?
#
# <details><summary>Answers</summary>
#
# - The first: it cannot know that nobody will; the parent may ask later.
# - The second: 143 is 128 + 15, a SIGTERM, as `docker stop` sends it.
# - The third: the exception would travel up in the child, into a copy of the notebook's kernel.
#
# </details>

# %% [markdown]
# ## The source
#
# `process.spawn` is this notebook's fork for grown-ups: by `clone3`, with the namespaces that come next.

# %%
lab.source(process.spawn, process.run_in_child, process.Exit, procfs.stat, lab.trees.processes)
