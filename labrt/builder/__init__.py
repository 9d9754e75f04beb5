"""A Dockerfile and a directory into an image: every instruction a step, most steps a layer.

    dockerfile    its lines, put together and told apart       words       quotes and variables in them
    stages        which FROM needs which                       scopes      ARG, ENV, and what is known without
    context       the directory, and .dockerignore             ignore      patterns
    instructions  those that change the config alone           events      what can be watched
    selecting     what COPY's words mean                       copying     COPY, ADD, WORKDIR: files into a layer
    running       RUN: its mounts, and what it is given         cache       what need not be done again
    build         all of it together

The engine is not known here: what runs a container and what fetches an image is handed down (build.Machine).
"""
