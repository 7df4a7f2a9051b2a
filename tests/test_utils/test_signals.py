"""Signals end a program in order, with their own exit status."""

import signal
import subprocess
import sys
import threading

import pytest

from mmdet_lla.utils.signals import SIGNALS, orderly_exit


@pytest.mark.parametrize('number', SIGNALS)
def test_cleanup_runs_undisturbed(number):
    before = [signal.getsignal(one) for one in SIGNALS]
    cleaned = False
    with pytest.raises(SystemExit) as end, orderly_exit():
        try:
            signal.raise_signal(number)
        finally:
            for one in SIGNALS:  # a second one is ignored
                signal.raise_signal(one)
            cleaned = True
    assert cleaned and end.value.code == 128 + number
    assert [signal.getsignal(one) for one in SIGNALS] == before


def test_ignored_signals_stay_ignored_and_threads_are_left_alone():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with orderly_exit():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    handlers = []

    def work():
        with orderly_exit():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]


def test_forked_children_die_at_once_and_the_module_is_light():
    program = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
import files, signals
with signals.orderly_exit():
    child = os.fork()
    if not child:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            print('cleaned')
    status = os.waitpid(child, 0)[1]
    print(os.WTERMSIG(status), 'torch' in sys.modules)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
"""
    directory = sys.modules['mmdet_lla.utils'].__path__[0]
    # without the script's own path, `signals` and `files` are imported alone
    done = subprocess.run(
        [sys.executable, '-c', program, directory], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 143, done.stderr
    assert done.stdout.split() == [str(int(signal.SIGTERM)), 'False']
    assert 'Ended by SIGTERM' in done.stderr
