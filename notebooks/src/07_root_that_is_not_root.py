# %% [markdown]
# # 07 · user: root that is not root
#
# **Afterwards you can** make somebody root who is nobody, say what that root may and may not do, and map a container's
# users so that the files in your home stay yours.
#
# **You need** root on Linux, and notebooks 03 and 05. **It takes** about 35 minutes.

# %%
import os

import labrt
from labrt import lab
from labrt.linux import mounts, process, procfs, syscalls, userns
from labrt.linux.userns import IdMap

labrt.reset(quiet=True)
MAPS = ([IdMap(0, 200000, 65536)], [IdMap(0, 200000, 65536)])  # of users, of groups


def who_am_i():
    return f"user {os.getuid()}, group {os.getgid()}, capabilities {procfs.status()['CapEff']}"


def as_root(function):
    os.setgroups([])
    os.setgid(0)
    os.setuid(0)  # whoever 0 may be, in here
    return function()


print(process.run_in_child(lambda: as_root(who_am_i), namespaces="user", maps=MAPS))

# %% [markdown]
# User 0, with every *capability* that there is: these are the pieces, some forty, into which Linux has cut root's
# power. So it is root? Let us ask the other side. A **user namespace** has a *map*: which of its ids is which one
# outside. Ours says that 0 inside is 200000 outside.
#
# **Predict:** root inside makes a file. Whom does it belong to, for the host?

# %%
guess = lab.predict("07", "Who owns the file on the host?", 0)  # your guess

# %%
with lab.workspace("open-to-all") as place:
    os.chmod(place, 0o777)
    here = os.open(place, os.O_PATH)  # a door: the way there may be closed to others

    def make_a_file():
        os.close(os.open("letter", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        return os.stat("letter", dir_fd=here).st_uid

    inside = process.run_in_child(lambda: as_root(make_a_file), namespaces="user", maps=MAPS)
    outside = os.stat(f"{place}/letter").st_uid
    os.close(here)
print("inside the owner is", inside)
guess.saw(outside)

# %% [markdown]
# A stranger's, on the disk. Nobody on this machine has the number 200000. That is the point: who breaks out of such a
# container is nobody.

# %% [markdown]
# ## What root inside may
#
# Every namespace belongs to the user namespace in which it was made. A capability counts for what belongs to *yours*.
# So the same call may be granted or refused: it depends on whose thing it is. Eight attempts:

# %%
def read_shadow():
    with open("/etc/shadow") as file:
        return file.read()


ATTEMPTS = {
    "its own hostname": ("user,uts", lambda: syscalls.sethostname("mine")),
    "the host's hostname": ("user", lambda: syscalls.sethostname("mine")),
    "a tmpfs in its own mounts": ("user,mnt", lambda: syscalls.mount("x", "/tmp", "tmpfs")),
    "a tmpfs in the host's mounts": ("user", lambda: syscalls.mount("x", "/tmp", "tmpfs")),
    "the host's passwords": ("user", read_shadow),
}

# %%
MORE = {
    "become user 33": ("user", lambda: os.setuid(33)),
    "become user 70000": ("user", lambda: os.setuid(70000)),
    "the clock": ("user", lambda: time.clock_settime(time.CLOCK_REALTIME, time.time())),
}


def ask(kinds, attempt):
    try:
        process.run_in_child(lambda: as_root(attempt), namespaces=kinds, maps=MAPS)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "granted"


# %%
import errno
import time

rows = [[what, kinds, ask(kinds, attempt)] for what, (kinds, attempt) in {**ATTEMPTS, **MORE}.items()]
lab.show.table(["it wants", "new namespaces", "the kernel says"], rows)

# %% [markdown]
# EPERM: the thing is not yours. EACCES: an ordinary permission, of a file that is the real root's. EINVAL for user
# 70000: there is no such user in this world; the map ends at 65535. And for the clock, which no namespace holds apart,
# nobody but the real root will do.

# %% [markdown]
# ## Before the map, nobody
#
# The map is written from outside, once, after the namespace was made. Until then everybody inside is the *overflow
# user*, 65534. So is whoever is not in the map, seen from inside: the host's root, for one.

# %%
def strangers():
    return {path: os.stat(path).st_uid for path in ("/", "/etc/passwd", "/proc/self")}


inside = process.run_in_child(lambda: as_root(strangers), namespaces="user", maps=MAPS)
lab.show.table(["path", "owner, outside", "owner, inside"], [[p, os.stat(p).st_uid, o] for p, o in inside.items()])

# %% [markdown]
# (`/proc/self` is another process each time: outside ours, inside its own.)
#
# ## Without root
#
# Making a user namespace needs no privilege at all: the new root has power over nothing but what it makes itself. This
# child becomes the user `nobody` first, and then root:

# %%
DUMPABLE = 4  # prctl(2): who has changed users may otherwise not write into its child's /proc


def rise():
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    syscalls.prctl(DUMPABLE, 1)
    before = who_am_i()
    return before, process.run_in_child(who_am_i, namespaces="user")


obstacles = userns.obstacles()
if obstacles:
    lab.skipped("it lets no ordinary user do it", *obstacles)
else:
    print(*process.run_in_child(rise), sep="\n")

# %% [markdown]
# An ordinary user may map one id only: their own. For more, `/etc/subuid` sets a range aside, and `newuidmap` writes
# it. That is all that *rootless* containers are. `labrt run` works so for who is not root; `labrt doctor`, asked by
# them, says what it takes.

# %%
if os.path.exists("/etc/subuid"):
    with open("/etc/subuid") as file:
        print(file.read() or "nobody has subordinate ids here")

# %% [markdown]
# ## Exercise: keep your home
#
# You are user *home*, and show your home to a container. Its user *home* shall be you, so that the files made there are
# yours. All its other users, 0 to 1999, shall be strangers: user *n* is *base* + *n* outside. Both numbers are yours
# alone:

# %%
lab.given("07")

# %% [markdown]
# Write `id_map()`: a list of lines `(first inside, first outside, how many)`.

# %%
def id_map():
    """Give the lines of a uid_map: home stays home, all others below 2000 move up by base."""
    ### BEGIN SOLUTION: three stretches: below home, home itself, above it
    home, base = lab.given("07")
    return [(0, base, home), (home, home, 1), (home + 1, base + home + 1, 1999 - home)]
    ### END SOLUTION


# %% [markdown]
# The check lets six users of such a container make a file each, and asks the host whose they are.

# %%
check = lab.check("07", id_map)
check

# %% [markdown]
# And this is your map, as the kernel has it. Bands cross where the order is another one outside.

# %%
lines = [IdMap(*line) for line in id_map()] if check.passed else MAPS[0]
with process.spawn(lambda: time.sleep(60), namespaces="user", maps=(lines, MAPS[1])) as child:
    uids, gids = userns.read_maps(child.pid)
lab.diagrams.number_line(uids)

# %% [markdown]
# `podman run --userns=keep-id` makes such a map. The other way to show a home is to leave the container's ids as
# they are, and to translate on the *mount*: an idmapped mount, `mount_setattr(2)` with `MOUNT_ATTR_IDMAP`.

# %%
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **user namespace** | user and group ids, and capabilities that count only in it |
# | **uid_map** | lines of first inside, first outside, how many; written once |
# | **overflow user** | 65534, who stands for everybody that the map does not know |
# | **subordinate ids** | ranges in `/etc/subuid` that an ordinary user may map, too |
# | **rootless** | a container of an ordinary user, who is root inside |

# %% [markdown]
# ## Three questions
#
# 1. Two containers have the same map. What does root of one find when it breaks out into the other's files?
# 2. Why may one write the map only once?
# 3. Root inside mounts a tmpfs and makes a setuid-root program in it. For whom is that dangerous?
#
# <details><summary>Answers</summary>
#
# - The first: files of 200000, its own number: all doors are open. So give each container a range of its own.
# - The second: files are already owned by ids that it has translated.
# - The third: for nobody outside: that root is 200000, and the mount is in another namespace.
#
# </details>

# %% [markdown]
# ## The source
#
# See *user_namespaces(7)*, *subuid(5)*, *newuidmap(1)*. Next comes notebook 08: who sees what is settled; now, who may
# have how much.

# %%
lab.source(userns.write_maps, userns.rootless_maps, userns.obstacles, process.spawn, mounts.tmpfs)
