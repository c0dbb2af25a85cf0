"""The tests' own tests: what the tables name exists, what is generated is up to date, what must catch a leak catches it."""
import os
import re
import subprocess
import sys

import conftest
import pytest

ROOT = conftest.ROOT
sys.path.insert(0, os.path.join(ROOT, 'tests'))
import attacks  # noqa: E402


def source(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as f:
        return f.read()


def exists(test):
    """A test named in the table, looked up in the source."""
    place, _, name = test.partition('::')
    if name:
        return os.path.isfile(os.path.join(ROOT, place)) and re.search(rf'^\s*def {re.escape(name.split("::")[-1].split("[")[0])}\(', source(place), re.M)
    if test.startswith('fuzz/'):
        return os.path.isfile(os.path.join(ROOT, test.split(':')[0] + '.c'))
    folder, _, name = test.partition(':')
    units = os.path.join(ROOT, 'tests', folder)
    return os.path.isdir(units) and any(re.search(rf'\b{re.escape(name)}\b', source(os.path.join(units, f))) for f in os.listdir(units) if f.endswith('.c'))


def test_each_test_named_in_the_attack_table_exists():
    missing = [f'{row[0]}: {test}' for row in attacks.read() if row[2] != 'todo' and not row[2].startswith('waits:')
               for test in row[2].split() if not exists(test)]
    assert not missing, '\n'.join(missing)


def test_each_attack_mark_stands_in_the_table():
    named = {row[0]: row[2].split() for row in attacks.read()}
    missing = [f'{identity}: {test}' for identity, tests in attacks.marked().items() for test in tests if test not in named.get(identity, [])]
    assert not missing, 'run tools/attacks --fill\n' + '\n'.join(missing)


def test_attacks_page_is_up_to_date():
    made = subprocess.run([os.path.join(ROOT, 'tools', 'attacks'), '--print'], capture_output=True, text=True, check=True, timeout=30)
    assert made.stdout == source('docs/ATTACKS.md'), 'run tools/attacks'


def test_a_process_left_behind_fails_its_test(tmp_path):
    child = subprocess.Popen(['sh', '-c', 'sleep 300 >/dev/null 2>&1 & exit 0'], start_new_session=True)
    child.wait(timeout=10)
    with pytest.raises(AssertionError, match='left running'):
        conftest.assert_nothing_left(str(tmp_path), patience=0.2)
    conftest.assert_nothing_left(str(tmp_path))


def test_out_of_time_fails_the_test():
    with pytest.raises(pytest.fail.Exception, match='did not end'):
        conftest.run(['sleep', '60'], timeout=0.1)


LAYER_BREAKS = [
    ('src/crypto/x.c', '#include "wire/cbor.h"\n', 'crypto may not use wire'),
    ('src/base/x.c', '#include "nowhere.h"\n', 'is not written as folder/file.h'),
    ('src/receipt/x.c', '#include "net/tls.h"\n', 'is reached from src/receipt'),
    ('src/odd/x.c', '\n', 'not in the order'),
    ('src/root/x.c', 'int f(void) { return system("true"); }\n', 'src/root/x.c:1: system('),
    ('src/root/x.c', 'if (memcmp(a.secret, b, 32) == 0)\n', 'src/root/x.c:1: memcmp('),
]


@pytest.mark.parametrize('path, text, complaint', LAYER_BREAKS)
def test_the_layer_test_refuses(tmp_path, path, text, complaint):
    for name, content in {'src/wire/cbor.h': '', 'src/net/tls.h': '', path: text}.items():
        os.makedirs(tmp_path / os.path.dirname(name), exist_ok=True)
        (tmp_path / name).write_text(content)
    os.makedirs(tmp_path / 'tests')
    (tmp_path / 'tests' / 'layers').write_text(source('tests/layers'))
    done = subprocess.run([sys.executable, '-B', str(tmp_path / 'tests' / 'layers')], capture_output=True, text=True, timeout=30,
                          env=dict(os.environ, TROTH_BUILD='/nonexistent'))
    assert done.returncode == 1 and complaint in done.stdout, done.stdout
