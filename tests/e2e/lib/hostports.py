"""Ports of a node that lead to a Pod: connections are taken at the node's address and copied. (A real
node rewrites addresses instead; here the Pod sees the node as the client.)"""
import contextlib
import socket
import threading

PIECE = 65536
CONNECT_S = 5


class HostPort:
    def __init__(self, address, port, pod_address, pod_port):
        self.target = (pod_address, pod_port)
        self.listener = socket.create_server((address, port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client:
            try:
                pod = socket.create_connection(self.target, CONNECT_S)
            except OSError:
                return
            with pod:
                pod.settimeout(None)
                back = threading.Thread(target=copy, args=(pod, client), daemon=True)
                back.start()
                copy(client, pod)
                back.join()


def copy(source, target):
    with contextlib.suppress(OSError):
        while True:
            piece = source.recv(PIECE)
            if not piece:
                break
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
