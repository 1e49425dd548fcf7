"""What the measuring scripts of this folder share: a broker of their own, load, clocks, the table."""

import contextlib
import datetime
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
import uuid

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def lab(*arguments, state=None):
    env = dict(os.environ, **({"TASKDIAG_LAB": str(state)} if state else {}))
    printed = subprocess.run(
        [REPOSITORY / "fixtures/lab", *arguments], check=True, stdout=subprocess.PIPE, text=True, env=env
    ).stdout
    return dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)


def enter_venv(script):
    """The scripts need the lab's Python packages."""
    venv = pathlib.Path(lab("up", "--services")["LAB_VENV"])
    if pathlib.Path(sys.prefix) != venv:
        os.execv(venv / "bin/python", [venv / "bin/python", script, *sys.argv[1:]])


def binary():
    if named := os.environ.get("TASKDIAG_BIN"):
        return named
    print("bench: building a release binary", file=sys.stderr)
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=REPOSITORY, check=True)
    return f"{os.environ.get('CARGO_TARGET_DIR', REPOSITORY / 'target')}/release/taskdiag"


# ---- the broker ----


class Broker:
    VHOST = "bench"

    def __init__(self, home):
        self.home = home
        self.lab = lab("up", "--services", state=home)
        self.amqp = f"amqp://lab:lab@127.0.0.1:{self.lab['LAB_AMQP_PORT']}/{self.VHOST}"
        self.api = f"http://127.0.0.1:{self.lab['LAB_MGMT_PORT']}/api"
        self.manage("PUT", f"vhosts/{self.VHOST}", {"description": "orders & more", "tags": "production,eu"})
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self.manage("PUT", f"permissions/{self.VHOST}/lab", everything)
        self.config = home / "bench.toml"
        self.config.write_text(
            f'[broker]\namqp_url = "{self.amqp}"\n'
            f'management_url = "http://lab:lab@127.0.0.1:{self.lab["LAB_MGMT_PORT"]}"\ntrace = "on"\n'
        )
        said = subprocess.run([self.lab["LAB_RABBITMQCTL"], "eval", "os:getpid()."], stdout=subprocess.PIPE, text=True)
        self.pid = int(re.search(r"\d+", said.stdout).group())

    def manage(self, method, path, body=None):
        import base64

        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.api}/{path}", data, method=method)
        request.add_header("Authorization", "Basic " + base64.b64encode(b"lab:lab").decode())
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def vhost(self):
        found = self.manage("GET", f"vhosts/{self.VHOST}")
        return {key: found.get(key) for key in ("name", "description", "tags", "default_queue_type", "metadata", "tracing")}

    def tracing(self, on):
        metadata = self.vhost()
        body = {"tracing": on, "description": metadata["description"], "tags": ",".join(metadata["tags"] or [])}
        self.manage("PUT", f"vhosts/{self.VHOST}", body)

    def connect(self):
        import pika

        connection = pika.BlockingConnection(pika.URLParameters(self.amqp))
        return connection, connection.channel()


BODY = {"actor_name": "send_email", "args": ["someone@example.org", 7], "kwargs": {"task_id": "task_1"}, "options": {}}


def body(queue, message_id):
    return json.dumps(dict(BODY, queue_name=queue, message_id=message_id, message_timestamp=1700000000000)).encode()


def publish_for(broker, queue, rate, seconds, confirm=False):
    """Runs in a process of its own; prints how many it has published."""
    connection, channel = broker.connect()
    if confirm:
        channel.confirm_delivery()
    message = body(queue, str(uuid.uuid4()))
    began, count = time.perf_counter(), 0
    while (now := time.perf_counter() - began) < seconds:
        due = int(now * rate)
        while count < due:
            channel.basic_publish("", queue, message)
            count += 1
        connection.process_data_events(0)
        time.sleep(0.001)
    connection.close()
    return count


def consume_for(broker, queue, seconds):
    connection, channel = broker.connect()
    channel.basic_qos(prefetch_count=50)
    channel.basic_consume(queue, lambda channel, method, *_: channel.basic_ack(method.delivery_tag))
    connection.process_data_events(seconds)
    connection.close()


def forked(function, *arguments):
    """Calls the function in a child; wait() returns its result."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        code = 1
        with contextlib.suppress(Exception):
            os.write(write, json.dumps(function(*arguments)).encode())
            code = 0
        os._exit(code)
    os.close(write)

    def wait():
        with os.fdopen(read) as pipe:
            text = pipe.read()
        os.waitpid(pid, 0)
        return json.loads(text)

    return wait


# ---- figures ----


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def spread(values):
    values = sorted(values)
    return statistics.median(values), values[min(len(values) - 1, int(len(values) * 0.95))]


def ms(values):
    median, high = spread(values)
    return f"{median * 1000:.1f} ms (95 %: {high * 1000:.1f} ms)"

# ---- the table ----


def report(measure, parts, name, tools, home):
    """Runs the parts that argv names, or all, and prints their rows; `--write` puts them into BENCHMARKS.md."""
    # Ended by a request, services of our own must not stay.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    wanted = [word for word in sys.argv[1:] if not word.startswith("-")] or parts
    if unknown := set(wanted) - set(parts):
        sys.exit(f"bench: no such part: {', '.join(unknown)}; there are: {' '.join(parts)}")
    rows = []

    def row(*columns):
        rows.append("| " + " | ".join(columns) + " |")
        print("bench: " + " | ".join(columns), file=sys.stderr)

    try:
        broker = Broker(home)
        measure(broker, wanted, row)
    finally:
        lab("down", "--purge", state=home)
        shutil.rmtree(home, ignore_errors=True)
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    said = f"{datetime.date.today()}, {os.cpu_count()} cores ({model}), load {os.getloadavg()[1]:.1f}:"
    print(table(said, tools, rows))
    if "--write" in sys.argv:
        write(name, said, tools, rows, whole=wanted == parts)


def table(said, tools, rows):
    return "\n".join([said, "", f"| what | {' | '.join(tools)} | how |", "|---" * (len(tools) + 2) + "|", *rows])


def write(name, said, tools, rows, whole):
    """Puts the rows into BENCHMARKS.md; of a run of some parts only, beside the rows of the other parts."""
    path = REPOSITORY / "BENCHMARKS.md"
    begin, end = f"<!-- {name} -->\n", f"<!-- {name} end -->"
    head, rest = path.read_text().split(begin)
    old, tail = rest.split(end)
    if not whole:
        what = lambda line: line.split(" | ")[0]
        new = {what(line): line for line in rows}
        kept = [line for line in old.splitlines() if line.startswith("| ") and not line.startswith("| what |")]
        rows = [new.pop(what(line), line) for line in kept] + list(new.values())
    path.write_text(head + begin + table(said, tools, rows) + "\n" + end + tail)
