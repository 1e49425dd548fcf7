# What taskdiag runs where the worker or the API runs ([worker] exec, [api] exec of taskdiag.toml).
#
# It answers questions that come on standard input, a line of JSON each, from /proc and /sys/fs/cgroup, and ends
# when standard input does, or when its alarm rings. It writes to no file but its own oom_score_adj, connects to
# nothing, and leaves nothing behind. It starts nothing but taskdiag's own program, from memory that no file names:
# where a task lasts, that reads the Python stacks, and ends. Python 3.6 or newer, the standard library only.

import json
import os
import re
import signal
import sys

ROOM = 32 << 20  # Below so many free bytes it does not stay.
MEMORY = 512 << 20  # More address space it does not take.
MOST_PROCESSES = 512
MOST_FILES = 4096  # Open files of a process.
MOST_SOCKETS = 4096
MOST_COMMAND = 8192
MOST_VARIABLES = 2000
MOST_SITE = 20000  # Entries of a folder with packages.
STATES = {"01": "established", "02": "connecting", "08": "close_wait", "0A": "listen"}


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
    found = {"begin": "%d.%d" % sys.version_info[:2], "room": left}
    found["machine"] = text("/proc/sys/kernel/random/boot_id", 64).strip()
    found["container"] = container()
    say(found)


def container():
    """Its id: engines mount its host name and its name servers from a folder that is named so."""
    for line in text("/proc/self/mountinfo", 1 << 18).splitlines():
        parts = line.split()
        if len(parts) > 4 and parts[4] in ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf"):
            ids = re.findall(r"/([0-9a-f]{64})/", parts[3])
            if ids:
                return ids[-1]
    return None


# ---- what runs there


def pids():
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid())


def boot_time():
    with open("/proc/stat", "rb") as file:
        for line in file:
            if line.startswith(b"btime "):
                return int(line.split()[1])
    return None


def frozen(cgroups):
    """Whether they are frozen, as a paused container's are: the state of its processes need not say so."""
    for line in cgroups.splitlines():
        parts = line.split(":", 2)
        if len(parts) < 3 or parts[2] == "/":
            continue
        if parts[1] == "":
            files = ["/sys/fs/cgroup%s/cgroup.events", "/sys/fs/cgroup/unified%s/cgroup.events"]
        elif parts[1] == "freezer":
            files = ["/sys/fs/cgroup/freezer%s/freezer.state"]
        else:
            continue
        for file in files:
            said = text(file % parts[2]).splitlines()
            if "frozen 1" in said or "FROZEN" in said or "FREEZING" in said:
                return True
    return False


def process(pid, boot, ticks, known):
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
    cgroups = text(folder + "cgroup")
    if cgroups not in known:
        known[cgroups] = frozen(cgroups)
    found["cgroup"], found["frozen"] = cgroups, known[cgroups]
    try:
        found["cwd"] = os.readlink(folder + "cwd")
    except OSError:
        pass
    return found


def processes(question):
    boot, ticks = boot_time(), os.sysconf("SC_CLK_TCK")
    everybody = pids()
    found, known = [], {}
    for pid in everybody[:MOST_PROCESSES]:
        one = process(pid, boot, ticks, known)
        if one is not None:
            found.append(one)
    say({"processes": found, "whole": len(everybody) <= MOST_PROCESSES})


# ---- what it runs in

# Only what every library takes apart alike.
URL = re.compile(
    r"([a-z][a-z0-9+.-]*)://"
    r"(?:([A-Za-z0-9._~%!$&()*+,-]*)(?::([A-Za-z0-9._~%!$&()*+,-]*))?@)?"
    r"([a-z0-9._-]*[a-z_-][a-z0-9._-]*|[0-9]+[.][0-9]+[.][0-9]+[.][0-9]+)(?::([1-9][0-9]{0,4}))?"
    r"(/(?:[A-Za-z0-9_~%-][A-Za-z0-9._~%/-]*)?)?(?:[?]([A-Za-z0-9._~%&=+-]*))?"
)


def masked(key, name, value):
    """A keyed hash, and those of the parts of a URL: what taskdiag itself makes of a value."""
    import hmac

    def keyed(part, value):
        words = name + b"\0" + part.encode() + b"\0" + value
        return hmac.new(key, words, "sha256").hexdigest()[:16]

    try:
        url = value.decode("ascii") if b"://" in value and len(value) < 4096 else None
    except UnicodeDecodeError:
        url = None
    if url is not None:
        url = re.sub(r"^([^/?#]*://(?:[^/?#]*@)?)(?:127[.]0[.]0[.]1|\[::1\])(?=[:/?#]|$)", r"\1localhost", url)
    found = {"value": keyed("", value if url is None else url.encode()), "parts": {}}
    parts = URL.fullmatch(url) if url is not None else None
    if parts and parts.group(1) not in ("http", "https", "ws", "wss", "ftp", "file"):
        names = ("scheme", "user", "password", "host", "port", "path", "query")
        for part, word in zip(names, parts.groups()):
            if word:
                found["parts"][part] = keyed(part, word.encode())
    return found


def environ(question):
    """Values of those names that are known to be harmless; of all others hashes, where there is a key."""
    folder = "/proc/%d/" % question["pid"]
    shown, prefixes = set(question["shown"]), tuple(question["prefixes"])
    key = bytes.fromhex(question.get("key") or "")
    try:
        with open(folder + "environ", "rb") as file:
            entries = file.read(1 << 20).split(b"\0")
    except OSError:
        return say({"environ": None})
    found = {}
    for entry in sorted(entries)[:MOST_VARIABLES]:
        name, equals, value = entry.partition(b"=")
        if not equals or not name or len(name) > 200:
            continue
        one = {"empty": not value}
        word = name.decode("utf-8", "replace")
        if (word in shown or word.startswith(prefixes)) and len(value) <= 400:
            one["plain"] = value.decode("utf-8", "replace")
        if value and key:
            one["masked"] = masked(key, name, value)
        found[word] = one
    say({"environ": found})


def packages(question):
    """The distributions beside the interpreter of a process, by the names of their folders."""
    pid, found = question["pid"], {}
    words = text("/proc/%d/cmdline" % pid, MOST_COMMAND).split("\0")
    try:
        program = os.readlink("/proc/%d/exe" % pid)
    except OSError:
        return say({"packages": None})
    first = words[0]
    is_python = first.startswith("/") and os.path.realpath(first) == os.path.realpath(program)
    prefix = os.path.dirname(os.path.dirname(first if is_python else program))
    version = re.search(r"python(3[.][0-9]+)$", os.path.basename(program))
    virtual = os.path.exists(prefix + "/pyvenv.cfg")
    if version is None:
        return say({"packages": None})
    version = version.group(1)
    sites = ["%s/lib/python%s/%s" % (prefix, version, name) for name in ("site-packages", "dist-packages")]
    if not virtual:
        sites += ["/usr/local/lib/python%s/dist-packages" % version, "/usr/lib/python3/dist-packages"]
    for site in sites:
        try:
            names = os.listdir(site)[:MOST_SITE]
        except OSError:
            continue
        for name in names:
            stem, dot, kind = name.rpartition(".")
            name, dash, number = stem.partition("-")
            if kind in ("dist-info", "egg-info") and dash:
                found.setdefault(re.sub("[-_.]+", "-", name).lower(), number.split("-py")[0])
    answer = {"packages": found, "version": version, "prefix": prefix, "virtual": virtual}
    answer["executable"] = program
    say(answer)


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


# ---- where its threads stand


class Program:
    """taskdiag's own: it comes in pieces, packed."""

    descriptor, packer = None, None
    held = 0


def drop(because):
    os.close(Program.descriptor)
    Program.descriptor = None
    say({"held": None, "because": because})


def program(question):
    """Memory for it, if there is some to spare."""
    left = room()
    answer = {"machine": os.uname().machine, "room": left}
    try:
        import zlib

        if left is not None and left < question["room"]:
            answer["because"] = "memory"
        else:
            if Program.descriptor is not None:
                os.close(Program.descriptor)
            Program.packer, Program.held = zlib.decompressobj(), 0
            try:
                Program.descriptor = os.memfd_create("taskdiag", 1 | 16)  # MFD_CLOEXEC, MFD_EXEC
            except OSError:
                Program.descriptor = os.memfd_create("taskdiag", 1)  # Before Linux 6.3.
    except AttributeError:
        answer["because"] = "its Python is older than 3.8"
    except (ImportError, OSError) as error:
        answer["because"] = str(error)
    say(answer)


def piece(question):
    packed = sys.stdin.buffer.read(question["size"])
    if Program.descriptor is None:
        return say({"held": None, "because": "it was dropped"})
    left = room()
    if left is not None and left < 2 * ROOM:
        return drop("memory has become short")
    try:
        data = memoryview(Program.packer.decompress(packed))
        while data:
            written = os.write(Program.descriptor, data)
            Program.held += written
            data = data[written:]
    except Exception as error:
        return drop(str(error))
    say({"held": Program.held})


def stacks(question):
    """What it prints. It ends by itself, and with this script."""
    import subprocess

    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    words = ["taskdiag", "__stacks", str(os.getpid())] + [str(pid) for pid in question["pids"]]
    try:
        child = subprocess.Popen(
            words,
            executable="/proc/self/fd/%d" % Program.descriptor,
            pass_fds=[Program.descriptor],
            stdin=null,
            stdout=pipe,
            stderr=pipe,
            cwd="/",
            env={},
        )
    except OSError as error:
        libc = error.errno == 2  # What it names is there: its loader is not.
        return say({"because": "it needs another C library than this one" if libc else error.strerror})
    try:
        out, err = child.communicate(timeout=question["seconds"])
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
    if not out and child.returncode:
        words = err.decode("utf-8", "replace").strip().splitlines()[-1:]
        return say({"because": "%s (%d)" % (words[0][-300:] if words else "it ended", child.returncode)})
    say({"stacks": out.decode("utf-8", "replace")})


def main():
    signal.alarm(60)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass
    answers = {"begin": begin, "processes": processes, "tcp": tcp}
    answers.update({"environ": environ, "packages": packages})
    answers.update({"program": program, "piece": piece, "stacks": stacks})
    while True:
        line = sys.stdin.buffer.readline(65536)
        if not line:
            return
        question = json.loads(line.decode("utf-8"))
        answers[question["ask"]](question)


try:
    main()
except (OSError, KeyboardInterrupt):
    pass
