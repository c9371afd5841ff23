# SPDX-License-Identifier: ISC
"""What a group of processes costs: processor time and memory, by the kernel's own accounting.

Group(name) is a control group of its own for one subject of the measuring. What is started with
.enter() as preexec_fn, and every process and kernel thread that it makes (those of an io_uring's
work queue are threads of their process), counts in it, ended ones too. Which accounting is
used depends on the machine:

- cgroup 2 (also the "unified" hierarchy of a mixed machine): cpu.stat, microseconds;
- cgroup 1: cpuacct.usage, nanoseconds;
- neither (not root): the first figure of /proc/PID/task/*/schedstat, nanoseconds on a processor, of
  every process below the first; what has ended between two readings is not in it.

None of these is the ticks of /proc/PID/stat. Work that interrupts do for a process, such as the
receiving half of loopback, is counted to whom they interrupt, which on loopback is the sender.
"""
import os
import pathlib
import re

CGROUP = pathlib.Path("/sys/fs/cgroup")


def mounts(kind):
    """Where file systems of this kind are, with their options."""
    found = []
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        words = line.split()
        if words[2] == kind:
            found.append((pathlib.Path(words[1]), words[3].split(",")))
    return found


def hierarchies():
    """Directories below which groups may be made: kind -> directory."""
    found = {}
    for path, options in mounts("cgroup2"):
        found["cgroup2"] = path
    for path, options in mounts("cgroup"):
        for controller in ("cpuacct", "memory"):
            if controller in options:
                found[controller] = path
    return found


def children(pid):
    """A process and all below it."""
    pids = [pid]
    for task in pathlib.Path("/proc/%d/task" % pid).glob("*/children"):
        try:
            for word in task.read_text().split():
                pids += children(int(word))
        except OSError:
            pass
    return pids


class Group:
    def __init__(self, name):
        self.first = None
        self.paths = {}
        for kind, top in hierarchies().items():
            path = top / name
            try:
                path.mkdir(exist_ok=True)
            except OSError:
                continue
            self.paths[kind] = path
        if "cgroup2" in self.paths and not (self.paths["cgroup2"] / "cpu.stat").exists():
            self.remove_one("cgroup2")

    def enter(self):
        """For the child, before it becomes the program."""
        for path in self.paths.values():
            (path / "cgroup.procs").write_text("0")

    @property
    def method(self):
        if "cgroup2" in self.paths:
            return "cgroup 2, cpu.stat"
        if "cpuacct" in self.paths:
            return "cgroup 1, cpuacct.usage"
        return "/proc/PID/task/*/schedstat"

    def pids(self):
        for path in self.paths.values():
            return [int(word) for word in (path / "cgroup.procs").read_text().split()]
        return children(self.first) if self.first else []

    def cpu_us(self):
        """Microseconds of processor time so far."""
        if "cgroup2" in self.paths:
            text = (self.paths["cgroup2"] / "cpu.stat").read_text()
            return int(re.search(r"usage_usec (\d+)", text)[1])
        if "cpuacct" in self.paths:
            return int((self.paths["cpuacct"] / "cpuacct.usage").read_text()) / 1000
        return sum(self.task_us(pid) for pid in self.pids())

    def task_us(self, pid):
        total = 0
        for path in pathlib.Path("/proc/%d/task" % pid).glob("*/schedstat"):
            try:
                total += int(path.read_text().split()[0]) / 1000
            except OSError:
                pass
        return total

    def per_process_us(self):
        """Name and processor time of each process that lives."""
        figures = []
        for pid in self.pids():
            try:
                name = pathlib.Path("/proc/%d/comm" % pid).read_text().strip()
                figures.append((name, self.task_us(pid)))
            except OSError:
                pass
        return figures

    def pss(self):
        """Octets of memory of all processes, shared pages divided among who shares them."""
        total = 0
        for pid in self.pids():
            try:
                text = pathlib.Path("/proc/%d/smaps_rollup" % pid).read_text()
            except OSError:
                continue
            total += int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1]) * 1024
        return total

    def kernel(self):
        """Octets that the kernel holds for the group: its sockets, files, tables; None: unknown."""
        if "memory" in self.paths:
            path = self.paths["memory"] / "memory.kmem.usage_in_bytes"
            return int(path.read_text()) if path.exists() else None
        stat = self.paths.get("cgroup2", pathlib.Path("/nonexistent")) / "memory.stat"
        if stat.exists() and (found := re.search(r"^kernel (\d+)", stat.read_text(), re.M)):
            return int(found[1])
        return None

    def remove_one(self, kind):
        try:
            self.paths.pop(kind).rmdir()
        except OSError:
            pass

    def remove(self):
        for kind in list(self.paths):
            self.remove_one(kind)


def busy_s():
    """Seconds for which the machine's processors were not idle, all together."""
    words = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    ticks = [int(word) for word in words[:8]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
