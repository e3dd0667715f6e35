"""A stand-in for a W&B server on the loopback interface: takes runs and artifacts, or refuses them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server:
    """Remembers what it was sent. `status` is what it answers with; `fails_after_start` breaks it once a run began."""

    def __init__(self, status: int = 200, fails_after_start: bool = False) -> None:
        self.status, self.fails_after_start = status, fails_after_start
        self.runs: dict[str, dict[str, Any]] = {}  # by name, as last upserted
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.artifacts: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.asked = 0
        self.url = ""

    def answer(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        """The data of a GraphQL query, as far as wandb 0.31 looks at it."""
        if "upsertBucket" in query:
            self.runs.setdefault(given["name"], {}).update({k: v for k, v in given.items() if v is not None})
            project = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": "me"}}
            bucket = {"id": "b", "name": given["name"], "config": "{}", "summaryMetrics": "{}", "project": project}
            return {"upsertBucket": {"bucket": {**bucket, "historyLineCount": 0}, "inserted": True}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        if "createArtifactFiles" in query:
            nodes = [
                self._file(str(number), file["name"]) for number, file in enumerate(given["input"]["artifactFiles"])
            ]
            return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
        if "ArtifactManifest" in query:
            manifest = {"artifactManifest": {"id": "m", "file": self._file("f", "wandb_manifest.json")}}
            return {"createArtifactManifest": manifest, "updateArtifactManifest": manifest}
        if "createArtifact" in query:
            self.artifacts.append(given["input"])
            sequence = {"id": "s", "latestArtifact": None}
            return {"createArtifact": {"artifact": {"id": "a", "state": "PENDING", "artifactSequence": sequence}}}
        user = {"id": "v", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}
        return {
            "viewer": user,
            "serverInfo": {"features": []},
            "project": {"artifact": None},
            "commitArtifact": {"artifact": {"id": "a", "digest": "d"}},
        }

    def _file(self, key: str, name: str) -> dict[str, Any]:
        place: dict[str, Any] = {
            "uploadUrl": f"{self.url}/upload/{name}",
            "uploadHeaders": [],
            "uploadMultipartUrls": None,
        }
        return {"id": key, "name": name, "displayName": name, "storagePath": name, "artifact": {"id": "a"}, **place}

    def take(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        self.asked += 1
        if self.status != 200:
            return self.status, {"errors": [{"message": f"status {self.status}"}]}
        if path.startswith("/upload/"):
            self.files[path.removeprefix("/upload/")] = body
        elif path.endswith("file_stream"):
            lines = json.loads(body).get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
            self.history.setdefault(path.split("/")[-2], []).extend(map(json.loads, lines))
        elif path.startswith("/graphql"):
            asked = json.loads(body)
            answer = {"data": self.answer(asked["query"], asked.get("variables") or {})}
            if self.fails_after_start and "upsertBucket" in asked["query"]:
                self.status = 500
            return 200, answer
        return 200, {}

    @contextmanager
    def running(self) -> Iterator[Server]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, answer = outer.take(self.path, body)
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do

            def log_message(self, *_: Any) -> None:
                """Nothing is printed."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
