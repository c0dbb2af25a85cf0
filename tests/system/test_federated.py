"""examples/federated from its page alone: three hosts in network namespaces, as whoever runs the tests and as an ordinary user."""
import os
import subprocess

import conftest
import pytest

EXAMPLE = os.path.join(conftest.ROOT, 'examples', 'federated')


# As an ordinary user, `self` is that already.
@pytest.mark.parametrize('who', ['self', 'user'] if os.geteuid() == 0 else ['self'])
def test_the_example_runs_from_nothing(home, who):
    out, capture = os.path.join(home, 'kept'), os.path.join(home, 'frames')
    as_user = []
    if who == 'user':
        import jobs
        user = jobs.ordinary_user()
        os.chown(home, user, user)
        as_user = ['setpriv', f'--reuid={user}', f'--regid={user}', '--clear-groups', '--']
        bin_ = jobs.Machine(home, user).bin
        import shutil
        shutil.copytree(EXAMPLE, os.path.join(home, 'federated'))
        jobs.Machine(home, user).give_away()
        script = os.path.join(home, 'federated', 'run')
    else:
        bin_, script = conftest.BIN, os.path.join(EXAMPLE, 'run')
    ran = conftest.run([*as_user, script, '--rows', '20000', '--out', out, '--bin', bin_, '--capture', capture], timeout=120,
                       env={**conftest.environment(home), 'TMPDIR': home}, cwd=home).ok()
    assert ran.stdout.count('ACCEPTED') == 3, ran
    with open(os.path.join(out, 'result.csv')) as f:
        lines = f.read().splitlines()
    assert lines[0].startswith('age,patients') and len(lines) == 3
    assert sum(int(line.split(',')[1]) for line in lines[1:]) == 40000
    for line in lines[1:]:
        assert 1.2 < float(line.split(',')[4]) < 1.8, 'the drug shortens the stay by a day and a half'
    with open(capture, 'rb') as f:
        frames = f.read()
    assert len(frames) > 10000 and b'Patient-' not in frames and b'placebo,' not in frames
    trusts = [n for n in os.listdir(out) if n.startswith('trust-')]
    assert len(trusts) == 3


def test_the_example_says_what_it_needs(home):
    ran = subprocess.run([os.path.join(EXAMPLE, 'run'), '--bin', home], capture_output=True, text=True)
    assert ran.returncode == 2 and 'no programs of Troth' in ran.stderr
