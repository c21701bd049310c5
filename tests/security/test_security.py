"""What a file from a stranger must not be able to do: run code, reach the network, name others."""

import ast
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from clips import SMALL, make_clip

import depthcrafter_cli
from depthcrafter_cli import disk
from depthcrafter_cli.errors import InputError
from depthcrafter_cli.media.reader import probe, read_frames

# Modules that run what they read.
UNPICKLERS = {"pickle", "cPickle", "cloudpickle", "dill", "shelve", "marshal", "joblib"}


def findings(tree: ast.AST) -> Iterator[str]:
    """Every way in which a module could run code that it was given as data."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names}
            yield from (f"import {name}" for name in names & UNPICKLERS)
        elif isinstance(node, ast.ImportFrom) and node.module:
            harmless = all(alias.name.endswith("Error") for alias in node.names)
            if node.module.split(".")[0] in UNPICKLERS and not harmless:
                yield f"from {node.module} import"
        elif isinstance(node, ast.Call):
            yield from call_findings(node)


def call_findings(call: ast.Call) -> Iterator[str]:
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    called = ast.unparse(call.func)
    if keywords.get("allow_pickle", "False") != "False":
        yield f"{called}(allow_pickle={keywords['allow_pickle']})"
    if called in ("torch.load", "torch.jit.load") and keywords.get("weights_only") != "True":
        yield f"{called} without weights_only=True"
    if called in ("eval", "exec", "torch.hub.load", "yaml.load", "os.system"):
        yield called
    if keywords.get("shell") == "True" or keywords.get("trust_remote_code") == "True":
        yield f"{called}({', '.join(keywords)})"


def test_nothing_in_the_package_runs_code_that_it_reads():
    package = Path(depthcrafter_cli.__file__).parent
    found = {
        f"{path.relative_to(package)}: {finding}"
        for path in package.rglob("*.py")
        for finding in findings(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set()


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "np.load(path, allow_pickle=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_search_finds(code):
    assert list(findings(ast.parse(code)))


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of a server on this machine, and the requests that reached it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_arguments: object) -> None:
            pass

    serving = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_port}", asked
    serving.shutdown()
    serving.server_close()


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}/secret.ts\n#EXT-X-ENDLIST\n"
DASH = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"
mediaPresentationDuration="PT2S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>
<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{}/secret.mp4
</BaseURL></Representation></AdaptationSet></Period></MPD>"""


@pytest.mark.parametrize("playlist", [HLS, DASH, "ffconcat version 1.0\nfile {}/secret.mp4\n"])
def test_a_file_cannot_make_us_ask_a_server(tmp_path, server, playlist):
    address, asked = server
    path = tmp_path / "holiday.mp4"
    path.write_text(playlist.format(address))
    with pytest.raises(InputError):
        probe(path)
    assert asked == []


def test_an_address_is_no_file(server):
    address, asked = server
    for source in (f"{address}/a.mp4", "data:video/mp4;base64,AAAA", "pipe:0", "concat:a|b"):
        says = "cannot be opened" if disk.WINDOWS and "|" in source else "There is no"
        with pytest.raises(InputError, match=says):
            probe(Path(source))
    assert asked == []


@pytest.mark.skipif(disk.WINDOWS, reason="a colon is in no name there")
@pytest.mark.parametrize("name", ["concat:other.mp4", "subfile,,start,0,end,99,,:x.mp4", "a:b.mp4"])
def test_a_file_is_itself_though_its_name_means_something_to_ffmpeg(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "other.mp4", frames=5)
    make_clip(tmp_path / "clip.mp4", frames=9).rename(tmp_path / name)
    assert len(list(read_frames(Path(name), SMALL))) == 9
