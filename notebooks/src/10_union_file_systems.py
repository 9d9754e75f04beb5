# %% [markdown]
# # 10 · Union file systems
#
# **Afterwards you can** lay directories on top of each other so that they look like one, say where a write lands and
# what a deletion leaves behind, and read an image's layers as what they are.
#
# **You need** root on Linux, and nothing of the notebooks before. **It takes** about 40 minutes. First, a container
# that is careless with a file that all its siblings need:

# %%
import labrt
from labrt import lab

print(labrt.run("busybox", "sh", "-c", "rm -r /usr; echo oops > /bin/note; ls / /bin/note").stdout)
print(labrt.run("busybox", "sh", "-c", "ls /; ls /bin/note 2>&1").stdout)

# %% [markdown]
# The first one has removed `/usr` and written into `/bin`. The second one, from the same image, a moment later, has
# everything, and no note. No file was copied for either of them. Where did the writing go? And how can `/usr` be gone
# for one, and there for the other?

# %% [markdown]
# ## Three directories
#
# We make two layers by hand, a *base* and an *update*, and an empty directory, `upper`, for what is going to be
# written.

# %%
import os
from contextlib import ExitStack

stack, layers = ExitStack(), {}


def write(layer, files):
    os.makedirs(os.path.join(layers[layer], "etc"), exist_ok=True)
    for name, text in files.items():
        with open(os.path.join(layers[layer], name), "w") as file:
            file.write(text)


def make_layers():
    home = stack.enter_context(lab.workspace("union"))
    layers.update({name: os.path.join(home, name) for name in ("base", "update", "upper")})
    write("base", {"etc/motd": "welcome\n", "etc/hosts": "localhost\n", "app": "version 1\n", "readme": "hello\n"})
    write("update", {"app": "version 2\n", "etc/motd": "welcome to 2\n"})
    os.mkdir(layers["upper"])


make_layers()

# %% [markdown]
# Now one `mount`: a *union mount*. overlayfs wants the highest layer first, as one reads from top to bottom.

# %%
from labrt.linux import mounts

lower = [layers["update"], layers["base"]]
root = stack.enter_context(mounts.overlay(lower, upper=layers["upper"]))
for name in ("app", "readme", "etc/motd", "etc/hosts"):
    with open(os.path.join(root, name)) as file:
        print(f"{name:10} {file.read()}", end="")

# %% [markdown]
# From above, one sees through each sheet where it has nothing. The number in a cell is that of the layer; on top is
# what one sees, and from where it comes.

# %%
lab.sheets.pile(layers, root)

# %% [markdown]
# ## Writing
#
# The layers below are for reading only: other containers stand on them. We append a line to a file that comes from the
# base. **Predict:** in which layer's directory does the kernel change something? 0 is the base, 1 the update, 2 upper.

# %%
guess = lab.predict("10", "A line is appended to readme, of layer 0. Which layer changes?", 0)  # your guess

# %%
before = [set(lab.sheets.read(path).files) for path in layers.values()]
with open(os.path.join(root, "readme"), "a") as file:
    file.write("and one line more\n")
after = [set(lab.sheets.read(path).files) for path in layers.values()]
changed = [number for number in range(3) if before[number] != after[number]]
guess.saw(changed[0])

# %% [markdown]
# This is **copy-up**: before the first write, the kernel copies the whole file into `upper`, and the copy is what is
# written to. The base's file is as it was. For a few bytes that is cheap. How is it for one byte of 256 MiB?

# %%
from labrt.storage.workshop import disk_usage

with open(os.path.join(layers["base"], "big"), "wb") as file:
    for _ in range(256):
        file.write(os.urandom(1024) * 1024)
steps = lab.steps("One byte, twice")
for name in ("the first byte", "the second byte"):
    with steps(name), open(os.path.join(root, "big"), "r+b") as file:
        file.write(b"!")
print("upper takes", disk_usage(layers["upper"]) >> 20, "MiB")
steps

# %% [markdown]
# The first byte took a copy of all 256 MiB, the second nothing. That is why a database's files do not belong into a
# container's root, but into a *volume*: a directory of the host, mounted over it. `chmod` and `chown` copy up, too:
# `RUN chmod -R` in a Dockerfile can double an image.

# %% [markdown]
# ## Removing
#
# What is in a layer below cannot be removed, for it is not ours. So the kernel leaves a sign in `upper` that says:
# *here is nothing*. We make the layers anew, remove a file and a whole directory, and make the directory again.

# %%
stack.close()  # the union, then the directories
make_layers()
root = stack.enter_context(mounts.overlay(lower, upper=layers["upper"]))

# %%
import shutil

os.unlink(os.path.join(root, "readme"))
shutil.rmtree(os.path.join(root, "etc"))
os.mkdir(os.path.join(root, "etc"))
with open(os.path.join(root, "new"), "w") as file:
    file.write("from above\n")
lab.sheets.pile(layers, root)

# %% [markdown]
# Dashed is what hides. `readme` has a **whiteout**. `etc` is **opaque**: it shows nothing of the layers below. On the
# disk, a whiteout is a device with the numbers 0, 0, which is no device at all, and opaque is an extended attribute.

# %%
import stat

found = os.lstat(os.path.join(layers["upper"], "readme"))
print(stat.filemode(found.st_mode), os.major(found.st_rdev), os.minor(found.st_rdev), "readme")
etc = os.path.join(layers["upper"], "etc")
print({name: os.getxattr(etc, name) for name in os.listxattr(etc)})

# %% [markdown]
# ## On the way
#
# A layer travels as a tar archive, and there the signs have other names, older ones, from AUFS: `.wh.readme` removes
# `readme`, and `.wh..wh..opq` makes its directory opaque. Docker began with AUFS in 2013. Linux never took it in;
# overlayfs came in 2014, and the names stayed. We pack `upper` into a layer, as `docker commit` does:

# %%
import io
import tarfile

from labrt.image import pack

packed = pack.create(layers["upper"])
with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
    archive.list(verbose=False)

# %%
stack.close()

# %% [markdown]
# ## Exercise: merge
#
# Do by hand what the kernel does. `merge(layers)` is given layers, base first. Each is a dict: path to content, with
# `None` for a directory, and whiteouts by their names in an archive. It returns such a dict of what is seen.
#
# `hide` is given: it takes a path out of what is seen, with all below it.

# %%
def hide(seen, path, itself=True):
    """Take away what is below a path; and `itself`, too."""
    for other in list(seen):
        if other.startswith(path + "/") or (itself and other == path):
            del seen[other]


# %%
def merge(layers):
    """Return what is seen, {path: content}, of layers given base first."""
    seen = {}
    ### BEGIN SOLUTION: two rounds through each layer: its whiteouts, then its files
    for layer in layers:
        for path in layer:
            folder, name = os.path.split(path)
            if name == ".wh..wh..opq":
                hide(seen, folder, itself=False)
            elif name.startswith(".wh."):
                hide(seen, os.path.join(folder, name[4:]))
        for path, content in layer.items():
            if not os.path.basename(path).startswith(".wh."):
                if content is not None:
                    hide(seen, path)  # below a file there is nothing
                seen[path] = content
    ### END SOLUTION
    return seen


# %% [markdown]
# The check has seven sets of layers. It unpacks and mounts each of them, reads what the kernel shows, and compares that
# with your answer.

# %%
check = lab.check("10", merge)
check

# %% [markdown]
# Then you can read what a real container did. `docker diff` is this, from the signs in `upper`:

# %%
from labrt.engine import commit

script = "rm /etc/group; echo hi > /root/hi; chmod 700 /tmp; touch /done; sleep 60"
container = labrt.run("busybox", "sh", "-c", script, detach=True)
container.exec("sh", "-c", "until [ -e /done ]; do sleep 0.1; done")
for change in commit.changes(container):
    print(change)
container.remove(force=True)

# %%
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **union mount** | several directories, seen as one |
# | **lower, upper** | what is only read; what is written |
# | **copy-up** | the whole file goes to `upper` before its first change |
# | **whiteout** | the sign for *here is nothing* |
# | **opaque** | a directory that hides all that is below it |
# | **layer** | such a directory, packed as tar |

# %% [markdown]
# ## Three questions
#
# 1. A Dockerfile downloads 500 MB in one `RUN` and removes it in the next. How large is the image?
# 2. Two programs have a file open, one for reading, and *then* the other one opens it for writing. What does the reader
#    see of the change?
# 3. Why may `mv` of a directory that comes from a layer below be slow?
#
# Answers: 1: 500 MB larger: the second layer has only a whiteout. 2: nothing: it has the lower file open, and the
# change is in the copy. 3: *rename(2)* gives `EXDEV`, and `mv` copies all that is in it.

# %% [markdown]
# ## The source
#
# The kernel's own words: Documentation/filesystems/overlayfs.rst; the archive's: the OCI image-spec's layer.md. Next
# comes notebook 11: other ways to the same root.

# %%
from labrt.image import diff, whiteouts

lab.source(mounts.overlay, whiteouts.Overlay, whiteouts.Delete, diff.overlay_changes, lab.checks.unites)
