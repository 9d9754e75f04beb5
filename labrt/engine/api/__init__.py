"""The engine's work over HTTP, in the words of the Docker Engine API, so that the real `docker` is a client of labrt.

    docker ──► unix socket ──► serve ──► router ──► one handler ──► engine

    serve      sockets: unix, TCP with TLS, those that systemd hands over; signals
    door       how many connections at once
    protocol   the bounds of a request's head; answers for what is no HTTP
    router     which path is whose; versions 1.24 to 1.50; answers for what went wrong (errors)
    streams    a connection that is taken over after 101 UPGRADED; JSON a piece at a time; numbered streams
    context    where blocking work goes: to threads, and what forks to processes with a single thread (workers)
    then one file per resource: system, events, containers, listing, creation, attach, execs, archive, images, …

A handler is thin: it reads the request, calls the engine, and shapes the answer. What the engine does it does without
HTTP, and what is known of a container stays on disk: so kill -9 of this daemon costs no container. It keeps in memory
only who waits, and the programs that were started by `exec`.
See docker-engine-api.yaml of the Moby project; notebook 19.
"""
