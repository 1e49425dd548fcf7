# What taskdiag runs where the worker or the API runs ([worker] exec, [api] exec of taskdiag.toml).
#
# It answers questions that come on standard input, a line of JSON each, from /proc and /sys/fs/cgroup, and ends
# when standard input does, or when its alarm rings. It writes to no file but its own oom_score_adj, connects to
# nothing, starts nothing, and leaves nothing behind. Python 3.6 or newer, the standard library only.

import json
import os
import signal
import sys

ROOM = 32 << 20  # Below so many free bytes it does not stay.
MEMORY = 512 << 20  # More address space it does not take.
MOST_PROCESSES = 512
MOST_FILES = 4096  # Open files of a process.
MOST_SOCKETS = 4096
MOST_COMMAND = 8192
STATES = {"01": "established", "08": "close_wait", "0A": "listen"}


def say(answer):
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def read(path, most=4096):
    try:
        with open(path, "rb") as file:
            return file.read(most)
    except OSError:
        return b""


def text(path, most=4096):
    return read(path, most).decode("utf-8", "replace")


# ---- how much memory is left


def number(path):
    word = text(path, 64).strip()
    return int(word) if word.isdigit() else None


def left_in(folder, limit, usage):
    limit, used = number(folder + "/" + limit), number(folder + "/" + usage)
    if limit is None or used is None or limit >= 1 << 60:
        return None
    for line in text(folder + "/memory.stat", 16384).splitlines():
        if line.startswith("inactive_file "):
            used -= int(line.split()[1])
    return limit - used


def room():
    """Free bytes below the nearest limit of this cgroup and those above it."""
    least = None
    for line in text("/proc/self/cgroup").splitlines():
        parts = line.split(":", 2)
        if len(parts) < 3:
            continue
        if parts[1] == "":
            base, limit, usage = "/sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in parts[1].split(","):
            base, limit, usage = "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        folder = os.path.normpath(base + parts[2])
        if not folder.startswith(base):
            folder = base
        while True:
            left = left_in(folder, limit, usage)
            if left is not None and (least is None or left < least):
                least = left
            if folder == base:
                break
            folder = os.path.dirname(folder)
    return least


def begin(question):
    signal.alarm(int(question["seconds"]))
    try:
        os.nice(5)  # More, and a busy worker would keep it from answering in time.
    except OSError:
        pass
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, OSError, ValueError):
        pass
    left = room()
    if left is not None and left < ROOM:
        say({"refused": "memory", "room": left})
        sys.exit(0)
    say({"begin": "%d.%d" % sys.version_info[:2], "room": left})


# ---- what runs there


def pids():
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid())


def boot_time():
    with open("/proc/stat", "rb") as file:
        for line in file:
            if line.startswith(b"btime "):
                return int(line.split()[1])
    return None


def process(pid, boot, ticks):
    folder = "/proc/%d/" % pid
    stat = text(folder + "stat")
    after = stat[stat.rfind(")") + 2 :].split()
    if len(after) < 20:
        return None
    command = read(folder + "cmdline", MOST_COMMAND)
    words = command.decode("utf-8", "replace").split("\0")
    if words and words[-1] == "":
        words.pop()
    if not words and after[0] != "Z":
        return None  # A thread of the kernel.
    found = {"pid": pid, "parent": int(after[1]), "state": after[0], "command": words}
    for line in text(folder + "status", 8192).splitlines():
        if line.startswith("NSpid:"):
            found["nspids"] = [int(word) for word in line.split()[1:]]
        elif line.startswith("Uid:"):
            found["uid"] = int(line.split()[1])
    if boot is not None:
        found["started_at_ms"] = boot * 1000 + int(after[19]) * 1000 // ticks
    found["cgroup"] = text(folder + "cgroup")
    return found


def processes(question):
    boot, ticks = boot_time(), os.sysconf("SC_CLK_TCK")
    everybody = pids()
    found = []
    for pid in everybody[:MOST_PROCESSES]:
        one = process(pid, boot, ticks)
        if one is not None:
            found.append(one)
    say({"processes": found, "whole": len(everybody) <= MOST_PROCESSES})


# ---- who is connected with whom


def address(word):
    """`0100007F:1F90` as the kernel writes it: words of 32 bits in the machine's own order."""
    host, port = word.split(":")
    raw = b"".join(
        int(host[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(host), 8)
    )
    if len(raw) == 16 and raw[:12] == b"\0" * 10 + b"\xff\xff":
        raw = raw[12:]
    if len(raw) == 4:
        return "%d.%d.%d.%d:%d" % (raw[0], raw[1], raw[2], raw[3], int(port, 16))
    groups = ["%x" % (raw[at] << 8 | raw[at + 1]) for at in range(0, 16, 2)]
    return "[%s]:%d" % (":".join(groups), int(port, 16))


def owners():
    """The processes that hold a socket, by its inode; and those whose files may not be read."""
    found, hidden = {}, []
    for pid in pids()[:MOST_PROCESSES]:
        folder = "/proc/%d/fd/" % pid
        try:
            names = os.listdir(folder)[:MOST_FILES]
        except OSError:
            hidden.append(pid)
            continue
        for name in names:
            try:
                target = os.readlink(folder + name)
            except OSError:
                continue
            if target.startswith("socket:["):
                holders = found.setdefault(target[8:-1], [])
                if pid not in holders and len(holders) < 16:
                    holders.append(pid)
    return found, hidden


def tcp(question):
    found, whole = [], True
    holders, hidden = owners()
    for table in ("tcp", "tcp6"):
        try:
            file = open("/proc/self/net/" + table, "r")
        except OSError:
            continue
        with file:
            file.readline()
            for line in file:
                parts = line.split()
                if len(parts) < 10 or parts[3] not in STATES:
                    continue
                if len(found) >= MOST_SOCKETS:
                    whole = False
                    break
                found.append(
                    {
                        "local": address(parts[1]),
                        "remote": address(parts[2]),
                        "state": STATES[parts[3]],
                        "pids": holders.get(parts[9], []),
                    }
                )
    say({"tcp": found, "hidden": hidden, "whole": whole})


def main():
    signal.alarm(60)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass
    answers = {"begin": begin, "processes": processes, "tcp": tcp}
    while True:
        line = sys.stdin.buffer.readline(4096)
        if not line:
            return
        question = json.loads(line.decode("utf-8"))
        answers[question["ask"]](question)


try:
    main()
except (OSError, KeyboardInterrupt):
    pass
