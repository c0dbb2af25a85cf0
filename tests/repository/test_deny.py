"""The launcher that imitates lesser machines (tests/tools/deny.c) does what the tests of machines believe."""
import json
import signal

import conftest
import pytest

NO_USERNS = ['--no-userns']
NO_SECRET_MEMORY = ['--no-memfd-secret']

ASKS = r'''
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    return [libc.syscall(number, *args), ctypes.get_errno()]
attributes = (ctypes.c_uint64 * 3)(*[int(a) for a in sys.argv[2:]])
print({'secret': lambda: call(447, 0), 'version': lambda: call(444, 0, 0, 1), 'ruleset': lambda: call(444, attributes, 8 * len(sys.argv[2:]), 0),
       'unshare': lambda: call(272, 0x10000000), 'unshare-files': lambda: call(272, 0x400)}[sys.argv[1]]())
'''


def asked(deny, options, *what):
    """(value, errno) of one system call of a process below the launcher."""
    said = conftest.run([*deny(*options), '/usr/bin/python3', '-I', '-c', ASKS, *map(str, what)]).ok().stdout
    value, error = json.loads(said)
    return (value, error if value < 0 else 0)


@pytest.mark.parametrize('options, what, expected', [
    (NO_USERNS, ['unshare'], (-1, 1)), (NO_USERNS, ['unshare-files'], (0, 0)), (NO_SECRET_MEMORY, ['secret'], (-1, 38)),
    (['--no-landlock'], ['version'], (-1, 38)), (['--landlock-abi', '2'], ['version'], (2, 0)),
    (['--landlock-abi', '2'], ['ruleset', 1 << 14], (-1, 22)), (['--landlock-abi', '2'], ['ruleset', 1, 1], (-1, 7)),
    (['--landlock-abi', '3'], ['ruleset', 1 << 15], (-1, 22)), (['--call', 'unshare=ENOSPC'], ['unshare'], (-1, 28))],
    ids=lambda v: ' '.join(map(str, v)) if isinstance(v, list) else '')
def test_the_launcher_takes_away(deny, options, what, expected):
    assert asked(deny, options, *what) == expected


def test_the_launcher_leaves_the_rest(deny):
    abi, _ = asked(deny, ['--landlock-abi', '2'], 'version')
    assert abi == 2 and asked(deny, ['--landlock-abi', '2'], 'ruleset', 1 << 13)[0] > 0
    assert asked(deny, NO_USERNS, 'version')[0] >= 2


@pytest.mark.parametrize('options', [NO_SECRET_MEMORY, ['--landlock-abi', '2']], ids=' '.join)
def test_the_launcher_ends_as_its_program(deny, options):
    assert conftest.run([*deny(*options), 'sh', '-c', 'exit 7']).code == 7
    assert conftest.run([*deny(*options), 'sh', '-c', 'kill -9 $$']).code == -signal.SIGKILL
    assert conftest.run([*deny(*options), '/no/such/program']).code == 125
    assert conftest.run(deny('--call', 'no_such_call=EPERM') + ['true']).code == 125
