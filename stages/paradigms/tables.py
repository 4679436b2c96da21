"""The tables of the paradigm study."""

from __future__ import annotations

from stages.models.names import stage_of
from stages.shared.tables import Tables

# Kinds of perturbed models of which there are draws; of the others there is one.
RANDOM_KINDS = ("isotropic", "spectrum_preserving")

# Tables of a measured model, `data/records/{model}/`.
RECORD_COLUMNS = {
    "records": {
        **dict.fromkeys(("model", "reference", "task", "site"), "str"), "layer": "int64",
        **dict.fromkeys(("aggregation", "measure", "variant"), "str"), "value": "float64", "n": "int64",
        **dict.fromkeys(("null", "resample_baseline", "ceiling", "index"), "float64"),
        # uncertainty of the value, and of the index
        **dict.fromkeys(("standard_error", "low", "high", "index_standard_error", "index_low", "index_high"), "float64"),
        # why the value is missing; what a reader must know of a value that is there
        **dict.fromkeys(("missing", "note"), "str"),
    },
    "replicates": {
        **dict.fromkeys(("task", "aggregation", "site"), "str"), "layer": "int64",
        **dict.fromkeys(("measure", "variant", "quantity"), "str"), "replicate": "int64", "value": "float64",
    },
    "spectra": {
        **dict.fromkeys(("task", "aggregation", "site"), "str"), "layer": "int64", "variant": "str",
        "rank": "int64", "eigenvalue": "float64", "noise": "float64",
    },
    # mean and standard deviation over random subsets of n prompts
    "rarefaction": {
        **dict.fromkeys(("task", "aggregation", "site"), "str"), "layer": "int64",
        **dict.fromkeys(("measure", "variant"), "str"), "n": "int64", "value": "float64", "sd": "float64",
    },
    # debiased CKA between two layers of the model
    "layers": {
        **dict.fromkeys(("task", "aggregation", "site"), "str"), "layer": "int64", "other": "int64",
        "cka": "float64", "missing": "str",
    },
}  # fmt: skip
# Tables of a probed model, `data/probes/{model}/`: the sensitivity of each prompt, its means, and the weight
# update. A tensor outside the blocks has layer -1.
PROBE_COLUMNS = {
    "sensitivity": {
        **dict.fromkeys(("model", "reference", "task", "prompt"), "str"), "layer": "int64",
        **dict.fromkeys(("measure", "variant"), "str"), "value": "float64",
        # what a reader must know of the value
        "note": "str",
    },
    "records": {
        **dict.fromkeys(("model", "reference", "task", "site"), "str"), "layer": "int64",
        **dict.fromkeys(("measure", "variant"), "str"), "value": "float64", "n": "int64",
        **dict.fromkeys(("null", "standard_error", "low", "high"), "float64"),
        # why the value is missing; why there is no null, and what else a reader must know
        **dict.fromkeys(("missing", "note"), "str"),
    },
    "weights": {
        **dict.fromkeys(("model", "reference", "tensor", "kind"), "str"), "layer": "int64",
        "shape": "str", **dict.fromkeys(("measure", "variant"), "str"),
        **dict.fromkeys(("value", "null"), "float64"), **dict.fromkeys(("missing", "note"), "str"),
    },
}  # fmt: skip
# Table of models moved as far as a sibling, `data/probes/perturbed/{model}/`: a row for each point, task, layer and measure;
# `t` of an interpolation, `step` of a checkpoint, an index of preservation alone.
PERTURBED_COLUMNS = {
    "points": {
        "kind": "str", "draw": "int64", "t": "float64", "step": "Int64", "displacement": "float64",
        "task": "str", "layer": "int64", "measure": "str", "value": "float64", "index": "float64",
    },
}  # fmt: skip

RECORD_TABLES = Tables("a measured model", RECORD_COLUMNS, lambda model: stage_of("measure", model))
PROBE_TABLES = Tables("a probed model", PROBE_COLUMNS, lambda model: stage_of("probe", model))
PERTURBED_TABLES = Tables("perturbed models", PERTURBED_COLUMNS, lambda model: stage_of("perturb", model))
