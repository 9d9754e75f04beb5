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
    typed       options declared once; what is plainly typed is read without click
    container_options  what `run`, `create` and `exec` can be told; programs: what they then do
    parameters  options and arguments for click, which reads all else; tab completion of names
    show        tables, and times for people; templates: `--format`

Nothing below this floor prints or exits; nothing on it knows how a container is made.
"""
