"""What an image is: values, documents and archives. No root, no network, any operating system.

    reference   what people type                digest      the name of content
    descriptor  a pointer to content            platform    for which machine
    manifest    which layers, for which platform     config      what to run, and the chain of layers
    layout      the content store on disk       image       one image in it, to look at
    layer       a tar archive onto a directory, safely; and a directory into one

layer.py says which of the other files carry out what it promises.
"""
