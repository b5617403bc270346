"""A small Google Cloud Storage in memory, for gcsfs and TensorStore.

As much of the JSON API as the two ask for, conditional writes included
(https://cloud.google.com/storage/docs/json_api/v1): what they send to Google
they send here. Any bucket is there, but for "nobodys"; "broken" refuses all.
"""

import contextlib
import datetime
import email
import json
import os
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = 50  # names in a page of a listing; Google's has 1,000
MISSING, BROKEN = "nobodys", "broken"


class Refused(Exception):
    """An answer with a status that is not 200."""


class Objects:
    """What lies in the buckets: "bucket/name" -> (bytes, generation, time)."""

    def __init__(self):
        self.found, self.lock, self.last = {}, threading.Lock(), 1000

    def write(self, path, content, query) -> None:
        with self.lock:
            self.check(path, query)
            self.last += 1
            now = datetime.datetime.now(datetime.UTC).isoformat()
            self.found[path] = content, self.last, now.replace("+00:00", "Z")

    def read(self, path, query):
        with self.lock:
            self.check(path, query)
            if path not in self.found:
                raise Refused(404)
            return self.found[path]

    def delete(self, path, query) -> None:
        with self.lock:
            self.check(path, query)
            if self.found.pop(path, None) is None:
                raise Refused(404)

    def check(self, path, query) -> None:
        """Conditions on the generation; 0 is that of what is not there."""
        there = self.found.get(path, (b"", 0, ""))[1]
        wanted = query.get("ifGenerationMatch")
        if wanted is not None and int(wanted) != there:
            raise Refused(412)
        if query.get("ifGenerationNotMatch") == str(there):
            raise Refused(304)

    def describe(self, path) -> dict:
        content, generation, time = self.found[path]
        bucket, _, name = path.partition("/")
        return {
            "kind": "storage#object",
            "bucket": bucket,
            "name": name,
            "size": str(len(content)),
            "generation": str(generation),
            "metageneration": "1",
            "timeCreated": time,
            "updated": time,
        }

    def list(self, bucket, query) -> dict:
        prefix, slash = query.get("prefix", ""), query.get("delimiter")
        first = max(query.get("startOffset", ""), query.get("pageToken", ""))
        end = query.get("endOffset")
        rows: dict[str, dict | None] = {}
        with self.lock:
            for path in sorted(self.found):
                name = path.removeprefix(bucket + "/")
                if name == path or not name.startswith(prefix) or name < first:
                    continue
                if end and name >= end:
                    continue
                rest = name[len(prefix) :]
                if slash and slash in rest:
                    rows[prefix + rest.partition(slash)[0] + slash] = None
                else:
                    rows[name] = self.describe(path)
        page = sorted(rows)[: min(PAGE, int(query.get("maxResults", PAGE)))]
        found = {
            "kind": "storage#objects",
            "items": [rows[name] for name in page if rows[name]],
            "prefixes": [name for name in page if not rows[name]],
        }
        if len(page) < len(rows):
            found["nextPageToken"] = sorted(rows)[len(page)]
        return found


class Handler(BaseHTTPRequestHandler):
    """Answers one request after the other on a connection."""

    protocol_version = "HTTP/1.1"
    # An answer goes out at once and whole, and not 40 ms after its head.
    wbufsize, disable_nagle_algorithm = 1 << 16, True
    objects: Objects

    def log_message(self, *arguments):
        pass

    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        self.content = self.rfile.read(length)
        self.extra = {}
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        try:
            found = self.route(url.path.lstrip("/"), query)
        except Refused as refused:
            return self.send(int(str(refused)), b'{"error": {"message": "no"}}')
        if isinstance(found, dict):
            found = json.dumps(found).encode()
        self.send(206 if "Content-Range" in self.extra else 200, found or b"")

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def send(self, status, content):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            if status not in (204, 304):
                self.send_header("Content-Length", str(len(content)))
            for name, value in self.extra.items():
                self.send_header(name, value)
            self.end_headers()
            if status not in (204, 304):
                self.wfile.write(content)

    def route(self, path, query):
        found = re.fullmatch(
            r"(upload/|download/)?storage/v1/b/([^/]+)(?:/o(?:/(.+))?)?", path
        )
        if found is None or found[2] == MISSING:
            raise Refused(404)
        if found[2] == BROKEN:
            raise Refused(400)
        kind, bucket, name = found.groups()
        if kind == "upload/":
            return self.upload(bucket, query)
        if name is None:
            is_list = path.endswith("/o")
            return self.objects.list(bucket, query) if is_list else {}
        name, copied, rest = name.partition("/rewriteTo/b/")
        path = f"{bucket}/{urllib.parse.unquote(name)}"
        if copied:
            content, _, _ = self.objects.read(path, query)
            target = urllib.parse.unquote(rest.replace("/o/", "/", 1))
            self.objects.write(target, content, {})
            return {"done": True, "resource": self.objects.describe(target)}
        if self.command == "DELETE":
            return self.objects.delete(path, query)
        content, generation, _ = self.objects.read(path, query)
        self.extra["x-goog-generation"] = str(generation)
        if query.get("alt") != "media":
            return self.objects.describe(path)
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        if span is None:
            return content
        first, total = int(span[1]), len(content)
        if first >= total:
            raise Refused(416)
        content = content[first : int(span[2] or total) + 1]
        self.extra["Content-Range"] = (
            f"bytes {first}-{first + len(content) - 1}/{total}"
        )
        return content

    def upload(self, bucket, query):
        """In one request, of TensorStore's kind or of gcsfs's; or in two."""
        name, content = query.get("name"), self.content
        if query["uploadType"] == "resumable" and "upload_id" not in query:
            host = self.headers["Host"]
            where = f"http://{host}{self.path}&upload_id=1"
            self.extra["Location"] = where
            return {}
        if query["uploadType"] == "multipart":
            head = f"Content-Type: {self.headers['Content-Type']}\n\n".encode()
            both = email.message_from_bytes(head + b"{}").get_boundary()
            parts = content.split(f"--{both}".encode())
            name = json.loads(parts[1].split(b"\n\n", 1)[1])["name"]
            rest = f"--{both}".encode().join(parts[2:])
            body = rest.split(b"\n\n", 1)[1]
            content = body.removesuffix(f"\n--{both}--".encode())
        self.objects.write(f"{bucket}/{name}", content, query)
        return self.objects.describe(f"{bucket}/{name}")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, *arguments):
        """Clients hang up as they like."""


@contextlib.contextmanager
def served():
    """Objects, and the variables that make the clients ask for them."""
    objects = Objects()
    handler = type("Served", (Handler,), {"objects": objects})
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield (
            objects,
            {
                "STORAGE_EMULATOR_HOST": address,
                "TENSORSTORE_GCS_HTTP_URL": address,
                "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
                "FSSPEC_GS_TOKEN": "anon",
                # Else it asks by gRPC of what kind the bucket is.
                "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
            },
        )
    finally:
        server.shutdown()
        server.server_close()


def use(variables) -> None:
    """Makes this process ask there, from its first request on."""
    import fsspec

    os.environ.update(variables)
    fsspec.config.set_conf_env(fsspec.config.conf)
