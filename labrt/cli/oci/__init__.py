"""`labrt-oci`: the runtime's command line, typed as `runc` is, for conmon, containerd's shim and dockerd.

    here         where it begins: out of a container's reach first
    arguments    options, as Go's flag package reads them
    usage        the options of each command, and --help
    commands     which there are; making, steering, looking: one function for each
    log          errors, in runc's formats

See runtime.md of the OCI runtime-spec, and `labrt-oci --help`. It is started anew for each step of a container's life:
so nothing is imported that the step does not need, click least of all.
"""

from __future__ import annotations

import os
import sys

from labrt.cli import streams

TYPE_CHECKING = False  # as in syscalls.py
if TYPE_CHECKING:
    from typing import NoReturn

# Those of which a child goes into a container: see linux/sealed.py.
_GO_IN = ("create", "run", "exec")


def script() -> NoReturn:
    """Be the program `labrt-oci`."""
    arguments = sys.argv[1:]
    streams.open_standard()
    if any(word in _GO_IN for word in arguments) and os.geteuid() == 0:
        _seal(arguments)
    run(arguments)


def _seal(arguments: list[str]) -> None:
    """Begin again, from a read-only copy of the interpreter. Returns where that cannot be."""
    import labrt
    from labrt.linux import sealed

    program = sealed.open_interpreter()
    if program is None:
        return
    # This very labrt, however it was found, then what is installed; never a path relative to where one happens to be.
    path = [os.path.dirname(os.path.dirname(labrt.__file__)), *(entry for entry in sys.path if os.path.isabs(entry))]
    code = f"import gc; gc.disable()\nimport sys; sys.path[:] = {path!r}\n"
    code += "from labrt.cli import oci; oci.run(sys.argv[1:])"
    os.execv(f"/proc/self/fd/{program}", [sys.executable, "-I", "-S", "-c", code, *arguments])


def run(arguments: list[str]) -> NoReturn:
    """Do what the arguments say, and end with the exit code."""
    from labrt.cli.oci.commands import main

    code = main(arguments)
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        code = code or 1
    os._exit(code)  # what Python does before it ends, module by module, nobody needs: it takes 10 ms
