"""The model of a run, taken out of tsjax: what `tsjax export` does."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias, get_args

from tsjax_core.checks import choice
from tsjax_core.directories import replaced_file
from tsjax_core.errors import ModelError, RunDirectoryError
from tsjax_core.experiments.run import EXPERIMENT, MODEL
from tsjax_core.export.facts import Facts
from tsjax_core.export.step import make_step
from tsjax_core.inference.saved_model import load_saved

Target: TypeAlias = Literal["c", "numpy", "casadi", "onnx", "stablehlo"]

_ENDINGS = {
    "c": ".h",
    "numpy": ".py",
    "casadi": ".casadi",
    "onnx": ".onnx",
    "stablehlo": ".stablehlo",
}


def export_run(path: Path, to: Target, out: Path | None = None) -> tuple[Path, ...]:
    """Write the model of a run, or a saved model, to a new file; return what was written.

    Args:
        path: Directory of a run or of a saved model.
        to: c (a C99 header), numpy (a Python file), casadi (a function), onnx, or stablehlo (a file
            for the step, and one for whole simulations).
        out: New file, whose name is that of the model too; NAME of the run with the ending of the
            form, in the current directory, unless given.

    Raises:
        SavedModelError: There is no saved model.
        RunDirectoryError: `out` exists.
        ConfigError: There is no such form, the name is none, or a package is not installed.
        ModelError: The model has no step of inputs alone, or uses what the form does not have.
    """
    choice("to", to, get_args(Target))
    is_run = (path / EXPERIMENT).is_file()
    saved = load_saved(path / MODEL if is_run else path)
    name = path.resolve().name.replace("-", "_")
    out = Path(f"{name}{_ENDINGS[to]}") if out is None else out
    facts = Facts(out.stem, saved.name, saved.signals)
    if out.exists():
        raise RunDirectoryError(
            f"{out} exists; nothing was written. Choose another file with --out.", path=out
        )
    step = make_step(saved.model, saved.signals)
    out.parent.mkdir(parents=True, exist_ok=True)
    if to == "stablehlo":
        from tsjax_core.export.stablehlo import export_simulation, export_step

        files = {out.with_name(f"{out.stem}_step{out.suffix}"): export_step(step)}
        try:
            files[out] = export_simulation(saved.model, len(saved.signals.inputs))
        except ModelError:
            # The step is the whole of a model whose simulations have one length each.
            files.pop(out, None)
        for file, data in files.items():
            with replaced_file(file) as fresh:
                fresh.write_bytes(data)
        return tuple(files)
    with replaced_file(out) as fresh:
        if to == "c":
            from tsjax_core.export.c_header import write_c_header

            fresh.write_text(write_c_header(step, facts), encoding="utf-8")
        elif to == "numpy":
            from tsjax_core.export.numpy_file import write_numpy_file

            fresh.write_text(write_numpy_file(step, facts), encoding="utf-8")
        elif to == "casadi":
            from tsjax_core.export.casadi_function import make_casadi_function

            make_casadi_function(step, facts).save(str(fresh))
        else:
            from tsjax_core.export.onnx_model import make_onnx_model

            fresh.write_bytes(make_onnx_model(step, facts).SerializeToString())
    return (out,)
