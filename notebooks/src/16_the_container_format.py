# %% [markdown]
# # 16 · The container format
#
# **Afterwards you can** read and write the file that says what a container is, tell which flag of `docker run` becomes
# which line in it, and have it run by runc as well as by labrt.
#
# **You need** root on Linux, and namespaces from notebooks 03 to 07. **It takes** about 35 minutes. What is a container
# *before* it runs? A directory:

# %%
import json
import os

import labrt
from labrt import lab
from labrt.engine.containers import Containers
from labrt.engine.options import Options

wanted = Options("busybox", ("sh", "-c", "echo from $(hostname), as process $$"), hostname="box")
container = Containers().create(wanted)
print(os.listdir(container.runtime.directory))
config = container.runtime.config()
print(json.dumps({name: config[name] for name in ("ociVersion", "hostname", "root")}, indent=1))

# %% [markdown]
# `config.json` and a root: together a **bundle**. Its words are not labrt's, but for a few notes in `annotations`: they
# are those of the runtime-spec of the Open Container Initiative. Docker began by calling *LXC*. In 2014 it got a
# library of its own for this, *libcontainer*, and in 2015 gave that away: it became *runc*, and its config this
# specification.

# %%
rows = [[name, type(value).__name__, json.dumps(value)[:70]] for name, value in config["process"].items()]
lab.show.table(["process", "", ""], rows)

# %%
print(*(f"{mount['destination']:16} {mount['type']}" for mount in config["mounts"]), sep="\n")
print([entry["type"] for entry in config["linux"]["namespaces"]])
container.remove(force=True)

# %% [markdown]
# ## Ours, run by others
#
# labrt's own config for busybox, in a bundle, handed to whichever of *runc* and *crun* is here, and to labrt, which as
# a program beside these is called *labrt-oci*.
# **Predict:** which process number does the program see for itself in runc?

# %%
guess = lab.predict("16", "In runc: which process is it?", 1)  # your guess

# %%
from labrt.runtime import config as oci

config = oci.default(["sh", "-c", "echo $$ $(hostname) $(id -u)"])
config["hostname"] = "bundle"
rows = []
with lab.bundles.bundle(config) as path:
    for runtime in ["labrt", *lab.bundles.others()]:
        ran = lab.bundles.run(path, runtime=runtime)
        rows.append([runtime, ran.exit_code, ran.output or ran.error[-120:]])
lab.show.table(["runtime", "exit code", "it says"], rows)

# %%
guess.saw(int(rows[-1][2].split()[0]) if rows[-1][1] == 0 else int(rows[0][2].split()[0]))

# %% [markdown]
# Whoever is here gives the same answers. They are programs by different people: labrt's is in Python, runc in Go, crun
# in C. That is what a specification is for: `dockerd --add-runtime`, `podman --runtime`, and what Kubernetes calls, all
# hand over this file.

# %% [markdown]
# ## From flag to line
#
# What do the flags of `docker run` do? They change this file. We make a container with one option and one without, and
# compare their configs.

# %%
def flat(value, path=""):
    """Turn nested dicts into {path: value}."""
    if not isinstance(value, dict):
        return {path: json.dumps(value)}
    found = {}
    for name, inner in value.items():
        found |= flat(inner, f"{path}.{name}".strip("."))
    return found


def config_of(**options):
    made = Containers().create(Options("busybox", ("true",), name="compared", hostname="same", **options))
    try:
        return flat(made.runtime.config())
    finally:
        made.remove(force=True)


# %%
FLAGS = {
    "--memory 64m": {"memory": "64m"},
    "--cpus 0.5": {"cpus": 0.5},
    "--pids-limit 20": {"pids_limit": 20},
    "--read-only": {"read_only": True},
    "--workdir /tmp": {"workdir": "/tmp"},
    "--cap-drop ALL": {"cap_drop": ("ALL",)},
}
plain, rows = config_of(), []
for flag, option in FLAGS.items():
    changed = config_of(**option)
    for path in sorted(changed.keys() | plain.keys()):
        # Two lines have the container's own number in them.
        if changed.get(path) != plain.get(path) and path not in ("mounts", "linux.cgroupsPath"):
            rows.append([flag, path, (changed.get(path) or "gone")[:60]])
lab.show.table(["docker run", "config.json", "value"], rows)

# %% [markdown]
# ## Jails and zones
#
# FreeBSD had *jails* in 2000, Solaris *zones* in 2005. There a container is one thing, made by one call, with switches.
# In Linux it is a heap of parts, capabilities, namespaces, cgroups, that grew one by one from 1999 on, and only the
# config makes *one* thing of them. The same plan, written for each of these kernels:

# %%
from labrt.runtime import formats

plan = oci.default(["/bin/sh"])
print(formats.write(plan, "jail.conf", "box"))

# %%
print(formats.write(plan, "zonecfg", "box"))

# %% [markdown]
# What has no counterpart is missing: a jail has no cgroups and no filter of system calls. And the image's programs
# would have to be that system's own.

# %% [markdown]
# ## Exercise: configure
#
# Write the smallest config that is a container. `configure(args)` returns a dict with
#
# - `ociVersion`, `"1.0.2"`;
# - `process`: `args`, `cwd`, `env` with a `PATH`, and `user` with `uid` and `gid`;
# - `root`: its `path` is `"rootfs"`, and `hostname`: `"lesson"`;
# - `mounts`: one, of type `proc`, at `/proc`;
# - `linux.namespaces`: pid, mount, uts, ipc and network.

# %%
def configure(args):
    """Return a config for a container that runs args."""
    ### BEGIN SOLUTION: a dict with six keys; see the list
    kinds = ("pid", "mount", "uts", "ipc", "network")
    return {
        "ociVersion": "1.0.2",
        "process": {"args": args, "cwd": "/", "env": ["PATH=/bin:/usr/bin"], "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "hostname": "lesson",
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": kind} for kind in kinds]},
    }
    ### END SOLUTION


# %% [markdown]
# The check makes a bundle of it, has runc run it (labrt, where there is no runc), and lets a program look around in
# there.

# %%
check = lab.check("16", configure)
check

# %%
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **bundle** | a config.json, and a root directory |
# | **runtime-spec** | what may stand in config.json, and what it means |
# | **runc, crun, labrt-oci** | programs that make a container of a bundle |
# | **libcontainer** | Docker's own library for that; it lives on in runc |
# | **jail, zone** | the same idea in FreeBSD and Solaris, in one piece |

# %% [markdown]
# ## Three questions
#
# 1. An image has a config, too. What is in that one, and what only in the bundle's?
# 2. Your config has no capabilities at all. What may the program do, although it is uid 0?
# 3. Where in config.json would a volume be?
#
# Answers: 1: the image's says what to run and with which environment; namespaces, limits and mounts are the machine's
# business. 2: what any user may do who owns the files: no mounting, no chown. 3: in `mounts`, with type `bind`.

# %% [markdown]
# ## The source
#
# The specification is the OCI runtime-spec: config.md, config-linux.md, bundle.md. Next comes notebook 17: what happens
# to a bundle when it runs.

# %%
from labrt.runtime import rules

lab.source(oci.default, oci.validate, rules.check, formats.jail_conf, formats.zonecfg, lab.checks.configures)
