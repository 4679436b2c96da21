"""The figure of a lineage: pretraining and all that starts from it, in geometry, memorization and accuracy."""

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
from stages.trace.figures.inputs import (
    NOT_TRACED,
    CourseTables,
    TraceFigureInputs,
    failure_sentence,
    half_width,
    headline_place,
    main_lineage,
    parent_tables,
)
from stages.trace.figures.time import (
    axis_positions,
    grouped_legend,
    phase_patches,
    shade_phases,
    sorted_strata,
    step_positions,
    stratum_greys,
    time_axis,
    time_unit,
)

TITLE = "The course of RankMe and α through pretraining and post-training"
GEOMETRY = {"rankme": "RankMe", "alpha": "α"}
ROWS = GEOMETRY | {"log_likelihood": "log-likelihood\nof answers, nats", "accuracy": "accuracy, %"}
MEAN = "mean"
# Number of columns from which titles are small.
CROWDED = 6
# Largest number of courses after the pretraining that are drawn.
MOST = 8
DASHES = ((0, (1, 1)), (0, (4, 1.5)), (0, (4, 1.5, 1, 1.5)), (0, (7, 2)))
TURN = "#b3261e"
# Number of letters that fit above the panel of pretraining.
LETTERS = 60
KEYS = ["line", "parent", "run", "quantity", "kind", "group", "step", "tokens"]


def table(inputs: TraceFigureInputs) -> pd.DataFrame:
    """Return columns KEYS, value, low and high; the run `mean` is that over families.

    RankMe and alpha have the interval of the value in the first course, and in the others that of the change from the
    parent's end, whose row is step 0. `log_likelihood` is by kind and stratum of answers, of the first run of a course;
    `accuracy` by task and in their mean.
    """
    lineage = main_lineage(inputs.courses)
    parts = [
        part
        for tables in lineage
        for parent in [parent_tables(tables, lineage)]
        for part in (*_geometry(tables, parent, inputs), *_behaviour(tables, parent, inputs))
    ]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*KEYS, "value", "low", "high"])
    return rows.reindex(columns=[*KEYS, "value", "low", "high"])


def _geometry(tables: CourseTables, parent: CourseTables | None, inputs: TraceFigureInputs) -> Iterator[pd.DataFrame]:
    """Yield the rows of the mean over families with its interval, and of each family where there are several."""
    runs = [MEAN, *tables.course.runs]
    for number, (run, series) in enumerate(zip(runs, [tables.series, *tables.families], strict=True)):
        if number and len(tables.families) == 1:
            continue
        parent_series = None if parent is None or series.steps[0] == 0 else [parent.series, *parent.families][number]
        for quantity, name in (("rankme", "ln_rankme"), ("alpha", "alpha")):
            value, deviations = getattr(series, name), getattr(series, f"{name}_deviations")
            steps, tokens = series.steps, series.tokens
            if parent_series is not None:
                end = getattr(parent_series, f"{name}_deviations")[:, -1:]
                value = np.append(getattr(parent_series, name)[-1], value)
                deviations = np.concatenate([np.zeros_like(end), deviations - end], axis=1)  # (K, 1 + T)
                steps, tokens = np.append(0, steps), np.append(np.nan, tokens)
            half = half_width(deviations, inputs.confidence) if not number else np.full(len(value), np.nan)
            inverse = np.exp if quantity == "rankme" else np.asarray
            yield pd.DataFrame(
                {
                    "line": tables.course.name,
                    "parent": tables.course.parent,
                    "run": run,
                    "quantity": quantity,
                    "step": np.rint(steps).astype(int),
                    "tokens": tokens,
                    "value": inverse(value),
                    "low": inverse(value - half),
                    "high": inverse(value + half),
                }
            )


def _behaviour(tables: CourseTables, parent: CourseTables | None, inputs: TraceFigureInputs) -> Iterator[pd.DataFrame]:
    """Yield the rows of memorization and accuracy, with the parent's end in front as step 0."""
    for measure in (_memory, _accuracy):
        rows = measure(tables, inputs)
        if rows.empty:
            continue
        if parent is not None and rows["step"].min() > 0 and len(parent_rows := measure(parent, inputs)):
            end = parent_rows[parent_rows["step"] == parent_rows["step"].max()]
            run = rows["run"].iloc[0]
            yield end.assign(line=tables.course.name, parent=tables.course.parent, run=run, step=0, tokens=np.nan)
        yield rows


def _memory(tables: CourseTables, inputs: TraceFigureInputs) -> pd.DataFrame:
    """Return the mean log-likelihoods of answers, with intervals over answers."""
    rows = inputs.support[inputs.support["line"] == tables.course.name]
    half = 1.96 * rows["standard_error"]
    tokens = dict(zip(tables.families[0].steps, tables.families[0].tokens, strict=True))
    return pd.DataFrame(
        {
            "line": tables.course.name,
            "parent": tables.course.parent,
            "run": tables.course.runs[0],
            "quantity": "log_likelihood",
            "kind": rows["kind"],
            "group": rows["stratum"],
            "step": rows["step"],
            "tokens": rows["step"].map(tokens),
            "value": rows["log_likelihood"],
            "low": rows["log_likelihood"] - half,
            "high": rows["log_likelihood"] + half,
        }
    )


def _accuracy(tables: CourseTables, _: TraceFigureInputs) -> pd.DataFrame:
    """Return accuracy as means over families; the mean of tasks has an interval over the prompts of one family."""
    rows = tables.accuracy
    if rows.empty:
        return pd.DataFrame()
    order = rows.groupby("run")["step"].rank(method="dense").astype(int)
    task_means = rows.assign(order=order).groupby(["order", "task"], as_index=False).agg(value=("accuracy", "mean"))
    task_means = task_means.rename(columns={"task": "group"})
    groups = rows.assign(order=order, variance=rows["standard_error"] ** 2).groupby("order")
    mean = groups.agg(value=("accuracy", "mean"), variance=("variance", "sum"), count=("task", "size")).reset_index()
    half = 1.96 * np.sqrt(mean["variance"]) / mean["count"]
    mean = mean.assign(group=MEAN, low=mean["value"] - half, high=mean["value"] + half)
    steps, tokens = np.rint(tables.series.steps).astype(int), tables.series.tokens
    means = pd.concat([task_means, mean.drop(columns=["variance", "count"])], ignore_index=True)
    positions = means["order"].to_numpy() - 1
    means = means.assign(
        line=tables.course.name,
        parent=tables.course.parent,
        run=MEAN,
        quantity="accuracy",
        step=steps[positions],
        tokens=tokens[positions],
    )
    return means.drop(columns="order")


@styled
def draw(rows: pd.DataFrame, inputs: TraceFigureInputs) -> Figure:
    """Draw columns of pretraining and each later course, rows of RankMe, alpha, memorization and accuracy, where measured."""
    if rows.empty:
        return nothing(TITLE, NOT_TRACED)
    names = list(dict.fromkeys(rows["line"]))
    names, left_out = names[: 1 + MOST], names[1 + MOST :]
    quantities = [quantity for quantity in ROWS if quantity in set(rows["quantity"])]
    figure = sheet(2.05 + 1.5 * len(quantities), TITLE, _caption(rows, inputs, names, left_out, quantities))
    later = len(names) - 1
    widths = [1, *[max(0.21, 0.78 / max(3, later)) if later > 3 else 0.26] * later]
    grid = figure.subplots(len(quantities), len(names), squeeze=False, width_ratios=widths)
    phases = inputs.phases[inputs.phases["line"] == names[0]]
    styles = looks(inputs.courses)
    for i, quantity in enumerate(quantities):
        quantity_rows = rows[rows["quantity"] == quantity]
        for axes, name in zip(grid[i], names, strict=True):
            panel_rows = quantity_rows[quantity_rows["line"] == name]
            if name == names[0]:
                _time(axes, rows[rows["line"] == name], phases, named=i == 0)
            else:
                _steps(axes, rows[rows["line"] == name])
            _panel(axes, quantity, panel_rows, styles[name], quantity_rows, name == names[0])
        if quantity == "rankme":
            _name_turns(grid[i, 0], quantity_rows[quantity_rows["line"] == names[0]], phases)
        grid[i, 0].set_ylabel(ROWS[quantity])
        (_zoom if quantity in GEOMETRY else _share_heights)(grid[i])
    _titles(grid, names, quantities, styles, inputs)
    for axes in grid[:-1].flat:
        axes.set_xlabel("")
        axes.tick_params(labelbottom=False)
    grouped_legend(figure, _handles(rows, phases))
    return figure


def _time(axes, rows: pd.DataFrame, phases: pd.DataFrame, named: bool) -> None:
    unit = time_unit(rows[rows["quantity"] == "rankme"])
    time_axis(axes, rows.loc[rows["quantity"] == "rankme", unit], unit)
    shade_phases(axes, phases, step_positions(rows[rows["quantity"] == "rankme"]), LETTERS if named else 0)


def _name_turns(axes, rows: pd.DataFrame, phases: pd.DataFrame) -> None:
    """Write RankMe and step at each turning point, on the side away from the curve."""
    mean = rows[rows["run"] == MEAN]
    positions, values = step_positions(mean), mean.set_index("step")["value"]
    bounds = phases["from_step"].tolist()
    axes.margins(y=0.25 if len(bounds) > 1 else 0.05)
    for previous, step in zip(bounds, bounds[1:], strict=False):
        side = -1 if values[step] < values[previous] else 1
        axes.plot(positions[step], values[step], "D", color=TURN, markersize=5, zorder=4)
        axes.annotate(
            f"{values[step]:.3g} at step {step}",
            (positions[step], values[step]),
            (-5, 4 * side),
            textcoords="offset points",
            ha="right",
            va="top" if side < 0 else "bottom",
            fontsize=8,
            color=TURN,
        )


def _steps(axes, rows: pd.DataFrame) -> None:
    last = rows["step"].max()
    axes.set_xlim(-0.06 * last, 1.06 * last)
    axes.set_xticks([0, last])
    axes.set_xlabel("step")


def _panel(axes, quantity: str, rows: pd.DataFrame, look: Look, quantity_rows: pd.DataFrame, first: bool) -> None:
    """Draw the ``rows`` of one quantity and course; ``quantity_rows`` of all courses give the styles of groups."""
    unit = time_unit(rows) if first and len(rows) else "step"
    if quantity in GEOMETRY:
        for run, curve in rows.groupby("run", sort=False):
            positions = _positions(curve, unit, first)
            is_mean = run == MEAN
            axes.plot(
                positions,
                curve["value"],
                color=look.colour,
                linewidth=1.7 if is_mean else 0.6,
                marker="o" if is_mean else "",
                markersize=2.6,
                label=run,
                zorder=3,
            )
            axes.fill_between(
                positions, curve["low"], curve["high"], color=look.colour, alpha=0.22, linewidth=0, zorder=2
            )
    elif quantity == "log_likelihood":
        for (kind, group), curve in rows.groupby(["kind", "group"], sort=False):
            positions = _positions(curve, unit, first)
            colour = _shades(quantity_rows, kind)[group]
            axes.plot(
                positions,
                curve["value"],
                color=colour,
                linewidth=1.4,
                linestyle=_dash(quantity_rows, kind),
                label=f"{kind} {group}",
            )
            axes.fill_between(positions, curve["low"], curve["high"], color=colour, alpha=0.13, linewidth=0)
    else:
        tasks = _tasks(quantity_rows)
        for group, curve in rows.groupby("group", sort=False):
            positions = _positions(curve, unit, first)
            style = {"color": look.colour, "linewidth": 1.9}
            if group != MEAN:
                style = {"color": GREY, "linewidth": 1.0, "linestyle": DASHES[tasks.index(group) % len(DASHES)]}
            axes.plot(positions, 100 * curve["value"], label=group, **style)
            axes.fill_between(
                positions, 100 * curve["low"], 100 * curve["high"], color=look.colour, alpha=0.2, linewidth=0
            )


def _positions(curve: pd.DataFrame, unit: str, first: bool) -> np.ndarray:
    return axis_positions(curve[unit]) if first else curve["step"].to_numpy(float)


def _zoom(grid: np.ndarray) -> None:
    """Give the later panels a common axis, on tinted ground; the first one shows which of its heights they are."""
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
    later[0].annotate(
        f"×{times:.2g}",
        (0, middle),
        (-4, 0),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=8,
        color="#8a6100",
    )
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


def _share_heights(grid: np.ndarray) -> None:
    limits = np.array([axes.get_ylim() for axes in grid if axes.has_data()])
    for axes in grid:
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
        axes.tick_params(labelleft=axes is grid[0])
        axes.grid(axis="y", color=PALE, linewidth=0.7)
        axes.set_axisbelow(True)


def _titles(
    grid: np.ndarray, names: list[str], quantities: list[str], styles: dict[str, Look], inputs: TraceFigureInputs
) -> None:
    """Write above each later column its name and the change of RankMe from the parent's end; above alpha its change."""
    for j, name in enumerate(names[1:], 1):
        course = inputs.courses[name].course
        for i, quantity in enumerate(quantities):
            if quantity not in GEOMETRY:
                continue
            direction = inputs.directions[
                (inputs.directions["line"] == name)
                & (inputs.directions["measure"] == {"rankme": "ln_rankme"}.get(quantity, quantity))
            ].iloc[0]
            text = change_text(quantity, direction)
            if len(names) >= CROWDED:
                text = text.replace(", ", ",\n")
            size = 8 if len(names) < CROWDED else 6.5
            if i == 0:
                label = textwrap.fill(
                    f"{styles[name].label}, from {styles[course.parent].label}", 22 if len(names) < CROWDED else 12
                )
                text = f"{label}\n{text}"
            grid[i, j].set_title(text, fontsize=size, fontweight="normal", color=styles[name].ink)
    first = inputs.courses[names[0]].course
    grid[0, 0].set_title(
        ("Pretraining" if first.parent is None else styles[names[0]].label)
        + (f" ({names[0]})" if first.parent is None else ""),
        pad=16,
    )


def change_text(quantity: str, direction: pd.Series) -> str:
    """Return label, change and interval of a direction, to the first digit of its half width: "up +1.1 % [0.8, 1.4]".

    The change of ln RankMe is given as the relative change of RankMe.
    """
    values = [direction["change"], direction["low"], direction["high"]]
    if quantity == "rankme":
        values = [100 * np.expm1(value) for value in values]
    half = (values[2] - values[1]) / 2 or abs(values[0]) or 1.0
    digits = min(6, max(0, -int(np.floor(np.log10(half)))))
    change, low, high = (
        f"{value:{sign}.{digits}f}".replace("-", "−") for value, sign in zip(values, "+--", strict=True)
    )
    return f"{direction['label']} {change}{' %' if quantity == 'rankme' else ''}\n[{low}, {high}]"


def _tasks(rows: pd.DataFrame) -> list[str]:
    return sorted(set(rows["group"]) - {MEAN})


def _shades(rows: pd.DataFrame, kind: str) -> dict[str, str]:
    return stratum_greys(sorted_strata(rows.loc[rows["kind"] == kind, "group"]))


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


def _caption(
    rows: pd.DataFrame, inputs: TraceFigureInputs, names: list[str], left_out: list[str], quantities: list[str]
) -> str:
    first = inputs.courses[names[0]]
    sample = "sequences" if len(first.families) == 1 else f"{len(first.families)} families (thin lines)"
    text = f"{headline_place(inputs.headline)}; RankMe and α with {100 * inputs.confidence:g} % intervals over {sample}"
    if len(names) > 1:
        text += (
            "; after pretraining, intervals are of the change from the parent's end (grey line), "
            "and the yellow panels enlarge the yellow strip as many times as stated"
        )
    text += "."
    if "log_likelihood" in quantities:
        text += " Log-likelihood: means by the answers' count in the corpus, 95 % intervals over answers"
        text += f", of {first.course.runs[0]} alone." if len(first.families) > 1 else "."
    if "accuracy" in quantities:
        text += " Accuracy: mean of tasks, 95 % interval over prompts."
    absent = {"log_likelihood": "corpus", "accuracy": "accuracy"}
    missing = [word for quantity, word in absent.items() if quantity not in quantities]
    if missing:
        text += f" Not measured of this run: {' and '.join('memorization' if word == 'corpus' else word for word in missing)}."
    if left_out:
        text += f" In the table only: {', '.join(left_out)}."
    if unrelated := [name for name in inputs.courses if name not in [*names, *left_out]]:
        text += f" Not of this course: {', '.join(unrelated)}."
    return text + failure_sentence([inputs.courses[name] for name in names])
