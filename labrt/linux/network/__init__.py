"""Networks, from a loopback to published ports: each file one primitive that a notebook uses alone.

    interfaces    what is there; loopback_up()   (notebook 14)
    links         bridge, veth, macvlan: make, move, switch on, delete
    addresses     give an interface an address      routes      say where packets go
    neighbours    who is where on a cable           packets     see them go by; ping
    nft           run nft(8): rules, and counters   firewall    the rules of a house of networks, in one table
    forwarding    let this machine be a router, and put that back   (notebook 15)
    ports         claim a port of the host          relay       carry what comes to it, for TCP and UDP
    resolver      answer names, for who asks 127.0.0.11

The wire is rtnetlink.py's: forty lines of messages. A netlink library costs more at import than a whole container takes
to start, and these few messages have not changed since Linux 2.6. DNS and the firewall are larger matters, and left to
a library and a program (dnslib, nft).
"""

from __future__ import annotations

from labrt.linux.network.interfaces import IFF, Interface, interfaces, loopback_up

__all__ = ["IFF", "Interface", "interfaces", "loopback_up"]
