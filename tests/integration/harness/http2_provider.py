# SPDX-License-Identifier: Apache-2.0
"""A JSON-RPC provider over HTTP/2 whose every frame a test decides: it holds, refuses, resets, says farewell, hangs up."""
import json
import socket
import ssl
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import hyperframe.frame

from harness.poll import until
from harness.ports import kept_port, stop_accepting


LAST_STREAM = 2**31 - 1


class Request:
    def __init__(self, peer, stream, number, headers):
        self.peer, self.stream, self.number, self.headers = peer, stream, number, headers
        self.body = b""

    def call(self):
        return json.loads(self.body)

    def answer(self, result):
        """Answers each call of it with result(arguments)."""
        calls = self.call()
        answers = [{"jsonrpc": "2.0", "id": call["id"], "result": result(call["params"])} for call in (calls if isinstance(calls, list) else [calls])]
        self.say(json.dumps(answers if isinstance(calls, list) else answers[0]).encode())

    def say(self, body, status=200, more=()):
        self.peer.send_answer(self.stream, [(":status", str(status)), ("content-type", "application/json"), *more], body)

    def reset(self, code):
        with self.peer.lock:
            self.peer.connection.reset_stream(self.stream, code)
            self.peer.flush()


class Peer(threading.Thread):
    """One connection."""

    def __init__(self, provider, sock):
        super().__init__(daemon=True)
        self.provider, self.sock, self.lock = provider, sock, threading.Lock()
        self.connection = h2.connection.H2Connection(config=h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.open, self.waiting = {}, {}
        self.ended = False

    def flush(self):
        try:
            self.sock.sendall(self.connection.data_to_send())
        except OSError:
            pass

    def send_answer(self, stream, headers, body):
        with self.lock:
            try:
                self.connection.send_headers(stream, headers)
                self.waiting[stream] = body
                self.send_more(stream)
                self.flush()
            except h2.exceptions.ProtocolError:
                pass    # the gateway has given it up

    def send_more(self, stream):
        body = self.waiting.pop(stream, b"")
        room = min(self.connection.local_flow_control_window(stream), len(body))
        while room and body:
            part = body[:min(room, self.connection.max_outbound_frame_size)]
            body, room = body[len(part):], room - len(part)
            self.connection.send_data(stream, part)
        if body:
            self.waiting[stream] = body
        else:
            self.connection.end_stream(stream)

    def run(self):
        with self.lock:
            self.connection.initiate_connection()
            self.connection.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.provider.streams})
            self.flush()
        try:
            while data := self.sock.recv(65536):
                with self.lock:
                    events = self.connection.receive_data(data)
                    self.flush()
                for event in events:
                    self.take(event)
        except (OSError, h2.exceptions.ProtocolError):
            pass
        self.ended = True
        self.sock.close()

    def take(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.open[event.stream_id] = self.provider.enter(self, event)
        elif isinstance(event, h2.events.DataReceived):
            self.open[event.stream_id].body += event.data
            with self.lock:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.flush()
        elif isinstance(event, h2.events.WindowUpdated):
            with self.lock:
                for stream in [event.stream_id] if event.stream_id else list(self.waiting):
                    if stream in self.waiting:
                        self.send_more(stream)
                self.flush()
        elif isinstance(event, h2.events.StreamEnded):
            request = self.open.pop(event.stream_id)
            self.provider.arrived(request)
        elif isinstance(event, h2.events.StreamReset):
            self.provider.gone.append(event.stream_id)

    def say_frame(self, frame):
        """One that h2 does not know of, and so draws no conclusions from."""
        with self.lock:
            self.flush()
            try:
                self.sock.sendall(frame.serialize())
            except OSError:
                pass

    def say_farewell(self, last=LAST_STREAM):
        """GOAWAY: streams up to `last` are answered, later ones never were looked at. h2 lets nobody answer after its own."""
        self.say_frame(hyperframe.frame.GoAwayFrame(0, last_stream_id=last))

    def say_settings(self, settings):
        self.say_frame(hyperframe.frame.SettingsFrame(0, settings=settings))

    def ping(self):
        with self.lock:
            self.connection.ping(b"nobody's")
            self.flush()

    def say_no_more(self):
        """Reads on until the other end closes as well: what was said before arrives, whatever comes meanwhile."""
        socket.socket.shutdown(self.sock, socket.SHUT_WR)   # ssl's own would read no TLS from then on

    def hang_up(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Http2Provider:
    """`handle(request)` is called with each, on its connection's thread; `requests` holds all that arrived whole."""

    def __init__(self, handle, certificate=None, protocols=("h2", "http/1.1"), streams=100):
        self.handle, self.streams = handle, streams
        self.requests, self.peers, self.gone = [], [], []
        self.lock = threading.Lock()
        self.welcome = threading.Event()    # until it is set nobody's TLS is answered
        self.welcome.set()
        self.context = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
            self.context.set_alpn_protocols(list(protocols))
        self.listener = socket.create_server(("127.0.0.1", kept_port()), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def url(self):
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}/rpc"

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.welcome.wait()
                if self.context:
                    sock = self.context.wrap_socket(sock, server_side=True)
            except OSError:
                sock.close()
                continue
            peer = Peer(self, sock)
            with self.lock:
                self.peers.append(peer)
            peer.start()

    def enter(self, peer, event):
        with self.lock:
            return Request(peer, event.stream_id, 0, dict(event.headers))

    def arrived(self, request):
        with self.lock:
            request.number = len(self.requests)
            self.requests.append(request)
        self.handle(request)

    def connections(self):
        with self.lock:
            return len(self.peers)

    def until_arrived(self, count):
        until(lambda: len(self.requests) >= count, f"{count} requests have arrived")

    def finish(self):
        self.welcome.set()
        stop_accepting(self.listener, self.thread)
        for peer in self.peers:
            peer.hang_up()
            peer.join()
