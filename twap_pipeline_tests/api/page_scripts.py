"""Runs the scripts of the web page in Node.js, much faster than in Chromium.

The elements record their attributes and content; there is no layout, focus or event. Requests reach a real server.
"""

import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx2
import pytest

_STATIC = Path(str(files("twap_pipeline.api").joinpath("static")))
_ELEMENTS = """
const element = (tag) => ({
  tag, attributes: {}, children: [],
  setAttribute(name, value) { this.attributes[name] = value; },
  append(...children) { this.children.push(...children); },
  addEventListener() {},
});
globalThis.document = { createElement: element, createElementNS: (_, tag) => element(tag) };
Object.groupBy ??= (items, key) => {  // before Node.js 21
  const groups = {};
  for (const item of items) (groups[key(item)] ??= []).push(item);
  return groups;
};
globalThis.sessionStorage = { getItem: () => null };
const fetchUrl = globalThis.fetch;
globalThis.fetch = (path, options) => fetchUrl(new URL(path, base), options);
const text = (node) => (node.children ? node.children.map(text).join(" ") : String(node));
const all = (node) => (node.children ? [node, ...node.children.flatMap(all)] : []);
const isLink = (node) => node.tag === "a";
const links = (nodes) => nodes.flatMap(all).filter(isLink).map((node) => [text(node), node.attributes]);
const print = (value) => console.log(JSON.stringify(value));
"""


def run_script(script: str, client: httpx2.Client | None = None) -> Any:
    """Return the value that a script passes to ``print``; skip the test if PATH has no Node.js.

    Args:
        script: JavaScript with the functions ``load(module)``, ``text(element)``, ``links(elements)`` and ``print``.
        client: Its server answers the requests of the script.
    """
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js on PATH")
    base = json.dumps(str(client.base_url) if client else "http://127.0.0.1:1/")
    load = f"const base = {base}; const load = (module) => import({json.dumps(_STATIC.as_uri())} + '/' + module);"
    program = f"{load}{_ELEMENTS}{script}"
    command = [node, "--input-type=module", "-e", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
