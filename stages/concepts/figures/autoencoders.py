"""Sparse autoencoders: how they train, whether their latents are the concepts, and what siblings share of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.concepts.figures.inputs import NOTHING, ConceptInputs, variant_colours, variant_name
from stages.concepts.metrics import transfer_metrics
from stages.models.names import recipe_of
from stages.shared.figure_style import GREY, legend, looks, nothing, sheet, styled

TERMS = {
    "reconstruction": "unexplained variance",
    "top": "unexplained by parents alone",
    "cross": "parent-child cos²",
    "biorthogonal": "read ≠ written",
}
MEASURES = {
    "purity": "purity",
    "leakage": "leakage",
    "auroc": "AUROC",
    "consistency": "children under their kind",
    "explained": "explained variance",
    "ce_recovered_zero": "loss recovered",
    "splitting": "latents a kind",
    "normal_fan": "normal fan, degrees",
}


@styled
def draw_curves(inputs: ConceptInputs) -> Figure:
    """Draw the terms of the loss over the steps: means over seeds, on the study's model."""
    title, rows = "Training of the autoencoders", inputs.tables["curves"]
    rows = rows[rows["model"] == inputs.autoencoders.model]
    if rows.empty:
        return nothing(title, NOTHING)
    frozen = round(inputs.autoencoders.frozen * inputs.autoencoders.steps)
    figure = sheet(
        3.4,
        title,
        f"{inputs.autoencoders.model}, batches of {inputs.autoencoders.batch} tokens, mean over {len(inputs.autoencoders.seeds)} seeds. A start from concepts keeps its decoder for {frozen} "
        "steps (dotted line), the others do not; all have the same tokens and steps.",
    )
    rows = rows.assign(name=[variant_name(*pair) for pair in zip(rows["variant"], rows["noise"], strict=True)])
    colours = variant_colours(inputs.variant_names(rows["name"]))
    terms = [term for term in TERMS if term in set(rows["term"])]
    for axes, term in zip(figure.subplots(1, len(terms), squeeze=False)[0], terms, strict=True):
        for name, colour in colours.items():
            curve = rows[(rows["name"] == name) & (rows["term"] == term)].groupby("step")["value"].mean()
            axes.plot(curve.index, curve, color=colour, linewidth=1.5)
        axes.axvline(frozen, color=GREY, linestyle=":", linewidth=0.8)
        axes.set_ylim(bottom=0)
        axes.set_title(TERMS[term])
        axes.set_xlabel("step")
    legend(figure, [Line2D([], [], color=colour, label=name) for name, colour in colours.items()], columns=5)
    return figure


def quality_table(inputs: ConceptInputs) -> pd.DataFrame:
    """Return rows of model, variant, noise, seed, measure, value: means over kinds, of autoencoders on their own model."""
    rows = inputs.tables["quality"]
    rows = rows[rows["model"] == rows["on"]]
    return rows.groupby(["model", "variant", "noise", "seed", "measure"], as_index=False)["value"].mean()


@styled
def draw_quality(rows: pd.DataFrame, inputs: ConceptInputs) -> Figure:
    """Draw every measure in a panel, variants below each other: a mark is a seed, a bar the mean."""
    title = "Are the latents the concepts? By initialisation"
    rows = rows[rows["model"] == inputs.autoencoders.model]
    if rows.empty:
        return nothing(title, NOTHING)
    rows = rows.assign(name=[variant_name(*pair) for pair in zip(rows["variant"], rows["noise"], strict=True)])
    names = inputs.variant_names(rows["name"])
    measures = [measure for measure in MEASURES if measure in set(rows["measure"])]
    figure = sheet(
        5.6,
        title,
        f"{inputs.autoencoders.model}; purity, leakage, AUROC on words and templates that no teacher, latent choice or probe saw (chance: purity and consistency one over the number of "
        f"kinds and of parents, AUROC .5, normal fan 90°). A mark a seed of {len(inputs.autoencoders.seeds)}, a bar the mean.",
    )
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


def shared_table(inputs: ConceptInputs) -> pd.DataFrame:
    """Return what a sibling shares with its reference, in rows of line, what, value, baseline."""
    rows = [*_shared_kinds(inputs), *_shared_latents(inputs)]
    for recipe, share in transfer_metrics(inputs.tables["quality"], inputs.autoencoders.model).items():
        label = "loss recovered by the reference's autoencoder"
        rows.append({"line": recipe, "what": label, "value": share["moved"], "baseline": share["own"]})
    return pd.DataFrame(rows, columns=["line", "what", "value", "baseline"])


def _shared_kinds(inputs: ConceptInputs) -> Iterator[dict]:
    """Yield the mean cosine of kinds' vectors with the reference's; the baseline is that of other kinds."""
    for (recipe, place), part in inputs.by_recipe("shared").groupby(["line", "place"], sort=False):
        value, baseline = part["cosine"].mean(), part["other_kinds"].mean()
        yield {"line": recipe, "what": f"kinds, {place}", "value": value, "baseline": baseline}


def _shared_latents(inputs: ConceptInputs) -> Iterator[dict]:
    """Yield the mean cosine of matched latents; the baseline is that of two seeds on the reference itself."""
    features, model = inputs.tables["features"], inputs.autoencoders.model
    for level in dict.fromkeys(features["level"]):
        part = features[features["level"] == level]
        baseline = part[(part["one"] == model) & (part["other"] == model)]["cosine"].mean()
        for sibling in sorted({*part["one"], *part["other"]} - {model}):
            pair = part[
                ((part["one"] == model) & (part["other"] == sibling))
                | ((part["one"] == sibling) & (part["other"] == model))
            ]
            for same, start in ((True, "same start"), (False, "other start")):
                value = pair[(pair["one_seed"] == pair["other_seed"]) == same]["cosine"].mean()
                label = f"{level} latents, {start}"
                yield {"line": recipe_of(sibling), "what": label, "value": value, "baseline": baseline}


@styled
def draw_shared(rows: pd.DataFrame, inputs: ConceptInputs) -> Figure:
    """Draw what siblings share, filled, beside its baseline, open."""
    title = "What siblings share with their reference"
    if rows.empty:
        return nothing(title, "No model has a reference other than itself.")
    names, styles = list(dict.fromkeys(rows["what"])), looks(rows["line"])
    figure = sheet(
        1.4 + 0.34 * len(names),
        title,
        "Filled: cosine of concept vectors (each kind's mean less that of the other words) and of latents matched one to one; loss recovered by splicing the reference's "
        "autoencoder into the sibling. Open: of other kinds' vectors; of two seeds on the reference itself; of the sibling's own autoencoder. Latents from the same random start "
        "stay alike; what is found anew is what the other start shows.",
    )
    axes = figure.subplots()
    offsets = dict(zip(styles, np.linspace(0.22, -0.22, len(styles)) if len(styles) > 1 else [0.0], strict=True))
    for recipe, look in styles.items():
        part = rows[rows["line"] == recipe]
        y = part["what"].map({name: len(names) - 1 - i for i, name in enumerate(names)}) + offsets[recipe]
        axes.scatter(part["value"], y, color=look.colour, marker=look.marker, s=30, label=look.label)
        axes.scatter(part["baseline"], y, facecolors="white", edgecolors=look.colour, marker=look.marker, s=30)
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
