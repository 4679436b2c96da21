"""Training curves and held-out accuracy of the organisms."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stages.shared.figure_style import GREY, PALE, looks, nothing, sheet, styled

TITLE = "How the organisms were trained, and what they learned"
GAIN = {"value": "", "low": "_low", "high": "_high"}


def curve_table(curves: list[pd.DataFrame]) -> pd.DataFrame:
    """Return loss and reward by step; ``curves`` have the columns recipe, model, step, quantity and value."""
    keys = ["recipe", "model", "quantity", "step"]
    rows = pd.concat(curves) if curves else pd.DataFrame(columns=[*keys, "value"])
    return rows.loc[rows["quantity"].isin(("loss", "reward")), [*keys, "value"]].sort_values(keys, ignore_index=True)


def accuracy_table(trained: dict[str, dict]) -> pd.DataFrame:
    """Return the held-out accuracy of each organism by task and in their mean, from its training metrics.

    The gain over the base, with its interval, stands in the row of the mean.
    """
    rows = []
    for model, metrics in trained.items():
        for task, accuracy in metrics["accuracy"].items():
            row = {"recipe": model.rpartition("-s")[0], "model": model, "task": task, "accuracy": accuracy["value"]}
            gain = metrics.get("gain_over_base", {}) if task == "mean" else {}
            rows.append(
                row
                | {"standard_error": accuracy["standard_error"]}
                | {f"gain{GAIN[key]}": value for key, value in gain.items()}
            )
    columns = ["recipe", "model", "task", "accuracy", "standard_error", *(f"gain{suffix}" for suffix in GAIN.values())]
    return pd.DataFrame(rows, columns=columns).sort_values(["recipe", "model", "task"], ignore_index=True)


@styled
def draw(curves: pd.DataFrame, accuracy: pd.DataFrame) -> Figure:
    """Draw the curves above, one for each model, and below the accuracies, means over the families with a point for each."""
    if accuracy.empty:
        return nothing(TITLE, "No model of this study was trained inside the pipeline.")
    styles = looks(accuracy["recipe"])
    figure = sheet(
        2.9 + 1.1 + 0.21 * len(styles),
        TITLE,
        "Above: training curves, in the colours of the names below. "
        "Below: accuracy on held-out prompts at temperature 1, ± 1.96 standard errors over prompts; grey line: base.",
    )
    top, bottom = figure.subfigures(2, 1, height_ratios=[2.2, 0.9 + 0.21 * len(styles)])
    _curves(top, curves, styles)
    _accuracies(bottom, accuracy, styles)
    return figure


def _curves(figure, curves: pd.DataFrame, styles: dict) -> None:
    phases = [
        ("pretraining", "loss, nats per token", curves[(curves["quantity"] == "loss") & (curves["recipe"] == "base")]),
        (
            "supervised fine-tuning",
            "loss, nats per token",
            curves[(curves["quantity"] == "loss") & (curves["recipe"] != "base")],
        ),
        ("reinforcement learning", "mean reward", curves[curves["quantity"] == "reward"]),
    ]
    panels = figure.subplots(1, 3)
    thin = 0.5 if curves.groupby("recipe")["model"].nunique().max() > 1 else 1.0
    for axes, (title, unit, phase) in zip(panels, phases, strict=True):
        for (recipe, _), curve in phase.groupby(["recipe", "model"]):
            look = styles[recipe]
            width = thin * (1.3 if look.control else 1.8)
            axes.plot(
                curve["step"], curve["value"], color=look.colour, linestyle=look.dash, linewidth=width, label=recipe
            )
        axes.set(title=title, xlabel="step", ylabel=unit)
        if phase.empty:
            axes.text(0.5, 0.5, "none in this study", ha="center", va="center", transform=axes.transAxes, color=GREY)


def _accuracies(figure, accuracy: pd.DataFrame, styles: dict) -> None:
    tasks = [*sorted(set(accuracy["task"]) - {"mean"}), "mean"]
    panels = figure.subplots(1, len(tasks), sharey=True, sharex=True)
    for axes, task in zip(panels, tasks, strict=True):
        task_rows = accuracy[accuracy["task"] == task]
        base = task_rows.loc[task_rows["recipe"] == "base", "accuracy"].mean()
        axes.axvline(100 * base, color=GREY, linewidth=1, zorder=1)
        for y, (recipe, look) in enumerate(styles.items()):
            rows = task_rows[task_rows["recipe"] == recipe]
            if len(rows) > 1:
                axes.plot(100 * rows["accuracy"], [y] * len(rows), "o", color=look.colour, markersize=2.5, alpha=0.6)
            error = 196 * np.sqrt((rows["standard_error"] ** 2).sum()) / len(rows)
            mean = 100 * rows["accuracy"].mean()
            axes.errorbar(mean, y, xerr=error, fmt=look.marker, color=look.colour, markersize=4.5, label=recipe)
            if task == "mean" and recipe != "base":
                axes.text(
                    1.02,
                    y,
                    _gain(rows),
                    transform=axes.get_yaxis_transform(),
                    va="center",
                    fontsize=8,
                    color=look.ink,
                )
        axes.set_title("mean of tasks" if task == "mean" else task)
        axes.set_xlabel("accuracy, %")
        axes.set_axisbelow(True)
        axes.grid(axis="x", color=PALE, linewidth=0.8)
    panels[0].set_yticks(range(len(styles)), [look.label for look in styles.values()])
    panels[0].invert_yaxis()
    panels[-1].text(
        1.02, 0, "gain, points", transform=panels[-1].get_yaxis_transform(), va="center", fontsize=8, color=GREY
    )


def _gain(rows: pd.DataFrame) -> str:
    """Return the gain over the base in points, of one family with its interval."""
    text = f"{100 * rows['gain'].mean():+.1f}"
    if len(rows) == 1:
        text += f" [{100 * rows['gain_low'].iloc[0]:+.1f}, {100 * rows['gain_high'].iloc[0]:+.1f}]"
    return text.replace("-", "−")
