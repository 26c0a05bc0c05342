"""Run lines of arguments of the command `tsjax` in one process, which imports JAX only once.

Reads a list of lines as JSON from the first argument, and prints as JSON what each line printed.
Each goes through the function that the installed script calls.
"""

import contextlib
import io
import json
import sys
import traceback
from importlib.metadata import entry_points

(script,) = entry_points(group="console_scripts", name="tsjax")
main = script.load()
results = []
for line in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    status = 0
    sys.argv = ["tsjax", *line.split()]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as left:
            status = left.code or 0
        except BaseException:  # noqa: BLE001 - as the interpreter does at the end of a script
            traceback.print_exc()
            status = 1
    results.append((f"tsjax {line}", status, out.getvalue(), err.getvalue()))
print(json.dumps(results))
