"""The hierarchy in the unembedding: projection ratios, angles with their nulls, all pairs of kinds, one polytope."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.concepts.figures.inputs import NOTHING, ConceptInputs
from stages.concepts.gate import GAUSSIAN, HEADLINE, LABELS, ROWS, TRUE
from stages.concepts.state_files import FINAL, UNTRAINED
from stages.shared.figure_style import GREY, Look, legend, looks, nothing, sheet, styled

# Nulls with their names and colours.
NULLS = {
    TRUE: ("words of the kind", "#0072B2"),
    LABELS: ("shuffled labels", "#D55E00"),
    ROWS: ("random words", "#E8A33D"),
    GAUSSIAN: ("Gaussian unembedding", "#8C6BB1"),
}
# Colours of the cases that must not pass.
NULL_CASES = {
    "shuffled labels": "#D55E00",
    "Gaussian": "#8C6BB1",
    "untrained": "#009E73",
    "Euclidean": "#222222",
}
MOST_PANELS = 4
INKS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E8A33D", "#56B4E9")


def gate_table(inputs: ConceptInputs) -> pd.DataFrame:
    """Return means over families, in rows of line, state, metric, null, kind and what the gate reads."""
    rows = inputs.by_recipe("gate")
    keys = ["line", "state", "metric", "null", "kind"]
    values = ["members", "others", "siblings", "excess", "shuffled", "angle", "p"]
    means = rows.groupby(keys, sort=False)[values].mean()
    return means.join(rows.groupby(keys, sort=False)["passes"].mean().rename("passes")).reset_index()


@styled
def draw_gate(rows: pd.DataFrame, inputs: ConceptInputs) -> Figure:
    """Draw the ratios of every kind in a row: members and others of every model, and beside them what must not pass."""
    title = "Is a kind a direction? Projection ratios of held-out words"
    if rows.empty:
        return nothing(title, NOTHING)
    margins, kinds = inputs.params.gate, list(dict.fromkeys(rows["kind"]))
    true_words = rows[(rows["metric"] == HEADLINE) & (rows["null"] == TRUE)]
    passing = true_words.groupby(["line", "state"], sort=False)["passes"].mean()
    shares = ", ".join(
        f"{recipe if state == FINAL else f'{recipe} untrained'} {share:.0%}"
        for (recipe, state), share in passing.items()
    )
    figure = sheet(
        1.6 + 0.24 * len(kinds) + 0.6,
        title,
        f"g'ℓ / |ℓ|², ℓ the vector of one half of a kind's words, read on the other half; mean over {margins.splits} splits. 1 for members and 0 for "
        f"others where the kind is represented. Bands: the margins within which it counts as found, beyond shuffled labels. Kinds that pass: {shares}.",
    )
    panels = figure.subplots(1, 2, sharey=True, width_ratios=[1.5, 1])
    styles = looks(rows["line"])
    height = {kind: len(kinds) - 1 - i for i, kind in enumerate(kinds)}
    for axes in panels:
        axes.axvspan(1 - margins.members_within, 1 + margins.members_within, color="#0072B2", alpha=0.08, linewidth=0)
        axes.axvspan(-margins.others_within, margins.others_within, color=GREY, alpha=0.10, linewidth=0)
        axes.set_yticks(list(height.values()), list(height))
        axes.set_xlabel("projection ratio")
    panels[0].set_title("models")
    _draw_models(panels[0], true_words[true_words["state"] == FINAL], styles, height)
    reference = next(iter(styles))
    panels[1].set_title(f"{styles[reference].label}: what must not pass")
    _draw_nulls(panels[1], rows[rows["line"] == reference], height)
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle="", label=look.label)
        for look in styles.values()
    ]
    handles += [
        Line2D([], [], color=colour, marker="D", linestyle="", label=name) for name, colour in NULL_CASES.items()
    ]
    handles += [
        Line2D([], [], color=GREY, marker="o", linestyle="", label="filled: members"),
        Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linestyle="", label="open: others"),
    ]
    legend(figure, handles, columns=5)
    return figure


def _draw_models(axes: Axes, rows: pd.DataFrame, styles: Mapping[str, Look], height: Mapping[str, int]) -> None:
    """Draw the ratios of members, filled, and of others, open, of every model."""
    offsets = dict(zip(styles, np.linspace(0.25, -0.25, len(styles)) if len(styles) > 1 else [0.0], strict=True))
    for recipe, look in styles.items():
        part = rows[rows["line"] == recipe]
        y = part["kind"].map(height) + offsets[recipe]
        for column, fill in (("members", look.colour), ("others", "white")):
            axes.scatter(part[column], y, s=26, c=fill, edgecolors=look.colour, marker=look.marker, linewidths=1.2)


def _draw_nulls(axes: Axes, rows: pd.DataFrame, height: Mapping[str, int]) -> None:
    """Draw the same of the cases, on one model, that must not pass."""
    trained, untrained = (rows[rows["state"] == state] for state in (FINAL, UNTRAINED))
    parts = (
        trained[trained["null"] == LABELS],
        trained[trained["null"] == GAUSSIAN],
        untrained[(untrained["metric"] == HEADLINE) & (untrained["null"] == TRUE)],
        trained[(trained["metric"] == "euclidean") & (trained["null"] == TRUE)],
    )
    shifts = np.linspace(0.25, -0.25, len(parts))
    for part, colour, shift in zip(parts, NULL_CASES.values(), shifts, strict=True):
        y = part["kind"].map(height) + shift
        for column, fill in (("members", colour), ("others", "white")):
            axes.scatter(part[column], y, s=20, c=fill, marker="D", edgecolors=colour, linewidths=1.1)


def pairs_table(inputs: ConceptInputs) -> pd.DataFrame:
    """Return pairs of kinds, means over families, in rows of line, state, null, lower, upper, relation, ratio, angle."""
    rows = inputs.by_recipe("pairs")
    keys = ["line", "state", "null", "lower", "upper", "relation"]
    return rows.groupby(keys, sort=False)[["ratio", "angle"]].mean().reset_index()


@styled
def draw_angles(rows: pd.DataFrame, gate: pd.DataFrame, inputs: ConceptInputs) -> Figure:
    """Draw angles and ratios of the first model side by side, for true words and for each null."""
    title = "Angles hardly tell a hierarchy from shuffled labels, projection ratios do"
    if rows.empty:
        return nothing(title, NOTHING)
    recipe = next(iter(looks(rows["line"])))
    pairs = rows[(rows["line"] == recipe) & (rows["state"] == FINAL) & (rows["relation"] == "above")]
    words = gate[(gate["line"] == recipe) & (gate["state"] == FINAL) & (gate["metric"] == HEADLINE)]
    figure = sheet(
        3.6,
        title,
        f"{looks([recipe])[recipe].label}, held-out words, causal inner product; a mark a kind (left: angle of a kind's ℓ and g − ℓ of its words; right: ratio) or a "
        "pair of a kind and one above it (ℓ and m − ℓ). 90° is what orthogonality wants. Of unit vectors p, c the angle of p and c − p is never "
        "below 90°, noise included: the prior study's test passes for every row. The bar is the mean.",
    )
    panels = figure.subplots(1, 4, sharey=True)
    drawn = (
        (words, "angle", "words: angle"),
        (words, "members", "words: ratio"),
        (pairs, "angle", "kinds: angle"),
        (pairs, "ratio", "kinds: ratio"),
    )
    places = {null: len(NULLS) - 1 - i for i, null in enumerate(NULLS)}
    generator = np.random.default_rng(0)
    for axes, (part, column, name) in zip(panels, drawn, strict=True):
        axes.axvline(90 if column == "angle" else 1, color=GREY, linewidth=0.8, linestyle=":")
        for null, (_, colour) in NULLS.items():
            values = part[part["null"] == null][column].dropna().to_numpy()
            axes.scatter(
                values,
                places[null] + generator.uniform(-0.18, 0.18, len(values)),
                s=16,
                color=colour,
                alpha=0.7,
                linewidths=0,
            )
            if len(values):
                axes.plot([values.mean()] * 2, [places[null] - 0.3, places[null] + 0.3], color=colour, linewidth=2.5)
        axes.set_title(name)
        axes.set_xlabel("degrees" if column == "angle" else "ratio")
    panels[0].set_yticks(list(places.values()), [NULLS[null][0] for null in places])
    return figure


@styled
def draw_hierarchy(rows: pd.DataFrame, inputs: ConceptInputs) -> Figure:
    """Draw the ratio of every kind's vector on every other's, of models and of what must not pass."""
    title = "The hierarchy, kind by kind"
    if rows.empty:
        return nothing(title, NOTHING)
    recipes = list(looks(rows["line"]))
    cases = [(recipe, FINAL, TRUE) for recipe in recipes[: MOST_PANELS - 2]]
    cases += [(recipes[0], UNTRAINED, TRUE), (recipes[0], FINAL, LABELS)]
    kinds = list(dict.fromkeys(rows["lower"]))
    figure = sheet(
        1.0 + 3.6 * (len(cases) // 2 + len(cases) % 2),
        title,
        "m'ℓ / |ℓ|² of the vector m of a row's kind, of one half of its words, on the vector ℓ of a column's, of the other half: 1 where the column's "
        "kind is the row's own or above it (outlined), 0 elsewhere, where the hierarchy is represented as orthogonal directions.",
    )
    grid = figure.subplots(-(-len(cases) // 2), 2, squeeze=False)
    styles = looks(recipes)
    for axes, (recipe, state, null) in zip(grid.ravel(), cases, strict=False):
        part = rows[(rows["line"] == recipe) & (rows["state"] == state) & (rows["null"] == null)]
        square = part.pivot(index="lower", columns="upper", values="ratio").reindex(index=kinds, columns=kinds)
        drawn = axes.imshow(square.to_numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
        ancestors = part[part["relation"].isin(["above", "self"])]
        for lower, upper in zip(ancestors["lower"], ancestors["upper"], strict=True):
            x, y = kinds.index(upper), kinds.index(lower)
            axes.plot(
                np.array([-0.5, 0.5, 0.5, -0.5, -0.5]) + x,
                np.array([-0.5, -0.5, 0.5, 0.5, -0.5]) + y,
                color="#222222",
                linewidth=0.8,
            )
        axes.set_xticks(range(len(kinds)), kinds, rotation=90)
        axes.set_yticks(range(len(kinds)), kinds)
        axes.set_title(
            f"{styles[recipe].label}{', untrained' if state == UNTRAINED else ''}{', shuffled labels' if null == LABELS else ''}"
        )
    for axes in grid.ravel()[len(cases) :]:
        axes.set_visible(False)
    figure.colorbar(drawn, ax=grid, shrink=0.5).outline.set_visible(False)
    return figure


@styled
def draw_polytope(inputs: ConceptInputs) -> Figure:
    """Draw words in the plane of their kinds' vectors, trained and not."""
    title = "One polytope: words of sibling kinds in the plane of their vectors"
    rows = inputs.by_recipe("scene")
    if rows.empty:
        return nothing(title, NOTHING)
    first = rows["model"].iloc[0]
    rows = rows[rows["model"] == first]
    states = [state for state in (FINAL, UNTRAINED) if state in set(rows["state"])]
    figure = sheet(
        4.4,
        title,
        f"{first}: causal coordinates of the words, projected on the plane in which the kinds' vectors (crosses, joined) lie furthest apart. Vectors are made of "
        "the filled words; open ones are held out: they lie near their own kind's corner where the kind is represented, anywhere where not.",
    )
    kinds = list(dict.fromkeys(rows[rows["corner"]]["kind"]))
    colours = {kind: INKS[i % len(INKS)] for i, kind in enumerate(kinds)}
    for axes, state in zip(figure.subplots(1, len(states), squeeze=False)[0], states, strict=True):
        state_rows = rows[rows["state"] == state]
        corners = state_rows[state_rows["corner"]]
        for kind, colour in colours.items():
            part = state_rows[(state_rows["kind"] == kind) & ~state_rows["corner"]]
            held = part["held_out"].to_numpy()
            axes.scatter(part["x"][~held], part["y"][~held], s=14, color=colour, alpha=0.45, linewidths=0)
            axes.scatter(part["x"][held], part["y"][held], s=26, facecolors="white", edgecolors=colour, linewidths=1.3)
        centre = corners[["x", "y"]].mean()
        by_angle = corners.iloc[np.argsort(np.arctan2(corners["y"] - centre["y"], corners["x"] - centre["x"]))]
        closed = pd.concat([by_angle, by_angle.iloc[:1]])
        axes.plot(closed["x"], closed["y"], color=GREY, linewidth=1)
        axes.scatter(
            corners["x"],
            corners["y"],
            marker="X",
            s=80,
            c=[colours[kind] for kind in corners["kind"]],
            edgecolors="#222222",
        )
        axes.set_title("trained" if state == FINAL else "untrained")
        axes.set_aspect("equal", adjustable="datalim")
    legend(
        figure, [Line2D([], [], color=colour, marker="o", linestyle="", label=kind) for kind, colour in colours.items()]
    )
    return figure
