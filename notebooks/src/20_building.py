# %% [markdown]
# # 20 · Building: every instruction a layer
#
# **Afterwards you can** say what each line of a Dockerfile makes, which lines are done again and why, get the same
# digest twice, and bring an image to a registry and back.
#
# **You need** root on Linux, layers from notebook 10 and digests from 12. **It takes** about 45 minutes. Five lines and
# a file become an image:

# %%
from contextlib import ExitStack

import labrt
from labrt import lab

TEXT = """FROM busybox
RUN mkdir -p /srv && echo ready > /srv/state
COPY hello.sh /bin/hello
ENV NAME=world
CMD ["sh", "/bin/hello"]
"""
stack = ExitStack()
place = stack.enter_context(lab.workspace("kitchen"))
with open(f"{place}/hello.sh", "w") as file:
    file.write('echo "hello, $NAME"\n')
image = labrt.build(place, text=TEXT, tag="lesson:1", no_cache=True)

# %%
labrt.run("lesson:1").stdout

# %% [markdown]
# Read the log. `FROM` takes an image. Each further line makes a new one of it, and the number after the arrow is its
# name. `RUN` starts a container of the image so far, and what has changed in there when it ends becomes a layer. `COPY`
# makes its layer without a container. `ENV` and `CMD` change the config alone.

# %%
from labrt.engine.history import history

rows = [[step.created_by[:70], step.size, step.layer.short if step.layer else "none"] for step in history(image)]
lab.show.table(["made by, the newest first", "bytes", "layer"], rows)

# %% [markdown]
# What is in such a layer? Only the difference. Here is the one of `RUN`:

# %%
import tarfile

from labrt.engine.images import Images

with Images().layout.open(image.manifest.layers[-2].digest) as blob, tarfile.open(fileobj=blob) as archive:
    archive.list()

# %% [markdown]
# ## Not again
#
# To install packages takes minutes, and nobody waits for them at each build. Every step has a **cache key**, a digest
# of all that it depends on. Is the key known, then what came of it is taken, and nothing is done.
#
# **Predict:** the same build once more. How many of the four steps after `FROM` are done?

# %%
guess = lab.predict("20", "Built again, unchanged: how many steps are done?", 4)  # your guess

# %%
def build(title, text=TEXT, **options):
    watch = lab.buildgraph.Watch(text, title=title)
    return labrt.build(place, text=text, tag="lesson:1", progress=watch, **options), watch


image, watch = build("Again, and nothing has changed")
guess.saw(len(watch.made))

# %% [markdown]
# **Predict:** now we change `hello.sh`. How many of the four are done again?

# %%
guess = lab.predict("20", "hello.sh has changed: how many steps are done?", 1)  # your guess

# %%
import time

with open(f"{place}/hello.sh", "a") as file:
    file.write(f"echo changed at {time.time_ns()}\n")
image, watch = build("hello.sh has changed")
guess.saw(len(watch.made))

# %% [markdown]
# `ENV` has not changed, has it? But it stands on other layers now, and these are a part of its key. So all that comes
# *after* a miss is a miss. From that follows the one rule of Dockerfiles: **what seldom changes comes first.** Whoever
# copies the sources above `RUN install…` installs at each change.

# %% [markdown]
# And if a file is only *newer*, as after each `git clone`? We touch it:

# %%
import os

os.utime(f"{place}/hello.sh")
image, watch = build("hello.sh is newer, and the same")
print("done again:", watch.made)

# %% [markdown]
# Nothing. Of files it is the contents that count, and the mode, never the time. What `RUN` does cannot be looked at
# beforehand: of that it is the words that count. `RUN apt-get update` is a hit for years, until a line above it
# changes.

# %% [markdown]
# ## Stages
#
# A compiler makes the program, and nobody wants it in the image. So one stage makes, and another one copies from it.
# Stages that do not need each other are built at the same time. Only the last one becomes the image.

# %%
STAGES = """FROM busybox AS words
RUN echo "from a stage" > /words
FROM busybox AS tools
COPY hello.sh /hello
RUN chmod 755 /hello
FROM busybox
COPY --from=words /words /srv/words
COPY --from=tools /hello /bin/hello
CMD ["cat", "/srv/words"]
"""
several, watch = build("Three stages", STAGES, no_cache=True)

# %% [markdown]
# We change what one stage copies. Follow the arrows: who is done again, and who is not?

# %%
with open(f"{place}/hello.sh", "a") as file:
    file.write("echo once more\n")
several, watch = build("Three stages, hello.sh has changed", STAGES)

# %% [markdown]
# ## The same twice
#
# Two people build the same sources. Do they get the same image? We build twice, and do everything anew. And twice
# more, with a time that is always the same:

# %%
def digests(**options):
    built = labrt.build(place, text=TEXT, tag="lesson:1", progress=False, no_cache=True, **options)
    run, copied = built.manifest.layers[-2:]
    return {"image": built.id.short, "RUN's layer": run.digest.short, "COPY's layer": copied.digest.short}


EPOCH = 1_700_000_000
now, then = digests(), digests(epoch=EPOCH)
time.sleep(1.1)
lab.show.compare(now, digests(), caption="As it comes")

# %%
lab.show.compare(then, digests(epoch=EPOCH), caption=f"SOURCE_DATE_EPOCH={EPOCH}")

# %% [markdown]
# As it comes, `COPY` is the same: its file has a time of its own. What `RUN` writes has the time of *now*, and so has
# the config. For **reproducible builds** people agreed on a variable: `SOURCE_DATE_EPOCH` says which time it shall be,
# in seconds, mostly that of the last commit. `labrt build` heeds it, too.

# %% [markdown]
# ## To a registry, and back
#
# A registry of our own, on this machine. The name of an image begins with the registry that it goes to: `push` needs no
# other address.

# %%
from labrt.engine.push import push, tag
from labrt.image.layout import Layout
from labrt.registry.events import Exchange
from labrt.registry.server import RegistryServer

shelf = Layout(stack.enter_context(lab.workspace("shelf")))
registry = stack.enter_context(RegistryServer(shelf, push=True))
name = f"{registry.host}/team/hello:1"
tag("lesson:1", name)
heard = []
pushed = push(name, on_event=heard.append)
lab.wire.sequence([event for event in heard if isinstance(event, Exchange)], title="A push")

# %% [markdown]
# For each blob first a question: *have you got this?* (`HEAD`.) Only what is missing is sent: `POST` opens an upload,
# `PUT` ends it, with the digest. The manifest goes last, so that nobody can pull half an image. Now we forget ours, and
# pull it back:

# %%
Images().remove(name)
back = labrt.pull(name, progress=False)
print("pushed", pushed.digest.short, "and pulled", back.descriptor.digest.short)
print(labrt.run(name).stdout)

# %% [markdown]
# ## Exercise: one instruction
#
# Write `copy(below, source, target)`, the instruction COPY. `below` is the chain id of the layers that it stands on, as
# text; `source` a directory with plain files; `target` a place in the image. Return two things:
#
# - the **key**, a text: another one exactly when something else would come out;
# - the **layer**, the bytes of a tar archive with the files below `target`: the same files give the same bytes.
#
# `tar.gettarinfo(path, name)` makes an entry for a file, with its mode and its `mtime`.

# %%
import hashlib
import io


def copy(below, source, target):
    """Return the key and the layer of COPY."""
    ### BEGIN SOLUTION: go through sorted(os.listdir(source)); key of contents, layer without times
    key = hashlib.sha256(f"COPY {below} {target}".encode())
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name in sorted(os.listdir(source)):
            entry = tar.gettarinfo(f"{source}/{name}", f"{target}/{name}")
            with open(f"{source}/{name}", "rb") as file:
                data = file.read()
            key.update(f"{name!r} {entry.mode} {hashlib.sha256(data).hexdigest()}".encode())
            entry.mtime = 0
            tar.addfile(entry, io.BytesIO(data))
    return key.hexdigest(), layer.getvalue()
    ### END SOLUTION


# %% [markdown]
# The check calls it for files that are older, made in another order, changed, renamed; on another base, to another
# place. Then it makes an image of your layer, pushes that to a registry, and pulls it back.

# %%
check = lab.check("20", copy)
check

# %%
for image_name in ("lesson:1", name):
    Images().remove(image_name)
stack.close()
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **context** | the directory that a build may copy from |
# | **step** | one instruction; mostly a layer |
# | **cache key** | the digest of all that a step depends on |
# | **stage** | one FROM and what follows; only the last one is kept |
# | **SOURCE_DATE_EPOCH** | which time it shall be, that all may build the same |
# | **push** | blobs that are missing, then the manifest |

# %% [markdown]
# ## Three questions
#
# 1. `RUN apt-get update`, and in the next line `RUN apt-get install curl`. A year later you add `git` to the second.
#    What goes wrong?
# 2. A password is copied in, used, and deleted in the next line. Is it in the image?
# 3. `RUN date > /built`. Does `SOURCE_DATE_EPOCH` make that reproducible?
#
# Answers: 1: the update is a hit, with lists that are a year old; put both in one `RUN`. 2: yes, in its layer; a
# whiteout only hides it. That is what `RUN --mount=type=secret` is for. 3: no: the file's time is set, its contents are
# what the program wrote.

# %% [markdown]
# ## The source
#
# The Dockerfile reference is Docker's; reproducible-builds.org describes the variable. Next comes notebook 21: the
# whole way, by hand.

# %%
from labrt.builder import cache, stage, stages
from labrt.builder import build as building

lab.source(stage.StageBuilder, cache.Cache, stages.read, building.build, lab.buildgraph, lab.checks.caches)
