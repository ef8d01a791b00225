"""A double of the Kubernetes API server, for its faults: lists in pages, watches with bookmarks, single
objects, over HTTP/1.1 or HTTP/2, plain or TLS, of any resource: a path is one. Whatever a test wants
to go wrong goes wrong through `double.fault`, which sees each request first.

It runs on a thread with an event loop of its own; a test reaches into it by `double.call(function)`.
"""
import asyncio
import base64
import json
import ssl
import threading
from urllib.parse import parse_qs, urlsplit

import h2.config
import h2.connection
import h2.events
import h2.exceptions

KEPT_EVENTS = 1000
REASONS = {410: "Expired", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound",
                   429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable",
                   504: "Timeout"}


def server_context(authority, name="double", *, names=(), addresses=("127.0.0.1",)):
    """TLS of a double, its certificate signed by that authority (e2e.lib.pki)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign(name, name, addresses=addresses, names=names))
    return context


# ---- transports ----

class Cut(Exception):
    """The connection is gone, or the double itself ended it."""


class Reply1:
    """An answer in HTTP/1.1, in chunks, so that an early end shows."""

    def __init__(self, double, writer):
        self.double, self.writer = double, writer

    async def start(self, status, headers):
        await self.double.hold(self.writer)
        lines = [f"HTTP/1.1 {status} X", "Transfer-Encoding: chunked"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        await self.writer.drain()

    async def send(self, data):
        await self.double.hold(self.writer)
        if data:
            self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
            await self.writer.drain()

    async def end(self):
        await self.double.hold(self.writer)
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def cut(self):
        self.writer.transport.abort()
        raise Cut


class Reply2:
    """An answer in HTTP/2; to cut it is to reset the stream."""

    def __init__(self, connection, stream):
        self.connection, self.stream = connection, stream

    async def start(self, status, headers):
        await self.connection.hold()
        self.connection.http.send_headers(
            self.stream, [(":status", str(status)),
                          *((name.lower(), str(value)) for name, value in headers.items())])
        self.connection.flush()

    async def send(self, data):
        await self.connection.hold()
        http = self.connection.http
        while data:
            room = min(http.local_flow_control_window(self.stream), http.max_outbound_frame_size)
            if room <= 0:
                self.connection.has_room.clear()
                await self.connection.has_room.wait()
                continue
            http.send_data(self.stream, data[:room])
            self.connection.flush()
            data = data[room:]
            await self.connection.writer.drain()

    async def end(self):
        await self.connection.hold()
        self.connection.http.end_stream(self.stream)
        self.connection.flush()

    async def cut(self):
        self.connection.http.reset_stream(self.stream)
        self.connection.flush()
        raise Cut


class Connection2:
    """The server's side of one HTTP/2 connection."""

    def __init__(self, double, reader, writer):
        self.double, self.reader, self.writer = double, reader, writer
        self.http = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.has_room = asyncio.Event()
        self.tasks = {}

    async def hold(self):
        await self.double.hold(self.writer)

    def flush(self):
        if self.writer.is_closing():
            raise Cut
        self.writer.write(self.http.data_to_send())

    async def answer(self, stream, headers):
        try:
            await self.double.answer(Request(headers[":method"], headers[":path"], headers),
                                     Reply2(self, stream))
        except (Cut, h2.exceptions.ProtocolError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.tasks.pop(stream, None)

    def handle(self, event):
        if isinstance(event, h2.events.RequestReceived):
            task = asyncio.ensure_future(self.answer(event.stream_id, dict(event.headers)))
            self.tasks[event.stream_id] = task
        elif isinstance(event, h2.events.StreamReset):
            if event.stream_id in self.tasks:
                self.tasks[event.stream_id].cancel()
        elif isinstance(event, h2.events.WindowUpdated):
            self.has_room.set()

    async def run(self):
        self.http.initiate_connection()
        self.flush()
        try:
            while data := await self.reader.read(65536):
                await self.hold()
                for event in self.http.receive_data(data):
                    self.handle(event)
                self.flush()
        finally:
            tasks = list(self.tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class Request:
    def __init__(self, method, target, headers):
        parts = urlsplit(target)
        self.method, self.path, self.headers = method, parts.path, headers
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.is_watch = self.query.get("watch") == "true"
        self.number = 0  # of the request, from 1

    def __repr__(self):
        return f"{self.method} {self.path} {self.query}"


# ---- the API ----

class Resource:
    """The objects below one path, and what has happened to them."""

    def __init__(self):
        self.objects = {}  # (namespace, name) -> object
        self.history = []  # (version, type, object)
        self.compacted = 0  # events up to this version are forgotten


def encode(value):
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


class Double:
    """fault(double, request, reply): a coroutine that answers and returns True, or returns False
    for the ordinary answer."""

    def __init__(self, *, context=None, http=1, bookmark_s=0.5):
        self.context, self.http, self.bookmark_s = context, http, bookmark_s
        if context is not None:
            context.set_alpn_protocols(["h2"] if http == 2 else ["http/1.1"])
        self.version = 1000
        self.resources, self.requests, self.tokens = {}, [], None
        self.fault = None
        self.port = 0
        self.server, self.writers, self.tasks = None, set(), set()
        self.connection_n = 0
        self.frozen = set()  # writers of connections that hang
        self.loop = asyncio.new_event_loop()
        self.changed = asyncio.Event()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    # from the test's thread

    def call(self, function, *arguments):
        async def run():
            result = function(*arguments)
            return await result if asyncio.iscoroutine(result) else result
        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(60)

    def start(self):
        self.call(self._start)
        return self

    def stop(self):
        """As if the machine was switched off; start() comes back on the same port."""
        self.call(self._stop)

    def close(self):
        self.stop()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def put(self, path, name, namespace="default", size=0):
        return self.call(self._put, path, name, namespace, size)

    def delete(self, path, name, namespace="default"):
        self.call(self._delete, path, name, namespace)

    def state(self, path):
        """namespace/name -> version, what a client should know in the end."""
        return self.call(lambda: {"/".join(key): o["metadata"]["resourceVersion"]
                                  for key, o in self._resource(path).objects.items()})

    def compact(self, path):
        def run():
            self._resource(path).compacted = self.version
            self._resource(path).history.clear()
        self.call(run)

    def save(self):
        """The whole state as etcd would save it; restore() goes back to it."""
        return self.call(lambda: (self.version, {
            path: dict(r.objects) for path, r in self.resources.items()}))

    def restore(self, saved):
        def run():
            self.version = saved[0]
            for path, resource in self.resources.items():
                resource.objects = dict(saved[1].get(path, {}))
                resource.history.clear()
                resource.compacted = saved[0]
        self.call(run)

    def freeze(self):
        """What is connected hangs from now on; new connections work."""
        def run():
            self.frozen = set(self.writers)
        self.call(run)

    def url(self):
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    # on its own thread

    def _resource(self, path):
        return self.resources.setdefault(path, Resource())

    def _happen(self, path, kind, item):
        resource = self._resource(path)
        resource.history.append((self.version, kind, item))
        if len(resource.history) > KEPT_EVENTS:
            resource.compacted = resource.history.pop(0)[0]
        self.changed.set()
        self.changed = asyncio.Event()

    def _put(self, path, name, namespace, size):
        self.version += 1
        objects = self._resource(path).objects
        kind = "MODIFIED" if (namespace, name) in objects else "ADDED"
        item = {"metadata": {"name": name, "namespace": namespace,
                             "resourceVersion": str(self.version)}, "data": "x" * size}
        objects[namespace, name] = item
        self._happen(path, kind, item)
        return str(self.version)

    def _delete(self, path, name, namespace):
        self.version += 1
        item = self._resource(path).objects.pop((namespace, name))
        metadata = {**item["metadata"], "resourceVersion": str(self.version)}
        self._happen(path, "DELETED", {**item, "metadata": metadata})

    async def _start(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port,
                                                 ssl=self.context, backlog=4096)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _stop(self):
        if self.server is not None:
            self.server.close()
            self.server = None
        for writer in self.writers:
            writer.transport.abort()
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def hold(self, writer):
        """Whoever would read from or write to a connection that is frozen does not come back."""
        if writer in self.frozen:
            await asyncio.Event().wait()

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self.tasks.add(task)
        self.writers.add(writer)
        self.connection_n += 1
        try:
            if self.http == 2:
                await Connection2(self, reader, writer).run()
            else:
                await self._serve1(reader, writer)
        except (Cut, ConnectionError, asyncio.IncompleteReadError, ssl.SSLError,
                asyncio.CancelledError):
            pass
        finally:
            self.tasks.discard(task)
            self.writers.discard(writer)
            writer.transport.abort()

    async def _serve1(self, reader, writer):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, target, _ = head[0].split(" ")
            headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
            headers = {name.lower(): value for name, value in headers.items()}
            await reader.readexactly(int(headers.get("content-length", 0)))
            await self.hold(writer)
            await self.answer(Request(method, target, headers), Reply1(self, writer))

    async def answer(self, request, reply):
        self.requests.append(request)
        request.number = len(self.requests)
        if self.tokens is not None and \
                request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            await self.refuse(reply, 401)
            return
        if self.fault is not None and await self.fault(self, request, reply):
            return
        await self.serve(request, reply)

    async def serve(self, request, reply):
        """The ordinary answer."""
        if request.is_watch:
            await self.watch(request, reply)
        elif request.path in self.resources:
            await self.list(request, reply)
        else:
            await self.get(request, reply)

    async def refuse(self, reply, code, message="no", headers=None, reason=None, details=None):
        await reply.start(code, headers or {})
        await reply.send(encode(self.status(code, message, reason, details)))
        await reply.end()

    @staticmethod
    def status(code, message, reason=None, details=None):
        return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
                "reason": reason or REASONS[code], "code": code, "details": details or {}}

    async def ok(self, reply, value):
        await reply.start(200, {"Content-Type": "application/json"})
        await reply.send(encode(value))
        await reply.end()

    async def get(self, request, reply):
        path, _, name = request.path.rpartition("/")
        found = self._resource(path).objects.get(("default", name))
        if found is None:
            await self.refuse(reply, 404)
        else:
            await self.ok(reply, found)

    @staticmethod
    def selects(request, item):
        wanted = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        return wanted in ("", item["metadata"]["name"])

    async def list(self, request, reply):
        """A page: the token holds the version of the list and the last name that was given."""
        version, last = self.version, ["", ""]
        if "continue" in request.query:
            version, last = json.loads(base64.b64decode(request.query["continue"]))
        resource = self._resource(request.path)
        if version < resource.compacted:
            await self.refuse(reply, 410, "The provided continue parameter is too old")
            return
        objects = self.objects_at(resource, version)
        items = [objects[key] for key in sorted(objects)
                 if list(key) > last and self.selects(request, objects[key])]
        limit = int(request.query.get("limit", 0)) or len(items)
        metadata = {"resourceVersion": str(version)}
        if len(items) > limit:
            at = items[limit - 1]["metadata"]
            token = json.dumps([version, [at.get("namespace", ""), at["name"]]]).encode()
            metadata["continue"] = base64.b64encode(token).decode()
        await self.ok(reply, {"kind": "List", "apiVersion": "v1", "metadata": metadata,
                              "items": items[:limit]})

    @staticmethod
    def objects_at(resource, version):
        """The objects as they were then, by undoing history."""
        later = [e for e in resource.history if e[0] > version]
        if not later:
            return resource.objects
        touched = {(o["metadata"].get("namespace", ""), o["metadata"]["name"]) for _, _, o in later}
        objects = {k: o for k, o in resource.objects.items() if k not in touched}
        for at, kind, item in resource.history:
            key = item["metadata"].get("namespace", ""), item["metadata"]["name"]
            if at <= version and key in touched:
                objects.pop(key, None)
                if kind != "DELETED":
                    objects[key] = item
        return objects

    async def watch(self, request, reply):
        resource = self._resource(request.path)
        if "resourceVersion" in request.query:
            at = int(request.query["resourceVersion"])
            initial = []
            if at < resource.compacted:
                await self.refuse(reply, 410, "too old resource version")
                return
        else:
            at = self.version
            initial = [o for o in resource.objects.values() if self.selects(request, o)]
        await reply.start(200, {"Content-Type": "application/json"})
        for item in initial:
            await reply.send(encode({"type": "ADDED", "object": item}))
        while True:
            changed = self.changed
            for version, kind, item in list(resource.history):
                if version > at and self.selects(request, item):
                    await reply.send(encode({"type": kind, "object": item}))
            at = max(at, self.version)
            try:
                await asyncio.wait_for(changed.wait(), self.bookmark_s)
            except asyncio.TimeoutError:
                await self.bookmark(reply, at)

    async def bookmark(self, reply, version):
        await reply.send(encode({"type": "BOOKMARK", "object": {
            "kind": "Thing", "metadata": {"resourceVersion": str(version)}}}))
