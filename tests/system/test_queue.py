"""The sealed queue on the real programs: chosen by configuration, told by status, kept by the folder, and a job runs through it."""
import os
import signal
import socket
import subprocess

import jobs
import pytest
from jobs import Machine


@pytest.fixture
def served(home):
    """A machine whose host is started here, with options of its own; ended before the test is."""
    machine, running = Machine(home), []

    def serve(*options):
        """`trothd host` with these options, once it is ready or has said why not."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            child = subprocess.Popen(machine.command('host', '--create', '--state', machine.state, '--ready-fd', theirs.fileno(), *options, program='trothd'),
                                     stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=machine.env(), pass_fds=[theirs.fileno()], text=True)
            running.append(child)
            theirs.close()
            ours.settimeout(60)
            ours.recv(4)
        return child
    machine.serve = serve
    yield machine
    for child in running:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
        child.communicate(timeout=60)


def queue_of(machine):
    return machine.troth('host', 'status', '--state', machine.state, '--json').ok().json['queue']


def stop(machine, child):
    machine.troth('host', 'stop', '--state', machine.state).ok()
    return child.communicate(timeout=60)[1]


def test_a_job_runs_through_a_sealed_queue_and_the_folder_stays_sealed(served):
    first = served.serve('--queue', 'sealed')
    served.troth('host', 'init', '--state', served.state).ok()
    assert queue_of(served) == 'sealed'
    assert 'trusted on first use' in stop(served, first)
    # Also hosts that nobody tells.
    assert queue_of(served) == 'sealed'
    served.run(jobs.single(served.work, 'true')).ok()
    with open(os.path.join(served.state, 'ap', 'queue'), encoding='ascii') as f:
        assert f.read() == 'sealed\n'


@pytest.mark.attack('IQ-08')
def test_a_sealed_folder_is_not_downgraded(served):
    first = served.serve('--queue', 'sealed')
    served.troth('host', 'init', '--state', served.state).ok()
    stop(served, first)
    refused = served.serve('--queue', 'local')
    assert refused.wait(timeout=60) == 1
    assert 'QUEUE_HELLO' in refused.stderr.read()


def test_local_is_what_nobody_asked_to_change(served):
    child = served.serve()
    served.troth('host', 'init', '--state', served.state).ok()
    assert queue_of(served) == 'local'
    stop(served, child)
    wrong = served.serve('--queue', 'open')
    assert wrong.wait(timeout=60) == 2
