"""Containers as `labrt-oci` keeps them: created and left to whoever waits for them, with no monitor.

podman's conmon, containerd's and Docker's shims are *subreapers*: they wait for the container's init themselves, own
its stdio and its log. All that they want of a runtime is to make it, and to end. So the process that made it is gone
when somebody asks next, and what is true of a container is asked of the kernel each time:

    creating   no pid is noted yet, and the `create` that makes it still runs
    stopped    no process of this pid and start time is there, or it is a zombie
    created    somebody still listens on the container's start.sock: init, and execve closes that
    paused     its cgroup is frozen
    running    otherwise

    record      what is on disk: one directory per container below --root
    create      create, and in groups its cgroup
    lifecycle   start, kill, delete, pause, resume, update
    execution   exec
    foreground  waiting for it ourselves: `run` and `exec` without --detach
    statistics  what `events` tells
    features    what this runtime recognizes
    template    the config.json to begin with

The start path is the monitor's: creation.py and init.py. The cgroups are in labrt's ledger: `labrt.reset()` ends these
containers, too. See runtime.md of the OCI runtime-spec; notebook 17.
"""
