"""A gRPC application without generated code: messages are bytes. As a program:
    grpc_app.py PORT [NAME]    serves until SIGTERM, then finishes what it has and refuses the rest

Methods of lintel.Test: Say (unary), Count (server streams), Join (client streams), Chat (both).
"""
import signal
import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "lintel.Test"
GRACE_S = 20
BIG = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Application:
    def __init__(self, name="app"):
        self.name = name
        self.cancelled = threading.Semaphore(0)  # released for each call that its client gave up
        self.begun = threading.Semaphore(0)
        self.remaining = None  # of the last call with a deadline, in seconds

    def _begin(self, context):
        self.begun.release()
        self.remaining = context.time_remaining()

        def over():
            if context.code() is None and not getattr(context, "is_done", False):
                self.cancelled.release()
        context.add_callback(over)

    def say(self, request, context):
        """Gives the message back; some words do something else."""
        self._begin(context)
        metadata = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-name", self.name), ("x-seen", metadata.get("x-mine", ""))))
        context.set_trailing_metadata((("x-trailer", "t"),
                                       ("x-trailer-bin", metadata.get("x-mine-bin", b""))))
        if request.startswith(b"fail "):
            code, details = request[5:].decode().split(" ", 1)
            context.is_done = True
            context.abort(getattr(grpc.StatusCode, code), details)
        if request.startswith(b"sleep "):
            end = time.monotonic() + float(request[6:])
            while time.monotonic() < end and context.is_active():
                time.sleep(0.01)
        if context.is_active():
            context.is_done = True
        return request

    def count(self, request, context):
        """So many messages of so many bytes, a moment apart."""
        self._begin(context)
        n, size, pause = (request.decode().split() + ["1", "0"])[:3]
        for i in range(int(n)):
            if not context.is_active():
                return
            yield (b"%d" % i).ljust(int(size), b".")
            if float(pause):
                time.sleep(float(pause))
        context.is_done = True

    def join(self, requests, context):
        self._begin(context)
        joined = b"".join(requests)
        context.is_done = True
        return joined

    def chat(self, requests, context):
        """Each message comes back at once; "end" ends the call, whether the client has or not."""
        self._begin(context)
        for request in requests:
            if request == b"end":
                break
            yield request
        context.is_done = True

    def handler(self):
        return grpc.method_handlers_generic_handler(SERVICE, {
            "Say": grpc.unary_unary_rpc_method_handler(self.say),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Join": grpc.stream_unary_rpc_method_handler(self.join),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat)})


class Server:
    """In this process. identity: speaks TLS, with that certificate (lib.pki); clients: the authority
    that has signed those of clients, who must show one then."""

    def __init__(self, name="app", port=0, options=(), *, identity=None, clients=None):
        self.application = Application(name)
        self.server = grpc.server(futures.ThreadPoolExecutor(256), options=[*BIG, *options])
        self.server.add_generic_rpc_handlers((self.application.handler(),))
        self.port = self._listen(f"0.0.0.0:{port}", identity, clients)
        self.server.start()

    def _listen(self, address, identity, clients):
        if identity is None:
            return self.server.add_insecure_port(address)
        return self.server.add_secure_port(address, grpc.ssl_server_credentials(
            [(identity.key.encode(), identity.chain.encode())],
            None if clients is None else clients.certificate.encode(), clients is not None))

    def stop(self, grace=None):
        return self.server.stop(grace)


class Client:
    """A channel to Lintel, as if host were its address."""

    def __init__(self, port, host="a.test", options=()):
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.default_authority", host),
                                          ("grpc.enable_retries", 0), *BIG, *options])
        self.say = self.channel.unary_unary(f"/{SERVICE}/Say")
        self.count = self.channel.unary_stream(f"/{SERVICE}/Count")
        self.join = self.channel.stream_unary(f"/{SERVICE}/Join")
        self.chat = self.channel.stream_stream(f"/{SERVICE}/Chat")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()


def main(port, name="app"):
    server = Server(name, int(port))
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    print("up", flush=True)
    over.wait()
    server.stop(GRACE_S).wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
