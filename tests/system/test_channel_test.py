"""`troth channel test`: what both ends of a channel between two live enclaves say of it."""
import hashlib
import json
import os
import subprocess

import test_calls
from jobs import policy, until, written
from test_calls import ECHO, host, served  # noqa: F401

ASKS_AND_STAYS = 'import time\nassert x.call("A", b"1") == b"1"\nwhile True:\n    time.sleep(1)\n'
STAYS = 'import time\nwhile True:\n    time.sleep(1)\n'


def channel(troth, state, one, other, *more):
    return troth('channel', 'test', one, other, '--state', state, *more)


def stay(troth, state, work, **more):
    long_life = {'limits': {'wall': '24h', 'cpu': '24h'}}
    path = test_calls.job(work, {'B': ASKS_AND_STAYS, 'A': 'x.serve(lambda call, data: data)\n' + STAYS, 'C': STAYS}, [('B', 'A'), ('C', 'B')],
                          outputs=False, extra={name: long_life for name in 'ABC'}, **more)
    troth('ire', 'run', path, '--name', 'trio', '--state', state).ok()


def test_both_ends_are_asked(troth, host, work, served):  # noqa: F811
    stay(troth, host, work)
    tested = channel(troth, host, 'B', 'A', '--json').ok().json
    one, other = tested['one'][0], tested['other'][0]
    assert (one['connects'], other['connects']) == (True, False)
    for end in (one, other):
        assert end['open'] and end['suite'] in (1, 2) and end['level'] == 1 and end['reason'] == 0 and end['operation'] == 'ask', end
    assert one['suite'] == other['suite'] and one['edge'] == other['edge']
    said = channel(troth, host, 'A', 'B').ok().stdout
    assert "A accepts B for 'ask'" in said and "B connects to A for 'ask'" in said and said.count('policy: allows it') == 2, said
    channel(troth, host, 'A', 'C').refused('CALL_NOT_DECLARED')
    channel(troth, host, 'A', 'nobody').refused('IRE_UNKNOWN')
    channel(troth, host, 'nobody', 'A').refused('IRE_UNKNOWN')
    assert channel(troth, host, 'A', '').code != 0 and channel(troth, host, 'A', 'x' * 500).code != 0
    troth('ire', 'stop', '--all', '--state', host).ok()
    channel(troth, host, 'A', 'B').refused('IRE_UNKNOWN')


def test_the_end_that_refuses_is_named(troth, host, work, served):  # noqa: F811
    key = os.path.join(work, 'author.pem')
    subprocess.run(['openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', key], check=True)
    der = subprocess.run(['openssl', 'pkey', '-in', key, '-pubout', '-outform', 'DER'], check=True, capture_output=True).stdout
    author = hashlib.sha256(der).hexdigest()
    stay(troth, host, work, A={'author': author})
    channel(troth, host, 'B', 'A').ok()
    source = written(work, 'next.json', json.dumps(policy('A', ['B'], author=author, version=2, deny=['B'])))
    newer = os.path.join(work, 'next.policy')
    troth('policy', 'sign', source, '--key', key, '--output', newer).ok()
    troth('policy', 'push', newer, '--state', host).ok()
    refused = channel(troth, host, 'B', 'A')
    assert 'DENIED_BY_RULE' in refused.stdout + refused.stderr, f'{refused}\n{open(os.path.join(work, "host.log")).read()}'
    assert 'A refuses B' in refused.stderr and 'B connects to A' in refused.stdout, refused
    until(lambda: 'not open' in channel(troth, host, 'B', 'A').stdout, 'the channel to be closed')
