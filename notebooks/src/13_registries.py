# %% [markdown]
# # 13 · Registries: how an image travels
#
# **Afterwards you can** read a pull on the wire, request by request, say what a token is for and how the great
# registries differ, and pull an image yourself from a registry that is busy and not to be trusted.
#
# **You need** root on Linux, and digests from notebook 12. **It takes** about 45 minutes. Is Docker Hub there? If not,
# a small registry on this machine stands in. A pull, live:

# %%
from contextlib import ExitStack

import labrt
from labrt import lab
from labrt.image.platform import Platform
from labrt.registry.client import Client

stack = ExitStack()
hub = stack.enter_context(lab.hub())
print(hub)


def listener(events, title="On the wire"):
    """Return what draws the wire anew at each event."""
    draw = lab.live()
    return lambda event: (events.append(event), draw(lab.wire.sequence(events, title=title)))


# %%
heard = []
with Client(on_event=listener(heard)) as client:
    manifest = client.manifest(hub.reference("busybox"), platform=Platform.host())
    layers = [b"".join(client.blob(hub.reference("busybox"), layer)) for layer in manifest.layers]
print(*(f"{len(layer)} bytes" for layer in layers))

# %% [markdown]
# That is all: HTTP, `GET`, three kinds of paths. `/v2/` asks whether this is a registry. `…/manifests/TAG` turns a name
# into a manifest or an index. `…/blobs/DIGEST` fetches what the manifest names. What stands before them is the
# *repository*, `library/busybox`. The specification of it is shorter than this course.

# %% [markdown]
# ## By hand
#
# No library, no client: one request, as bytes on a socket. We set up a registry of our own in the classroom, which we
# can make do what we want, and put a sample image into it.

# %%
from labrt.image.layout import Layout

store = Layout(stack.enter_context(lab.workspace("registry")))
sample = lab.samples.image(store, "library/sample:1", [{"etc/motd": "hello\n"}, {"bin/app": "version 1\n"}])
registry = stack.enter_context(lab.faulty.Registry(store, tokens=True))
print(registry.url)

# %%
import socket


def speak(text):
    """Send a request, print the head of the answer."""
    with socket.create_connection(("127.0.0.1", registry.port)) as connection:
        connection.sendall(text.replace("\n", "\r\n").encode())
        print(connection.recv(65536).decode())


speak("GET /v2/library/sample/manifests/1 HTTP/1.1\nHost: localhost\nConnection: close\n\n")

# %% [markdown]
# ## 401 is a signpost
#
# The registry wants to know who we are. It also says where one gets a paper that proves it: `realm` is the token
# server, `scope` what we want to do. Docker Hub gives such a token to *anybody* for public images, for five minutes.

# %%
import json

with Client() as client:
    print(client.challenge(registry.host))
    print(client.token(f"{registry.host}/library/sample:1"))

# %% [markdown]
# **Predict:** a client pulls one image of two layers from a registry that wants tokens. How many requests does it make,
# from the first knock to the last byte?

# %%
guess = lab.predict("13", "A pull of two layers, with a token: how many requests?", 4)  # your guess

# %%
from labrt.registry.events import Exchange


def pull_sample(title):
    heard = []
    with Client(on_event=listener(heard, title), wait=lambda seconds: None) as client:
        name = f"{registry.host}/library/sample:1"
        manifest = client.manifest(name, platform=Platform.host())
        config = b"".join(client.blob(name, manifest.config))
        layers = [b"".join(client.blob(name, layer)) for layer in manifest.layers]
    return heard, config, layers


heard, config, layers = pull_sample("A pull, with a token")
guess.saw(sum(isinstance(event, Exchange) for event in heard))

# %% [markdown]
# ## The great ones
#
# | | who gets in | how a token is had |
# |---|---|---|
# | **Docker Hub** | anybody, counted by address | token server `auth.docker.io`; rate limit in the headers |
# | **Amazon ECR** | accounts of AWS | user `AWS`, password from `aws ecr get-login-password`, 12 hours |
# | **Google GCR, Artifact Registry** | accounts of Google | user `oauth2accesstoken` with an access token |
# | **Azure ACR** | accounts of Azure | a refresh token, then an access token at `/oauth2/token` |
#
# The paths and the documents are the same with all of them. What differs is the way to the token, and so it is for
# *credential helpers* to know.

# %% [markdown]
# ## 429: not now
#
# A class behind one address, and Docker Hub counts. Then it answers *429 Too Many Requests*. A kind registry also says
# when to come back: `Retry-After`, in seconds. A client waits and asks again. (Ours does not really wait here, so that
# you need not.)

# %%
registry.busy = 2
heard, config, layers = pull_sample("A pull from a busy registry")

# %% [markdown]
# ## Lies
#
# What if a registry, or somebody in between, sends other bytes? In ours, we flip one bit of a layer.

# %%
from labrt.errors import DigestMismatch

victim = sample.manifest.layers[1].digest
right = store.read(victim)
registry.lies = {f"/v2/library/sample/blobs/{victim}": right[:-1] + bytes([right[-1] ^ 1])}
try:
    pull_sample("A pull from a liar")
except DigestMismatch as error:
    print("refused:", error)
registry.lies = {}

# %% [markdown]
# ## Exercise: pull
#
# Write a pull. `ask(path)` makes one request and returns status, headers (names in lower case) and body. First, a
# function that is patient: at status 429 it waits as long as `headers["retry-after"]` says, in seconds, and asks again;
# at another status than 200 it raises.

# %%
import hashlib
import time


def get(ask, path):
    """Ask until it is answered; return the body."""
    ### BEGIN SOLUTION: ask; 200: return the body; 429: sleep and ask again; else raise
    while True:
        status, headers, body = ask(path)
        if status == 200:
            return body
        if status != 429:
            raise OSError(f"{path}: status {status}")
        time.sleep(float(headers["retry-after"]))
    ### END SOLUTION


# %% [markdown]
# Then the pull. A document is JSON. It has `"layers"`, or it is an index and has `"manifests"`, whose entries have a
# `"platform"` with an `"architecture"`. Each entry and each layer has a `"digest"`. Check all that has one; raise
# whatever you like when it is not right.

# %%
def pull(ask, name, tag, architecture):
    """Return the layers of an image, as bytes, base first."""
    ### BEGIN SOLUTION: manifest, or index and manifest; then layers, each compared with its digest
    def fetch(kind, digest):
        body = get(ask, f"/v2/{name}/{kind}/{digest}")
        if "sha256:" + hashlib.sha256(body).hexdigest() != digest:
            raise ValueError(f"these bytes are not {digest}")
        return body

    document = json.loads(get(ask, f"/v2/{name}/manifests/{tag}"))
    for entry in document.get("manifests", []):
        if entry["platform"]["architecture"] == architecture:
            document = json.loads(fetch("manifests", entry["digest"]))
    return [fetch("blobs", layer["digest"]) for layer in document["layers"]]
    ### END SOLUTION


# %% [markdown]
# The check runs a registry that is honest, then has an index of several platforms, then is busy, then lies about a
# layer, and at last about a manifest. It looks at what you return, and at what the registry has seen on the wire.

# %% tags=["long"]
check = lab.check("13", pull)
check

# %% [markdown]
# ## Others speak it, too
#
# skopeo has never heard of labrt. It pulls from our registry all the same, token and all:

# %%
import shutil
import subprocess

if shutil.which("skopeo"):
    registry.seen.clear()
    command = ["skopeo", "inspect", "--tls-verify=false", f"docker://{registry.host}/library/sample:1"]
    print(json.loads(subprocess.run(command, capture_output=True, text=True).stdout)["Layers"])
    print(*(f"{seen.method} {seen.path} → {seen.status}" for seen in registry.seen), sep="\n")
else:
    lab.skipped("no skopeo is here (sudo apt-get install -y skopeo)")

# %%
stack.close()
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **registry** | HTTP in front of blobs and tags |
# | **repository** | a name in it, with tags of its own: `library/busybox` |
# | **challenge** | the 401 that says where a token is had |
# | **token** | a short-lived paper: who may do what in which repository |
# | **index** | one name for images of several platforms |
# | **rate limit, 429** | come back later; `Retry-After` says when |

# %% [markdown]
# ## Three questions
#
# 1. A pull by tag and a pull by digest, on a machine that has all layers: how many requests does each need?
# 2. A blob comes by redirect from another host. Why must the client leave its token behind?
# 3. You mirror Docker Hub for a class. Can a wicked mirror give them a wrong busybox?
#
# Answers: 1: by tag one for the manifest (Hub counts no pull for `HEAD`); by digest none. 2: the other host would get
# the right to act in our name. 3: for a tag, yes: it says what the tag points to. For a digest, no.

# %% [markdown]
# ## The source
#
# The specification is the OCI distribution-spec; tokens are described with CNCF Distribution. Next comes notebook 14:
# a cable between two containers.

# %%
from labrt.registry import auth, client, distribution, transport

lab.source(client.Client, auth.Challenge, transport.Transport, distribution.answer, lab.wire, lab.checks.pulls_safely)
