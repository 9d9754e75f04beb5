"""Layers to a root: storage drivers.

    driver      the contract, and which driver this machine can use
    directories the parts that all drivers share: layers and containers as directories
    workshop    how these appear and vanish at once, whoever is killed when
    overlay     the kernel puts layers on top of each other
    vfs         every layer is a full copy (copy.py): slow, large, and works everywhere
    btrfs       every layer is a snapshot of the one below, on a disk in a file (disks.py) where need be
    devicemapper  the same with whole block devices: a thin pool on two files
    aufs        Docker's first one: its rules (aufs_rules), answered by a program (aufs_server) where no kernel has them

A driver makes directories or disks, and says which mounts put them together: these are made in the container's own
mount namespace, nothing is mounted on the host. What lives in the kernel (loop devices, mapped devices, aufs's program)
goes with its last user, and is in the ledger.
"""
