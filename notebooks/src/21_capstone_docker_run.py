# %% [markdown]
# # 21 · Capstone: `docker run`, by hand
#
# **Afterwards you can** go the whole way from an image's name to a running process with nothing but the course's
# primitives, say at each step what the registry or the kernel was asked, and run a real server, redis, on the functions
# that you wrote in the notebooks before.
#
# **You need** root on Linux, and the ideas of the notebooks before, or patience. **It takes** about 60 minutes. First
# the destination, in one line:

# %%
import labrt
from labrt import lab

labrt.reset(quiet=True)
print(labrt.run("busybox", "echo", "this is where we are going").stdout)

# %% [markdown]
# Now without `labrt.run`. Everything that we open goes onto one *exit stack*, so that a single `stack.close()` takes it
# down in reverse, whatever happens in between. And `steps` keeps the time.

# %%
from contextlib import ExitStack

before = lab.snapshot()
stack = ExitStack()
steps = lab.steps("docker run, by hand")
home = stack.enter_context(lab.workspace("by-hand"))

# %% [markdown]
# ## 1 · The registry
#
# Is Docker Hub there? If not, a small registry on this machine stands in, with one image in it. The steps are the same.
# We start with nothing in our hands, and ask what it takes to be let in.

# %%
from labrt.registry.client import Client

wire = []
hub = stack.enter_context(lab.hub())
client = stack.enter_context(Client(on_event=wire.append))
reference = hub.reference("busybox")
with steps("challenge and token"):
    challenge = client.challenge(hub.host)
    token = client.token(reference)
print(hub, challenge or "no challenge: it is open to all", token or "no token needed", sep="\n")

# %% [markdown]
# Docker Hub answers 401, and names a token server that lets anybody read public images for five minutes. A registry
# without locks says 200 at once.
#
# Next, what does the name stand for? Either for a *manifest*, the list of an image's parts, or for an *index*: one
# manifest per kind of machine.

# %%
from labrt.image.manifest import Index
from labrt.image.platform import Platform

with steps("index or manifest"):
    document = client.manifest(reference)
entries = document.manifests if isinstance(document, Index) else [document.descriptor(Platform.host())]
rows = [[entry.platform, entry.digest.short, entry.size] for entry in entries]
lab.show.table(["platform", "digest", "bytes"], rows, caption=type(document).__name__)

# %%
import json

with steps("manifest for this machine"):
    manifest = client.manifest(reference, platform=Platform.host())
    config = client.config(reference)
print(json.dumps(json.loads(manifest.raw), indent=2))

# %% [markdown]
# A manifest names everything by *digest*: the SHA-256 of its bytes. So it does not matter who hands us the bytes.
# **Predict:** we change a single bit of the last layer. How many of the digest's 64 digits will still be right?

# %%
guess = 63  # your guess

# %%
from labrt.image.digest import Digest

with steps("blobs, digests verified"):
    blobs = [b"".join(client.blob(reference, layer)) for layer in manifest.layers]
flipped = blobs[-1][:-1] + bytes([blobs[-1][-1] ^ 1])
wanted, changed = manifest.layers[-1].digest, Digest.of(flipped)
right = sum(a == b for a, b in zip(wanted.hex, changed.hex, strict=True))
rows = [["the manifest says", wanted], ["the bytes as they came", Digest.of(blobs[-1])], ["one bit changed", changed]]
lab.show.table(["", "digest"], rows, caption=f"You said {guess}; {right} digits are right, by chance: about 64/16")

# %% [markdown]
# `client.blob` hashes while it streams, and ends in `DigestMismatch` where you would have ended with a changed layer.
# This is all that has gone over the wire:

# %%
from labrt.registry.events import Exchange

exchanges = [event for event in wire if isinstance(event, Exchange)]
rows = [[e.method, e.url.partition("/v2/")[2][:60] or "/", e.signed or "nobody", e.status] for e in exchanges]
lab.show.table(["", "what", "signed in as", "status"], rows)

# %% [markdown]
# ## 2 · The root
#
# A layer is a tar archive, compressed. We unpack each into a directory of its own. The archive is a stranger's, so
# `layer.apply` lets nothing out of that directory; and the digest of what was *inside* the compression must be the
# config's *diff id*.

# %%
import io
import os

from labrt.image import layer

directories = []
with steps("layers unpacked"):
    for number, blob in enumerate(blobs):
        directory = os.path.join(home, f"layer-{number}")
        os.mkdir(directory, 0o755)
        below = directories[::-1]
        applied = layer.apply(io.BytesIO(blob), directory, whiteouts="overlay", lowers=below)
        assert applied.diff_id == config.diff_ids[number]
        directories.append(directory)

# %% [markdown]
# Nobody may write into these directories: other containers stand on them too. So the kernel's *overlay* lays an empty
# sheet on top, and shows all of them as one tree. What is written lands on that sheet, `upper`.

# %%
from labrt.linux import mounts

upper = os.path.join(home, "upper")
os.mkdir(upper, 0o755)
with steps("overlay mounted"):
    root = stack.enter_context(mounts.overlay(directories[::-1], upper=upper))
print(root, "has", *sorted(os.listdir(root)))

# %%
sheets = [
    lab.show.Sheet(f"layer {number}", part.size, f"sha256:{part.digest.short}…")
    for number, part in enumerate(manifest.layers)
]
lab.show.stack([*sheets, lab.show.Sheet("upper", 0, "where the container writes")], title="What the root is made of")

# %% [markdown]
# ## 3 · The limits
#
# A *cgroup* is a directory, too: the kernel's way to say who may have how much. 64 MiB of memory, and 32 processes,
# which also takes the sting out of a fork bomb.

# %%
from labrt.linux import cgroups

with steps("cgroup made"):
    group = stack.enter_context(cgroups.create("by-hand"))
    group.memory.max = "64M"
    group.pids.max = 32
print(group.path, "memory:", group.memory.max, "processes:", group.pids.max)

# %% [markdown]
# ## 4 · The plan
#
# What will happen in the new mount namespace can be read before it happens. The order is the kernel's: all mounts
# first, and `pivot_root` last, for afterwards the old root is out of reach.

# %%
from labrt.linux import rootfs

plan = rootfs.plan(root)
for step in [*plan[:9], f"… {len(plan) - 12} more …", *plan[-3:]]:
    print(step)

# %% [markdown]
# ## 5 · The jump
#
# Root, limits and plan are there. One `clone3` makes a process in new namespaces, and in its cgroup before its function
# begins. It moves in, and becomes another program. What you see is written by busybox, from within:

# %%
from labrt.linux import process, syscalls
from labrt.linux.flags import CLONE

NAMESPACES = CLONE.NEWNS | CLONE.NEWUTS | CLONE.NEWIPC | CLONE.NEWPID | CLONE.NEWNET
ENV = {"PATH": "/bin:/sbin:/usr/bin:/usr/sbin"}


def jump():
    rootfs.execute(plan)
    os.execve("/bin/sh", ["sh", "-c", "id; ps; ls /; hostname; cat /proc/self/cgroup"], ENV)


with process.spawn(jump, namespaces=NAMESPACES, cgroup=group) as child:
    print(child.wait())

# %% [markdown]
# A container, nearly. Two lines give it away: it still has the host's name, and it knows where in the host's cgroups it
# is. Both namespaces can be had; somebody must ask for them.
#
# ## 6 · Exercise: become the container
#
# This is what the child does, born into new namespaces. It has to
#
# 1. `syscalls.unshare(CLONE.NEWCGROUP)`: take its cgroup for the root of all cgroups,
# 2. `syscalls.sethostname("capstone")`,
# 3. `rootfs.execute(plan)`,
# 4. `os.execve("/bin/sh", argv, ENV)`: become another program. It never returns.

# %%
argv = ["sh", "-c", "echo hello from $(hostname), as process $$; ls /"]
me = os.getpid()


def become():
    """Be the child: build the container around this process, and execute the program."""
    assert os.getpid() != me, "spawn it: called here, it would do all this to the notebook"
    ### BEGIN SOLUTION: four calls, in the order of the list above
    syscalls.unshare(CLONE.NEWCGROUP)
    syscalls.sethostname("capstone")
    rootfs.execute(plan)
    os.execve("/bin/sh", argv, ENV)
    ### END SOLUTION


# %% [markdown]
# Now from within *your* container:

# %%
with steps("clone3, pivot_root, execve, wait"), process.spawn(become, namespaces=NAMESPACES, cgroup=group) as child:
    print(child.wait())

# %% [markdown]
# ## 7 · Is it one?
#
# Then it should answer as labrt's own containers do. A *probe* asks the same questions in both: who am I, what do I
# see, what may I? Its standard output is a file of ours.

# %%
PROBE = r"""
echo hostname=$(hostname)
echo uid=$(id -u)
echo pid=$$
echo root=$(awk '$2 == "/" {print $3}' /proc/mounts)
echo mounts=$(awk '$2 !~ "^/(etc|proc|sys)/" {print $2}' /proc/mounts | sort)
echo network=$(ls /sys/class/net)
echo cgroup=$(cut -d: -f3 /proc/self/cgroup | sort -u)
echo limit=$(cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null)
echo etc=$(awk '$2 ~ "^/etc/" {print $2}' /proc/mounts | sort)
echo capabilities=$(awk '/^CapEff/ {print $2}' /proc/self/status)
echo seccomp=$(awk '/^Seccomp:/ {print $2}' /proc/self/status)
"""

# %%
argv = ["sh", "-c", PROBE]
with open(os.path.join(home, "answers"), "w+") as answers:

    def become_and_answer():
        os.dup2(answers.fileno(), 1)
        become()

    with process.spawn(become_and_answer, namespaces=NAMESPACES, cgroup=group) as child:
        child.wait()
    answers.seek(0)
    by_hand = lab.checks.parse_probe(answers.read())

# %%
limits = {"memory": "64m", "pids_limit": 32}
result = labrt.run(reference, "sh", "-c", PROBE, hostname="capstone", network="none", **limits)
by_labrt = lab.checks.parse_probe(result.stdout)
same = {field: "=" if by_hand.get(field) == answer else "≠" for field, answer in by_labrt.items()}
rows = [[field, by_hand.get(field), same[field], answer] for field, answer in by_labrt.items()]
lab.show.table(["", "by hand", "", "by labrt.run"], rows)

# %%
check = lab.check("21", by_hand, by_labrt)
check

# %% [markdown]
# Passed? Then look at what still differs. labrt adds three files of `/etc`, so that names can be looked up. It takes
# away most *capabilities*, the pieces of root's power, and forbids some system calls by a *seccomp* filter: the last
# two lines. Without these two, yours is a container, but no prison: its root could still ask the kernel for what only
# the host's root should get.

# %% [markdown]
# ## 8 · From both sides
#
# Once more, asleep this time, so that we can look at it.

# %%
import time

from labrt.linux import procfs

argv = ["sh", "-c", "exec sleep 60"]
with process.spawn(become, namespaces=NAMESPACES, cgroup=group) as child:
    while check.passed and procfs.stat(child.pid).comm != "sleep":
        time.sleep(0.01)
    picture = lab.sides(child.pid) if check.passed else check
picture

# %% [markdown]
# ## 9 · redis, on what you wrote
#
# `busybox` was practice. Now a server that half the internet keeps its sessions in, and the functions that *you* wrote
# in the notebooks before: each that passed its check was kept. Where one is missing, labrt's own stands in; the table
# says which. (Layers are unpacked by labrt in any case: notebook 02 left modes and owners out.)

# %%
own = lab.own()
pull, names, enter_root, init, enter, configure = map(own, ["13", "12", "04", "06", "17", "16"])
own

# %% [markdown]
# `pull` of 13 asks the registry, and takes no byte that is not right. `names` of 12 names the layers by their content,
# and the image's config must agree.

# %%
redis = lab.redis.reference(hub, client)
print(lab.redis.said(hub, redis))
if redis:
    name, _, tag = redis.partition("/")[2].rpartition(":")
    with steps(f"redis: pull, {own.whose['13']}"):
        blobs = pull(lab.own.asker(client, redis), name, tag, Platform.host().architecture)
        diff_ids, chain_ids = names(blobs)
    agreed = diff_ids == [str(diff_id) for diff_id in client.config(redis).diff_ids]
    print(len(blobs), "layers,", sum(map(len, blobs)), "bytes; the config agrees:", agreed)

# %%
if redis:
    piles = []
    for number, blob in enumerate(blobs):
        directory = os.path.join(home, f"redis-{number}")
        os.mkdir(directory, 0o755)
        layer.apply(io.BytesIO(blob), directory, whiteouts="overlay", lowers=piles[::-1])
        piles.append(directory)
    sheet = os.path.join(home, "redis-upper")
    os.mkdir(sheet, 0o755)
    redis_root = stack.enter_context(mounts.overlay(piles[::-1], upper=sheet))
    print(redis_root, "has", *sorted(os.listdir(redis_root)))

# %% [markdown]
# The container's process 1 is *your* `init` of 06, in a root that *your* `enter` of 04 has swapped in. The plan of
# section 4 does the rest: all of it but its last step, the `pivot_root`.

# %%
from labrt.linux import network


def contain(argv, output):
    """Be process 1 of a container, over a program whose output goes to a file."""
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    syscalls.unshare(CLONE.NEWCGROUP)
    syscalls.sethostname("lesson")
    network.loopback_up()
    rootfs.execute(rootfs.plan(redis_root)[:-1])
    enter_root(redis_root)
    os.environ["PATH"] = "/usr/local/bin:/usr/bin:/bin"
    return init(argv)


# %% [markdown]
# And go. When redis says that it is ready, a client enters the running container by *your* `enter` of 17.

# %%
import functools
from types import SimpleNamespace

if redis:
    with steps("redis: start, PING, stop"), open(os.path.join(home, "log"), "a+") as log:
        server = functools.partial(contain, ["redis-server", "--save", ""], log)
        with process.spawn(server, namespaces=NAMESPACES, cgroup=group) as child:
            while not log.seek(0) and "eady to accept" not in log.read() and child.wait(0.05) is None:
                continue
            state = SimpleNamespace(pid=child.pid, cgroup=group.path)
            enter(state, ["sh", "-c", "redis-cli ping > /answer"])
            pids = group.pids.current
            syscalls.pidfd_send_signal(child.pidfd, 15)
            with open(os.path.join(sheet, "answer")) as answer:
                print("PING is answered", answer.read().strip())
            print("redis had", pids, "processes and threads, and ended with", child.wait(10))

# %% [markdown]
# `PONG`; the client wrote it to `/answer`, and we read it from the sheet on top of the layers. That was
# `docker run redis` and `docker exec`, and nobody's runtime but the one in this course.
#
# ## 10 · Against a runtime that is not ours
#
# **runc** runs Docker's containers. It gets the same root and the config that *your* `configure` of 16 makes; a probe
# asks both. What is the same is what a container is.

# %%
ASK = r"""
redis-server --save '' --daemonize yes >/dev/null
for try in 1 2 3 4 5 6 7 8 9 10; do redis-cli ping >/dev/null 2>&1 && break; sleep 0.1; done
echo answered=$(redis-cli ping)
echo version=$(redis-server --version | cut -d ' ' -f 3)
echo hostname=$(hostname)
echo uid=$(id -u)
echo network=$(ls /sys/class/net 2>/dev/null || cut -d: -f1 /proc/net/dev | tail -n +3)
echo capabilities=$(grep CapEff /proc/self/status | cut -f 2)
"""

# %%
runtime = next(iter(lab.bundles.others()), "")
if redis and runtime:
    with open(os.path.join(home, "asked"), "w+") as asked:
        with process.spawn(lambda: contain(["sh", "-c", ASK], asked), namespaces=NAMESPACES, cgroup=group) as child:
            child.wait()
        asked.seek(0)
        mine = lab.checks.parse_probe(asked.read())
    config = configure(["sh", "-c", ASK])
    config["root"]["path"] = redis_root
    with lab.bundles.bundle(config) as bundle:
        ran = lab.bundles.run(bundle, runtime=runtime)
    theirs = lab.checks.parse_probe(ran.output)

# %%
if redis and runtime:
    rows = [[key, mine.get(key), "=" if mine.get(key) == theirs.get(key) else "≠", theirs.get(key)] for key in mine]
    picture = lab.show.table(["", "by hand", "", runtime], rows, caption=f"One image, two runtimes {ran.error}")
else:
    lab.skipped("no runc or crun is here to compare with" if redis else lab.redis.said(hub, redis))
    picture = None
picture

# %% [markdown]
# One line may differ: the *capabilities*. By hand nobody took any away; a config says which are left. That is notebook
# 18, and the last step from a container to a prison.

# %% [markdown]
# ## 11 · Where the time went
#
# Bars to scale. Which part is the container, and which part was the way to its files? On the second `docker run` of the
# same image only the last few are needed.

# %%
steps

# %% [markdown]
# And now everything goes, in reverse order: cgroup, overlay, connections, registry, directory. The host should be as we
# found it.

# %%
stack.close()
before.compare(lab.snapshot(), caption="The host, before and after")

# %%
labrt.reset()

# %% [markdown]
# ## In short
#
# | asked of | what | gives |
# |---|---|---|
# | registry | token, index, manifest, blobs | bytes, checked by digest |
# | file system | layers, overlay | one tree out of many, with a sheet on top |
# | kernel | cgroup | limits |
# | kernel | clone3 with namespaces | a process with a world of its own |
# | kernel | pivot_root, execve | a root of its own, and the program |

# %% [markdown]
# ## Three questions
#
# 1. Two containers run from one image. Which of the directories above do they share, and what happens when one of them
#    deletes `/bin/ls`?
# 2. Why is `pivot_root` the last step of the plan, and `unshare(CLONE_NEWCGROUP)` the first of `become`?
# 3. The registry sends a manifest with an evil layer in it, and the right digest for it. Who notices, and when?

# %% [markdown]
# Answers: 1: the layers, not `upper`; there a whiteout hides the file from one of them. 2: the mounts that come before
# name the old root's paths; and the cgroup mounts show what the namespace calls its root. 3: nobody, if you asked by
# tag: digests say that it is what was named, not that it is good. Who pins the manifest's digest, or checks a
# signature, notices at once.

# %% [markdown]
# ## Onward
#
# **containerd** does sections 1 and 2, and keeps images and snapshots. **runc** does 3 to 5, from a `config.json` like
# the one in `labrt.runtime.config`. **Kubernetes** decides on which machine, and says so through containerd. You have
# now seen every layer that they are made of. The source of this notebook:

# %%
parts = [Client.challenge, Client.manifest, Client.blob, layer.apply, mounts.overlay, cgroups.create, rootfs.plan]
lab.source(*parts, rootfs.PivotRoot, process.spawn, syscalls.clone3)
