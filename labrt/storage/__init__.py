"""Layers to a root: storage drivers.

    driver      the contract, and which driver this machine can use
    directories the parts that all drivers share: layers and containers as directories
    workshop    how these appear and vanish at once, whoever is killed when
    overlay     the kernel puts layers on top of each other
    vfs         every layer is a full copy (copy.py): slow, large, and works everywhere

A driver makes directories and says which mounts put them together; it mounts nothing on the host and runs nothing.
"""
