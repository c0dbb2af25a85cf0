"""Tier L: confinement without namespaces, on the real programs, and what it cannot stop, exactly as docs/THREATS.md says.

The hostile program is the one of test_confinement.py. The launcher that imitates machines with less (tests/tools/deny.c) stands for a container.
"""
import hashlib
import os
import shutil
import signal

import conftest
import jobs
import pytest
from jobs import probe  # noqa: F401 (fixture)

pytestmark = pytest.mark.ire

@pytest.fixture(scope='session')
def container(deny):
    """A command that starts another one where namespaces and mounts are refused, as in many containers."""
    calls = [f'{call}=EPERM' for call in ('unshare', 'setns', 'mount', 'umount2', 'pivot_root', 'fsopen', 'fsmount', 'open_tree', 'move_mount')]
    return deny('--no-userns', *[word for call in calls for word in ('--call', call)])


class Alone(jobs.Machine):
    def init(self, **more):
        self.give_away()
        self.troth('host', 'init', '--state', self.state, '--no-recovery', '--confinement', 'L', **more).ok()
        return self

    def trust(self, job, out='trust.json', confinement=('--confinement', 'L')):
        path = os.path.join(self.home, out)
        self.troth('trust', 'new', '--root', os.path.join(self.state, 'inception.epoch'), '--reference', job, *confinement, '--output', path).ok()
        return path

    def copies(self):
        """What is left of images: root's lie below /run, in a folder named by the state folder's path."""
        place = os.path.join(self.state, 'tmp/copies')
        if self.user is None and os.geteuid() == 0:
            place = os.path.join('/run/troth-copies', hashlib.sha256(self.state.encode()).hexdigest()[:16])
        return os.listdir(place) if os.path.isdir(place) else []


@pytest.fixture(params=jobs.machines())
def alone(request, home):
    yield Alone(home, jobs.ordinary_user() if request.param == 'user' else None).init()


def accepts(name, peers=(), **more):
    return jobs.policy(name, peers, min_confinement='L', **more)


def enclave(name, program, args=(), peers=(), **more):
    return {**jobs.enclave(name, program, args), 'policy': accepts(name, peers), **more}


def single(folder, program, args=(), **more):
    return jobs.write_job(folder, [enclave('P', program, args, **more)], outputs=[{'name': 'out', 'from': 'P', 'file': 'out.txt'}])


# What is not refused in tier L: the second half of what the probe prints. Each is a row of docs/THREATS.md or stricter than tier N.
NOT_STOPPED = {
    'cf-01': {'BROKEN /proc can be listed'},  # stricter: it cannot even be listed
    'cf-08': {'ALLOWED map a file of its own as code'},
}


@pytest.mark.parametrize('attempt', ['cf-01', 'cf-02', 'cf-03', 'cf-04', 'cf-05', 'cf-06', 'cf-07', 'cf-08', 'cf-09'])
@pytest.mark.attack('CF-01', 'CF-02', 'CF-03', 'CF-04', 'CF-05', 'CF-06', 'CF-07', 'CF-08', 'CF-09')
def test_a_hostile_program_without_namespaces(alone, probe, container, attempt):
    shutil.copy(probe, os.path.join(alone.work, 'probe'))
    theirs = jobs.written(alone.home, 'theirs.txt', 'a file of the host', 0o666)
    args = {'cf-01': [theirs, alone.state + '/pins', alone.state + '/ap/state'], 'cf-02': [theirs, alone.state + '/pins'],
            'cf-06': [os.getpid()]}.get(attempt, [])
    ran = alone.run(single(alone.work, './probe', [attempt, *args]), wrap=container)
    found = {line.strip()[3:] for line in ran.stderr.splitlines() if line.strip()[3:].startswith(('ALLOWED', 'BROKEN'))}
    assert found == NOT_STOPPED.get(attempt, set()), str(ran)
    if not found:
        ran.ok()
    with open(theirs) as f:
        assert f.read() == 'a file of the host'
    assert alone.copies() == []


@pytest.mark.attack('CF-15')
def test_what_a_program_leaves_behind_ends(alone, container):
    """Children that leave their session, also of a program that ends at once, and of a run whose runtime is killed."""
    name = f'left-{os.getpid()}'
    text = '''
#include <sys/prctl.h>
#include <unistd.h>
int main(void) {
	prctl(PR_SET_NAME, "NAME");
	for (int i = 0; i < 5; i++)
		if (fork() == 0) {
			setsid();
			if (fork() == 0)
				for (;;) pause();
			_exit(0);
		}
	write(1, "x", 1);
	return 0;
}
'''
    text = text.replace('"NAME"', f'"{name}"')
    jobs.compile_text(alone.work, 'leaver', text, '-static')
    alone.run(single(alone.work, './leaver'), wrap=container).ok()

    def left():
        found = []
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                with open(f'/proc/{pid}/comm') as f:
                    found += [pid] if f.read().strip() == name else []
            except OSError:
                pass
        return found
    assert left() == []
    jobs.compile_text(alone.work, 'leaver', text.replace('return 0;', 'for (;;) pause();'), '-static')
    with alone.running(single(alone.work, './leaver'), out=os.path.join(alone.home, 'out2'), wrap=container):
        jobs.until(lambda: len(left()) >= 6, 'children of the program')
        os.kill(jobs.until(lambda: jobs.processes('troth-ire'), 'a runtime')[0], signal.SIGKILL)
        jobs.until(lambda: not left(), 'the end of all that descends from the program')
    jobs.until(lambda: alone.copies() == [], 'the end of the copies')


def test_a_job_of_ordinary_programs(alone, container):
    """awk and a shell script: data flows, the receipt is accepted by whoever accepts tier L, and says so."""
    jobs.written(alone.work, 'sum.awk', '{ s += $2 } END { print s }\n')
    jobs.written(alone.work, 'tell.sh', '#!/bin/sh -e\nread sum\necho "the sum is $sum"\nread line <"$1"\necho "$line"\necho kept >kept\n', 0o755)
    jobs.written(alone.work, 'note.txt', 'a note\n')
    rows = jobs.written(alone.work, 'rows.csv', ''.join(f'a,{i}\n' for i in range(1001)))
    job = jobs.write_job(alone.work, [enclave('A', '/usr/bin/awk', ['-F,', '-f', '/job/sum.awk'], ['B'], files=['./sum.awk']),
                                      enclave('B', './tell.sh', ['/job/note.txt'], ['A'], files=['./note.txt'], outputs=[{'name': 'kept', 'path': '/tmp/kept'}])],
                         flow=[{'from': 'A', 'to': 'B'}], inputs=[{'role': 'rows', 'to': 'A'}],
                         outputs=[{'name': 'out', 'from': 'B', 'file': 'out.txt'}, {'name': 'kept', 'from': 'B', 'output': 'kept', 'file': 'kept.txt'}])
    alone.run(job, {'rows': rows}, wrap=container).ok()
    assert alone.text() == 'the sum is 500500\na note\n' and alone.text('kept.txt') == 'kept\n'
    verdict = alone.verify(alone.trust(job), files=()).ok().json
    assert verdict['verdict'] == 'accepted' and verdict['tier'] == 'L' and any('tier L' in line for line in verdict['limits'])
    shown = alone.troth('show', os.path.join(alone.out, 'receipt.troth')).ok().stdout
    assert 'tier L' in shown and 'without namespaces' in shown
    refused = alone.verify(alone.trust(job, 'n.json', ()), files=())
    assert refused.code == 1 and 'MEASUREMENT_MISMATCH' in refused.stdout
    assert alone.copies() == []


def test_only_policies_that_accept_it(alone):
    jobs.written(alone.work, 'p.sh', '#!/bin/sh\necho x\n', 0o755)
    ran = alone.run(jobs.single(alone.work, './p.sh'))
    ran.refused('STAGE_FAILED', 1)
    assert 'CONFINEMENT_TOO_LOW' in ran.stderr and 'min_confinement' in ran.stderr
    jobs.assert_untouched(alone)
    # A peer whose own policy accepts L does not make another's accept it.
    jobs.written(alone.work, 'q.sh', '#!/bin/sh\nread x\necho $x\n', 0o755)
    strict = {**jobs.enclave('B', './q.sh', (), ['A'])}
    job = jobs.write_job(alone.work, [enclave('A', './p.sh', (), ['B']), strict], flow=[{'from': 'A', 'to': 'B'}],
                         outputs=[{'name': 'out', 'from': 'B', 'file': 'out.txt'}])
    alone.run(job).refused('STAGE_FAILED', 1)
    jobs.assert_untouched(alone)


@pytest.mark.parametrize('text, args, more, reason', [
    ('#!/usr/bin/env sh\necho x\n', (), {}, 'PROGRAM_FAILED_TO_START'),
    ('#!/bin/sh\necho x\n', (), {'permissions': ['sysvipc']}, 'SANDBOX_FAILED'),
])
def test_what_cannot_be_started_says_so(alone, text, args, more, reason):
    jobs.written(alone.work, 'p.sh', text, 0o755)
    ran = alone.run(single(alone.work, './p.sh', args, **more))
    ran.refused('STAGE_FAILED')
    assert reason in ran.stderr, str(ran)
    jobs.assert_untouched(alone)
    assert alone.copies() == []


def test_a_machine_that_refuses_namespaces(home, container):
    """Says what is missing and what to do; tier L is never taken unasked, and kept once asked for."""
    machine = Alone(home)
    refused = machine.troth('host', 'init', '--state', machine.state, '--no-recovery', wrap=container)
    assert refused.code == 3, str(refused)
    found = machine.troth('doctor', '--json', wrap=container).ok().json
    assert found['tier'] == 'L' and found['missing'] and any('--confinement L' in line for line in found['raises']), found
    machine.troth('host', 'init', '--state', machine.state, '--no-recovery', '--confinement', 'X').refused('USAGE', 2)
    machine.init(wrap=container)
    jobs.written(machine.work, 'p.sh', '#!/bin/sh\necho x\n', 0o755)
    job = single(machine.work, './p.sh')
    machine.run(job, wrap=container).ok()
    with open(os.path.join(machine.state, 'confinement')) as f:
        assert f.read() == 'L\n'
    # With namespaces at hand the folder still is what it was made as; asked for N, its registers are others.
    machine.run(job, out=os.path.join(home, 'out2')).ok()
    refused = conftest.run(machine.command('host', '--state', machine.state, '--confinement', 'N', program='trothd'), env=machine.env(), cwd=home)
    assert refused.code == 1 and 'MEASUREMENT' in refused.stderr, str(refused)


@pytest.mark.parametrize('kernel', [['--landlock-abi', '1'], ['--landlock-abi', '2']], ids=['Landlock 1', 'Landlock 2'])
def test_on_the_landlock_of_older_kernels(alone, probe, deny, kernel):
    """Without Landlock's own rule about truncating, the call filter keeps the host's files whole."""
    shutil.copy(probe, os.path.join(alone.work, 'probe'))
    theirs = jobs.written(alone.home, 'theirs.txt', 'a file of the host', 0o666)
    alone.run(single(alone.work, './probe', ['cf-02', theirs]), wrap=deny(*kernel)).ok()
    with open(theirs) as f:
        assert f.read() == 'a file of the host'


def test_there_is_no_tier_l_without_landlock(alone, deny):
    jobs.written(alone.work, 'p.sh', '#!/bin/sh\necho x\n', 0o755)
    ran = alone.run(single(alone.work, './p.sh'), wrap=deny('--no-landlock'))
    ran.refused('STAGE_FAILED')
    assert 'NO_NAMESPACES' in ran.stderr and 'Landlock' in ran.stderr, str(ran)
    jobs.assert_untouched(alone)
