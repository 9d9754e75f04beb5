"""Interfaces, in network namespaces of their own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess

import pytest

from labrt.linux import network, process
from labrt.linux.network import IFF


def test_the_interfaces_are_the_c_librarys() -> None:
    assert [(interface.ifindex, interface.name) for interface in network.interfaces()] == sorted(socket.if_nameindex())


@pytest.mark.root
def test_a_new_namespace_has_a_loopback_that_is_down() -> None:
    [loopback] = process.run_in_child(network.interfaces, namespaces="net")
    assert (loopback.name, loopback.ifindex, loopback.up, loopback.address) == ("lo", 1, False, None)
    assert IFF.LOOPBACK in loopback.flags and loopback.mac == ""
    assert repr(loopback) == "<Interface 1 lo - mtu=65536 LOOPBACK>"


@pytest.mark.root
def test_the_loopback_answers_once_it_is_up() -> None:
    def look() -> tuple[str, network.Interface, bytes]:
        with socket.socket() as unreachable:
            before = os.strerror(unreachable.connect_ex(("127.0.0.1", 1)))
        network.loopback_up()
        network.loopback_up()  # a second time is harmless
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            connection, _ = server.accept()
            with connection:
                connection.send(b"pong")
                return before, network.interfaces()[0], client.recv(10)

    before, loopback, answer = process.run_in_child(look, namespaces="net")
    assert before == "Network is unreachable" and answer == b"pong"
    assert loopback.up and IFF.RUNNING in loopback.flags and loopback.address == "127.0.0.1/8"


@pytest.mark.root
def test_it_is_our_namespace_even_where_sys_shows_another() -> None:
    def look() -> tuple[list[str], list[str]]:
        return [interface.name for interface in network.interfaces()], os.listdir("/sys/class/net")

    ours, sys_shows = process.run_in_child(look, namespaces="net")
    assert ours == ["lo"]
    assert sorted(sys_shows) == sorted(os.listdir("/sys/class/net"))


@pytest.mark.root
def test_without_the_capability_it_says_which() -> None:
    def look() -> str:
        os.setgid(65534)
        os.setuid(65534)
        try:
            network.loopback_up()
        except PermissionError as error:
            return str(error)
        return "allowed"

    message = process.run_in_child(look, namespaces="net")
    assert "SIOCSIFFLAGS" in message and "CAP_NET_ADMIN" in message


@pytest.mark.root
def test_a_card_with_an_address() -> None:
    """The MAC and the mask, on an interface made by `ip`."""
    if not shutil.which("ip"):
        pytest.skip("ip is not installed (iproute2)")

    def look() -> network.Interface:
        made = "link add a0 address 02:00:00:00:00:2a mtu 1400 type veth peer b0"
        for words in (made, "address add 10.9.8.7/20 dev a0", "link set a0 up"):
            subprocess.run(["ip", *words.split()], check=True)
        return next(interface for interface in network.interfaces() if interface.name == "a0")

    card = process.run_in_child(look, namespaces="net")
    assert (card.mac, card.mtu, card.address) == ("02:00:00:00:00:2a", 1400, "10.9.8.7/20")
    assert card.up and IFF.RUNNING not in card.flags  # its other end is down
