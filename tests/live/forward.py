"""TCP ports of this machine in a network namespace of its own, through sockets in a folder.

forward.py outside FOLDER PORT...   where the ports are
forward.py inside FOLDER PORT...    where they are wanted
"""

import fcntl
import os
import socket
import struct
import sys
import threading


def copy(source, target):
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(listener, connect):
    while True:
        accepted, _ = listener.accept()
        try:
            other = connect()
        except OSError:
            accepted.close()
            continue
        for pair in ((accepted, other), (other, accepted)):
            threading.Thread(target=copy, args=pair, daemon=True).start()


def loopback_up():
    with socket.socket() as any_socket:
        # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 0x41))


def main(side, folder, ports):
    if side == "inside":
        loopback_up()
    for port in ports:
        path = os.path.join(folder, "port-%d" % port)
        listener = socket.socket(socket.AF_INET if side == "inside" else socket.AF_UNIX)
        if side == "inside":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
        else:
            listener.bind(path)
        listener.listen(64)

        def connect(path=path, port=port):
            if side == "inside":
                other = socket.socket(socket.AF_UNIX)
                other.connect(path)
                return other
            return socket.create_connection(("127.0.0.1", port))

        threading.Thread(target=serve, args=(listener, connect)).start()
    print("forwards", flush=True)


main(sys.argv[1], sys.argv[2], [int(port) for port in sys.argv[3:]])
