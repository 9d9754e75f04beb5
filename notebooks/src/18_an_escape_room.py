# %% [markdown]
# # 18 · Security: an escape room
#
# **Afterwards you can** say which part of a container stops which attack, read capabilities and a filter of system
# calls, and give a program the smallest power with which it works.
#
# **You need** root on Linux, `pivot_root` from notebook 04 and PID namespaces from 06. **It takes** about 45 minutes.
# Everything that is robbed here belongs to the room: it is set up for the purpose, and taken down at the end. In we go,
# with all doors open:

# %%
from contextlib import ExitStack

import labrt
from labrt import lab

stack = ExitStack()
room = stack.enter_context(lab.escapes.room())
disk = room.words["disk"]
print(disk)
print("the attacker reads:", labrt.run("busybox", "sh", "-c", disk, **room.open).stdout)

# %% [markdown]
# A container has just read a disk of the host: not a file on it, the *disk*, past all file permissions. (The disk is a
# loop device on a file of ours.) No bug was needed. It was root, and what it was given was this:

# %%
lab.show.table(["option", "value"], room.open.items())

# %% [markdown]
# And the same without these options, as everybody starts containers:

# %%
labrt.run("busybox", "sh", "-c", disk).stderr

# %% [markdown]
# ## Door 1: the disk
#
# Look at who complains. `mknod` went well: making the device file is *allowed* in a container by default. Opening it
# was not. A device file is but a number, and the **device cgroup** has a list of the numbers that may be opened. We
# open all doors again, and shut this one:

# %%
print(room.attempt("disk", "device cgroup").said)

# %% [markdown]
# ## Door 2: a setting
#
# In `core_pattern` the host keeps which program the kernel runs when a process crashes. The kernel runs it *outside*,
# as root. Who can write there is out. In a container `/proc/sys` is read-only, but that is a mount. Our attacker opens
# the file for writing, and writes nothing: the point is made, and your setting stays.

# %%
print(room.words["setting"])
print("doors open:    ", room.attempt("setting").said)
print("with a filter: ", room.attempt("setting", "seccomp filter").said)

# %% [markdown]
# **seccomp** is a filter in front of the system calls: a small program, checked and run by the kernel at each call. It
# sees the call's number and the plain numbers among its arguments, and cannot look at a path. labrt writes ours from a
# list that is as strict as Docker's.

# %%
from labrt.linux import bpf, capabilities, seccomp

profile = seccomp.default_profile(capabilities.names(capabilities.DEFAULT))
program = bpf.disassemble(seccomp.build(profile))
print(*program[:5], f"… {len(program)} instructions", sep="\n")
for call in ("openat", "mount", "kexec_load"):
    print(seccomp.explain(call))

# %% [markdown]
# What if we take one more call away, and watch who breaks? `mkdir` for example:

# %%
import json
import os

for rule in profile["syscalls"]:
    rule["names"] = [name for name in rule["names"] if name not in ("mkdir", "mkdirat")]
strict = os.path.join(room.place, "strict.json")
with open(strict, "w") as file:
    json.dump(profile, file)
labrt.run("busybox", "sh", "-c", "mkdir /a || touch /b && ls / | tr '\\n' ' '", security_opt=[f"seccomp={strict}"])

# %% [markdown]
# ## Door 3: the neighbour
#
# People put passwords into environment variables. `/proc/PID/environ` shows them, and with `--pid host` a container
# sees the host's processes. One of them is ours, and has a secret.

# %%
print(room.words["neighbour"])
print("doors open:            ", room.attempt("neighbour").said)
print("with a filter:         ", room.attempt("neighbour", "seccomp filter").said)
print("with a PID namespace:  ", room.attempt("neighbour", "PID namespace").said)

# %% [markdown]
# The filter lets it pass: reading a file is an honest call. What is *not there* cannot be read, and that is what the
# namespace is for. Each defence sees another side of the same act.

# %% [markdown]
# ## Door 4: the root
#
# In notebook 02 somebody left a `chroot`, by moving the root below the working directory. Here is the same trick with
# an *open directory*. Who still holds one from above goes back through it.

# %%
from labrt.linux import process


def prisoner():
    os.chroot(room.box)
    os.chdir("/")
    above = os.open("/", os.O_RDONLY)
    os.mkdir("cell")
    os.chroot("cell")
    os.fchdir(above)  # the root is below us now
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    return sorted(os.listdir("/"))[:6]


print(process.run_in_child(prisoner))
os.rmdir(f"{room.box}/cell")

# %%
print("chroot:    ", room.attempt("chroot").said)
print("pivot_root:", room.attempt("chroot", "pivot_root").said)

# %% [markdown]
# ## Capabilities
#
# All four were root. Since Linux 2.2 root's power is cut into pieces, some forty by now. A container's root has
# fourteen, by Docker's choice: enough to install packages, and to be a server. The others are taken out of its
# **bounding set**, so that no child of it can ever have them either, not even by a set-uid program.

# %%
lab.show.table(["by default", "lets a process"], [
    (cap.name, capabilities.MEANING[cap]) for cap in capabilities.CAP if cap in capabilities.DEFAULT
])

# %% [markdown]
# **Predict:** all other doors are open, but these fourteen are all that the attacker has. How many of the four attacks
# get out? (Which need what? `mknod`, `mount`, looking into somebody's process, `chroot`.)

# %%
guess = lab.predict("18", "With the default capabilities, how many get out?", 1)  # your guess

# %%
found = [room.attempt(attack, "default capabilities") for attack in lab.escapes.ATTACKS]
print(*(f"{one.attack:10} {one.word:5} {one.said}" for one in found), sep="\n")
guess.saw(sum(bool(one.escaped) for one in found))

# %% [markdown]
# ## All against all
#
# Now every attack against every defence, each defence alone. No column is whole: a container is safe by several layers,
# each of which has holes. (A dot: nothing to try. A container has `pivot_root` anyway.) `--privileged`, which many a
# recipe asks for, gives up the other columns at once: what stays are the namespaces and `pivot_root`.

# %%
survey = room.survey()

# %% [markdown]
# ## One more layer: LSM
#
# AppArmor and SELinux are *Linux Security Modules*: they ask which object it is, and not how mighty the caller.
# SELinux knows it by its label, AppArmor by its path: "who is called *container* opens what is a *container's*, root or
# not". Which of them does your kernel run?

# %%
from pathlib import Path

where = Path("/sys/kernel/security/lsm")
print(where.read_text() if where.exists() else f"{where} is not there: none, or securityfs is not mounted")

# %% [markdown]
# ## Doors that were open once
#
# Some doors were *holes*. In 2019 a container got hold of the runtime's own file, by `/proc/self/exe`, and wrote into
# it (CVE-2019-5736): so labrt runs Python from a read-only copy of its mount. In 2024 a runtime had left a directory of
# the host open, and an image could name it as its working directory (CVE-2024-21626). We try:

# %%
from labrt.errors import LabrtError

for number in (5, 7, 9):
    try:
        print("in it:", labrt.run("busybox", "pwd", workdir=f"/proc/self/fd/{number}").stdout)
    except LabrtError as error:
        print("refused:", error)

# %% [markdown]
# ## Exercise: the smallest power
#
# Here is an honest program: it gives its files to *nobody*, listens on port 80, and goes on as *nobody*. Which
# capabilities does it need? The fourteen are too many. Try, read what it complains of, and try again:

# %%
print(lab.escapes.SERVER)
room.serve(["KILL"])

# %%
def smallest():
    """Return the names of the capabilities that the server needs, and no other."""
    ### BEGIN SOLUTION: return a list of names, as in room.serve([…])
    return ["CHOWN", "NET_BIND_SERVICE", "SETUID", "SETGID"]
    ### END SOLUTION


# %% [markdown]
# The check runs the server with what you name, then lets the four attackers try with the same power and every other
# door open, then runs the server without each of your names.

# %%
check = lab.check("18", smallest)
check

# %% [markdown]
# Passed? Then here is the grid with a column of yours. Four words hold all four attacks, where fourteen held two. That
# is why every guide says `--cap-drop ALL` first.

# %%
if check.passed:
    survey = room.survey(yours=smallest(), before=survey)

# %%
stack.close()
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **capability** | a piece of root's power: `CAP_MKNOD`, `CAP_SYS_ADMIN` |
# | **bounding set** | what a process and its children can ever have |
# | **seccomp** | a filter of system calls, by number; it cannot read paths |
# | **device cgroup** | which device numbers may be opened |
# | **LSM** | rules by labels or paths: AppArmor, SELinux |
# | **`--privileged`** | all doors open |

# %% [markdown]
# ## Three questions
#
# 1. Why is it no good to forbid `open("/etc/shadow")` by seccomp?
# 2. `docker run -v /:/host` needs none of our attacks. Who may type that, and so is root on the host?
# 3. The server became *nobody*. Which of its four capabilities has it left then?
#
# Answers: 1: the filter sees an address in memory, not what is written there; and it could change after the look. 2:
# who may talk to the daemon: the group `docker`. 3: none: with the change from root to another user the kernel clears
# them.

# %% [markdown]
# ## The source
#
# *capabilities(7)*, *seccomp(2)* and *cgroups(7)* have it in full. The tests of this house try more ways out, those of
# known holes among them. Next comes notebook 19: a daemon, and the real `docker` in front of it.

# %%
from labrt.linux import heldproc, labels, sealed, seccomp_default
from labrt.linux.cgroups import devices

runtime = [capabilities.apply, seccomp.install, seccomp_default, devices, sealed, heldproc, labels]
lab.source(*runtime, lab.escapes.Room, lab.checks.confines)
