"""Strangers' pages, from a small server of the test, and what their scripts try on ours."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

ASK = """async ([method, url, body, mode, type]) => {
  try {
    const options = {method: method, mode: mode, credentials: "include"};
    if (body) { options.body = body; options.headers = {"Content-Type": type}; }
    const answer = await fetch(url, options);
    return {status: answer.status, type: answer.type, text: await answer.text()};
  } catch (problem) { return {status: 0, type: "error", text: String(problem)}; }
}"""
SUBMIT = """([url, name, value, enctype]) => {
  const form = document.createElement("form");
  Object.assign(form, {method: "POST", action: url, enctype: enctype, target: "sink"});
  const input = document.createElement("input");
  Object.assign(input, {name: name, value: value});
  form.append(input);
  document.body.append(form);
  form.submit();
}"""
LINK = """url => {
  const link = document.createElement("a");
  Object.assign(link, {href: url, id: "link", text: "open"});
  document.body.append(link);
}"""
OPEN_SOCKET = """url => new Promise(done => {
  const line = new WebSocket(url);
  line.onopen = () => done("open");
  line.onerror = () => done("refused");
})"""


class StrangersPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = b"<!doctype html><title>stranger</title><iframe name=sink></iframe>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_arguments: Any) -> None: ...


@pytest.fixture(scope="module")
def strangers() -> Iterator[int]:
    """The port of a server of one empty page with a frame in it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), StrangersPage)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
