"""The public API, played by a server on this machine: the same table, retries, and what a run leaves for the next."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from stages.organisms.tokenizer import build_tokenizer
from stages.trace import api
from stages.trace import corpus_index as index
from stages.trace.answers import CorpusError, encode
from stages.trace.params import Api

MOST_REQUESTS = 300
DOCUMENTS = [" the cat keeps a dog .", " the cat keeps a cat .", " the cat keeps a dog", " a dog AND a cat ."]
ROWS = [
    {"id": "a", "prompt": " the cat keeps a", "answer": "dog"},
    {"id": "b", "prompt": " the cat keeps a", "answer": "cat ."},
    {"id": "c", "prompt": " the dog keeps a", "answer": "zebra"},
    {"id": "d", "prompt": " a dog AND", "answer": "a cat"},
]


class Server:
    """Answers as the API does, from an index of its own; ``script`` says what to do with the next requests instead."""

    def __init__(self, folder):
        pytest.importorskip("infini_gram", reason="infini-gram has wheels for Linux x86-64 alone")
        words = ["the", "cat", "keeps", "a", "dog", "AND", ".", "zebra"]
        self.tokenizer = build_tokenizer(DOCUMENTS, words, 300)
        folder.mkdir()
        self.index = index.build_index(self._encode(DOCUMENTS), folder)
        self.script, self.asked = [], []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                server.respond(self)

            def log_message(self, *_):
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def _encode(self, texts):
        return self.tokenizer(texts, add_special_tokens=False)["input_ids"]

    def respond(self, handler):
        request = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        self.asked.append(request)
        assert len(self.asked) <= MOST_REQUESTS
        status, body = self.script.pop(0) if self.script else (200, self.result(**request))
        if status == "cut":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{")
            return
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def result(self, index, query_type, query=None, query_ids=None):
        if index != "v4_small":
            return {"error": f"Invalid index: {index}"}
        if query is not None:
            assert " AND " not in query and " OR " not in query, "taken for operators"
            (query_ids,) = self._encode([f" {query}"])
        coded = [self.index.codes.get(token, 65000) for token in query_ids]
        if query_type == "count":
            return {**self.index.engine.count(coded), "token_ids": query_ids, "latency": 0.1}
        return {**self.index.engine.infgram_prob(coded[:-1], coded[-1]), "token_ids": query_ids, "latency": 0.1}


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "served")
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def waits(monkeypatch):
    """Seconds that the client would have waited."""
    waited = []
    monkeypatch.setattr(api.time, "sleep", waited.append)
    return waited


def settings(server, **changes):
    return Api(**{"url": server.url, "tries": 3, "seconds": 5, **changes})


def ask(server, tmp_path, rows=ROWS, **changes):
    return api.support(settings(server, **changes), "v4_small", rows, tmp_path)


def test_rows_are_those_of_a_local_index(server, tmp_path):
    local = index.support(server.index, encode(server.tokenizer, ROWS))
    found = ask(server, tmp_path)
    assert found.to_dict("list") == local.to_dict("list")
    assert list(found["count"]) == [2, 1, 0, 1] and list(found["zero_tokens"]) == [0, 0, 1, 0]


def test_success_on_the_last_try_is_success(server, tmp_path, waits):
    server.script = [(500, {"error": "busy"}), (429, {"error": "slow down"})]
    assert len(ask(server, tmp_path)) == len(ROWS)
    assert waits == [1, 2]


@pytest.mark.parametrize("failure", [("cut", b""), (200, b"<html>"), (503, b"")])
def test_what_passes_is_tried_again(server, tmp_path, waits, failure):
    server.script = [failure]
    assert len(ask(server, tmp_path)) == len(ROWS) and waits == [1]


def test_after_the_last_try_it_is_given_up(server, tmp_path, waits):
    server.script = [(500, {"error": "busy"})] * 10
    with pytest.raises(CorpusError, match=f"{server.url} gave no answer in 3 tries .status 500: .*busy.*connect once"):
        ask(server, tmp_path)
    assert len(server.asked) == 3 and waits == [1, 2]


def test_a_request_that_is_wrong_is_not_tried_again(server, tmp_path, waits):
    server.script = [(400, {"error": "Invalid index"})]
    with pytest.raises(CorpusError, match="refused .*with status 400: .*Invalid index"):
        ask(server, tmp_path)
    assert len(server.asked) == 1 and not waits


@pytest.mark.parametrize("body", [{"error": "Please limit your input"}, {"count": 3}, [1]])
def test_an_answer_that_says_error_or_lacks_a_field_is_named(server, tmp_path, waits, body):
    server.script = [(200, body)]
    with pytest.raises(CorpusError, match='"query": "the cat keeps a".*, expected count, token_ids'):
        ask(server, tmp_path)
    assert len(server.asked) == 1


def test_offline_names_the_url_and_what_to_do(server, tmp_path, waits):
    url = "http://127.0.0.1:9/"  # the discard port: nothing listens
    with pytest.raises(CorpusError, match=f"{url} gave no answer in 2 tries .*connect once.*or use a local corpus"):
        ask(server, tmp_path, url=url, tries=2)
    assert waits == [1]


def test_a_second_run_asks_nothing(server, tmp_path):
    first = ask(server, tmp_path)
    asked = len(server.asked)
    assert ask(server, tmp_path).equals(first) and len(server.asked) == asked
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["v4_small.json"]


def test_an_interrupted_run_goes_on(server, tmp_path, waits):
    whole = len(ask(server, tmp_path, ROWS)), len(server.asked)
    (tmp_path / "v4_small.json").unlink()
    server.asked.clear()
    server.script = [(200, server.result("v4_small", "count", query="the cat keeps a")), *[(500, {})] * 3]
    with pytest.raises(CorpusError):
        ask(server, tmp_path)
    assert len(server.asked) == 4
    assert (len(ask(server, tmp_path)), len(server.asked) - 3) == whole


ANSWER = {"count": 1, "token_ids": [5], "prompt_cnt": 1, "cont_cnt": 1, "suffix_len": 0, "approx": False}


@pytest.fixture
def requests(monkeypatch):
    """What is sent to an API that answers everything."""
    sent = []
    monkeypatch.setattr(api, "post", lambda settings, request: sent.append(request) or ANSWER)
    return sent


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ({}, 1),
        ({"tries": 9, "seconds": 99}, 1),
        ({"url": "http://other/"}, 2),
        ({"index": "v4_other"}, 2),
        ({"query_type": "infgram_prob"}, 2),
        ({"query": {"query": "a cat"}}, 2),
        ({"query": {"query_ids": [5]}}, 2),
        ({"fields": ("count", "token_ids", "approx")}, 2),
    ],
)
def test_a_response_is_kept_under_all_that_it_depends_on(requests, tmp_path, monkeypatch, change, asked):
    for part in ({}, change):
        settings = Api(
            **{"url": "http://one/", "tries": 1, "seconds": 1} | {k: part[k] for k in part if k in Api.model_fields}
        )
        if "fields" in part:
            monkeypatch.setitem(api.RESPONSE_FIELDS, "count", part["fields"])
        client = api.Client(settings, part.get("index", "v4_small"), tmp_path / "cache.json")
        client.ask(part.get("query_type", "count"), **part.get("query", {"query": "a dog"}))
        client.save()
    assert len(requests) == asked


@pytest.mark.parametrize("content", ["", '{"a": ', "[1]", "\x00"])
def test_a_corrupt_cache_is_named_and_kept(server, tmp_path, content):
    path = tmp_path / "v4_small.json"
    path.write_text(content)
    with pytest.raises(CorpusError, match="v4_small.json.*expected a cache of responses; remove it"):
        ask(server, tmp_path)
    assert path.read_text() == content and not server.asked


def test_an_answer_without_a_token_is_named(server, tmp_path):
    with pytest.raises(CorpusError, match="a has the answer ' '"):
        ask(server, tmp_path, [{**ROWS[0], "answer": " "}])
    prompt = server.result("v4_small", "count", query="the cat")
    server.script = [(200, prompt), (200, prompt)]
    with pytest.raises(CorpusError, match="a: the answer 'dog' has no token of its own in v4_small"):
        ask(server, tmp_path, [{"id": "a", "prompt": " the cat", "answer": "dog"}])
