"""The runtime: from a bundle to a running container, in the OCI runtime-spec's own words.

    config      config.json: Docker's defaults, what labrt honours
    container   create, start, exec, kill, wait, delete
    state       what is known of a container, on disk
    launcher    the warm, single-threaded process that forks
    monitor     one per container: stdio, log, exit status; runs, restarting, orders, health are parts of its work
    stdio, log  what the monitor does with output and input
    creation    init's making, from its parent's side: the monitor's, or labrt-oci's
    init        what becomes PID 1: root, terminal, waiting for start
    joiner      the same for `exec`, in a container that runs
    program     user, limits, capabilities, filter, execve
    wire        how all these talk

The way of a start, left to right, each a process of its own:

    you ──► launcher ──fork──► monitor ──clone3──► init ──execve──► the container's program

A runtime hears of directories and mounts, never of images. See notebook 17.
"""
