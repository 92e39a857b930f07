"""A loopback proxy that acts as Google Drive's hosts over TLS, with a throw-away certificate authority.

It answers CONNECT for those hosts alone and serves what a test puts on it; to everything else it says no. So
the real download code runs unpatched, from its name look-up (the proxy's business) to its certificate check.
"""

import re
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import trustme

HOSTS = ("drive.google.com", "drive.usercontent.google.com", "accounts.google.com")
QUOTA = (
    b"<html><head><title>Google Drive - Quota exceeded</title></head><body>"
    b'<p class="uc-error-caption">Sorry</p><p class="uc-error-subcaption">'
    b"Too many users have viewed or downloaded this file recently.</p></body></html>"
)
SIGN_IN = (
    b"<html><head><title>Google Drive: Sign-in</title></head><body>"
    b"<form action='/ServiceLogin'></form></body></html>"
)


class Drive:
    """files: id → (content, kind of answer). requests: (host, path, Range header) of every request."""

    def __init__(self, folder):
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*HOSTS).configure_cert(self.context)
        self.files, self.requests, self.refused = {}, [], []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.drive = self
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def environment(self):
        address = f"http://127.0.0.1:{self.server.server_port}"
        return {
            "HTTPS_PROXY": address,
            "https_proxy": address,
            "NO_PROXY": "",
            "no_proxy": "",
            "REQUESTS_CA_BUNDLE": str(self.ca),
        }

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    host = None

    def log_message(self, *_):
        pass

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (
            ssl.SSLError,
            ConnectionError,
        ):  # the client hung up, as it does on an answer it will not have
            self.close_connection = True

    def do_CONNECT(self):
        drive, host = self.server.drive, self.path.partition(":")[0]
        if host not in HOSTS:
            drive.refused.append(host)
            self.send_error(403)
            return
        self.send_response(200)
        self.end_headers()
        self.host = host
        self.connection = drive.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def do_GET(self):
        drive = self.server.drive
        drive.requests.append((self.host, self.path, self.headers.get("Range")))
        if self.host == "accounts.google.com":
            self.page(SIGN_IN)
            return
        file_id = parse_qs(urlsplit(self.path).query).get("id", [""])[0]
        content, how = drive.files.get(file_id, (b"", "404"))
        if how in ("404", "403", "500"):
            self.page(b"<html>Error</html>", int(how))
        elif how == "quota":
            self.page(QUOTA)
        elif how == "sign-in":
            self.page(b"", 302, Location="https://accounts.google.com/ServiceLogin?continue=x")
        elif how == "other host":
            self.page(b"", 302, Location="https://evil.example/file")
        elif how == "confirm" and self.host == "drive.google.com":
            fields = "".join(
                f'<input type="hidden" name="{name}" value="{value}">'
                for name, value in (("id", file_id), ("confirm", "t"))
            )
            action = "https://drive.usercontent.google.com/download"
            self.page(f'<form id="download-form" action="{action}" method="get">{fields}</form>'.encode())
        elif how == "no type":
            self.page(content, kind=None)
        elif how == "silence":
            threading.Event().wait(3)
            self.close_connection = True
        elif how == "huge":
            self.file(bytes(4 << 20), announced=10 << 30)
        elif how == "endless":
            self.endless()
        elif how.startswith("cut"):  # "cut 2": the first two answers break off
            times = int(how.partition(" ")[2] or 1 << 30)
            drive.files[file_id] = content, f"cut {times - 1}" if times > 1 else "plain"
            self.file(content, cut=True)
        else:
            self.file(content)

    def page(self, body, code=200, kind="text/html; charset=utf-8", **headers):
        self.send_response(code)
        for name, value in ({"Content-Type": kind} if kind else {}).items() | headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def file(self, content, cut=False, announced=None):
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        rest = content[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Disposition", 'attachment; filename="../../whatever.npz"')
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(announced or len(rest)))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(rest[: len(rest) * 3 // 4] if cut else rest)
        self.close_connection = self.close_connection or cut

    def endless(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Disposition", 'attachment; filename="x"')
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(4000):  # 4 GB if it is not stopped
            self.wfile.write(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
