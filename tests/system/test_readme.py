"""The commands of README.md, run as they stand there, in order, in a copy of what is committed."""
import os
import re
import shutil
import subprocess

import conftest
import pytest

MARK = re.compile(r'<!-- test: (run|skip)\b[^>]*-->\n```sh\n(.*?)```', re.S)


def readme():
    with open(os.path.join(conftest.ROOT, 'README.md'), encoding='utf-8') as f:
        return f.read()


def checkout(folder):
    """Files that git knows, as they are now, and the programs under test in build/."""
    listed = subprocess.run(['git', 'ls-files', '-z'], cwd=conftest.ROOT, capture_output=True, text=True, check=True).stdout
    for path in filter(None, listed.split('\0')):
        source, target = os.path.join(conftest.ROOT, path), os.path.join(folder, path)
        if os.path.lexists(source):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    os.makedirs(os.path.join(folder, 'build'))
    for name in os.listdir(conftest.BIN):
        if name.startswith('troth') and os.path.isfile(conftest.program(name)):
            shutil.copy2(conftest.program(name), os.path.join(folder, 'build', name))


def built():
    description = os.path.join(conftest.ROOT, 'src', 'cmd', 'meson.build')
    if not os.path.exists(description):
        return False
    with open(description, encoding='utf-8') as f:
        return "executable('troth'" in f.read()


@pytest.mark.smoke
@pytest.mark.skipif(not built(), reason='the source does not build the command line yet')
def test_each_command_of_the_readme_works(work):
    blocks = MARK.findall(readme())
    assert len(blocks) == readme().count('```sh'), 'each sh block of README.md carries a mark'
    script = ''.join(text for verdict, text in blocks if verdict == 'run')
    assert './quickstart' in script and 'verify' in script
    checkout(work)
    env = {**conftest.environment(work), 'TROTH_BIN': os.path.join(work, 'build'), 'TROTH_ROWS': '20000'}
    done = conftest.run(['bash', '-euxo', 'pipefail', '-c', script], cwd=work, env=env, timeout=120).ok()
    assert re.search(r'^\+ build/troth verify', done.stderr, re.M)
    assert os.path.getsize(os.path.join(work, 'examples', 'payroll', 'out', 'summary.csv')) > 0
