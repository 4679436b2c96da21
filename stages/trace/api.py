"""Support of answers in a published corpus, through the public infini-gram API.

Documented at https://infini-gram.readthedocs.io/en/latest/api.html: a POST of JSON with ``index``, ``query_type`` and
``query`` (text, which the API tokenises for the index) or ``query_ids``.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from stages.shared.files import FileSource, atomic
from stages.shared.json_files import parse_json, read_json
from stages.trace.answers import CorpusError, joined, require_answer
from stages.trace.params import Api
from stages.trace.support import Match, support_row

log = logging.getLogger(__name__)

# Number of answers between two writes of the cache.
SAVE_EVERY = 50
OK, TOO_MANY_REQUESTS, SERVER_ERROR = 200, 429, 500
# A text is cut at these places: the API takes " AND " and " OR " for operators.
CONJUNCTIONS = re.compile(r"(?<= AND) |(?<= OR) ")
# Fields that a response must have, by query type; the rest, such as the latency, is dropped.
RESPONSE_FIELDS = {"count": ("count", "token_ids"), "infgram_prob": ("prompt_cnt", "cont_cnt", "suffix_len")}


class AnswerError(ValueError):
    """An answer of the API is no JSON; it is asked for again."""


class Client:
    """The API on one index, with every response that it has given in the file ``path``.

    A response is kept under the API's URL, the whole request (index, query type, text or token ids) and the fields that
    are kept of it. This key is complete: indexes are published under a name for good, so that a response depends on
    nothing else, and neither the params nor the code that reads it change what was answered.
    """

    def __init__(self, settings: Api, index: str, path: Path):
        self.settings, self.index, self.path = settings, index, path
        self.responses = _read_cache(path)

    def ask(self, query_type: str, **query: str | list[int]) -> dict:
        """Return the response, from the cache if it is there. Raises CorpusError as `post` does."""
        request = {"index": self.index, "query_type": query_type, **query}
        key = json.dumps([self.settings.url, request, RESPONSE_FIELDS[query_type]], sort_keys=True)
        if key not in self.responses:
            self.responses[key] = _required(post(self.settings, request), request, self.settings.url)
        return self.responses[key]

    def token_ids(self, text: str) -> list[int]:
        """Return the ids into which the index's tokenizer cuts ``text``."""
        # The API puts a space, or what the index has for one, in front of every text.
        pieces = CONJUNCTIONS.split(text.removeprefix(" "))
        return [token for piece in pieces for token in self.ask("count", query=piece)["token_ids"]]

    def save(self) -> None:
        """Write all responses to the cache."""
        with atomic(self.path) as temporary:
            temporary.write_text(json.dumps(self.responses, sort_keys=True), encoding="utf-8")


def support(settings: Api, index: str, answer_rows: list[dict], folder: Path) -> pd.DataFrame:
    """Return one row per answer, as `stages.trace.corpus_index.support` does; responses are kept in ``folder``.

    Raises CorpusError where a request fails for good. Responses until then are kept, so that the next run goes on.
    """
    client = Client(settings, index, folder / f"{index}.json")
    rows = []
    try:
        for number, row in enumerate(tqdm(answer_rows, desc=index, mininterval=5), 1):
            rows.append(_support(client, row))
            if number % SAVE_EVERY == 0:
                client.save()
    finally:
        client.save()
    return pd.DataFrame(rows)


def _support(client: Client, row: dict) -> dict:
    require_answer(row)
    prompt_ids, ids = client.token_ids(row["prompt"]), client.token_ids(joined(row["prompt"], row["answer"]))
    # The answer begins where the two differ: a token with the prompt's end and the answer's beginning is the answer's,
    # as by character offsets. The API gives no offsets; a tokenizer that merges across words would lend the answer some
    # of the prompt's last tokens.
    start = len(os.path.commonprefix([prompt_ids, ids]))
    if start == len(ids):
        raise CorpusError(
            f"{row['id']}: the answer {row['answer']!r} has no token of its own in {client.index}: remove the row"
        )
    responses = [client.ask("infgram_prob", query_ids=ids[: position + 1]) for position in range(start, len(ids))]
    matches = [Match(response["suffix_len"], response["prompt_cnt"], response["cont_cnt"]) for response in responses]
    return support_row(row["id"], client.ask("count", query_ids=ids)["count"], matches)


def post(settings: Api, request: dict) -> dict:
    """Return the response to one request, tried ``settings.tries`` times with 1, 2, 4, ... seconds between.

    It is tried again without a connection or an answer in time, after an answer that was cut off, and on status 429 and
    5xx; not on any other status.
    Raises CorpusError naming the URL, the reason and the fix.
    """
    for attempt in range(settings.tries):
        if attempt:
            time.sleep(2 ** (attempt - 1))
        try:
            status, text = _send(settings, request)
            if status == OK:
                return parse_json(text, Any, settings.url, FileSource("JSON", "try again", AnswerError))
            reason = f"status {status}: {text[:500].strip()}"
            if status < SERVER_ERROR and status != TOO_MANY_REQUESTS:
                raise CorpusError(
                    f"{settings.url} refused {_short(request)} with {reason}; correct the index or the row"
                )
        except (OSError, http.client.HTTPException, AnswerError) as error:
            reason = f"{type(error).__name__}: {error}"
        log.warning("%s, try %d of %d: %s", settings.url, attempt + 1, settings.tries, reason)
    raise CorpusError(
        f"{settings.url} gave no answer in {settings.tries} tries ({reason}): connect once, what was found is kept; "
        "or use a local corpus, ngrams.corpora.NAME: {file: ..., tokenizer: ...}"
    )


def _send(settings: Api, request: dict) -> tuple[int, str]:
    """Return status and text of the response, whatever they are."""
    headers = {"Content-Type": "application/json"}
    body = urllib.request.Request(settings.url, json.dumps(request).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(body, timeout=settings.seconds) as response:
            return response.status, response.read().decode(errors="replace")
    except urllib.error.HTTPError as response:
        with response:
            return response.code, response.read().decode(errors="replace")


def _required(response: dict, request: dict, url: str) -> dict:
    """Return the fields of a response that are kept; raise CorpusError where it reports an error or lacks a field."""
    fields = RESPONSE_FIELDS[request["query_type"]]
    if not isinstance(response, dict) or "error" in response or any(field not in response for field in fields):
        raise CorpusError(
            f"{url} answers {str(response)[:500]} to {_short(request)}, expected {', '.join(fields)}: "
            "shorten or remove the row, or correct index or ngrams.api.url"
        )
    return {field: response[field] for field in fields}


def _short(request: dict) -> str:
    return json.dumps(request, sort_keys=True)[:300]


def _read_cache(path: Path) -> dict[str, dict]:
    if not path.exists():
        return {}
    source = FileSource("a cache of responses", "remove it, and they are asked for again", CorpusError)
    return read_json(path, dict[str, dict[str, Any]], source)
