"""Sparse autoencoders: how they train, whether their latents are the concepts, and what siblings share of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.concepts.figures.inputs import NOTHING, Inputs, model_looks, variant_colours, variant_name
from stages.models.names import recipe_of
from stages.shared.figure_style import GREY, legend, nothing, sheet, styled

TERMS = {
    "reconstruction": "unexplained variance",
    "top": "unexplained by parents alone",
    "cross": "parent-child cos²",
    "biorthogonal": "read ≠ written",
}
MEASURES = {
    "purity": "purity", "leakage": "leakage", "auroc": "AUROC", "consistency": "children under their kind",
    "explained": "explained variance", "ce_recovered_zero": "loss recovered", "splitting": "latents a kind", "normal_fan": "normal fan, degrees",
}  # fmt: skip


@styled
def draw_curves(read: Inputs) -> Figure:
    """Mean over seeds, on the study's model."""
    title, rows = "Training of the autoencoders", read.tables["curves"]
    rows = rows[rows["model"] == read.autoencoders.model]
    if rows.empty:
        return nothing(title, NOTHING)
    frozen = round(read.autoencoders.frozen * read.autoencoders.steps)
    figure = sheet(
        3.4, title,
        f"{read.autoencoders.model}, batches of {read.autoencoders.batch} tokens, mean over {len(read.autoencoders.seeds)} seeds. A start from concepts keeps its decoder for {frozen} "
        "steps (dotted line), the others do not; all have the same tokens and steps.",
    )  # fmt: skip
    rows = rows.assign(name=[variant_name(*pair) for pair in zip(rows["variant"], rows["noise"], strict=True)])
    colours = variant_colours(read.names(rows["name"]))
    terms = [term for term in TERMS if term in set(rows["term"])]
    for axes, term in zip(figure.subplots(1, len(terms), squeeze=False)[0], terms, strict=True):
        for name, colour in colours.items():
            own = rows[(rows["name"] == name) & (rows["term"] == term)].groupby("step")["value"].mean()
            axes.plot(own.index, own, color=colour, linewidth=1.5)
        axes.axvline(frozen, color=GREY, linestyle=":", linewidth=0.8)
        axes.set_ylim(bottom=0)
        axes.set_title(TERMS[term])
        axes.set_xlabel("step")
    legend(figure, [Line2D([], [], color=colour, label=name) for name, colour in colours.items()], columns=5)
    return figure


def quality_table(read: Inputs) -> pd.DataFrame:
    """Means over kinds, of autoencoders on their own model: model, variant, noise, seed, measure, value."""
    rows = read.tables["quality"]
    rows = rows[rows["model"] == rows["on"]]
    return rows.groupby(["model", "variant", "noise", "seed", "measure"], as_index=False)["value"].mean()


@styled
def draw_quality(rows: pd.DataFrame, read: Inputs) -> Figure:
    """A mark a seed, a bar the mean; a column of variants, a panel a measure."""
    title = "Are the latents the concepts? By initialisation"
    rows = rows[rows["model"] == read.autoencoders.model]
    if rows.empty:
        return nothing(title, NOTHING)
    rows = rows.assign(name=[variant_name(*pair) for pair in zip(rows["variant"], rows["noise"], strict=True)])
    names = read.names(rows["name"])
    measures = [measure for measure in MEASURES if measure in set(rows["measure"])]
    figure = sheet(
        5.6, title,
        f"{read.autoencoders.model}; purity, leakage, AUROC on words and templates that no teacher, latent choice or probe saw (chance: purity and consistency one over the number of "
        f"kinds and of parents, AUROC .5, normal fan 90°). A mark a seed of {len(read.autoencoders.seeds)}, a bar the mean.",
    )  # fmt: skip
    grid = figure.subplots(2, -(-len(measures) // 2), sharey=True, squeeze=False).ravel()
    colours = variant_colours(names)
    generator = np.random.default_rng(0)
    for axes, measure in zip(grid, measures, strict=False):
        for place, name in enumerate(reversed(names)):
            values = rows[(rows["name"] == name) & (rows["measure"] == measure)]["value"].dropna().to_numpy()
            if len(values):
                axes.scatter(
                    values,
                    place + generator.uniform(-0.2, 0.2, len(values)),
                    s=12,
                    color=colours[name],
                    alpha=0.7,
                    linewidths=0,
                )
                axes.plot([values.mean()] * 2, [place - 0.35, place + 0.35], color=colours[name], linewidth=2.5)
        axes.set_title(MEASURES[measure])
        axes.set_yticks(range(len(names)), names[::-1])
    for axes in grid[len(measures) :]:
        axes.set_visible(False)
    return figure


def shared_table(read: Inputs) -> pd.DataFrame:
    """What a sibling shares with its reference: line, what, value, baseline."""
    rows = []
    shared = read.lines("shared")
    for (line, place), own in shared.groupby(["line", "place"], sort=False):
        rows.append(
            {
                "line": line,
                "what": f"kinds, {place}",
                "value": own["cosine"].mean(),
                "baseline": own["other_kinds"].mean(),
            }
        )
    features, model = read.tables["features"], read.autoencoders.model
    for level in dict.fromkeys(features["level"]):
        own = features[features["level"] == level]
        alone = own[(own["one"] == model) & (own["other"] == model)]["cosine"].mean()
        for sibling in sorted({*own["one"], *own["other"]} - {model}):
            pair = own[
                ((own["one"] == model) & (own["other"] == sibling))
                | ((own["one"] == sibling) & (own["other"] == model))
            ]
            for same, name in ((True, "same start"), (False, "other start")):
                value = pair[(pair["one_seed"] == pair["other_seed"]) == same]["cosine"].mean()
                rows.append(
                    {"line": recipe_of(sibling), "what": f"{level} latents, {name}", "value": value, "baseline": alone}
                )
    quality = read.tables["quality"]
    quality = quality[(quality["measure"] == "ce_recovered_zero") & (quality["on"] != model)]
    for sibling, own in quality.groupby("on", sort=False):
        seeds = own[own["model"] == sibling]["seed"].unique()
        moved = own[(own["model"] == model) & own["seed"].isin(seeds)]["value"].mean()
        rows.append({"line": recipe_of(str(sibling)), "what": "loss recovered by the reference's autoencoder", "value": moved,
                     "baseline": own[own["model"] == sibling]["value"].mean()})  # fmt: skip
    return pd.DataFrame(rows, columns=["line", "what", "value", "baseline"])


@styled
def draw_shared(rows: pd.DataFrame, read: Inputs) -> Figure:
    title = "What siblings share with their reference"
    if rows.empty:
        return nothing(title, "No model has a reference other than itself.")
    names, styles = list(dict.fromkeys(rows["what"])), model_looks(rows["line"])
    figure = sheet(
        1.4 + 0.34 * len(names), title,
        "Filled: cosine of concept vectors (each kind's mean less that of the other words) and of latents matched one to one; loss recovered by splicing the reference's "
        "autoencoder into the sibling. Open: of other kinds' vectors; of two seeds on the reference itself; of the sibling's own autoencoder. Latents from the same random start "
        "stay alike; what is found anew is what the other start shows.",
    )  # fmt: skip
    axes = figure.subplots()
    offsets = dict(zip(styles, np.linspace(0.22, -0.22, len(styles)) if len(styles) > 1 else [0.0], strict=True))
    for line, look in styles.items():
        own = rows[rows["line"] == line]
        y = own["what"].map({name: len(names) - 1 - i for i, name in enumerate(names)}) + offsets[line]
        axes.scatter(own["value"], y, color=look.colour, marker=look.marker, s=30, label=look.label)
        axes.scatter(own["baseline"], y, facecolors="white", edgecolors=look.colour, marker=look.marker, s=30)
    axes.set_yticks(range(len(names)), names[::-1])
    axes.set_xlim(0, 1.02)
    axes.grid(axis="x", color="#e6e6e6")
    legend(
        figure,
        [
            Line2D([], [], color=look.colour, marker=look.marker, linestyle="", label=look.label)
            for look in styles.values()
        ],
    )
    return figure
