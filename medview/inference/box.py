"""The box around the AI worker: no network, no other programs, no files but those it is given.

On Linux the kernel holds it: Landlock for files (docs.kernel.org/userspace-api/landlock.html) and
a seccomp filter for the network and for starting programs (.../seccomp_filter.html). Both last
until the process ends and need no rights. Other systems have nothing of the kind that a process
can put on itself without being installed for it; there `enclose` says so.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

_NO_NEW_PRIVS = 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH = 1

# Landlock's rights to files.
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE, _MAKE_DIR, _MAKE_FILE, _TRUNCATE = 0b11 << 4, 1 << 7, 1 << 8, 1 << 14
#: All rights each version of Landlock knows: what is named is refused unless it is granted.
_ALL_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP = 0b11
#: Abstract sockets of others, signals to others.
_SCOPES = 0b11

_READING = _READ | _LIST | _EXECUTE
_WRITING = _READ | _LIST | _WRITE | _REMOVE | _MAKE_DIR | _MAKE_FILE | _TRUNCATE
_DEVICE = _READ | _WRITE | (1 << 15)

#: What Python, torch and numpy read of the system itself.
_SYSTEM = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/cuda"),
    *("/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime", "/etc/nv_tegra_release"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version"),
    *("/proc/filesystems", "/proc/sys/vm", "/proc/sys/kernel", "/proc/driver", "/proc/devices"),
    *("/sys/devices", "/sys/fs/cgroup", "/sys/bus/pci", "/sys/module/nvidia", "/sys/class/drm"),
)
#: Devices to compute on, and the harmless ones. Shared memory can be opened by name, not listed.
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/dev/kfd", "/dev/dri")
_SHARED_MEMORY = "/dev/shm"  # noqa: S108


class _Filter:
    """A seccomp program in the making: classic BPF on the call's number and first argument."""

    _LOAD, _EQUAL, _AT_LEAST, _HAS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
    _NUMBER, _ARCH, _ARGUMENT = 0, 4, 16
    _ALLOW, _ERROR = 0x7FFF0000, 0x00050000

    def __init__(self, arch: int) -> None:
        self._code: list[tuple[int, int, int, int]] = []
        self._add(self._LOAD, self._ARCH)
        self._add(self._EQUAL, arch, 1, 0)
        self._refuse(errno.EPERM)  # calls in the way of another processor
        self._add(self._LOAD, self._NUMBER)
        if arch == _X86_64:
            self._add(self._AT_LEAST, 0x40000000, 0, 1)
            self._refuse(errno.EPERM)

    def refuse(self, number: int, error: int = errno.EPERM) -> None:
        """Refuse one call always."""
        self._add(self._EQUAL, number, 0, 1)
        self._refuse(error)

    def refuse_unless(self, number: int, value: int, *, bits: bool = False) -> None:
        """Refuse one call unless its first argument is a value, or has those bits."""
        self._add(self._EQUAL, number, 0, 4)
        self._add(self._LOAD, self._ARGUMENT)
        self._add(self._HAS if bits else self._EQUAL, value, 1, 0)
        self._refuse(errno.EPERM)
        self._add(self._RETURN, self._ALLOW)

    def program(self) -> bytes:
        """The finished program: all other calls are allowed."""
        self._add(self._RETURN, self._ALLOW)
        return b"".join(struct.pack("HBBI", *line) for line in self._code)

    def _refuse(self, error: int) -> None:
        self._add(self._RETURN, self._ERROR | error)

    def _add(self, code: int, value: int, then: int = 0, otherwise: int = 0) -> None:
        self._code.append((code, then, otherwise, value))


_X86_64, _AARCH64 = 0xC000003E, 0xC00000B7
#: Calls that reach the network, other programs or the inside of other processes, by processor.
_CALLS: Mapping[str, tuple[int, Mapping[str, int]]] = MappingProxyType(
    {
        "x86_64": (
            _X86_64,
            {
                "connect": 42,
                "accept": 43,
                "bind": 49,
                "listen": 50,
                "accept4": 288,
                "fork": 57,
                "vfork": 58,
                "execve": 59,
                "execveat": 322,
                "ptrace": 101,
                "process_vm_readv": 310,
                "process_vm_writev": 311,
                "io_uring_setup": 425,
                "bpf": 321,
                "userfaultfd": 323,
                "unshare": 272,
                "setns": 308,
                "mount": 165,
                "keyctl": 250,
                "pidfd_getfd": 438,
                "socket": 41,
                "clone": 56,
                "clone3": 435,
                "seccomp": 317,
            },
        ),
        "aarch64": (
            _AARCH64,
            {
                "connect": 203,
                "accept": 202,
                "bind": 200,
                "listen": 201,
                "accept4": 242,
                "execve": 221,
                "execveat": 281,
                "ptrace": 117,
                "process_vm_readv": 270,
                "process_vm_writev": 271,
                "io_uring_setup": 425,
                "bpf": 280,
                "userfaultfd": 282,
                "unshare": 97,
                "setns": 268,
                "mount": 40,
                "keyctl": 219,
                "pidfd_getfd": 438,
                "socket": 198,
                "clone": 220,
                "clone3": 435,
                "seccomp": 277,
            },
        ),
    }
)
_SPECIAL = ("socket", "clone", "clone3", "seccomp")
_AF_UNIX, _CLONE_THREAD = 1, 0x10000
_SET_MODE_FILTER, _ALL_THREADS = 1, 1


def enclose(readable: Iterable[Path], writable: Iterable[Path]) -> str:
    """Shut this process in, until it ends. Gives in words what the system could not do.

    It can read Python with its libraries, what torch asks of the system, and `readable`; read and
    write `writable`, the devices to compute on and shared memory whose name it knows; and nothing
    else. It can start threads but no programs, and reach no network.
    """
    if sys.platform != "linux":
        return f"{platform.system()} cannot keep the AI process from files and the network."
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        return "This system cannot keep the AI process from files and the network."
    lacking = []
    if not _only_these_files(libc, readable, writable):
        lacking.append("files")
    if not _no_network_nor_programs(libc):
        lacking.append("the network")
    return (
        f"This system cannot keep the AI process from {' and '.join(lacking)}." if lacking else ""
    )


def _only_these_files(
    libc: ctypes.CDLL, readable: Iterable[Path], writable: Iterable[Path]
) -> bool:
    version = libc.syscall(_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    known = max(number for number in _ALL_RIGHTS if number <= version)
    rights = _ALL_RIGHTS[known]
    attributes = struct.pack("QQQ", rights, _TCP, _SCOPES)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rules = libc.syscall(_CREATE_RULESET, attributes, size, 0)
    if rules < 0:
        return False
    try:
        for path, granted in _grants(readable, writable):
            _grant(libc, rules, path, granted & rights)
        done: bool = libc.syscall(_RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)
    return done


def _grants(readable: Iterable[Path], writable: Iterable[Path]) -> Iterable[tuple[Path, int]]:
    python = {sys.prefix, sys.base_prefix, sys.exec_prefix, *filter(None, sys.path)}
    python |= set(sysconfig.get_paths().values())
    for name in (*sorted(python), *_SYSTEM):
        yield Path(name), _READING
    for path in readable:
        yield path, _READING
    for path in writable:
        yield path, _WRITING
    for name in _DEVICES:
        yield Path(name), _DEVICE | _LIST
    for device in Path("/dev").glob("nvidia*"):
        yield device, _DEVICE | _LIST
    yield Path(_SHARED_MEMORY), _READ | _WRITE


def _grant(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    """Grant rights to a path and all below it; what is not there is granted nothing."""
    with suppress(OSError):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not path.is_dir():
                rights &= _EXECUTE | _WRITE | _READ | _TRUNCATE | (1 << 15)
            libc.syscall(_ADD_RULE, rules, _RULE_PATH, struct.pack("=Qi", rights, place), 0)
        finally:
            os.close(place)


def _no_network_nor_programs(libc: ctypes.CDLL) -> bool:
    if platform.machine() not in _CALLS or struct.calcsize("P") != 8:
        return False
    arch, calls = _CALLS[platform.machine()]
    filter_ = _Filter(arch)
    for name, number in calls.items():
        if name not in _SPECIAL:
            filter_.refuse(number)
    filter_.refuse_unless(calls["socket"], _AF_UNIX)
    filter_.refuse_unless(calls["clone"], _CLONE_THREAD, bits=True)
    # Its flags lie in memory, where a filter cannot look; the C library then asks `clone`.
    filter_.refuse(calls["clone3"], errno.ENOSYS)
    program = filter_.program()
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    # All threads: those of numpy are there already.
    done: bool = libc.syscall(calls["seccomp"], _SET_MODE_FILTER, _ALL_THREADS, header) == 0
    return done
