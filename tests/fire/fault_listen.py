"""Listening on loopback and on a unix socket, each connection with a thread of its own."""

import http.server
import random
import socketserver
import threading

PORTS = 10000, 22000  # of our servers; what a service listens on lies above


class Listener(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Loopback, below the range of ports that the kernel deals out."""
    daemon_threads, request_queue_size, allow_reuse_address = True, 128, False

    def __init__(self, port, handler, tls=None, address="127.0.0.1", **shared):
        while True:
            try:
                super().__init__((address, port or random.randrange(*PORTS)), handler)
                break
            except OSError:
                if port:
                    raise
        self.url = f"{'https' if tls else 'http'}://{address}:{self.server_address[1]}"
        self.tls = tls
        self.__dict__.update(shared)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def finish_request(self, request, client_address):
        if self.tls:
            request = self.tls(request)
        if request:
            super().finish_request(request, client_address)

    def server_bind(self):
        # Without the look-up of our own name that HTTPServer does.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request, client_address):
        pass

    def end(self):
        self.shutdown()
        self.server_close()


class UnixListener(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads, request_queue_size = True, 128

    def __init__(self, path, handler, **shared):
        super().__init__(str(path), handler)
        self.__dict__.update(shared)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def get_request(self):
        connection, _ = super().get_request()
        return connection, ("client", 0)

    def handle_error(self, request, client_address):
        pass

    end = Listener.end


class Healthy(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
