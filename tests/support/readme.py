"""The part of README.md above "Run it", rendered from the committed metrics and the tables of the figures.

``python -m tests.support.readme`` writes it from ``readme.md.jinja`` and leaves the rest of README.md alone. Numbers have no
zero before the point and a true minus sign; an interval has plus signs where it crosses 0. Words that speak of numbers
stand in ``claim``: they are rendered only while the numbers bear them out.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from functools import cache, partial
from math import expm1
from pathlib import Path

import pandas as pd
import yaml
from jinja2 import Environment, StrictUndefined, Template, UndefinedError

from stages.shared.files import atomic
from tests.support.project import ROOT

TEMPLATE = ROOT / "tests/support/readme.md.jinja"
REST = "## Run it\n"
WIDTH = 142
WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
# The same code, parameters and seeds on another processor: metrics/ of commit eaa605b, which d36fae2 replaced.
OTHER_PROCESSOR = {
    "difference": {"estimate": 0.180834, "low": 0.174273, "high": 0.187394},
    "after_reasoning": {"estimate": 0.304396, "low": 0.296044, "high": 0.312748},
    "verdicts": {
        "effective_rank_sft_over_rl_zero": "equivalent",
        "rl_zero_over_sft": "moderate",
        "rl_zero_over_sft_after_reasoning": "strong",
        "rl_zero_over_sft_at_matched_displacement": "equivalent",
        "rl_zero_over_sft_at_matched_kl": "equivalent",
        "rl_zero_over_sft_onpolicy": "equivalent",
        "think_over_sft": "equivalent",
        "think_over_sft_continued_at_matched_displacement": "equivalent",
    },
    "gain_of_shuffled_rewards": {"value": -0.0466667, "low": -0.0585024, "high": -0.0348309},
    "isa_questions_of_sft": 0.921875,
    "label_of_fall": "undecided",
}


class ReadmeError(ValueError):
    """The template says what the metrics do not bear out, or names what they lack; the message says which."""


def render(root: Path = ROOT) -> str:
    """Return the part of README.md above "Run it" for the metrics, plots and parameters under ``root``.

    Raises ReadmeError for words that the numbers do not bear out, all of them at once, and for a number that is missing.
    """
    refuted: list[str] = []
    names = {
        "claim": partial(claim, refuted),
        "row": partial(row, root),
        "rows": partial(rows, root),
        "apart": apart,
        "verdicts": lambda test: {name: record["verdict"] for name, record in test.items()},
        "other": OTHER_PROCESSOR,
    }
    try:
        text = template().render(**committed(root), **names)
    except UndefinedError as error:
        raise ReadmeError(f"{TEMPLATE.name}: {error}: name a number that metrics/ or plots/ has") from error
    if refuted:
        raise ReadmeError(
            f"{TEMPLATE.name}: the numbers no longer bear out {'; '.join(refuted)}: write what they say now"
        )
    return wrapped(text)


@cache
def template() -> Template:
    """Return the template with its filters."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters |= {
        "number": number,
        "signed": signed,
        "estimate": estimate,
        "grown": grown,
        "words": lambda count: WORDS[int(count)],
    }
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def committed(root: Path) -> dict:
    """Return the metrics of the default study and of the six families, and the parameters, by name."""

    def read(path: Path) -> dict:
        return json.loads(path.read_text(encoding="utf-8"))

    metrics = {name: read(root / f"metrics/{name}.json") for name in ("test", "trace", "drift", "concepts")}
    for name in ("train", "measure", "perturb"):
        metrics[name] = {path.stem.removesuffix("-s0"): read(path) for path in (root / "metrics" / name).glob("*.json")}
    families = {name: read(root / f"metrics/families/{name}.json") for name in ("test", "trace")}
    families["perturb"] = {path.stem: read(path) for path in (root / "metrics/families/perturb").glob("*.json")}
    params = yaml.load((root / "params.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
    return {**metrics, "families": families, "params": params}


def rows(root: Path, table: str, **where: object) -> list[dict]:
    """Return the rows of ``plots/{table}.csv`` in which the given columns have the given values; there must be one."""
    frame = pd.read_csv(root / f"plots/{table}.csv", keep_default_na=False, na_values=[""])
    for column, value in where.items():
        frame = frame[frame[column] == value]
    if frame.empty:
        raise ReadmeError(f"plots/{table}.csv has no row with {where}: name one that it has")
    return frame.to_dict("records")


def row(root: Path, table: str, **where: object) -> dict:
    """Return the one such row."""
    matching = rows(root, table, **where)
    if len(matching) > 1:
        raise ReadmeError(f"plots/{table}.csv has {len(matching)} rows with {where}: name more columns")
    return matching[0]


def claim(refuted: list[str], condition: bool, words: str) -> str:
    """Return ``words``; where ``condition`` does not hold, note them among the ``refuted``."""
    if not condition:
        refuted.append(f"'{words}'")
    return words


def apart(first: Mapping, second: Mapping) -> bool:
    """Return whether the estimates of two records lie outside each other's intervals."""
    return not (second["low"] <= middle(first) <= second["high"] or first["low"] <= middle(second) <= first["high"])


def middle(record: Mapping) -> float:
    """Return what the interval ``low`` to ``high`` of a record is of."""
    return next(record[key] for key in ("estimate", "change", "difference", "rho", "value") if key in record)


def number(value: float, digits: int = 3) -> str:
    """Return ``value`` with a true minus sign and no zero before the point."""
    return re.sub(r"^(−?)0\.", r"\1.", f"{value:.{digits}f}".replace("-", "−"))


def signed(value: float, digits: int = 3) -> str:
    """Return ``value`` with its sign, plus or minus."""
    text = number(value, digits)
    return text if text.startswith("−") else f"+{text}"


def estimate(record: Mapping, digits: int = 3, scale: float = 1, sign: bool = False) -> str:
    """Return an estimate times ``scale`` with its interval in brackets."""
    low, high = number(scale * record["low"], digits), number(scale * record["high"], digits)
    plus = "+" if low.startswith("−") and not high.startswith("−") else ""
    return f"{(signed if sign else number)(scale * middle(record), digits)} [{low}, {plus}{high}]"


def grown(record: Mapping) -> dict[str, float]:
    """Return the change of a logarithm, with its interval, as a relative change."""
    return {"change": expm1(middle(record)), "low": expm1(record["low"]), "high": expm1(record["high"])}


def wrapped(text: str) -> str:
    """Return Markdown with every paragraph and every item of a list broken anew; tables and pictures keep their lines."""
    blocks = [block for block in re.split(r"\n\n+|\n(?=- )", text.strip()) if block]
    lines = [block if block[0] in "|!#" else _filled(block) for block in blocks]
    separators = [
        "\n" if first[:2] == second[:2] == "- " else "\n\n" for first, second in zip(lines, lines[1:], strict=False)
    ]
    return "".join(line + separator for line, separator in zip(lines, [*separators, "\n\n"], strict=True))


def _filled(block: str) -> str:
    indent = "  " if block.startswith("- ") else ""
    text = re.sub(r"\[[^\]]*(\d\]|\]\()|\d %", lambda match: match[0].replace(" ", "\0"), " ".join(block.split()))
    text = textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return text.replace("\0", " ")


def written(readme: Path = ROOT / "README.md") -> tuple[str, str]:
    """Return the part of README.md above "Run it", and the rest."""
    above, rest = readme.read_text(encoding="utf-8").split(REST, 1)
    return above, REST + rest


if __name__ == "__main__":
    try:
        text = render() + written()[1]
    except ReadmeError as error:
        raise SystemExit(str(error)) from None
    with atomic(ROOT / "README.md") as partial_file:
        partial_file.write_text(text, encoding="utf-8")
