"""Programs that are not ours between or in place of the client: npm's `ws`,
nginx as a reverse proxy, and a real browser.
"""

import contextlib
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import websockets

from .echoing import check_echo
from .ports import free_port
from .server import ROOT, expect

HERE = pathlib.Path(__file__).resolve().parent
NODE_MODULES = ROOT / "tests" / ".cache" / "node" / "node_modules"
NODE_TESTS = 7
BROWSER_SECONDS_MAX = 60

NGINX_CONFIGURATION = """
daemon off;
# One process, so that stopping its pid stops everything.
master_process off;
pid {directory}/pid;
error_log {directory}/error.log warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $host;
        }}
    }}
}}
"""


def node(server, authority=None):
    """With the file of the authority that it shall trust, if there is one."""
    trust = {"NODE_EXTRA_CA_CERTS": authority} if authority else {}
    done = subprocess.run(
        ["node", HERE / "echo.js", NODE_MODULES, server.url()],
        env=os.environ | trust,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    expect(done.returncode == 0, done.stderr.decode(errors="replace")[-1000:])
    passed = json.loads(done.stdout)["passed"]
    expect(len(passed) == NODE_TESTS, f"only {passed} were run")
    return f"{len(passed)} with ws"


@contextlib.contextmanager
def nginx(upstream):
    """The port of a proxy in front of the port `upstream`."""
    # /usr/sbin is not on everybody's path.
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        configuration = pathlib.Path(directory) / "nginx.conf"
        configuration.write_text(
            NGINX_CONFIGURATION.format(directory=directory, port=port, upstream=upstream)
        )
        proxy = subprocess.Popen(
            [program, "-p", directory, "-c", configuration],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_listening(proxy, port)
            yield port
        finally:
            stop(proxy)


async def behind_nginx(server):
    with nginx(server.port) as port:
        for path in ("/echo", "/broadcast"):
            async with websockets.connect(
                f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None
            ) as client:
                for size in (0, 1, 125, 126, 65536, 4 << 20):
                    await check_echo(client, "n" * size)
                    await check_echo(client, b"g" * size)
                await (await client.ping(b"through"))
                await client.close(3001, "through")
                expect(
                    client.protocol.close_rcvd.code == 3001,
                    f"closed with {client.protocol.close_rcvd}",
                )
        try:
            await websockets.connect(f"ws://127.0.0.1:{port}/nowhere", proxy=None)
        except websockets.InvalidStatus as refusal:
            expect(refusal.response.status_code == 404, f"answered with {refusal}")
        else:
            expect(False, "an unknown path was accepted")


def wait_listening(process, port):
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            expect(
                process.poll() is None and time.monotonic() < end,
                f"nginx does not listen: {process.poll()}",
            )
            time.sleep(0.05)


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def make_page_handler(page, finished):
    class PageHandler(http.server.BaseHTTPRequestHandler):
        """Serves the page; `finished` is answered once the page has reported."""

        def do_GET(self):
            if self.path == "/":
                self.answer(200, page)
            elif self.path == "/finished":
                finished.wait(BROWSER_SECONDS_MAX)
                self.answer(404, b"")
            else:
                self.answer(404, b"")

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(200, b"")
            finished.set()

        def answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return PageHandler


def in_chromium(server, *flags):
    found = page_in_chromium(server, "page.html", *flags)
    expect(found == "text ok, binary ok, closed 3210 clean", f"the page says {found!r}")


def page_in_chromium(server, name, *flags):
    """Opens a page of this directory, with the server's address in it; returns the result
    that it writes."""
    page = (HERE / name).read_text().replace("ws://127.0.0.1:PORT", server.url("")).encode()
    finished = threading.Event()
    handler = make_page_handler(page, finished)
    pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    pages.daemon_threads = True
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [shutil.which("chromium"), "--headless", "--no-sandbox", "--disable-gpu"]
        command += ["--disable-quic", "--no-first-run", "--disable-background-networking"]
        command += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]
        command += [f"--user-data-dir={profile}", "--dump-dom", *flags]
        browser = subprocess.Popen(
            command + [f"http://127.0.0.1:{pages.server_port}/"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            output, errors = browser.communicate(timeout=BROWSER_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            stop(browser)
            expect(False, f"the browser did not end in {BROWSER_SECONDS_MAX}s")
        finally:
            finished.set()
            pages.shutdown()
            pages.server_close()
    found = re.search(r'<pre id="result">(.*?)</pre>', output.decode(errors="replace"), re.S)
    expect(found, f"no result in the document; stderr: {errors.decode(errors='replace')[-500:]}")
    return found[1]
