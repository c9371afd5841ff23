# SPDX-License-Identifier: ISC
"""A network, and names, of a test's own: for what cannot be shown on the machine's loopback.

    @classmethod
    def setUpClass(cls):
        namespace.enter()

From then on this process and what it starts are in a network namespace with loopback alone, and in
a mount namespace; nothing of the machine is changed, and it all ends with the process. Needs root
and ip(8); skips the tests otherwise. Packets to FILTERED addresses are dropped without a word, by
an interface that leads nowhere, until open_up() makes such an address one of this host.
"""
import collections
import contextlib
import ctypes
import fcntl
import os
import pathlib
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454ca, 0x0001, 0x1000  # <linux/if_tun.h>
FILTERED = ["192.0.2.%d" % host for host in range(10, 20)]
UNREACHABLE = "198.51.100.1"


def ip(*words):
    subprocess.run(["ip", *words], check=True, stdout=subprocess.DEVNULL)


def add_ipv6(address):
    """Gives loopback an address. The kernel makes its route a moment later."""
    ip("address", "add", address + "/128", "dev", "lo", "nodad")
    until = time.monotonic() + 20
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
        while s.connect_ex((address, 9)) and time.monotonic() < until:
            time.sleep(0.01)


def enter():
    if os.getuid() != 0:
        raise unittest.SkipTest("only root can make a network of its own")
    if not shutil.which("ip"):
        raise unittest.SkipTest("ip(8) is missing (package iproute2)")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET | CLONE_NEWNS) != 0:
        raise unittest.SkipTest("no namespaces here: %s" % os.strerror(ctypes.get_errno()))
    done = subprocess.run(["mount", "--make-rprivate", "/"], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:  # in a chroot whose root is no mount point
        raise unittest.SkipTest("no namespaces here: " + done.stdout.strip())
    ip("link", "set", "lo", "up")
    ip("address", "add", "192.0.2.1/32", "dev", "lo")
    ip("route", "add", "192.0.2.0/24", "dev", "lo")
    ip("route", "add", "unreachable", UNREACHABLE)


def open_up(address):
    ip("address", "add", address + "/32", "dev", "lo")


def filter_out(address):
    ip("address", "del", address + "/32", "dev", "lo")


FAR, NEAR = "10.99.0.2", "10.99.0.1"  # FAR is NEAR, behind a long line


def stretch(seconds):
    """Makes the long line: whoever connects to FAR comes out at NEAR, and each packet takes so long
    either way. A device that swaps the addresses of what is sent into it, and gives it back."""
    try:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH14x", b"long", IFF_TUN | IFF_NO_PI))
    except OSError as error:
        raise unittest.SkipTest("no TUN device here: %s" % error)
    ip("address", "add", NEAR + "/24", "dev", "long")
    ip("link", "set", "long", "up")

    def carry():
        under_way = collections.deque()  # packets, and when they arrive
        while True:
            wait = max(0, under_way[0][0] - time.monotonic()) if under_way else None
            if select.select([device], [], [], wait)[0]:
                packet = os.read(device, 65536)
                if packet[0] >> 4 == 4:
                    swapped = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
                    under_way.append((time.monotonic() + seconds, swapped))
            while under_way and under_way[0][0] <= time.monotonic():
                os.write(device, under_way.popleft()[1])

    threading.Thread(target=carry, daemon=True).start()


@contextlib.contextmanager
def hosts():
    """A function that says what names mean from now on: set_hosts("192.0.2.1 mx.test", …)."""
    with tempfile.NamedTemporaryFile("w", prefix="caronte-hosts-") as file:
        os.chmod(file.name, 0o644)

        def set_hosts(*lines):
            file.seek(0)
            file.truncate()
            file.write("127.0.0.1 localhost\n" + "".join(line + "\n" for line in lines))
            file.flush()
        set_hosts()
        subprocess.run(["mount", "--bind", file.name, "/etc/hosts"], check=True)
        try:
            yield set_hosts
        finally:
            subprocess.run(["umount", "/etc/hosts"], check=True)


def allows_several_addresses():
    """Whether the resolver library takes several lines of one name in the file of hosts."""
    with contextlib.suppress(OSError):
        return "multi on" in pathlib.Path("/etc/host.conf").read_text()
    return False
