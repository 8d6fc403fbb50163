"""Another server, which takes its time."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Slow(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        time.sleep(0.2)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


SLOW = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
threading.Thread(target=SLOW.serve_forever, daemon=True).start()
URL = f"http://127.0.0.1:{SLOW.server_port}/"
