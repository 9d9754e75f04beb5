# %% [markdown]
# # 12 · Images: content that names itself
#
# **Afterwards you can** say what an image consists of, why nobody can change one, which of its names changes with what,
# and compute those names yourself.
#
# **You need** root on Linux; no network. **It takes** about 35 minutes. This is an image:

# %%
import labrt
from labrt import lab, paths
from labrt.image.layout import Layout

labrt.run("busybox", "true")  # so that it is here
store = Layout(paths.default().images)
image = store.image("busybox")
print(image, "\n")
print(image.manifest.raw.decode())

# %% [markdown]
# That is the *manifest*, a few lines of JSON. It names one *config* and some *layers*, each by media type, size and
# **digest**. The digest is the SHA-256 of what is named. So the name says what the content must be, and where it comes
# from does not matter.
#
# On the disk, each blob is a file whose name is its own hash. Do not believe it, compute it:

# %%
import subprocess

path = store.blob_path(image.manifest.config.digest)
print(subprocess.run(["sha256sum", path], capture_output=True, text=True).stdout)
print(image.config.raw.decode()[:300], "…")

# %% [markdown]
# ## One byte
#
# We make a small image of three layers, and another one that differs in a single byte of a single file in the middle
# layer. Each consists of five blobs: a manifest, a config and three layers. **Predict:** how many of the five will have
# another digest?

# %%
guess = lab.predict("12", "One byte of one layer: how many of the five blobs are others?", 1)  # your guess

# %%
from contextlib import ExitStack

stack = ExitStack()
small = Layout(stack.enter_context(lab.workspace("content")))
layers = [{"etc/motd": "hello\n"}, {"app": "version 1\n"}, {"data": "12345\n"}]
before = lab.samples.image(small, "sample:before", layers)
layers[1] = {"app": "version 2\n"}
after = lab.samples.image(small, "sample:after", layers)


def blobs(image):
    return {image.manifest.digest, image.manifest.config.digest, *(layer.digest for layer in image.manifest.layers)}


guess.saw(len(blobs(after) - blobs(before)))

# %%
lab.content.graph({"before": before, "after": after})

# %% [markdown]
# The layer; the config, which has the layer's diff id in it; the manifest, which has the digests of both. A change
# climbs up to the top, and so **the manifest's digest names the whole image**, to the last byte. What did not change is
# the same blob: the store has it once, and a pull of the second image fetches only what is new.
#
# That is also why an image cannot be changed. Who changes it has made another one.

# %% [markdown]
# ## Can somebody cheat?
#
# Let us be the attacker, and change a byte of a blob in the store, leaving its name.

# %%
from labrt.errors import DigestMismatch

victim = small.blob_path(before.manifest.config.digest)
with open(victim, "r+b") as file:
    byte = file.read(1)
    file.seek(0)
    file.write(b"[")
try:
    small.read(before.manifest.config.digest)
except DigestMismatch as error:
    print(error)
with open(victim, "r+b") as file:
    file.write(byte)

# %% [markdown]
# A *tag*, such as `sample:before`, is nothing of that kind. It is a line in `index.json` that whoever may push can make
# point elsewhere. Who wants the very same image tomorrow writes `name@sha256:…`.

# %%
for name, descriptor in small.references().items():
    print(name, "→", descriptor.digest)

# %% [markdown]
# ## Two names for one layer
#
# Layers are sent compressed, and the manifest has the digest of *that*. The config has the digest of the layer as it is
# unpacked, the **diff id**. We make the same image again, compressed less hard. **Predict:** of the three kinds,
# `"manifest"`, `"config"`, `"layer"`, which one stays the same?

# %%
guess = lab.predict("12", "Compressed otherwise: what stays the same?", "layer")  # your guess

# %%
again = lab.samples.image(small, "sample:again", layers, level=1)
pairs = {
    "manifest": (after.manifest.digest, again.manifest.digest),
    "config": (after.manifest.config.digest, again.manifest.config.digest),
    "layer": (after.manifest.layers[0].digest, again.manifest.layers[0].digest),
}
guess.saw(next(name for name, (one, other) in pairs.items() if one == other))

# %% [markdown]
# The config: it says nothing about compression. Its digest is the **image id**, which `labrt images` prints, and
# `docker images` did for many years; the manifest's digest is what one pulls by.

# %% [markdown]
# ## What lies below
#
# A layer is only what changed. The same layer on another base gives another root. So a storage driver cannot name a
# root by its top layer's diff id. It takes the **chain id**:
#
# - the first layer's chain id is its diff id;
# - each next one is the digest of the text `chain-id-below diff-id`, with one blank between.
#
# Here are the same two layers, in both orders. The diff ids are the same two, and the last chain ids differ:

# %%
one = lab.samples.image(small, "sample:one", [{"a": "1"}, {"a": "2"}])
other = lab.samples.image(small, "sample:other", [{"a": "2"}, {"a": "1"}])
rows = [
    [name, " ".join(each.short for each in made.config.diff_ids), made.config.chain_ids[-1].short]
    for name, made in {"1, then 2": one, "2, then 1": other}.items()
]
lab.show.table(["layers", "diff ids", "last chain id"], rows)

# %% [markdown]
# ## Exercise: names
#
# Write `names(blobs)`. It is given the compressed layers of an image, as bytes, base first. It returns two lists: their
# diff ids, and their chain ids, each as text, `"sha256:…"`. There are `gzip.decompress` and `hashlib.sha256`.

# %%
import gzip
import hashlib


def names(blobs):
    """Return the diff ids and the chain ids of compressed layers."""
    ### BEGIN SOLUTION: decompress and hash each; then chain them
    diff_ids = ["sha256:" + hashlib.sha256(gzip.decompress(blob)).hexdigest() for blob in blobs]
    chain_ids = diff_ids[:1]
    for diff_id in diff_ids[1:]:
        text = f"{chain_ids[-1]} {diff_id}"
        chain_ids.append("sha256:" + hashlib.sha256(text.encode()).hexdigest())
    return diff_ids, chain_ids
    ### END SOLUTION


# %% [markdown]
# The check makes an image and asks *skopeo*, which is not ours, what its diff ids are. Where there is no skopeo, it
# takes the image's config.

# %%
check = lab.check("12", names)
check

# %% [markdown]
# Then try it on the real one, and look how the storage driver calls its layers:

# %%
from labrt.storage.driver import open_driver

if check.passed:
    diff_ids, chain_ids = names([store.read(layer.digest) for layer in image.manifest.layers])
    known = [str(each) for each in open_driver(None, paths.default()).layers()]
    print("the last chain id:", chain_ids[-1])
    print("the driver has it:", chain_ids[-1] in known)

# %% [markdown]
# ## Others read it, too
#
# Nothing of this is labrt's invention. The store is an *OCI image layout*, and skopeo reads it as it stands:

# %%
import shutil

if shutil.which("skopeo"):
    command = ["skopeo", "inspect", "--config", f"oci:{store.path}:{image.reference}"]
    print(subprocess.run(command, capture_output=True, text=True).stdout[:400], "…")
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
# | **digest** | the hash of some bytes, used as their name |
# | **blob** | bytes that are named so: manifest, config, layer |
# | **manifest** | names a config and layers; its digest names the image |
# | **config** | what runs, and the diff ids; its digest is the image id |
# | **index** | names one manifest for each kind of machine |
# | **diff id, chain id** | of a layer unpacked; of a layer with all below it |

# %% [markdown]
# ## Three questions
#
# 1. Two images have the same image id and different manifest digests. How can that be?
# 2. Why is it safe to fetch a layer over plain HTTP from a stranger, and not what a tag points to?
# 3. A base image gets a security fix. Which blobs of an image that is built on it anew may be the same afterwards?
#
# Answers: 1: the same config, and layers compressed otherwise. 2: the digest says whether it is the right layer; what a
# tag points to, only the registry says. 3: the layers above it; config, manifest and chain ids are new.

# %% [markdown]
# ## The source
#
# The specification is the OCI image-spec: manifest.md, config.md, image-layout.md. Next comes notebook 13: where images
# come from.

# %%
from labrt.image import config, digest, manifest

lab.source(digest.Digest, manifest.Manifest, config.chain_ids, Layout.read, lab.content.graph, lab.checks.names_layers)
