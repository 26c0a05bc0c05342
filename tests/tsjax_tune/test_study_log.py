"""The record of a study, as it is written and read again."""

from __future__ import annotations

import json

from tsjax_tune.study_log import StudyLog


def report(rows=None, ended=None, restarted=()):
    rows = {
        key: [{"epoch": e, "loss": loss} for e, loss in each] for key, each in (rows or {}).items()
    }
    return {"rows": rows, "ended": ended or {}, "restarted": list(restarted), "pid": 3}


def losses(log, trial="t", member="trial"):
    return [(row["epoch"], row["loss"]) for row in log.of(trial, member).history]


def test_what_is_written_is_read_again(tmp_path):
    """Epochs of several trials and members, and how they ended."""
    log = StudyLog(tmp_path)
    log.record("t", report({"trial": [(1, 3.0), (2, 2.0)]}))
    log.record("p", report({"trial_001": [(1, 5.0)], "trial_002": [(1, 6.0)]}, {"trial_002": "no"}))
    log.record("t", report({"trial": [(3, 1.0)]}, {"trial": ""}))
    for each in (log, StudyLog(tmp_path)):
        assert losses(each) == [(1, 3.0), (2, 2.0), (3, 1.0)]
        assert losses(each, "p", "trial_002") == [(1, 6.0)]
        assert each.of("t", "trial").ended == ""
        assert each.of("p", "trial_001").ended is None
        assert each.of("p", "trial_002").ended == "no"
        assert losses(each, "new") == []


def test_an_epoch_that_was_trained_again_counts_once(tmp_path):
    """And a trial that went on from the checkpoint of another has the epochs of that one."""
    log = StudyLog(tmp_path)
    log.record("t", report({"trial": [(1, 3.0), (2, 2.0), (3, 1.5)]}))
    log.record("t", report({"trial": [(3, 1.4)]}))
    assert losses(StudyLog(tmp_path)) == [(1, 3.0), (2, 2.0), (3, 1.4)]
    log.record("t", report({"trial": [(1, 9.0), (2, 8.0)]}, restarted=["trial"]))
    assert losses(StudyLog(tmp_path)) == losses(log) == [(1, 9.0), (2, 8.0)]


def test_a_line_that_was_being_written_is_dropped(tmp_path):
    """What comes after it is read again."""
    log = StudyLog(tmp_path)
    log.record("t", report({"trial": [(1, 3.0)]}))
    log.record("t", report({"trial": [(2, 2.0)]}))
    whole = log.file.read_bytes()
    log.file.write_bytes(whole[:-9])
    again = StudyLog(tmp_path)
    assert losses(again) == [(1, 3.0)]
    again.record("t", report({"trial": [(2, 2.5)]}))
    assert losses(StudyLog(tmp_path)) == [(1, 3.0), (2, 2.5)]
    assert all(json.loads(line) for line in log.file.read_text().splitlines())
