# %% [markdown]
# # 15 · The way out, and the way in
#
# **Afterwards you can** say what a packet from a container meets on its way into the world, mend a container that finds
# no names, publish a port by a rule of your own, and take that back.
#
# **You need** root on Linux, and notebook 14. **It takes** about 45 minutes. First the win, in one call: a web server
# in a container, which this machine answers for.

# %%
from contextlib import ExitStack

import labrt
from labrt import lab
from labrt.engine import network_trace
from labrt.engine.networks import Networks
from labrt.linux import namespaces
from labrt.linux.network import forwarding, interfaces, nft, routes
from labrt.linux.network.packets import Capture, ping

labrt.reset(quiet=True)
print(lab.stations.lacking() or "this kernel has what we need: veth, bridge, NAT")
page = "echo hello from $(hostname -i) > /index.html; exec httpd -f -p 80 -h /"
web = labrt.run("busybox", "sh", "-c", page, detach=True, network="bridge", publish=["127.0.0.1::80"])
(port,) = (at["HostPort"] for at in web.inspect()["NetworkSettings"]["Ports"]["80/tcp"])
port

# %%
import urllib.request

READY = "until wget -q -O - http://127.0.0.1/; do sleep 0.05; done"
print("inside: ", web.exec("sh", "-c", READY).stdout)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # past any proxy: this is our own machine
print("outside:", opener.open(f"http://127.0.0.1:{port}/", timeout=5).read().decode())
web.remove(force=True)

# %% [markdown]
# ## A street of three houses
#
# Now by hand. So that no packet leaves this machine, and no setting of it changes, two stations play the *host* and the
# *world*. The container is real, and has no network. The addresses from 203.0.113.0 on are nobody's: they are reserved
# for books like this one (RFC 5737).

# %%
stack = ExitStack()
host, world = stack.enter_context(lab.stations("host", "world"))
container = labrt.run("busybox", "sleep", "3600", detach=True, network="none")
inside = stack.enter_context(lab.stations.of(container, "container"))

inside.plug("eth0", "10.15.0.2/24", host, "in0", "10.15.0.1/24")
world.plug("eth0", "203.0.113.80/24", host, "out0", "203.0.113.1/24")
world.serve_web("hello from the world")


# %%
def call():
    """Ping the world from the container, and say what came of it."""
    try:
        with namespaces.entered("net", container.state.pid):
            seconds = ping("203.0.113.80", timeout=0.4)
        return "silence" if seconds is None else "answer"
    except OSError as error:
        print(error)
        return "refused"


call()

# %% [markdown]
# ## First obstacle: no route
#
# The container knows its cable, and nothing else. Whatever is for elsewhere needs somebody who passes it on, a
# **gateway**: the host's end of the cable. That is its *default route*.

# %%
with namespaces.entered("net", container.state.pid):
    routes.add("eth0", via="10.15.0.1")
    print(*routes.listed(), sep="\n")
call()

# %% [markdown]
# ## Second obstacle: a host is no router
#
# Not refused any more, but silence. Where does it end? The host has two doors, and we listen at both:

# %%
with namespaces.entered("net", host.pid), Capture() as capture:
    print(call(), *(frame for frame in capture.frames() if frame.kind == "ICMP"), sep="\n")
    print("forwarding:", forwarding.enabled(4))

# %% [markdown]
# It came in at `in0`, and never left by `out0`. A Linux machine hands on what is not for itself only if it is told to:
# `net.ipv4.ip_forward`. A network namespace has a setting of its own. **Predict:** we switch it on. What comes of the
# call now, `"answer"` or `"silence"`?

# %%
guess = lab.predict("15", "With forwarding on, what comes of the call?", "answer")  # your guess

# %%
with namespaces.entered("net", host.pid):
    forwarding.enable("lesson", 4)
with namespaces.entered("net", world.pid), Capture("eth0") as capture:
    came = call()
    print(*(frame for frame in capture.frames() if frame.kind == "ICMP"), sep="\n")
guess.saw(came)

# %% [markdown]
# ## Third obstacle: no way back
#
# The world got it, from 10.15.0.2. But where is that? Addresses of `10.0.0.0/8` are used by millions of private
# networks (RFC 1918), and no router of the world knows a way to yours. So the host writes *its own* address on each
# envelope that leaves, and remembers for whom: **masquerading**, a kind of NAT.

# %%
RULES = """
table ip lesson {
    chain out {
        type nat hook postrouting priority srcnat
        oifname "out0" counter masquerade comment "out: our address in place of theirs"
    }
    chain through {
        type filter hook forward priority filter
        iifname "in0" counter accept comment "from the container"
        oifname "in0" counter accept comment "to the container"
    }
}
"""
with namespaces.entered("net", host.pid):
    nft.run(RULES)
call()

# %% [markdown]
# `nft` speaks with the kernel's packet filter. A chain hangs at a *hook*, a place where every packet comes by. Here is
# one call, as the host has seen it at both doors. Look at the addresses, left and right of the host:

# %%
with namespaces.entered("net", host.pid), Capture() as capture:
    call()
    frames = [frame for frame in capture.frames() if frame.kind == "ICMP"]

macs = {}
for station in (inside, host, world):
    with namespaces.entered("net", station.pid):
        macs.update({one.mac: station.name for one in interfaces() if one.mac})
lab.cable.sequence(frames, macs, title="Out and back, through the masquerade")

# %% [markdown]
# ## What a rule counts
#
# The container fetches a page. That takes ten packets or so: a greeting, a question, an answer, a farewell, each
# confirmed. **Predict:** how many of them does the masquerading rule see?

# %%
guess = lab.predict("15", "A page over HTTP: how many packets at the masquerading rule?", 10)  # your guess

# %%
with namespaces.entered("net", host.pid):
    before = lab.rules("ip", "lesson")
    print(container.exec("wget", "-q", "-O", "-", "http://203.0.113.80/").stdout)
    went_by = lab.rules("ip", "lesson") - before
guess.saw(next(rule.packets for rule in went_by.rules if rule.chain == "out"))

# %%
went_by

# %% [markdown]
# A NAT hook sees the *first* packet of a connection. What it decides holds for all that follow, both ways: the kernel
# keeps a list of connections (*conntrack*). The forward chain is a filter, and sees every one.

# %% [markdown]
# ## Names
#
# The way is free. But who types addresses? `/etc/resolv.conf` says whom to ask for names: the **resolver**. On many
# machines, that is a server of their own, at 127.0.0.53. Suppose somebody copies this file into the container:

# %%
container.exec("sh", "-c", "echo nameserver 127.0.0.53 > /etc/resolv.conf")
answer = container.exec("nslookup", "shop.example")
print(answer.exit_code, answer.stdout, answer.stderr)

# %% [markdown]
# *Connection refused.* 127.0.0.53 is a loopback address, and each network namespace has a loopback of its own: in here,
# nobody listens there. So it needs a server that can be reached. The world has one. (It knows one name.)

# %%
world.serve_names({"shop.example": "203.0.113.80"}, at="203.0.113.80")
container.exec("sh", "-c", "echo nameserver 203.0.113.80 > /etc/resolv.conf")
print(container.exec("nslookup", "shop.example").stdout)

# %% [markdown]
# And neighbours? No server of the world knows that the container `db` is at 10.15.0.3. Docker and labrt put a small
# server between, at 127.0.0.11 of each container in a network that you made. Its socket is inside; the process is
# outside. What it does not know, it asks others, from out there.

# %%
inside.serve_names({"db": "10.15.0.3"}, at="127.0.0.11", upstream=["203.0.113.80"], asking=host)
container.exec("sh", "-c", "echo nameserver 127.0.0.11 > /etc/resolv.conf")
with namespaces.entered("net", world.pid), Capture("eth0") as capture:
    for name in ("db", "shop.example"):
        print(container.exec("nslookup", "-type=a", name).stdout)
    print("the world was asked by:", {f.sender for f in capture.frames() if f.said.endswith(":53")})

# %% [markdown]
# ## The way in
#
# Nobody out there can call 10.15.0.2. But they can call the host. **Publishing** a port is NAT the other way: what is
# for *this* address of the host and *that* port gets another *destination*, at the hook `prerouting`, before the kernel
# looks for its way. An answer's sender is put right by itself.

# %% [markdown]
# ## Exercise: publish
#
# Write `publish(port, address, to)`, a context manager, to be used as `with publish(8080, "10.15.0.2", 80): …`. In its
# block, the host's port leads to the container; afterwards, whatever happened, nothing of it is left. Make a table of
# your own, with one rule in a `nat` chain at `prerouting`, priority `dstnat`:
#
# - `fib daddr type local`: only what is for one of this host's own addresses;
# - `tcp dport 8080`, then `counter`, then `dnat to 10.15.0.2:80`;
# - `delete table ip NAME` takes it away.
#
# In an f-string, `{` is written `{{`.

# %%
from contextlib import contextmanager


@contextmanager
def publish(port, address, to):
    """Lead a port of the host to another address for the length of a block."""
    ### BEGIN SOLUTION: nft.run a table with its chain and rule; try: yield; finally: delete the table
    nft.run(f"""
    table ip published {{
        chain into {{
            type nat hook prerouting priority dstnat
            fib daddr type local tcp dport {port} counter dnat to {address}:{to}
        }}
    }}""")
    try:
        yield
    finally:
        nft.run("delete table ip published")
    ### END SOLUTION


# %% [markdown]
# The check builds a street of its own. It knocks from outside at the published port and at another one, goes from
# inside to the world's port of the same number, and looks at nft's tables before, meanwhile, and afterwards.

# %%
check = lab.check("15", publish)
check

# %% [markdown]
# Passed? Then publish a server of your own on our street, and see it counted:

# %%
counted = None
if check.passed:
    container.exec("sh", "-c", "echo hello from within > /index.html; httpd -p 80 -h /")
    with host.inside():
        before = nft.tables()
        with publish(8080, "10.15.0.2", 80):
            print(world.fetch("http://203.0.113.1:8080/"))
            (mine,) = set(nft.tables()) - set(before)
            counted = lab.rules(*mine)
        print("afterwards:", world.fetch("http://203.0.113.1:8080/") or "nobody")
counted

# %% [markdown]
# labrt's engine has one table for all of its networks, on the real host. A published port is no rule there, but an
# element of a *map*: so it stays quick, with however many. Two containers on its bridge, one of which calls the other
# by the host's address, and what that has counted:

# %%
gateway = Networks().get("bridge").of(4).gateway
web = labrt.run("busybox", "sh", "-c", page, detach=True, network="bridge", publish=[f"{gateway}:8080:80"])
web.exec("sh", "-c", READY)
before = network_trace.trace()
print(labrt.run("busybox", "wget", "-q", "-O", "-", f"http://{gateway}:8080/", network="bridge").stdout)
print(network_trace.trace() - before)
web.remove(force=True)

# %% [markdown]
# Our street ends with the stations that it stands on. What is left on the real host is the engine's, and `reset` takes
# it down: a bridge, a table, and forwarding is again as it was.

# %%
stack.close()
container.remove(force=True)
labrt.reset()

# %% [markdown]
# ## In short
#
# | term | is |
# |---|---|
# | **gateway, default route** | whoever passes on what is for elsewhere |
# | **forwarding** | being a router: off, unless switched on |
# | **masquerading** | our address as sender, in place of the container's |
# | **conntrack** | the kernel's list of connections, by which answers find back |
# | **resolver** | whom to ask for names; its address must be one that *you* can reach |
# | **publishing** | another destination for what comes to a port of the host |

# %% [markdown]
# ## Three questions
#
# 1. Two containers behind one host call the same server from the same port number. How are the answers told apart?
# 2. Why may a published port be reached although the host's firewall closes it at `input`?
# 3. A program in a container listens on 127.0.0.1:80. Its port is published. Why does nobody get through?
#
# Answers: 1: the host then changes one port, too. 2: at `prerouting` it got another destination: it goes by `forward`,
# and never comes to `input`. 3: it is led to the container's `eth0`; on the loopback in there comes only what was sent
# in there.

# %% [markdown]
# ## The source
#
# See *nft(8)*, *resolv.conf(5)*, *ip-route(8)*; RFC 1918, RFC 3022 (NAT), RFC 1035 (names). Next comes notebook 16: the
# file that says what a container is.

# %%
from labrt.linux.network import resolver
from labrt.linux.network.firewall import Firewall

lab.source(Firewall, forwarding.enable, resolver.Resolver, routes.add, nft.run, network_trace.trace,
           lab.checks.publishes)  # fmt: skip
