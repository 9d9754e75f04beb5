"""A container's networks, as its monitor makes them: from what was wished for to cables, addresses, names and ports.

    definition    what a network is: driver, subnets, bridge      leases      who has which address, which names
    uplink        bring a network up, take it down                attachment  plug a container in, unplug it
    publishing    its published ports                             helper      the process for names and ports
    etc           its hosts and resolv.conf

The engine only writes down what is wanted (engine/networks.py); here it is done, at each start anew. Imported for
containers that have a network: `--network none` pays nothing.
"""
