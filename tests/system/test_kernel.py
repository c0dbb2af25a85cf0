"""Debian 12's own kernel, 6.1, under QEMU (tools/kernel-6.1): the tier is reached there by provoked denials, a run leaves a receipt, and the
hostile program gets nowhere, as root and as an ordinary user. One boot serves all tests.
"""
import fcntl
import json
import os
import re
import subprocess

import conftest
import pytest
from test_machines import DENIALS

pytestmark = [pytest.mark.long, pytest.mark.slow]

WHO = ['root', 'user']
PROBES = ['cf-01', 'cf-02', 'cf-03', 'cf-06', 'cf-07', 'cf-08', 'cf-09']
LIMIT = 600  # seconds of the machine's life


def parse(text):
    """NAME -> (exit status, what it said), from the lines between the marks."""
    found = re.findall(r'^@@ BEGIN (\S+)\n(.*?)\n?@@ END \1 (\d+)$', text, re.M | re.S)
    return {name: (int(code), said) for name, said, code in found}


@pytest.fixture(scope='session')
def steps(tmp_path_factory):
    """What the machine said. The first worker of a run that asks boots it, the others wait for its words."""
    folder = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        folder = folder.parent
    words = folder / 'kernel-words'
    with open(folder / 'kernel-lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not words.exists():
            done = subprocess.run([os.path.join(conftest.ROOT, 'tools/kernel-6.1'), '--programs', conftest.BIN, '--seconds', str(LIMIT)],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace', timeout=LIMIT + 400)
            words.write_text(f'{done.returncode}\n{done.stdout}' + (done.stderr if done.returncode else ''))
        code, _, text = words.read_text().partition('\n')
    assert code == '0', text[-4000:]
    return parse(text)


def said(steps, name, code=0):
    assert name in steps, f'{name} did not run: {sorted(steps)}'
    assert steps[name][0] == code, steps[name]
    return steps[name][1]


def test_it_is_kernel_6_1(steps):
    assert said(steps, 'kernel').startswith('6.1.')


@pytest.mark.parametrize('who', WHO)
def test_the_secure_processor_is_confined(steps, who):
    rows = dict(line.rsplit(None, 1) for line in said(steps, f'{who}-selftest').splitlines() if line)
    assert DENIALS <= set(rows) and set(rows.values()) == {'refused'}


@pytest.mark.parametrize('who', WHO)
def test_every_denial_is_provoked(steps, who):
    found = json.loads(said(steps, f'{who}-doctor'))
    assert (found['level'], found['tier'], found['isolation']) == (1, 'N', 'uid' if who == 'root' else 'weak'), found['missing']
    assert [d['name'] for d in found['denials'] if not d['refused']] == [] and len(found['denials']) > 20
    # What this kernel has, and what it lacks: memfd_secret was off by default before 6.5.
    assert (found['landlock_abi'], found['secret_memory']) == (2, 'locked')
    assert found['limits'] == ('cgroup2' if who == 'root' else 'rlimit')


@pytest.mark.parametrize('who', WHO)
def test_a_run_leaves_a_receipt(steps, who):
    for name in ('init', 'run', 'trust'):
        said(steps, f'{who}-{name}')
    assert said(steps, f'{who}-output').split() == [str(n) for n in range(1, 1001)]
    assert json.loads(said(steps, f'{who}-verify'))['verdict'] == 'accepted'


@pytest.mark.parametrize('who', WHO)
@pytest.mark.parametrize('probe', PROBES)
def test_the_hostile_program_gets_nowhere(steps, who, probe):
    lines = said(steps, f'{who}-probe-{probe}')
    assert not re.search(r'^(ALLOWED|BROKEN)', lines, re.M), lines
    assert len(re.findall(r'^(refused|holds)', lines, re.M)) > 2, lines


@pytest.mark.parametrize('who', WHO)
def test_nothing_is_left(steps, who):
    said(steps, f'{who}-left')
