"""The kernel's interface, one file per facility, each named as its manual page or its field calls it.

    syscalls      one function per system call             flags        CLONE_*, MS_*, MNT_*, … by name
    process       run a function in a child, wait          namespaces   inspect, enter, leave
    userns        uid and gid maps                         mounts       Mount, bind, tmpfs, overlay, propagation
    rootfs        a container's root: plan, then execute   cgroups      memory, cpu, pids, io, … on v1 and v2
    capabilities  sets of them, and dropping them          seccomp      system call filters
    procfs        what /proc says, parsed                  pty          pseudo-terminals
    network       links, addresses, NAT, ports, names      ledger       what was made and must be taken down

Nothing here knows of images or registries. Each file stands alone: import the one you want to play with.
"""
