"""Ctrl-C during a training, also where something on the way swallows it."""

from __future__ import annotations

import contextlib
import signal
import threading

import pytest

from tsjax_core.experiments.run import noticed_interrupts


@pytest.fixture(autouse=True)
def usual_handler():
    """Let Ctrl-C raise, also where the tests were started with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_ignored_interrupt_stays_ignored():
    """A run that was started by `nohup` goes on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with noticed_interrupts() as was_interrupted:
        signal.raise_signal(signal.SIGINT)
        assert not was_interrupted()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_an_interrupt_that_is_swallowed_is_noticed():
    """A callback that prints what is raised in it hides KeyboardInterrupt, but not that it came."""
    with noticed_interrupts() as was_interrupted:
        assert not was_interrupted()
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert was_interrupted()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_is_raised_as_always():
    """The handler of before comes back however the block ends."""
    with pytest.raises(KeyboardInterrupt), noticed_interrupts():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_thread_trains_without_a_handler():
    """Only the main thread may set one."""
    seen = []

    def run():
        with noticed_interrupts() as was_interrupted:
            seen.append(was_interrupted())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [False]


def test_a_run_ends_after_the_epoch_in_which_an_interrupt_was_swallowed(
    oscillator, tmp_path, tsjax, monkeypatch
):
    """It keeps the model so far, and says how to go on."""
    from tsjax_core.training import learner as learner_module

    train = learner_module.train_epoch

    def swallow(self, fit, epoch):
        if epoch == 1:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        return train(self, fit, epoch)

    monkeypatch.setattr(learner_module, "train_epoch", swallow)
    file = tmp_path / "e.toml"
    file.write_text(
        f'[data]\ndataset = "{oscillator}"\nu = ["u"]\ny = ["y"]\nwin_sz = 40\nstp_sz = 40\n'
        '[model]\nname = "core/rnn"\nhidden_size = 2\n[train]\nepochs = 9\n'
    )
    status, out, err = tsjax("train", file, "--out", tmp_path / "run")
    print(out, err)
    assert status == 1
    assert "training interrupted after 2 epochs" in out
    assert f"go on with it: tsjax resume {tmp_path / 'run'}" in out
    assert (tmp_path / "run" / "model").exists()
