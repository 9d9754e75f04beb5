"""The command line, typed as `docker` is.

    main        where it begins; errors end here
    group       the list of commands; each is a file in commands/, imported when it is called
    oci/        another program, `labrt-oci`, typed as `runc` is
    commands/   one file per command: its options, its help, and a few lines that call the engine
    exitcodes   from exceptions to exit codes and messages
    foreground  a container in the foreground: attached, its signals forwarded, its terminal resized
    session     the pump between our terminal or pipes and a container
    remote      the two kinds of far end that a session can have
    signals     signals as something to read; streams: standard ones that were closed
    pulling     what a pull prints, and pushing a push; transfer is what both are made of
    parameters  options that several commands share; tab completion of names
    container_options  what `run` and `create` can be told
    show        tables, and times for people; templates: `--format`

Nothing below this floor prints or exits; nothing on it knows how a container is made.
"""
