# %% [markdown]
# # 19 · The engine: a daemon, a REST API, the real `docker`
#
# **Afterwards you can** say what `docker` does and what it leaves to others, speak its language by hand, follow a
# request down to the system calls, and answer the real `docker` with a function of yours.
#
# **You need** root on Linux, and the life of a container from notebook 17. **It takes** about 40 minutes. First the
# destination: a daemon of ours, and whoever speaks its language.

# %%
import labrt
from labrt import lab

labrt.reset(quiet=True)
labrt.pull("busybox")
daemon = lab.daemon()
have_docker = bool(lab.daemon.find_docker())
print(daemon if have_docker else "no docker here: this notebook speaks for it, in the same HTTP")

# %%
if have_docker:
    print(daemon.docker("run", "--rm", "busybox", "echo", "hello from a client that is not ours"))
else:
    lab.skipped("no docker is here")

# %% [markdown]
# That `docker` is Docker's own program. It has never heard of labrt: it wrote HTTP to a socket, and labrt answered.
# So "docker" is two programs. The *client* `docker` makes no container; it asks. The *daemon*, `dockerd` as a rule,
# does it. What they speak is the **Docker Engine API**, JSON over HTTP, and anybody may speak it.
#
# ## By hand
#
# HTTP is text. A unix socket is a file to connect to. So what `docker version` asks can be typed:

# %%
import socket

with socket.socket(socket.AF_UNIX) as wire:
    wire.connect(daemon.socket)
    wire.sendall(b"GET /v1.50/version HTTP/1.0\r\n\r\n")
    answer = b"".join(iter(lambda: wire.recv(65536), b"")).decode()
print(answer[:420], "…")

# %% [markdown]
# A status, headers, an empty line, JSON. `daemon.ask` does the same with less typing. This is `docker run -d` without
# docker; it takes two requests, for the two steps of notebook 17:

# %%
status, made = daemon.ask("POST", "/containers/create?name=inn", {"Image": "busybox", "Cmd": ["sleep", "600"]})
print(status, made)
print(daemon.ask("POST", "/containers/inn/start"))

# %%
status, rows = daemon.ask("GET", "/containers/json")
lab.show.table(["field", "value"], list(rows[0].items()), caption=f"GET /containers/json: {status}, {len(rows)} row")

# %% [markdown]
# ## How many requests is a `docker run`?
#
# The daemon was started with `--trace`: it tells whatever comes in, and what it does about it. **Predict:** you type
# `docker run busybox true`. How many requests does that take?

# %%
guess = lab.predict("19", "docker run: how many requests?", 1)  # your guess

# %%
before = len(daemon.trace())
if have_docker:
    daemon.docker("run", "busybox", "true")
else:
    id = daemon.ask("POST", "/containers/create", {"Image": "busybox", "Cmd": ["true"]})[1]["Id"]
    for step in "start", "wait":
        daemon.ask("POST", f"/containers/{id}/{step}")
events = daemon.trace()[before:]

# %%
requests = [event for event in events if event["kind"] == "request" and "/_ping?" not in event["text"]]
for event in requests:
    print(lab.show.short_ids(event["text"]))
guess.saw(len(requests))

# %% [markdown]
# docker's `_ping` finds out which version both understand. `create` sends all options as JSON. `attach` comes before
# `start`, so that no byte of output is lost; for it HTTP is left, and the connection becomes a pipe. `wait` gets the
# exit code. `attach` and `wait` stay open as long as the container runs.
#
# ## From the client to the kernel
#
# Now the way of a single request, `start`. Each line was told by the process that did it, just after it did it. Green
# arrows are system calls; what is asked several times in a row is counted.

# %%
lab.traces.sequence(events, requests=["/start"])

# %% [markdown]
# Read it from top to bottom. The daemon itself makes *no* container: a process with threads must not fork. It orders
# one, and the monitor's `clone3` makes the process that becomes the container. You know all its calls: `sethostname`
# from 05, `mount` from 03, `pivot_root` from 04. After `close_range` it is silent, for it has closed all that is
# not the container's, our trace included.
#
# ## Who dies with the daemon?

# %%
daemon.kill()
labrt_sees = [container for container in labrt.engine.Containers().list() if container.name == "inn"]
print("the daemon is dead, and:", *labrt_sees)
daemon.start()
print("a new one sees:", [row["Names"] for row in daemon.ask("GET", "/containers/json")[1]])

# %% [markdown]
# Nobody. The container's parent is its monitor, which containerd calls a **shim**, and what is known of it stands on
# disk. Docker learned this late: until 2016 (*live restore*), an update of dockerd ended all containers.
#
# One warning. Whoever may write to this socket can ask for a container with the host's disk in it. So the socket *is*
# root; it is 0660, and the group `docker` is a group of administrators.

# %%
import os

mode = os.stat(daemon.socket)
print(oct(mode.st_mode)[-3:], "owner", mode.st_uid, "group", mode.st_gid)

# %% [markdown]
# ## Exercise: answer `docker ps`
#
# Write `listing(containers, every)`: what a daemon answers `GET /containers/json` with. A list, with a dict for each
# container that runs, and with `every` (`docker ps -a`) for all. In labrt a container has `c.id`, `c.name`,
# `c.status`, and `c.record()` with `image`, `command` (a list) and `created` (seconds). The API wants:
#
# | field | type |
# |---|---|
# | Id, Image, State | text |
# | Names | list of texts, each with a `/` before it |
# | Command | one text |
# | Created | seconds, a whole number |
# | Status | a sentence: `summary.status(c)` |
# | Ports | list; here empty |

# %%
from labrt.engine import summary


def listing(containers, every):
    """Answer GET /containers/json."""
    ### BEGIN SOLUTION: a list of dicts, one for each container that is wanted
    return [
        {
            "Id": c.id, "Names": ["/" + c.name], "Image": c.record()["image"], "State": c.status, "Ports": [],
            "Command": " ".join(c.record()["command"]), "Created": int(c.record()["created"]),
            "Status": summary.status(c),
        }
        for c in containers
        if every or c.status == "running"
    ]
    ### END SOLUTION


# %% [markdown]
# The check makes two containers, one that runs and one that has ended, serves what your function returns on a unix
# socket, and has `docker ps` print it. (Where there is no docker, labrt reads it as strictly as Go does.)

# %%
check = lab.check("19", listing)
check

# %% [markdown]
# Passed? Then the real docker prints *your* answer for what is there just now:

# %%
import json

from labrt.lab.checks import listings

if check.passed and have_docker:
    containers = labrt.engine.Containers().list(all=True)
    answers = {every: json.dumps(listing(containers, every)) for every in (False, True)}
    with listings.serving(f"{daemon.home}/yours.sock", answers) as url:
        print(lab.daemon.run_docker(url, daemon.home, "ps", "-a"))

# %%
daemon.close()
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **client** | `docker`: turns a command line into HTTP, and answers into lines |
# | **daemon** | who does it: `dockerd`, or labrt's |
# | **Engine API** | paths, JSON, a version in front; a connection that becomes a pipe for `attach` |
# | **shim, monitor** | who is the container's parent, so that the daemon need not be |

# %% [markdown]
# ## Three questions
#
# 1. `docker run -v /srv:/data …` from your laptop, to a daemon elsewhere: whose `/srv` is it?
# 2. Why does `docker run` attach before it starts?
# 3. A colleague asks to be in the group `docker`, "only to look at logs". What do you answer?
#
# Answers: 1: the daemon's; paths in the API are its own. 2: or what the program writes first would be gone. 3: that it
# is root's password; a proxy that lets only some requests through would be less.

# %% [markdown]
# ## The source
#
# One file per resource in `labrt/engine/api`; the document of the API is Docker's *Engine API v1.50*. See also
# *unix(7)*. Next comes notebook 20: building images.

# %%
from labrt.engine.api import listing as resource
from labrt.engine.api import router, serve, tracing

lab.source(serve, router.application, resource.shown, tracing, lab.checks.prints)
