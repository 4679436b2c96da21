"""The whole course: pretraining and every training that starts from it, in geometry, memorization and accuracy."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import ConnectionPatch
from matplotlib.ticker import MaxNLocator

from stages.shared.figure_style import GREY, PALE, Look, looks, nothing, sheet, styled
from stages.trace.figures.inputs import NOT_TRACED, Inputs, Traced, course, failures, reach, where
from stages.trace.figures.time import (
    grouped_legend,
    in_order,
    phase_patches,
    place_of_step,
    places,
    shade,
    shades,
    time_axis,
    unit_of,
)

TITLE = "The course of RankMe and α through pretraining and post-training"
GEOMETRY = {"rankme": "RankMe", "alpha": "α"}
ROWS = GEOMETRY | {"log_likelihood": "log-likelihood\nof answers, nats", "accuracy": "accuracy, %"}
MEAN = "mean"
CROWDED = 6
"""Columns from which titles are small."""
MOST = 8
"""Trainings after the pretraining that find room."""
DASHES = ((0, (1, 1)), (0, (4, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (7, 2)))
TURN = "#b3261e"
LETTERS = 60
"""That fit above the panel of pretraining."""
KEYS = ["line", "parent", "run", "quantity", "kind", "group", "step", "tokens"]


def table(read: Inputs) -> pd.DataFrame:
    """Columns KEYS, value, low and high; the run `mean` is that over families.

    RankMe and alpha: of the first line the interval of the value, of the others that of their change from the parent's
    end, whose row is step 0. `log_likelihood`: by kind and stratum of answers, of the line's first run; `accuracy`: by
    task and in their mean.
    """
    found = course(read.lines)
    parts = [part for one in found for part in (*_geometry(one, found, read), *_behaviour(one, found, read))]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*KEYS, "value", "low", "high"])
    return rows.reindex(columns=[*KEYS, "value", "low", "high"])


def _geometry(one: Traced, found: list[Traced], read: Inputs) -> Iterator[pd.DataFrame]:
    """Of the mean over families with its interval, and of each family where there are several."""
    parent = next((other for other in found if other.line.name == one.line.parent), None)
    for place, (run, series) in enumerate(zip([MEAN, *one.line.runs], [one.series, *one.families], strict=True)):
        if place and len(one.families) == 1:
            continue
        before = None if parent is None or series.steps[0] == 0 else [parent.series, *parent.families][place]
        for quantity, name in (("rankme", "ln_rankme"), ("alpha", "alpha")):
            value, deviations = getattr(series, name), getattr(series, f"{name}_deviations")
            steps, tokens = series.steps, series.tokens
            if before is not None:
                end = getattr(before, f"{name}_deviations")[:, -1:]
                value = np.append(getattr(before, name)[-1], value)
                deviations = np.concatenate([np.zeros_like(end), deviations - end], axis=1)  # (K, 1 + T)
                steps, tokens = np.append(0, steps), np.append(np.nan, tokens)
            half = reach(deviations, read.confidence) if not place else np.full(len(value), np.nan)
            back = np.exp if quantity == "rankme" else np.asarray
            yield pd.DataFrame(
                {"line": one.line.name, "parent": one.line.parent, "run": run, "quantity": quantity,
                 "step": np.rint(steps).astype(int), "tokens": tokens, "value": back(value), "low": back(value - half),
                 "high": back(value + half)}
            )  # fmt: skip


def _behaviour(one: Traced, found: list[Traced], read: Inputs) -> Iterator[pd.DataFrame]:
    """Memorization and accuracy, the parent's end put before as step 0."""
    parent = next((other for other in found if other.line.name == one.line.parent), None)
    for measure in (_memory, _accuracy):
        own = measure(one, read)
        if own.empty:
            continue
        if parent is not None and own["step"].min() > 0 and len(before := measure(parent, read)):
            before = before[before["step"] == before["step"].max()]
            yield before.assign(
                line=one.line.name, parent=one.line.parent, run=own["run"].iloc[0], step=0, tokens=np.nan
            )
        yield own


def _memory(one: Traced, read: Inputs) -> pd.DataFrame:
    """With an interval over answers."""
    rows = read.support[read.support["line"] == one.line.name]
    half = 1.96 * rows["standard_error"]
    tokens = dict(zip(one.families[0].steps, one.families[0].tokens, strict=True))
    return pd.DataFrame(
        {"line": one.line.name, "parent": one.line.parent, "run": one.line.runs[0], "quantity": "log_likelihood",
         "kind": rows["kind"], "group": rows["stratum"], "step": rows["step"],
         "tokens": rows["step"].map(tokens),
         "value": rows["log_likelihood"], "low": rows["log_likelihood"] - half, "high": rows["log_likelihood"] + half}
    )  # fmt: skip


def _accuracy(one: Traced, _: Inputs) -> pd.DataFrame:
    """Means over families at each checkpoint; the mean of tasks with an interval over prompts, of one family."""
    rows = one.accuracy
    if rows.empty:
        return pd.DataFrame()
    order = rows.groupby("run")["step"].rank(method="dense").astype(int)
    of_tasks = rows.assign(order=order).groupby(["order", "task"], as_index=False).agg(value=("accuracy", "mean"))
    of_tasks = of_tasks.rename(columns={"task": "group"})
    groups = rows.assign(order=order, variance=rows["standard_error"] ** 2).groupby("order")
    mean = groups.agg(value=("accuracy", "mean"), variance=("variance", "sum"), count=("task", "size")).reset_index()
    half = 1.96 * np.sqrt(mean["variance"]) / mean["count"]
    mean = mean.assign(group=MEAN, low=mean["value"] - half, high=mean["value"] + half)
    steps, tokens = np.rint(one.series.steps).astype(int), one.series.tokens
    both = pd.concat([of_tasks, mean.drop(columns=["variance", "count"])], ignore_index=True)
    at = both["order"].to_numpy() - 1
    both = both.assign(
        line=one.line.name, parent=one.line.parent, run=MEAN, quantity="accuracy", step=steps[at], tokens=tokens[at]
    )
    return both.drop(columns="order")


@styled
def draw(rows: pd.DataFrame, read: Inputs) -> Figure:
    """Columns: pretraining, then each line that follows; rows: RankMe, alpha, memorization, accuracy, as far as known."""
    if rows.empty:
        return nothing(TITLE, NOT_TRACED)
    names = list(dict.fromkeys(rows["line"]))
    names, left_out = names[: 1 + MOST], names[1 + MOST :]
    quantities = [quantity for quantity in ROWS if quantity in set(rows["quantity"])]
    figure = sheet(2.05 + 1.5 * len(quantities), TITLE, _caption(rows, read, names, left_out, quantities))
    later = len(names) - 1
    widths = [1, *[max(0.21, 0.78 / max(3, later)) if later > 3 else 0.26] * later]
    grid = figure.subplots(len(quantities), len(names), squeeze=False, width_ratios=widths)
    phases = read.phases[read.phases["line"] == names[0]]
    styles = looks(read.lines)
    for i, quantity in enumerate(quantities):
        here = rows[rows["quantity"] == quantity]
        for axes, name in zip(grid[i], names, strict=True):
            own = here[here["line"] == name]
            if name == names[0]:
                _time(axes, rows[rows["line"] == name], phases, named=i == 0)
            else:
                _steps(axes, rows[rows["line"] == name])
            _panel(axes, quantity, own, styles[name], here, name == names[0])
        if quantity == "rankme":
            _name_turns(grid[i, 0], here[here["line"] == names[0]], phases)
        grid[i, 0].set_ylabel(ROWS[quantity])
        (_zoom if quantity in GEOMETRY else _share)(grid[i])
    _titles(grid, names, quantities, styles, read)
    for axes in grid[:-1].flat:
        axes.set_xlabel("")
        axes.tick_params(labelbottom=False)
    grouped_legend(figure, _handles(rows, phases))
    return figure


def _time(axes, rows: pd.DataFrame, phases: pd.DataFrame, named: bool) -> None:
    unit = unit_of(rows[rows["quantity"] == "rankme"])
    time_axis(axes, rows.loc[rows["quantity"] == "rankme", unit], unit)
    shade(axes, phases, place_of_step(rows[rows["quantity"] == "rankme"]), LETTERS if named else 0)


def _name_turns(axes, rows: pd.DataFrame, phases: pd.DataFrame) -> None:
    """RankMe and step at each turning point, on the side away from the curve."""
    mean = rows[rows["run"] == MEAN]
    at, values = place_of_step(mean), mean.set_index("step")["value"]
    bounds = phases["from_step"].tolist()
    axes.margins(y=0.25 if len(bounds) > 1 else 0.05)
    for before, step in zip(bounds, bounds[1:], strict=False):
        side = -1 if values[step] < values[before] else 1
        axes.plot(at[step], values[step], "D", color=TURN, markersize=5, zorder=4)
        axes.annotate(f"{values[step]:.3g} at step {step}", (at[step], values[step]), (-5, 4 * side), textcoords="offset points",
                      ha="right", va="top" if side < 0 else "bottom", fontsize=8, color=TURN)  # fmt: skip


def _steps(axes, rows: pd.DataFrame) -> None:
    last = rows["step"].max()
    axes.set_xlim(-0.06 * last, 1.06 * last)
    axes.set_xticks([0, last])
    axes.set_xlabel("step")


def _panel(axes, quantity: str, own: pd.DataFrame, look: Look, everywhere: pd.DataFrame, first: bool) -> None:
    unit = unit_of(own) if first and len(own) else "step"
    if quantity in GEOMETRY:
        for run, line in own.groupby("run", sort=False):
            at = _at(line, unit, first)
            mean = run == MEAN
            axes.plot(at, line["value"], color=look.colour, linewidth=1.7 if mean else 0.6, marker="o" if mean else "",
                      markersize=2.6, label=run, zorder=3)  # fmt: skip
            axes.fill_between(at, line["low"], line["high"], color=look.colour, alpha=0.22, linewidth=0, zorder=2)
    elif quantity == "log_likelihood":
        for (kind, group), line in own.groupby(["kind", "group"], sort=False):
            at = _at(line, unit, first)
            colour = _shades(everywhere, kind)[group]
            axes.plot(
                at,
                line["value"],
                color=colour,
                linewidth=1.4,
                linestyle=_dash(everywhere, kind),
                label=f"{kind} {group}",
            )
            axes.fill_between(at, line["low"], line["high"], color=colour, alpha=0.13, linewidth=0)
    else:
        tasks = _tasks(everywhere)
        for group, line in own.groupby("group", sort=False):
            at = _at(line, unit, first)
            look_of = {"color": look.colour, "linewidth": 1.9} if group == MEAN else {
                "color": GREY, "linewidth": 1.0, "linestyle": DASHES[tasks.index(group) % len(DASHES)]
            }  # fmt: skip
            axes.plot(at, 100 * line["value"], label=group, **look_of)
            axes.fill_between(at, 100 * line["low"], 100 * line["high"], color=look.colour, alpha=0.2, linewidth=0)


def _at(line: pd.DataFrame, unit: str, first: bool) -> np.ndarray:
    return places(line[unit]) if first else line["step"].to_numpy(float)


def _zoom(grid: np.ndarray) -> None:
    """The later panels share an axis of their own, on tinted ground; the first one shows which of its heights they are."""
    first, later = grid[0], grid[1:]
    if not len(later):
        return
    low = min(axes.dataLim.y0 for axes in later)
    high = max(axes.dataLim.y1 for axes in later)
    margin = 0.08 * (high - low) or 0.01 * abs(high)
    low, high = low - margin, high + margin
    whole = first.get_ylim()
    first.axhspan(low, high, color="#f2c14e", alpha=0.45, linewidth=0, zorder=1)
    for axes in later:
        axes.set_ylim(low, high)
        axes.set_facecolor("#fdf6e3")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.tick_right()
        axes.tick_params(labelright=axes is later[-1])
        axes.spines["right"].set_visible(True)
        axes.spines["left"].set_visible(False)
        axes.axhline(axes.lines[0].get_ydata()[0], color=GREY, linewidth=1, zorder=1)
    times = (whole[1] - whole[0]) / (high - low)
    # between the two lines below, nearer to the one that is steep
    middle = (0.5 + ((low + high) / 2 - whole[0]) / (whole[1] - whole[0])) / 2
    later[0].annotate(f"×{times:.2g}", (0, middle), (-4, 0), xycoords="axes fraction", textcoords="offset points", ha="right",
                      va="center", fontsize=8, color="#8a6100")  # fmt: skip
    for height, corner in ((low, 0), (high, 1)):
        first.figure.add_artist(
            ConnectionPatch(
                (1, height),
                (0, corner),
                first.get_yaxis_transform(),
                later[0].transAxes,
                color="#d9a520",
                linewidth=0.8,
            )
        ).set_in_layout(False)


def _share(grid: np.ndarray) -> None:
    limits = np.array([axes.get_ylim() for axes in grid if axes.has_data()])
    for axes in grid:
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
        axes.tick_params(labelleft=axes is grid[0])
        axes.grid(axis="y", color=PALE, linewidth=0.7)
        axes.set_axisbelow(True)


def _titles(grid: np.ndarray, names: list[str], quantities: list[str], styles: dict[str, Look], read: Inputs) -> None:
    """Above each later column its name and the change of RankMe from the parent's end; in the row of alpha its change."""
    for j, name in enumerate(names[1:], 1):
        line = read.lines[name].line
        for i, quantity in enumerate(quantities):
            if quantity not in GEOMETRY:
                continue
            found = read.directions[
                (read.directions["line"] == name)
                & (read.directions["measure"] == {"rankme": "ln_rankme"}.get(quantity, quantity))
            ].iloc[0]
            text = change_text(quantity, found)
            if len(names) >= CROWDED:
                text = text.replace(", ", ",\n")
            size = 8 if len(names) < CROWDED else 6.5
            if i == 0:
                label = textwrap.fill(
                    f"{styles[name].label}, from {styles[line.parent].label}", 22 if len(names) < CROWDED else 12
                )
                text = f"{label}\n{text}"
            grid[i, j].set_title(text, fontsize=size, fontweight="normal", color=styles[name].ink)
    first = read.lines[names[0]].line
    grid[0, 0].set_title(
        ("Pretraining" if first.parent is None else styles[names[0]].label)
        + (f" ({names[0]})" if first.parent is None else ""),
        pad=16,
    )


def change_text(quantity: str, found: pd.Series) -> str:
    """Label, change and interval of a direction, to the first digit of its half width: "up +1.1 % [0.8, 1.4]"; ln RankMe
    as the relative change of RankMe."""
    values = [found["change"], found["low"], found["high"]]
    if quantity == "rankme":
        values = [100 * np.expm1(value) for value in values]
    half = (values[2] - values[1]) / 2 or abs(values[0]) or 1.0
    digits = min(6, max(0, -int(np.floor(np.log10(half)))))
    change, low, high = (
        f"{value:{sign}.{digits}f}".replace("-", "−") for value, sign in zip(values, "+--", strict=True)
    )
    return f"{found['label']} {change}{' %' if quantity == 'rankme' else ''}\n[{low}, {high}]"


def _tasks(rows: pd.DataFrame) -> list[str]:
    return sorted(set(rows["group"]) - {MEAN})


def _shades(rows: pd.DataFrame, kind: str) -> dict[str, str]:
    return shades(in_order(rows.loc[rows["kind"] == kind, "group"]))


def _dash(rows: pd.DataFrame, kind: str) -> str | tuple:
    return "-" if kind == sorted(set(rows["kind"]))[0] else (0, (3, 1.5))


def _handles(rows: pd.DataFrame, phases: pd.DataFrame) -> dict[str, list]:
    groups = {"Phases": phase_patches(phases)}
    memory = rows[rows["quantity"] == "log_likelihood"]
    for kind in sorted(set(memory["kind"])):
        groups[f"{kind.capitalize()} answers, in corpus"] = [
            Line2D([], [], color=colour, linewidth=1.4, linestyle=_dash(memory, kind), label=f"{stratum} times")
            for stratum, colour in _shades(memory, kind).items()
        ]
    groups["Accuracy"] = [
        Line2D([], [], color=GREY, linewidth=1, linestyle=DASHES[i % len(DASHES)], label=task)
        for i, task in enumerate(_tasks(rows[rows["quantity"] == "accuracy"]))
    ]
    if groups["Accuracy"]:
        groups["Accuracy"].append(Line2D([], [], color="#222222", linewidth=1.9, label="mean of tasks"))
    return groups


def _caption(rows: pd.DataFrame, read: Inputs, names: list[str], left_out: list[str], quantities: list[str]) -> str:
    first = read.lines[names[0]]
    over = "sequences" if len(first.families) == 1 else f"{len(first.families)} families (thin lines)"
    text = f"{where(read.headline)}; RankMe and α with {100 * read.confidence:g} % intervals over {over}"
    if len(names) > 1:
        text += (
            "; after pretraining, intervals are of the change from the parent's end (grey line), "
            "and the yellow panels enlarge the yellow strip as many times as stated"
        )
    text += "."
    if "log_likelihood" in quantities:
        text += " Log-likelihood: means by the answers' count in the corpus, 95 % intervals over answers"
        text += f", of {first.line.runs[0]} alone." if len(first.families) > 1 else "."
    if "accuracy" in quantities:
        text += " Accuracy: mean of tasks, 95 % interval over prompts."
    absent = {"log_likelihood": "corpus", "accuracy": "accuracy"}
    missing = [word for quantity, word in absent.items() if quantity not in quantities]
    if missing:
        text += f" Not measured of this run: {' and '.join('memorization' if word == 'corpus' else word for word in missing)}."
    if left_out:
        text += f" In the table only: {', '.join(left_out)}."
    if others := [name for name in read.lines if name not in [*names, *left_out]]:
        text += f" Not of this course: {', '.join(others)}."
    return text + failures([read.lines[name] for name in names])
