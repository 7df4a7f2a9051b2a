"""A Python for tools that starts in milliseconds, not in seconds of importing torch and mmdet.

``python tests/forked_python.py SERVE SOCKET PROGRAM`` imports the libraries and, of ``mmdet_lla``,
only its import hooks, and forks for each who asks. PROGRAM asks, and stands for ``sys.executable``:
streams, directory, environment and signals are those of the one who asks, the end is that of an
interpreter, and what a tool starts by ``sys.executable`` is started so too.

What needs a Python as bare as a user's (what is imported, in which order, and what the environment
sets before that) starts ``sys.executable`` itself. So does PROGRAM with options that are not known
here, and for one who sees other mounts than the process that forks.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

#: With all they import; torch._dynamo is what the first optimizer imports.
MOUNTS = '/proc/self/ns/mnt'
LIBRARIES = (
    'mmdet_lla',  # first, for its operators; imports nothing itself
    'torch._dynamo',
    'mmdet.apis',
    'mmdet.engine',
    'mmdet.evaluation',
    'scipy.optimize',
)


@contextmanager
def forked_python(directory):
    """Path of a program that does what ``sys.executable`` does, while this process goes on.

    Args:
        directory (Path): For its socket, whose path has to be short.
    """
    if not hasattr(os, 'pidfd_open'):  # no Linux
        yield sys.executable
        return
    address, program = directory / 'socket', directory / 'python'
    script = Path(__file__).resolve()
    words = f'"{sys.executable}" -IS "{script}" ASK "{address}" "{os.readlink(MOUNTS)}"'
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, '-W', 'ignore', script, 'SERVE', address, program],
        stdin=subprocess.PIPE,  # whose end tells it to end
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
    ) as server:
        assert server.stdout.readline() == 'ready\n', 'no Python to fork from; see its error'
        yield str(program)
        server.stdin.close()


def _receive(line, size):
    data = b''
    while len(data) < size:
        part = line.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _split(words):
    """Options for what is not to be seen here, and the command."""
    count = 0
    while words[count] in ('-u', '-W', 'ignore'):
        count += 1
    return words[:count], words[count:]


def ask(address, words):
    """Have a command run, pass signals on to it, and end as it ends."""
    text = json.dumps(dict(words=words, cwd=os.getcwd(), env=dict(os.environ))).encode()
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(address)
        socket.send_fds(line, [len(text).to_bytes(8, 'big')], [0, 1, 2])
        line.sendall(text)
        pid = int.from_bytes(_receive(line, 8), 'big')
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda number, frame: os.kill(pid, number))
        status = os.waitstatus_to_exitcode(int.from_bytes(_receive(line, 8), 'big'))
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def serve(address):
    """Fork for each who asks, until standard input ends; what to run, in a child."""
    import selectors

    selector, running = selectors.DefaultSelector(), {}
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
    selector.register(listener, selectors.EVENT_READ)
    print('ready', flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                line, _ = listener.accept()
                size, fds, _, _ = socket.recv_fds(line, 8, 3)
                request = json.loads(_receive(line, int.from_bytes(size, 'big')))
                pid = os.fork()
                if not pid:
                    for other in [*running, line, listener]:
                        other.close()
                    for _, watched in running.values():
                        os.close(watched)
                    selector.close()
                    return request, fds
                for fd in fds:
                    os.close(fd)
                line.sendall(pid.to_bytes(8, 'big'))
                running[line] = pid, os.pidfd_open(pid)
                selector.register(line, selectors.EVENT_READ)
                selector.register(running[line][1], selectors.EVENT_READ, line)
            elif key.fileobj in running:  # the one who asked was killed
                os.killpg(running[key.fileobj][0], signal.SIGKILL)
                selector.unregister(key.fileobj)
            elif key.data is not None:  # a child has ended
                line, (pid, watched) = key.data, running.pop(key.data)
                selector.unregister(watched)
                os.close(watched)
                _, status = os.waitpid(pid, 0)
                if line in {one.fileobj for one in selector.get_map().values()}:
                    selector.unregister(line)
                    line.sendall(status.to_bytes(8, 'big'))
                line.close()
            else:  # nobody is left who could ask
                for pid, _ in running.values():
                    os.killpg(pid, signal.SIGKILL)
                sys.exit()


def become(program, request, fds):
    """Run a command as the interpreter does, in its place."""
    import runpy
    import warnings

    import numpy as np

    os.setsid()
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(request['cwd'])
    sys.executable = program
    os.environ.clear()
    os.environ.update(request['env'])
    np.random.seed()  # not those of every other
    options, words = _split(request['words'])
    warnings.resetwarnings()  # and now as Python begins
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter('ignore', kind)
    if 'ignore' in (*options, os.environ.get('PYTHONWARNINGS')):
        warnings.simplefilter('ignore')
    directories = list(filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep)))
    if words[0] == '-c':
        sys.argv = ['-c', *words[2:]]
        sys.path[:0] = ['', *directories]
        exec(compile(words[1], '<string>', 'exec'), {'__name__': '__main__'})
    elif words[0] == '-m':
        sys.argv = ['-m', *words[2:]]
        sys.path[:0] = [os.getcwd(), *directories]
        runpy.run_module(words[1], run_name='__main__', alter_sys=True)
    else:
        sys.argv = words
        sys.path[:0] = [os.path.dirname(os.path.realpath(words[0])), *directories]
        runpy.run_path(words[0], run_name='__main__')


if __name__ == '__main__':
    if sys.argv[1] == 'ASK':
        address, mounts, *words = sys.argv[2:]
        first = _split(words)[1][0]
        unknown = first.startswith('-') and first not in ('-c', '-m')
        if unknown or os.readlink(MOUNTS) != mounts:
            os.execv(sys.executable, [sys.executable, *words])
        ask(address, words)
    else:
        import gc
        import importlib

        sys.path.pop(0)  # the directory of the tests
        for library in LIBRARIES:
            importlib.import_module(library)
        gc.freeze()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        address, program = sys.argv[2:]
        become(program, *serve(address))
