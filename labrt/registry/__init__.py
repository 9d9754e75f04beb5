"""Images from afar: the client side of the OCI distribution-spec, and a small server of it for the classroom.

    client       Client: challenge, token, manifest, config, blob, tags, referrers, pull, push; each usable by hand
    pull         the steps in their order: manifest, config, layers in parallel, name last
    push         the steps the other way: blobs in parallel, manifests, name last; publish puts and deletes manifests
    upload       a blob on its way there: HEAD, mount, in one piece or in several, going on where it broke off
    crew         the threads of both         listings     tags and referrers, page after page
    blobs        a blob's bytes, going on where a connection broke off
    endpoints    a mirror first, then the registry; without a token first, then with one
    login        sign in and out, for later            configfile   Docker's config.json, changed in place
    auth         WWW-Authenticate, tokens and their cache     credentials   ~/.docker/config.json, Secret
    transport    HTTP: retries, redirects, plain only to this machine; response, connections and urls serve it
    failures     what went wrong, in words
    events       what happens on the way, as values: for progress bars, and for drawing the wire
    server       RegistryServer: a Layout on loopback; distribution has its answers, receiving takes, shelf is its view

Notebook 13 is about this floor. It knows values (labrt.image) and nothing of the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labrt.registry.client import Client
    from labrt.registry.server import RegistryServer

__all__ = ["Client", "RegistryServer"]


def __getattr__(name: str) -> Any:
    # `registry.Client()` is what one types first; to import this floor still costs nothing.
    from importlib import import_module

    if name in __all__:
        return getattr(import_module(f"labrt.registry.{'client' if name == 'Client' else 'server'}"), name)
    raise AttributeError(f"labrt.registry has no {name!r}; it has {', '.join(__all__)}")
