# %% [markdown]
# # 14 · A cable and a switch
#
# **Afterwards you can** lay a cable between two containers and a switch between three, follow a packet over it frame by
# frame, and say what you see in a neighbour table.
#
# **You need** root on Linux, and namespaces from notebooks 03 to 07. **It takes** about 35 minutes. First two
# **stations**: each a network namespace, and a process that does nothing but keep it.

# %%
import os
from contextlib import ExitStack

import labrt
from labrt import lab
from labrt.linux import namespaces
from labrt.linux.network import addresses, interfaces, links, neighbours, routes
from labrt.linux.network.packets import Capture, ping

labrt.reset(quiet=True)
print(lab.stations.lacking(rules=False) or "this kernel has what we need: veth, bridge")
stack = ExitStack()
left, right = stack.enter_context(lab.stations("left", "right"))
left, right

# %% [markdown]
# ## Alone
#
# A new network namespace is the loneliest place on a machine. `namespaces.entered` goes there with *setns(2)* for the
# length of a block. What is there? And can it call anybody?

# %%
with namespaces.entered("net", left.pid):
    print(interfaces(), routes.listed())
    try:
        ping("10.14.0.2")
    except OSError as error:
        print(error)

# %% [markdown]
# One interface, `lo`, and even that is switched off. No route leads anywhere, so the kernel refuses before a single bit
# is sent: `ENETUNREACH`. This is what `docker run --network none` gives you.

# %% [markdown]
# ## A cable
#
# **veth** is a cable with a network card at either end: what goes in here comes out there. It is made in one piece,
# *here* one end, the other born in a namespace of your choice. You name that by a descriptor of `/proc/PID/ns/net`.

# %%
with namespaces.entered("net", left.pid):
    there = namespaces.of(right.pid).net.open()
    links.veth("eth0", "eth0", namespace=there)
    os.close(there)

for station in (left, right):
    with namespaces.entered("net", station.pid):
        print(station.name, interfaces())

# %% [markdown]
# Both are called `eth0`. That is fine: names belong to a namespace. Each end also has a **MAC**, six bytes that the
# kernel made up, and no address yet. An address says with its `/24` that whoever shares the first 24 bits is on this
# cable. So it makes a route, too.

# %%
for station, address in ((left, "10.14.0.1/24"), (right, "10.14.0.2/24")):
    with namespaces.entered("net", station.pid):
        addresses.add("eth0", address)

with namespaces.entered("net", left.pid):
    links.change("eth0", up=True)
    print(routes.listed())

# %% [markdown]
# **Predict:** both ends have an address. The left one is switched on, the right one is still off. What comes of a ping
# now: `"answer"`, `"silence"`, or `"unreachable"`, as before?

# %%
guess = lab.predict("14", "One end is off. What comes of a ping?", "unreachable")  # your guess

# %%
with namespaces.entered("net", left.pid):
    try:
        answer = "silence" if ping("10.14.0.2", timeout=0.3) is None else "answer"
    except OSError:
        answer = "unreachable"
    print("up:", interfaces()[-1].up, "carries:", links.carries("eth0"))
guess.saw(answer)

# %% [markdown]
# There is a route, so the kernel accepts the packet, and drops it at the dead cable. *Up* is what you want; whether it
# *carries* is for both ends to say. Most networks fail like this: quietly.

# %%
with namespaces.entered("net", right.pid):
    links.change("eth0", up=True)
    print("carries:", links.carries("eth0", timeout=1))

# %% [markdown]
# ## A packet on the cable
#
# Now we look. A **capture** is a socket that gets a copy of each frame, by *packet(7)*; `tcpdump` does nothing else. To
# start afresh, we use a third address, of which nobody has heard yet.

# %%
with namespaces.entered("net", right.pid):
    addresses.add("eth0", "10.14.0.3/24")
with namespaces.entered("net", left.pid), Capture("eth0") as capture:
    seconds = ping("10.14.0.3")
    frames = capture.frames()
    print(f"{seconds * 1e6:.0f} µs" if seconds else "silence")

# %%
macs = {}
for station in (left, right):
    with namespaces.entered("net", station.pid):
        macs[interfaces()[-1].mac] = station.name
lab.cable.sequence(frames, macs, title="One ping, as left's eth0 has seen it")

# %% [markdown]
# Four frames for one ping. A cable does not know IP addresses, only MACs. So left first asks *everybody*: who has
# 10.14.0.3? That is **ARP**, of 1982 (RFC 826). Right answers, and now left can put a name on the envelope. It keeps
# the answer, in its **neighbour table**:

# %%
with namespaces.entered("net", left.pid):
    table = neighbours.listed()
lab.show.table(["interface", "address", "MAC", "state"], table, caption="What left knows")

# %% [markdown]
# `reachable` was heard from just now. No MAC: a question that nobody answered, our ping into the dead cable. Who does
# answer is not checked. So one container can pose as another on the same cable (*ARP spoofing*), and the right to send
# raw frames, `CAP_NET_RAW`, is worth a thought.

# %% [markdown]
# ## A switch
#
# A cable has two ends. For three we need a **bridge**: a switch that lives in the kernel. It stands in a namespace of
# its own here; labrt and Docker keep theirs in the host's. Each station's cable has its other end there, as a *port*.

# %%
ada, ben, cy, switch = stack.enter_context(lab.stations("ada", "ben", "cy", "switch"))
with namespaces.entered("net", switch.pid):
    links.bridge("br0")
    links.change("br0", up=True)
    for number, station in enumerate((ada, ben, cy), 1):
        there = namespaces.of(station.pid).net.open()
        links.veth(f"port{number}", "eth0", namespace=there)
        links.change(f"port{number}", master="br0", up=True)
        os.close(there)
    print(links.ports_of("br0"))

# %%
for number, station in enumerate((ada, ben, cy), 1):
    with namespaces.entered("net", station.pid):
        addresses.add("eth0", f"10.14.1.{number}/24")
        links.change("eth0", up=True)
        links.carries("eth0", timeout=1)

# %% [markdown]
# **Predict:** ada pings ben, once. Four frames go by, as before. cy sits at the same switch, and listens. How many of
# the four reach cy's port?

# %%
guess = lab.predict("14", "ada pings ben: how many of four frames does cy get?", 4)  # your guess

# %%
with namespaces.entered("net", switch.pid):
    capture = stack.enter_context(Capture())
with namespaces.entered("net", ada.pid):
    ping("10.14.1.2")
frames = capture.frames()
guess.saw(sum(frame.interface == "port3" and frame.outgoing for frame in frames))

# %%
ports = {"port1": "ada", "port2": "ben", "port3": "cy"}
lab.cable.ports(frames, ports, title="The switch, port by port")

# %% [markdown]
# The question to everybody went out at all ports. The rest went only where it belongs, since the switch *learns*: a
# frame's sender must be where the frame came from. Whom is it missing? Who never said a word:

# %%
with namespaces.entered("net", switch.pid):
    table = neighbours.learned("br0")
lab.show.table(["port", "MAC"], table, caption="What the switch has learned")

# %% [markdown]
# ## Exercise: join
#
# Two containers were started with `network="none"`. Write `join(left, right)`: given the pids of their process 1, it
# lays a cable between them. Each end is `eth0`; left gets 10.14.0.1/24, right gets 10.14.0.2/24. Afterwards they can
# ping each other.

# %%
def join(left, right):
    """Lay a cable between two containers, given the pids of their process 1."""
    ### BEGIN SOLUTION: veth in left's namespace, with its peer in right's; then address and up, at both ends
    with namespaces.entered("net", left):
        there = namespaces.of(right).net.open()
        links.veth("eth0", "eth0", namespace=there)
        os.close(there)
    for pid, address in ((left, "10.14.0.1/24"), (right, "10.14.0.2/24")):
        with namespaces.entered("net", pid):
            addresses.add("eth0", address)
            links.change("eth0", up=True)
    ### END SOLUTION


# %% [markdown]
# The check starts two containers, calls your function, and looks into both: interfaces, addresses, switches. Then it
# sends a ping, and compares left's neighbour table with the MAC that right really has.

# %%
check = lab.check("14", join)
check

# %% [markdown]
# Take one end of a cable away, and the other goes, too. So there is little to tidy up: when a network namespace ends,
# its links end with it.

# %%
stack.close()
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **network namespace** | interfaces, addresses, routes, rules and ports of its own |
# | **veth** | a cable with a card at either end |
# | **MAC** | a card's own address: what frames are addressed to |
# | **ARP** | asks everybody on the cable who has an IP address |
# | **neighbour table** | the answers, kept for a while |
# | **bridge** | a switch in the kernel, which learns who is at which port |

# %% [markdown]
# ## Three questions
#
# 1. Ten containers each ping each other. How many cables does that take, with a bridge and without?
# 2. A container's process 1 dies. Who removes the end of its cable that is in the host?
# 3. left pings 10.15.0.9. Why does no ARP question go out?
#
# Answers: 1: ten with, forty-five without. 2: the kernel: the namespace ends, its `eth0` with it, and so the other end.
# 3: that address is not on its cable, and no route says who would pass it on. That is notebook 15.

# %% [markdown]
# ## The source
#
# See *veth(4)*, *network_namespaces(7)*, *packet(7)*, *arp(7)*. labrt's engine does the same for each container of a
# network, with one bridge for all of them. Next comes notebook 15: out into the world, and in again.

# %%
from labrt.runtime.networks import uplink

lab.source(links.veth, links.bridge, addresses.add, Capture, neighbours.learned, uplink, lab.checks.joins)
