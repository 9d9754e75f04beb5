"""`labrt info`: what this labrt is like."""

from __future__ import annotations

import json

import click


@click.command
@click.option("-f", "--format", "form", type=click.Choice(("text", "json")), default="text", help="How to print it")
def command(form: str) -> None:
    """Show what this labrt is like and what it can do here.

    Containers, images, where they lie; which storage drivers can work on this machine, and why the others cannot.

    \b
    Examples:
      labrt info
      labrt info --format json
    """  # noqa: D301
    from labrt.engine.info import info
    from labrt.image.image import human

    about = info()
    if form == "json":
        click.echo(json.dumps(about._asdict(), indent=4))
        return
    lines = [f"labrt Version: {about.version}", f"Containers: {sum(about.containers.values())}"]
    lines += [f" {status.capitalize()}: {count}" for status, count in about.containers.items()]
    lines += [f"Images: {about.images}", f"Storage Driver: {about.driver}", "Storage Drivers:"]
    lines += [f" {name}: {f'not here: {why}' if why else 'works here'}" for name, why in about.drivers.items()]
    lines += [
        f"Cgroups: {about.cgroup}",
        f"Rootless: {str(about.rootless).lower()}",
        f"Kernel: {about.kernel}",
        f"Architecture: {about.architecture}",
        f"CPUs: {about.cpus}",
        f"Total Memory: {human(about.memory)}",
        f"Root Dir: {about.state}",
        f"Run Dir: {about.run}",
    ]
    click.echo("\n".join(lines))
