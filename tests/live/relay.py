"""Runs programs for others, as an engine does: whoever may use the socket needs no rights of his own.

relay.py serve SOCKET PREFIX...    runs PREFIX and the words of each caller
relay.py SOCKET WORDS...           the caller: standard input, output and error are passed on, and the exit code
"""

import json
import os
import socket
import subprocess
import sys
import threading


def serve(path, prefix):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o666)
    listener.listen(16)
    print("relays", flush=True)
    while True:
        caller, _ = listener.accept()
        threading.Thread(target=run, args=(caller, prefix), daemon=True).start()


def run(caller, prefix):
    asked = caller.makefile("rb")
    words = json.loads(asked.readline())
    program = subprocess.Popen(
        prefix + words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    lock = threading.Lock()

    def answer(kind, data):
        with lock:
            caller.sendall(b"%c%08d" % (kind, len(data)) + data)

    def passed(kind, stream):
        while True:
            data = stream.read1(65536)
            if not data:
                return
            try:
                answer(kind, data)
            except OSError:
                return

    def given():
        while True:
            data = asked.read1(65536)
            if not data:
                break
            try:
                program.stdin.write(data)
                program.stdin.flush()
            except OSError:
                break
        try:
            program.stdin.close()
        except OSError:
            pass

    threads = [
        threading.Thread(target=passed, args=(ord("o"), program.stdout), daemon=True),
        threading.Thread(target=passed, args=(ord("e"), program.stderr), daemon=True),
    ]
    threading.Thread(target=given, daemon=True).start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    code = program.wait()
    try:
        answer(ord("x"), b"%d" % (code if code >= 0 else 128 - code))
    except OSError:
        pass
    caller.close()


def call(path, words):
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    server.sendall(json.dumps(words).encode() + b"\n")

    def given():
        while True:
            data = os.read(0, 65536)
            if not data:
                break
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)

    threading.Thread(target=given, daemon=True).start()
    said = server.makefile("rb")
    while True:
        head = said.read(9)
        if len(head) < 9:
            os._exit(1)
        data = said.read(int(head[1:]))
        if head[:1] == b"x":
            os._exit(int(data))
        out = 1 if head[:1] == b"o" else 2
        while data:
            data = data[os.write(out, data) :]


if sys.argv[1] == "serve":
    serve(sys.argv[2], sys.argv[3:])
else:
    call(sys.argv[1], sys.argv[2:])
