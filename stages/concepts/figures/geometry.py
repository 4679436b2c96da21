"""The hierarchy in the unembedding: projection ratios, angles with their nulls, all pairs of kinds, one polytope."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.concepts.figures.inputs import NOTHING, Inputs, model_looks
from stages.concepts.gate import GAUSSIAN, HEADLINE, LABELS, ROWS, TRUE
from stages.concepts.state_files import FINAL, UNTRAINED
from stages.shared.figure_style import GREY, legend, nothing, sheet, styled

NULLS = {
    TRUE: ("words of the kind", "#0072B2"),
    LABELS: ("shuffled labels", "#D55E00"),
    ROWS: ("random words", "#E8A33D"),
    GAUSSIAN: ("Gaussian unembedding", "#8C6BB1"),
}
MOST_PANELS = 4
INKS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E8A33D", "#56B4E9")


def gate_table(read: Inputs) -> pd.DataFrame:
    """Mean over families: line, state, metric, null, kind and what the gate reads."""
    rows = read.lines("gate")
    keys = ["line", "state", "metric", "null", "kind"]
    values = ["members", "others", "siblings", "excess", "shuffled", "angle", "p"]
    means = rows.groupby(keys, sort=False)[values].mean()
    return means.join(rows.groupby(keys, sort=False)["passes"].mean().rename("passes")).reset_index()


@styled
def draw_gate(rows: pd.DataFrame, read: Inputs) -> Figure:
    """A row a kind; members and others of every model, and in grey what must not pass."""
    title = "Is a kind a direction? Projection ratios of held-out words"
    if rows.empty:
        return nothing(title, NOTHING)
    margins, kinds = read.params.gate, list(dict.fromkeys(rows["kind"]))
    passing = (
        rows[(rows["metric"] == HEADLINE) & (rows["null"] == TRUE)]
        .groupby(["line", "state"], sort=False)["passes"]
        .mean()
    )
    said = ", ".join(
        f"{line if state == FINAL else f'{line} untrained'} {share:.0%}" for (line, state), share in passing.items()
    )
    figure = sheet(
        1.6 + 0.24 * len(kinds) + 0.6, title,
        f"g'ℓ / |ℓ|², ℓ the vector of one half of a kind's words, read on the other half; mean over {margins.splits} splits. 1 for members and 0 for "
        f"others where the kind is represented. Bands: the margins within which it counts as found, beyond shuffled labels. Kinds that pass: {said}.",
    )  # fmt: skip
    panels = figure.subplots(1, 2, sharey=True, width_ratios=[1.5, 1])
    styles = model_looks(rows["line"])
    height = {kind: len(kinds) - 1 - i for i, kind in enumerate(kinds)}
    own = rows[(rows["metric"] == HEADLINE) & (rows["null"] == TRUE)]
    for axes in panels:
        axes.axvspan(1 - margins.members_within, 1 + margins.members_within, color="#0072B2", alpha=0.08, linewidth=0)
        axes.axvspan(-margins.others_within, margins.others_within, color=GREY, alpha=0.10, linewidth=0)
        axes.set_yticks(list(height.values()), list(height))
        axes.set_xlabel("projection ratio")
    offsets = dict(zip(styles, np.linspace(0.25, -0.25, len(styles)) if len(styles) > 1 else [0.0], strict=True))
    for line, look in styles.items():
        for column, fill in (("members", look.colour), ("others", "white")):
            part = own[(own["line"] == line) & (own["state"] == FINAL)]
            y = part["kind"].map(height) + offsets[line]
            panels[0].scatter(part[column], y, s=26, c=fill, edgecolors=look.colour, marker=look.marker, linewidths=1.2)
    reference = next(iter(styles))
    panels[1].set_title(f"{styles[reference].label}: what must not pass")
    cases = [
        ("shuffled labels", "#D55E00", rows[(rows["null"] == LABELS) & (rows["state"] == FINAL)]),
        ("Gaussian", "#8C6BB1", rows[(rows["null"] == GAUSSIAN) & (rows["state"] == FINAL)]),
        ("untrained", "#009E73", own[own["state"] == UNTRAINED]),
        (
            "Euclidean",
            "#222222",
            rows[(rows["metric"] == "euclidean") & (rows["null"] == TRUE) & (rows["state"] == FINAL)],
        ),
    ]
    for (_, colour, part), shift in zip(cases, np.linspace(0.25, -0.25, len(cases)), strict=True):
        part = part[part["line"] == reference]
        for column, fill in (("members", colour), ("others", "white")):
            panels[1].scatter(
                part[column],
                part["kind"].map(height) + shift,
                s=20,
                c=fill,
                marker="D",
                edgecolors=colour,
                linewidths=1.1,
            )
    panels[0].set_title("models")
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle="", label=look.label)
        for look in styles.values()
    ]
    handles += [Line2D([], [], color=colour, marker="D", linestyle="", label=name) for name, colour, _ in cases]
    handles += [Line2D([], [], color=GREY, marker="o", linestyle="", label="filled: members"),
                Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linestyle="", label="open: others")]  # fmt: skip
    legend(figure, handles, columns=5)
    return figure


def pairs_table(read: Inputs) -> pd.DataFrame:
    """Pairs of kinds: line, state, null, lower, upper, relation, ratio, angle; means over families."""
    rows = read.lines("pairs")
    keys = ["line", "state", "null", "lower", "upper", "relation"]
    return rows.groupby(keys, sort=False)[["ratio", "angle"]].mean().reset_index()


@styled
def draw_angles(rows: pd.DataFrame, gate: pd.DataFrame, read: Inputs) -> Figure:
    """What the angle says and what the ratio says, of the first model, for true words and for each null."""
    title = "Angles hardly tell a hierarchy from shuffled labels, projection ratios do"
    if rows.empty:
        return nothing(title, NOTHING)
    line = next(iter(model_looks(rows["line"])))
    pairs = rows[(rows["line"] == line) & (rows["state"] == FINAL) & (rows["relation"] == "above")]
    words = gate[(gate["line"] == line) & (gate["state"] == FINAL) & (gate["metric"] == HEADLINE)]
    figure = sheet(
        3.6, title,
        f"{model_looks([line])[line].label}, held-out words, causal inner product; a mark a kind (left: angle of a kind's ℓ and g − ℓ of its words; right: ratio) or a "
        "pair of a kind and one above it (ℓ and m − ℓ). 90° is what orthogonality wants. Of unit vectors p, c the angle of p and c − p is never "
        "below 90°, noise included: the prior study's test passes for every row. The bar is the mean.",
    )  # fmt: skip
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
def draw_hierarchy(rows: pd.DataFrame, read: Inputs) -> Figure:
    """Ratio of every kind's vector on every other's: ancestors in dark, of models and of what must not pass."""
    title = "The hierarchy, kind by kind"
    if rows.empty:
        return nothing(title, NOTHING)
    lines = list(model_looks(rows["line"]))
    cases = [(line, FINAL, TRUE) for line in lines[: MOST_PANELS - 2]]
    cases += [(lines[0], UNTRAINED, TRUE), (lines[0], FINAL, LABELS)]
    kinds = list(dict.fromkeys(rows["lower"]))
    figure = sheet(
        1.0 + 3.6 * (len(cases) // 2 + len(cases) % 2), title,
        "m'ℓ / |ℓ|² of the vector m of a row's kind, of one half of its words, on the vector ℓ of a column's, of the other half: 1 where the column's "
        "kind is the row's own or above it (outlined), 0 elsewhere, where the hierarchy is represented as orthogonal directions.",
    )  # fmt: skip
    grid = figure.subplots(-(-len(cases) // 2), 2, squeeze=False)
    styles = model_looks(lines)
    for axes, (line, state, null) in zip(grid.ravel(), cases, strict=False):
        own = rows[(rows["line"] == line) & (rows["state"] == state) & (rows["null"] == null)]
        square = own.pivot(index="lower", columns="upper", values="ratio").reindex(index=kinds, columns=kinds)
        drawn = axes.imshow(square.to_numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
        above = own[own["relation"].isin(["above", "self"])]
        for lower, upper in zip(above["lower"], above["upper"], strict=True):
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
            f"{styles[line].label}{', untrained' if state == UNTRAINED else ''}{', shuffled labels' if null == LABELS else ''}"
        )
    for axes in grid.ravel()[len(cases) :]:
        axes.set_visible(False)
    figure.colorbar(drawn, ax=grid, shrink=0.5).outline.set_visible(False)
    return figure


@styled
def draw_polytope(read: Inputs) -> Figure:
    """Words in the plane of their kinds' vectors, trained and not."""
    title = "One polytope: words of sibling kinds in the plane of their vectors"
    rows = read.lines("scene")
    if rows.empty:
        return nothing(title, NOTHING)
    first = rows["model"].iloc[0]
    rows = rows[rows["model"] == first]
    states = [state for state in (FINAL, UNTRAINED) if state in set(rows["state"])]
    figure = sheet(
        4.4, title,
        f"{first}: causal coordinates of the words, projected on the plane in which the kinds' vectors (crosses, joined) lie furthest apart. Vectors are made of "
        "the filled words; open ones are held out: they lie near their own kind's corner where the kind is represented, anywhere where not.",
    )  # fmt: skip
    kinds = list(dict.fromkeys(rows[rows["corner"]]["kind"]))
    colours = {kind: INKS[i % len(INKS)] for i, kind in enumerate(kinds)}
    for axes, state in zip(figure.subplots(1, len(states), squeeze=False)[0], states, strict=True):
        own = rows[rows["state"] == state]
        corners = own[own["corner"]]
        for kind, colour in colours.items():
            part = own[(own["kind"] == kind) & ~own["corner"]]
            held = part["held_out"].to_numpy()
            axes.scatter(part["x"][~held], part["y"][~held], s=14, color=colour, alpha=0.45, linewidths=0)
            axes.scatter(part["x"][held], part["y"][held], s=26, facecolors="white", edgecolors=colour, linewidths=1.3)
        centre = corners[["x", "y"]].mean()
        around = corners.iloc[np.argsort(np.arctan2(corners["y"] - centre["y"], corners["x"] - centre["x"]))]
        closed = pd.concat([around, around.iloc[:1]])
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
