"""One sample at a time: microseconds per step of a GRU with linear output.

tsjax by `Simulator.step`, from a NumPy array to a NumPy array; torch by `nn.GRUCell` and
`nn.Linear` without gradients, from a tensor to a tensor.
"""

from collections.abc import Sequence

from benchmarks.contenders import Meeting, contenders, parser_of
from benchmarks.report import Table


def main(arguments: Sequence[str]) -> None:
    parser = parser_of("streaming_step", __doc__)
    parser.add_argument("--hidden", type=int, default=64, help="units")
    options = parser.parse_args(arguments)
    meeting = Meeting(options, contenders(options, ("tsjax", "torch")))
    table = Table("streaming step", "us", meeting.names, more=False)
    task = {"task": "streaming_step", "hidden": options.hidden, "seconds": options.seconds}
    label = f"gru {options.hidden}"
    table.row(label, meeting.turns(label, task), meeting.lacking)
    meeting.close()
