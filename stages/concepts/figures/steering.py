"""Dose and response: concept vectors and latents added to the middle of a model."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.concepts.figures.inputs import NOTHING, ConceptInputs, variant_colours, variant_name
from stages.shared.figure_style import GREY, legend, looks, nothing, sheet, styled

EFFECTS = {
    "on_target": "rise of\nthe kind's words",
    "off_target": "of other kinds,\nabsolute",
    "sibling_contrast": "spread among\nits own words",
    "success": "contexts in\nwhich it leads",
    "ratio_kl": "KL among\nits words, nats",
}
# Colours of methods, which no model has.
METHODS = {
    "unembedding": "#8C6BB1",
    "words": "#CC79A7",
    "contexts": "#56B4E9",
    "shuffled": "#A6A600",
    "random": "#6b6b6b",
}


def vectors_table(inputs: ConceptInputs) -> pd.DataFrame:
    """Return means over the lowest kinds, in rows of line, method, strength and effects."""
    rows = inputs.by_recipe("interventions")
    gate = inputs.tables["gate"]
    depth = gate.groupby("kind")["level"].max()
    rows = rows[rows["kind"].map(depth) == rows["kind"].map(depth).max()] if len(rows) else rows
    return (
        rows.groupby(["line", "method", "strength"], sort=False)[[*EFFECTS, "success_before", "all_kl"]]
        .mean()
        .reset_index()
    )


@styled
def draw_vectors(rows: pd.DataFrame, inputs: ConceptInputs) -> Figure:
    """Draw doses and responses: above, methods on the first model; below, every model with the unembedding's vector."""
    title = "Concept vectors added in the middle: dose and response"
    if rows.empty:
        return nothing(title, NOTHING)
    styles = looks(rows["line"])
    first = next(iter(styles))
    figure = sheet(
        5.4,
        title,
        f"Logits of held-out words after {inputs.params.interventions.contexts} held-out contexts in which a word of the ontology comes next; mean over the lowest kinds; strength in root mean "
        f"square norms of states. Above {styles[first].label} with vectors of the unembedding (Σ^-1/2 ℓ), mean differences of states at words and of contexts before words, of shuffled "
        "contexts, and random ones. Below the unembedding's in every model (thin: random).",
    )
    grid = figure.subplots(2, len(EFFECTS), sharex=True, sharey="col")
    for column, (effect, name) in enumerate(EFFECTS.items()):
        for method, colour in METHODS.items():
            part = rows[(rows["line"] == first) & (rows["method"] == method)]
            _draw_curve(grid[0, column], part, effect, colour, 1.8)
        for recipe, look in styles.items():
            for method, width in (("unembedding", 1.8), ("random", 0.7)):
                part = rows[(rows["line"] == recipe) & (rows["method"] == method)]
                _draw_curve(grid[1, column], part, effect, look.colour, width, look.dash)
        grid[0, column].set_title(name)
        grid[1, column].set_xlabel("strength")
    grid[0, 0].set_ylabel(f"{styles[first].label}, by vector")
    grid[1, 0].set_ylabel("unembedding's vector")
    handles = [Line2D([], [], color=colour, label=method) for method, colour in METHODS.items()]
    handles += [Line2D([], [], color=look.colour, linestyle=look.dash, label=look.label) for look in styles.values()]
    legend(figure, handles, columns=5)
    return figure


def latents_table(inputs: ConceptInputs) -> pd.DataFrame:
    """Return means over kinds, in rows of variant, noise, seed, chosen, level, strength and effects."""
    rows = inputs.tables["steering"]
    keys = ["variant", "noise", "seed", "chosen", "level", "strength"]
    return rows.groupby(keys, sort=False)[[*EFFECTS, "success_before", "all_kl"]].mean().reset_index()


@styled
def draw_latents(rows: pd.DataFrame, vectors: pd.DataFrame, inputs: ConceptInputs) -> Figure:
    """Draw what clamped parents do, chosen in two ways, beside the raw vector as long."""
    title = "Steering by a latent: dose and response"
    if rows.empty:
        return nothing(title, NOTHING)
    rows = rows.assign(name=[variant_name(*pair) for pair in zip(rows["variant"], rows["noise"], strict=True)])
    colours = variant_colours(inputs.variant_names(rows["name"]))
    figure = sheet(
        5.4,
        title,
        f"{inputs.autoencoders.model}: a parent's code is set so that it adds a vector of this length. Above the latent that tells the kind's words best, below the one that writes most along the "
        "kind's vector in the unembedding. Mean over kinds and seeds, bars ± 2 standard errors over seeds; dashed: the unembedding's vector itself.",
    )
    grid = figure.subplots(2, len(EFFECTS), sharex=True, sharey="col")
    model = inputs.autoencoders.model
    raw = inputs.tables["interventions"]
    raw = raw[
        (raw["model"] == model)
        & (raw["method"] == "unembedding")
        & raw["kind"].isin(set(inputs.tables["steering"]["kind"]))
    ]
    for column, (effect, name) in enumerate(EFFECTS.items()):
        for row, chosen in enumerate(("reads", "writes")):
            axes = grid[row, column]
            for label, colour in colours.items():
                part = rows[(rows["name"] == label) & (rows["chosen"] == chosen) & (rows["level"] == "parent")]
                doses = part.groupby("strength")[effect]
                error = 2 * doses.std().fillna(0) / np.sqrt(doses.count())
                axes.errorbar(doses.mean().index, doses.mean(), error, color=colour, linewidth=1.3, elinewidth=0.7)
            _draw_curve(axes, raw.groupby("strength", as_index=False)[[effect]].mean(), effect, GREY, 1.5, "--")
        grid[0, column].set_title(name)
        grid[1, column].set_xlabel("strength")
    grid[0, 0].set_ylabel("latent that reads")
    grid[1, 0].set_ylabel("latent that writes")
    legend(figure, [Line2D([], [], color=colour, label=name) for name, colour in colours.items()], columns=5)
    return figure


def _draw_curve(axes, rows: pd.DataFrame, effect: str, colour: str, width: float, dash: str = "-") -> None:
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.plot(rows["strength"], rows[effect], color=colour, linewidth=width, linestyle=dash, marker=".", markersize=4)
