"""Whatever asks a command to stop is an interruption; what is ignored on purpose stays ignored."""

import os
import signal

import pytest

from pipeline.local.signals import stop_by_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("inherited", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_signal_interrupts_and_the_handler_from_before_comes_back(
    number: signal.Signals, inherited: signal.Handlers
) -> None:
    before = signal.signal(number, inherited)
    try:
        if (number, inherited) == (signal.SIGHUP, signal.SIG_IGN):
            with stop_by_signals():
                os.kill(os.getpid(), number)
        else:
            with pytest.raises(KeyboardInterrupt), stop_by_signals():
                os.kill(os.getpid(), number)
        assert signal.getsignal(number) == inherited
    finally:
        signal.signal(number, before)
