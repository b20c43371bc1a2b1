"""The administration server: metrics as a real parser reads them, answers as the
OpenAPI file says, and what they do to connections.
"""

import base64
import http.client
import json
import tempfile
import time

import jsonschema
import websockets
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from .echoing import check_echo, connect, expect_close
from .ports import free_port
from .server import configured, expect, serving


class Admin:
    """Asks, and checks every answer against the OpenAPI file."""

    def __init__(self, port, token=None):
        self.port = port
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.document = None
        status, self.document = self.ask("GET", "/openapi.json", check=False)
        expect(status == 200, f"openapi.json: {status}")

    def ask(self, method, path, body=None, check=True, content_type="application/json"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = dict(self.headers)
        if body is not None:
            headers["Content-Type"] = content_type
            body = body if isinstance(body, (str, bytes)) else json.dumps(body)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        answer = text if path == "/metrics" else json.loads(text)
        if check:
            self.check(method.lower(), path.split("?")[0], response, answer)
        return response.status, answer

    def check(self, method, path, response, answer):
        operation = self.document["paths"][path][method]
        described = operation["responses"].get(str(response.status))
        expect(described, f"{method} {path}: {response.status} is not described: {answer}")
        (media, content), = described["content"].items()
        expect(
            response.getheader("Content-Type").startswith(media),
            f"{path}: {response.getheader('Content-Type')} is not {media}",
        )
        if media == "application/json":
            schema = {**content["schema"], "components": self.document["components"]}
            jsonschema.Draft202012Validator(schema).validate(answer)

    def metrics(self):
        """{(name, labels): value} summed over shards."""
        sums = {}
        for family in text_string_to_metric_families(self.ask("GET", "/metrics")[1]):
            expect(family.documentation, f"{family.name} has no text")
            for sample in family.samples:
                labels = tuple(
                    sorted(item for item in sample.labels.items() if item[0] != "shard")
                )
                sums[sample.name, labels] = sums.get((sample.name, labels), 0) + sample.value
        return sums


async def metrics(server):
    port = free_port()
    flags = ["--admin", f"127.0.0.1:{port}"]
    with serving(server, flags=flags, limits={"message_bytes_max": 1000}) as own:
        admin = Admin(port)
        clients = [await connect(own, "/echo") for _ in range(5)]
        for client in clients:
            await check_echo(client, "text")
            await check_echo(client, b"bytes")
        now = admin.metrics()
        for name, value in {
            "tapecast_sessions": 5,
            "tapecast_handshakes_total": 5,
            "tapecast_messages_received_total": 10,
            "tapecast_messages_received_text_total": 5,
            "tapecast_messages_sent_total": 10,
        }.items():
            expect(now[name, ()] == value, f"{name} is {now[name, ()]}, expected {value}")
        expect(now["tapecast_route_sessions", (("route", "/echo"),)] == 5, "routes")
        expect(now["tapecast_responses_total", (("status", "101"),)] == 5, "responses")
        expect(now["tapecast_turn_seconds_count", ()] > 10, "turns are not counted")
        expect(0 < now["tapecast_turn_seconds_sum", ()] < 10, "turns have no length")
        await clients[0].send("x" * 1001)
        await expect_close(clients[0], 1009)
        await clients[1].close(4321)
        time.sleep(0.2)
        now = admin.metrics()
        hits = now["tapecast_limit_hits_total", (("limit", "message_bytes_max"),)]
        expect(hits == 1, f"the limit was hit {hits} times")
        for code in ("1009", "4xxx"):
            closes = now["tapecast_closes_total", (("code", code),)]
            expect(closes == 1, f"{closes} closes with {code}")
        expect(now["tapecast_sessions", ()] == 3, "a session that ended is counted")
        expect(now["tapecast_route_sessions", (("route", "/echo"),)] == 3, "routes")
        for client in clients[2:]:
            await client.close()


def deep(levels):
    return [] if levels == 0 else [deep(levels - 1)]


async def steering(server):
    port = free_port()
    with serving(server, flags=["--admin", f"127.0.0.1:{port}"]) as own:
        admin = Admin(port)
        readers = [await connect(own, "/broadcast") for _ in range(7)]
        time.sleep(0.1)
        listed, cursor, pages = [], "", 0
        while cursor is not None:
            path = f"/connections?limit=3{'&cursor=' + cursor if cursor else ''}"
            page = admin.ask("GET", path)[1]
            expect(len(page["connections"]) <= 3, "a page is too long")
            listed += page["connections"]
            cursor = page["next"]
            pages += 1
        expect(pages >= 3 and len(listed) == 7, f"{len(listed)} connections on {pages} pages")
        expect({each["path"] for each in listed} == {"/broadcast"}, "wrong paths")
        topics = admin.ask("GET", "/topics")[1]["topics"]
        expect([topic["topic"] for topic in topics] == ["broadcast"], f"topics: {topics}")
        expect(topics[0]["subscribers"] == 7, f"topics: {topics}")
        expect(admin.ask("POST", "/publish", {"topic": "broadcast", "text": "hé"})[0] == 200, "")
        binary = base64.b64encode(bytes(range(256))).decode()
        admin.ask("POST", "/publish", {"topic": "broadcast", "binary": binary})
        for reader in readers:
            expect(await reader.recv() == "hé", "the text did not arrive")
            expect(await reader.recv() == bytes(range(256)), "the bytes did not arrive")
        # A body of JSON arrives as it was written.
        async with websockets.connect(own.url("/"), proxy=None) as reader:
            await reader.send('{"type":"subscribe","channel":"news"}')
            await reader.recv()
            for body in ({"n": 1.50, "t": "hé"}, None, [1, 2]):
                order = {"topic": "news", "key": "k", "message": body}
                published = admin.ask("POST", "/publish", order)[1]
                message = json.loads(await reader.recv())
                expect(published == {"published": True, "seq": message["seq"]}, f"{published}")
                expect(message["message"] == body and message["key"] == "k", f"{message}")
        victim = readers[3].local_address[1]
        name = next(each["id"] for each in listed if each["peer"].endswith(f":{victim}"))
        order = {"id": name, "code": 4000, "reason": "bye"}
        expect(admin.ask("POST", "/disconnect", order)[0] == 200, "not disconnected")
        await expect_close(readers[3], 4000, "bye")
        own.wait_for(
            lambda: admin.ask("POST", "/disconnect", order)[0] == 404, 5, "disconnected twice"
        )
        for path, body, status in [
            ("/publish", {"topic": "a"}, 400),
            ("/publish", {"topic": "a", "text": "x", "binary": ""}, 400),
            ("/publish", {"topic": "a", "text": "x", "message": None}, 400),
            ("/publish", {"topic": "a", "message": deep(100)}, 400),
            ("/publish", {"topic": "", "text": "x"}, 400),
            ("/publish", {"topic": "a", "binary": "!"}, 400),
            ("/publish", {"topik": "a", "text": "x"}, 422),
            ("/publish", "{", 400),
            ("/disconnect", {"id": "seven"}, 400),
            ("/disconnect", {"id": "99.0.0"}, 400),
            ("/disconnect", {"id": name, "code": 1005}, 400),
        ]:
            got = admin.ask("POST", path, body)
            expect(got[0] == status, f"{path} {body}: {got}")
        expect(admin.ask("POST", "/publish", "x", content_type="text/plain")[0] == 415, "415")
        expect(admin.ask("GET", "/topics?cursor=9.9")[0] == 400, "a cursor of nowhere")
        expect(admin.ask("GET", "/nowhere", check=False)[0] == 404, "404")
        expect(admin.ask("GET", "/drain", check=False)[0] == 405, "405")
        expect(admin.ask("POST", "/drain")[0] == 202, "not draining")
        for reader in readers[:3]:
            await expect_close(reader, 1001)
        expect(own.process.wait(10) == 0, "the drain did not end with 0")


def refused_at_home(server):
    """A publication that its topic's home refuses is answered with the refusal."""
    port = free_port()
    rules = '[[topics]]\npattern = "keyless"\nkeys_max = 0\n'
    limits = {"topics_max": 3, "message_bytes_max": 4 << 20}
    with configured(server, rules, limits=limits, flags=["--admin", f"127.0.0.1:{port}"]) as own:
        admin = Admin(port)
        keyed = {"topic": "keyless", "key": "k", "text": "x"}
        status, answer = admin.ask("POST", "/publish", keyed)
        expect(status == 400 and "key" in answer["error"], f"{status} {answer}")
        answers = [admin.ask("POST", "/publish", {"topic": f"t{n}", "text": "x"}) for n in range(9)]
        # So many for each shard.
        most = 3 * own.shards
        done = [answer for status, answer in answers if status == 200]
        expect(0 < len(done) <= most and len(done) < 9, f"{answers}")
        expect(all(answer["seq"] == 1 for answer in done), f"{done}")
        refused = [answer for answer in answers if answer[0] != 200]
        expect(all(answer[0] == 503 for answer in refused), f"{refused}")
        names = {each["topic"] for each in admin.ask("GET", "/topics")[1]["topics"]}
        expect(len(names) == len(done), f"{names} of {len(done)}")
        # A message of the greatest length goes, however it is escaped; a longer one does not,
        # nor is a body read that can't hold one.
        topic, largest = next(iter(names)), 4 << 20
        for text, status in (
            ("x" * largest, 200),
            ("\1" * largest, 200),
            ("x" * (largest + 1), 413),
            ("x" * (6 * largest + (64 << 10)), 413),
        ):
            got = admin.ask("POST", "/publish", {"topic": topic, "text": text})
            expect(got[0] == status, f"{len(text)} characters: {got}")


def web_pages(server):
    """A page in a browser on the same machine reaches loopback as well."""
    port = free_port()
    with serving(server, flags=["--admin", f"127.0.0.1:{port}"]) as own:
        admin = Admin(port)
        for headers in (
            {"Origin": "https://example.com"},
            {"Origin": "null"},
            {"Host": f"rebound.example.com:{port}"},
        ):
            admin.headers = headers
            for method, path in [("POST", "/drain"), ("GET", "/connections")]:
                status = admin.ask(method, path)[0]
                expect(status == 403, f"{method} {path} with {headers}: {status}")
        for host in ("localhost", "127.0.0.1", "[::1]"):
            admin.headers = {"Host": f"{host}:{port}"}
            expect(admin.ask("GET", "/topics")[0] == 200, f"{host} is refused")
        time.sleep(0.2)
        expect(own.is_alive(), "a page has drained the server")


def token(server):
    port = free_port()
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("s3cret\nnot this\n")
        file.flush()
        flags = ["--admin", f"127.0.0.1:{port}", "--admin-token-file", file.name]
        with serving(server, flags=flags) as own:
            with_token = Admin(port, "s3cret")
            expect(with_token.ask("GET", "/connections")[0] == 200, "the token is refused")
            for wrong in (None, "s3cre", "s3cret1", "not this"):
                with_token.headers = {"Authorization": f"Bearer {wrong}"} if wrong else {}
                for method, path in [("GET", "/connections"), ("POST", "/drain")]:
                    status = with_token.ask(method, path)[0]
                    expect(status == 401, f"{wrong}: {status}")
            expect("s3cret" not in own.errors(), "the token is in the log")
            expect(own.is_alive(), "a wrong token drained the server")
