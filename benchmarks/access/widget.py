"""The widget's size, and how long a page of another origin takes until its first pair is there to be judged.

A product's page with ``<feedbackloop-rate>`` is opened in Debian's chromium, each time in a new profile without a cache, against a hub of
its own process on this machine; every page has a widget token made for it. The time is that of the page's own clock, from the start of the
navigation to the first frame with the pair.
"""

import gzip
import itertools
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from access.widget.script import SCRIPT
from benchmarks.figures import Figure
from benchmarks.latency import FLAGS, as_logged
from benchmarks.processes import Process, on_log, publish, wait_for
from benchmarks.traffic import embedding_in_use, judged_pairs
from deploy.own_processes import client
from storage.texts.keys import text_keys
from storage.texts.texts import Texts
from streams.bus.open import bus_of
from streams.privacy.sealing import sealer_of

PAIRS = 20
SHOWN = """() => {
  const pair = document.querySelector("feedbackloop-rate")?.shadowRoot?.querySelector("#pair");
  return pair && pair.offsetParent ? performance.now() : false;
}"""


def figures(quick: bool) -> Iterator[Figure]:
    """``widget_kb`` and ``widget_first_pair_ms``."""
    yield Figure("widget_kb", len(gzip.compress(SCRIPT.read_bytes(), mtime=0)) / 1_000, None, None, "kB, gzip", "<=12")
    found = _loads(5 if quick else 60)
    tenths = [float(np.percentile(part, 95)) for part in np.array_split(np.array(found), 5)]
    unit = f"ms, 95th percentile of {len(found)} loads"
    yield Figure("widget_first_pair_ms", float(np.percentile(found, 95)), min(tenths), max(tenths), unit, "<=500")
    yield Figure("widget_first_pair_p50_ms", float(np.median(found)), min(found), max(found), "ms")


def _loads(count: int) -> list[float]:
    """Milliseconds of each load after the first two."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise FileNotFoundError("no chromium here: apt-get install chromium")
    found = []
    with tempfile.TemporaryDirectory() as name, _product() as product:
        settings = on_log(Path(name)).with_values(access={"widget_origins": [product.origin]})
        with closing(bus_of(settings)) as bus, Process("hub", settings) as hub, sync_playwright() as playwright:
            keys = text_keys(settings)
            sealer, texts = sealer_of(settings, keys), Texts(keys)
            pairs = itertools.islice(judged_pairs(np.random.default_rng(0), embedding_hash=embedding_in_use()), PAIRS)
            publish(bus, [event for each in pairs for event in as_logged(each, sealer, texts)])
            wait_for(lambda: client().get(f"{hub.url}/v1/status").json()["waiting"]["to_rate"] == PAIRS or None, 30, "the pairs are there")
            product.hub = hub.url
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS.split())
            for _ in range(count + 2):
                context = browser.new_context()
                page = context.new_page()
                page.goto(product.origin, wait_until="commit")
                found.append(float(page.wait_for_function(SHOWN, polling="raf").json_value()))
                context.close()
            browser.close()
    return found[2:]


class _Product(ThreadingHTTPServer):
    hub = ""

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.server_address[1]}"


class _Pages(BaseHTTPRequestHandler):
    server: _Product

    def do_GET(self) -> None:
        if self.path == "/token":
            asked = {"recruiter": "Noor", "origin": self.server.origin}
            kind, body = "application/json", client().post(f"{self.server.hub}/v1/widget-tokens", json=asked).content
        else:
            script = f"<script src='{self.server.hub}/widget.js'></script>"
            text = f"<!doctype html><title>Product</title>{script}<feedbackloop-rate token-src='/token'></feedbackloop-rate>"
            kind, body = "text/html", text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None: ...


@contextmanager
def _product() -> Iterator[_Product]:
    server = _Product(("127.0.0.1", 0), _Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
