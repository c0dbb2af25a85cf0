"""Machines that have less than this one, imitated by a launcher that makes calls fail (tests/tools/deny.c): the reason is typed, names what is
missing, and nothing is left; where Troth can do without, the run works and its report says what was missing.
"""
import os

import conftest
import jobs
import pytest
from jobs import machine  # noqa: F401 (fixture)

KERNEL_6_1 = ['--landlock-abi', '2', '--no-memfd-secret']
# What stands between a machine and tier N, and words that tell a person which it was.
REFUSED = {'user namespaces': (['--no-userns'], ['namespaces', 'seccomp filter']),
           'no namespace left': (['--call', 'unshare=ENOSPC'], ['namespaces']),
           'mounts': (['--call', 'mount=EPERM'], ['mount', 'seccomp filter']),
           'new file systems': (['--call', 'fsopen=EPERM'], ['seccomp filter'])}
DENIALS = {'open a path', 'make a network socket', 'execute a program', 'make a process', 'ptrace', 'mount', 'enter new namespaces', 'become dumpable'}

lacking = pytest.mark.parametrize('less', REFUSED)


def doctor(machine, wrap):
    return machine.troth('doctor', '--json', wrap=wrap).ok().json


def refused(machine, done, words):
    done.refused('NO_NAMESPACES', 3)
    assert all(word in done.stderr for word in words), str(done)
    jobs.assert_untouched(machine)


@pytest.mark.ire
@lacking
def test_a_run_is_refused_by_name(machine, deny, less):
    options, words = REFUSED[less]
    job = jobs.single(machine.work, '/bin/echo', ['seen'])
    refused(machine, machine.run(job, wrap=deny(*options)), words)
    # The state is as good as before.
    machine.run(job).ok()
    assert machine.text() == 'seen\n'


@pytest.mark.ire
@lacking
def test_doctor_names_what_is_missing(machine, deny, less):
    options, words = REFUSED[less]
    found = doctor(machine, deny(*options))
    # Tier L needs none of it; what tier N lacks is told all the same.
    assert (found['level'], found['tier']) == (1, 'L') and all(d['refused'] for d in found['denials'])
    assert found['missing'].startswith('NO_NAMESPACES: ') and all(word in found['missing'] for word in words), found['missing']
    assert any('user namespaces' in line for line in found['raises'])
    without = doctor(machine, deny(*options, '--no-landlock'))
    assert (without['level'], without['tier'], without['isolation'], without['denials']) == (0, 'none', 'none', [])
    assert without['missing'] == found['missing']


@pytest.mark.ire
@lacking
def test_a_root_is_not_made_where_it_could_not_be_confined(home, deny, less):
    machine = jobs.Machine(home)
    options, words = REFUSED[less]
    done = machine.troth('host', 'init', '--state', machine.state, '--no-recovery', wrap=deny(*options))
    refused(machine, done, words[:1])
    assert not os.path.exists(os.path.join(machine.state, 'inception.epoch'))
    machine.init()


@pytest.mark.ire
@pytest.mark.parametrize('options, abi, memory', [(KERNEL_6_1, 2, 'locked'), (['--landlock-abi', '1'], 1, None), (['--no-landlock'], 0, None),
                                                  (['--no-memfd-secret', '--call', 'mlock=EPERM'], None, 'plain')],
                         ids=['kernel 6.1', 'Landlock 1', 'no Landlock', 'no locked memory'])
def test_a_run_does_without(machine, deny, options, abi, memory):
    """Tier N all the same, every denial provoked; doctor's page and the signed report of the launch say what was not there."""
    here, found = doctor(machine, []), doctor(machine, deny(*options))
    assert (found['level'], found['tier'], found['isolation']) == (1, 'N', here['isolation'])
    assert found['landlock_abi'] == (here['landlock_abi'] if abi is None else min(abi, here['landlock_abi']))
    assert found['secret_memory'] == (memory or here['secret_memory'])
    assert [d['name'] for d in found['denials'] if d['refused']] == [d['name'] for d in here['denials']] and len(here['denials']) > 20
    job = jobs.single(machine.work, '/bin/echo', ['seen'])
    machine.run(job, wrap=deny(*options)).ok()
    jobs.assert_complete(machine, machine.trust(job), 'seen\n')
    assert f'memory {found["secret_memory"]}' in machine.troth('show', os.path.join(machine.out, 'receipt.troth')).ok().stdout


def selftest(machine, wrap):
    return conftest.run([*wrap, *machine.command('--selftest', program='troth-ap')], env=machine.env(), cwd=machine.home)


@pytest.mark.ire
def test_the_secure_processor_by_itself(machine, deny):
    """Its self-test refuses where it cannot confine itself, and shows each denial where it can."""
    for options, words in REFUSED.values():
        done = selftest(machine, deny(*options)).refused('NO_NAMESPACES', 3)
        assert not done.stdout, 'an unconfined self-test shows nothing'
    for options in (KERNEL_6_1, ['--no-landlock']):
        done = selftest(machine, deny(*options)).ok()
        rows = dict(line.rsplit(None, 1) for line in done.stdout.splitlines())
        assert DENIALS <= set(rows) and set(rows.values()) == {'refused'}
