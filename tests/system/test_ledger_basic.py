"""A ledger from its making to its restart: init, serve, send, ask, stop, start again; and what clients do with it."""
import json
import os
import shutil
import ssl
import stat
import subprocess
import time

import pytest

from conftest import SLOWNESS
from ledgers import Ledger


@pytest.fixture
def folder(home):
    return os.path.join(home, 'ledger')


def test_from_init_to_restart(troth, folder):
    with Ledger(troth, folder) as ledger:
        tx = ledger.transaction(1)
        first = ledger.send(tx)
        assert first['reason'] == 'OK' and first['on_ledger'] and first['index'] == 2 and first['size'] == 4, first
        assert ledger.send(tx) == first, 'the same bytes have the same receipt'
        sent = troth('ledger', 'register', 'enclave', ledger.measurement(2), '--key', ledger.founder, '--ledger', ledger.client, env={'TROTH_LEDGER': folder})
        assert sent.code != 0, 'the copied folder names the default port, where this service is not'
        troth('ledger', 'register', 'enclave', ledger.measurement(2), '--key', ledger.founder, env={'TROTH_LEDGER': folder}).ok()
        assert ledger.json(f"/v1/transactions/{first['txid']}") == first
        before = ledger.get('/checkpoint')[2]
        status = troth('ledger', 'status', '--ledger', folder, '--json').ok().json
        assert status['size'] == ledger.size() == 6 and status['may_write'] and not status['direct']
        assert ledger.stop() == 0
        assert not os.path.exists(os.path.join(folder, 'service/address'))
        direct = troth('ledger', 'status', '--ledger', folder, '--json').ok().json
        assert direct['direct'] and direct['size'] == 6 and direct['seen_before'] == 6
        troth('ledger', 'register', 'enclave', ledger.measurement(3), '--key', ledger.founder, '--ledger', folder).refused('LEDGER_NOT_RUNNING', 3)
        ledger.start()
        assert ledger.get('/checkpoint')[2] == before
        assert ledger.send(tx) == first, 'also after a restart'
        ledger.kill()
        ledger.start()
        assert ledger.get('/checkpoint')[2] == before


def test_what_can_be_asked(troth, folder):
    with Ledger(troth, folder) as ledger:
        tx = ledger.transaction(7)
        receipt = ledger.send(tx)
        status, headers, leaf = ledger.get(f"/v1/leaves/{receipt['index']}")
        assert status == 200 and tx in leaf and headers['Content-Type'] == 'application/cbor'
        proof = ledger.get(f"/v1/proofs/leaf/{receipt['index']}")[2]
        assert proof.startswith(b'c2sp.org/tlog-proof@v1\n')
        assert ledger.get('/v1/consistency?from=2')[2].count(b'\n') >= 1
        note = ledger.get('/checkpoint')[2]
        assert ledger.get(f"/v1/checkpoints/{receipt['size']}")[2] == note
        health = ledger.json('/health')
        assert health['ok'] and health['writable'] and health['size'] == receipt['size']
        metrics = ledger.get('/metrics')[2].decode()
        assert f"\ntroth_ledger_size {receipt['size']}\n" in metrics
        assert 'troth_ledger_transactions_total{outcome="ok"} 1\n' in metrics
        checked = json.loads(ledger.ask('POST', '/v1/check', body=ledger.transaction(8))[2])
        assert checked['reason'] == 'OK' and not checked['on_ledger']
        assert ledger.size() == receipt['size'], 'a check leaves nothing'
        entries = ledger.get('/v1/entries?from=0&limit=10')
        assert entries[0] == 200 and tx in entries[2]
        assert ledger.ask('HEAD', '/checkpoint')[2] == b''


REFUSALS = [
    ('/', 404, 'REQUEST_UNKNOWN'),
    ('/v1/transactions', 405, 'REQUEST_UNKNOWN'),
    ('/v1/transactions/abc', 400, 'BAD_VALUE'),
    ('/v1/transactions/' + 64 * '0', 404, 'NOT_FOUND'),
    ('/v1/leaves/99', 404, 'NOT_FOUND'),
    ('/v1/leaves/-1', 400, 'BAD_VALUE'),
    ('/v1/leaves/007', 400, 'BAD_VALUE'),
    ('/v1/leaves/18446744073709551616', 400, 'BAD_VALUE'),
    ('/v1/leaves/', 404, 'REQUEST_UNKNOWN'),
    ('/v1/leaves/..%2f..%2flog.key', 404, 'REQUEST_UNKNOWN'),
    ('/v1/../v1/status', 404, 'REQUEST_UNKNOWN'),
    ('/v1/proofs/leaf/0?size=1', 404, 'NOT_FOUND'),
    ('/v1/proofs/leaf/0?Size=2', 400, 'UNKNOWN_FIELD'),
    ('/v1/proofs/leaf/0?size=2&size=2', 400, 'DUPLICATE_KEY'),
    ('/v1/consistency', 400, 'MISSING_FIELD'),
    ('/v1/consistency?from=2&to=1', 404, 'NOT_FOUND'),
    ('/v1/checkpoints/1', 404, 'NOT_FOUND'),
    ('/v1/entries?sender=me', 400, 'BAD_VALUE'),
    ('/v1/entries?type=13', 400, 'BAD_VALUE'),
]


def test_refusals_are_typed(troth, folder):
    with Ledger(troth, folder) as ledger:
        connection = ledger.connection(writer=False)
        for path, status, reason in REFUSALS:
            got, headers, body = ledger.get(path, connection=connection)
            answer = json.loads(body)
            assert (got, answer['error']) == (status, reason), (path, answer)
            assert headers['Content-Type'] == 'application/json' and answer['code'] > 0 and len(answer['do'].split()) > 3
        connection.close()
        assert ledger.json('/v1/status')['size'] == 2


def test_the_folder_is_complete_and_closed(troth, folder, home):
    with Ledger(troth, folder, start=False) as ledger:
        assert ledger.made['chain'] and ledger.made['vkey'].startswith('example.org/ledger+')
        for name in ('founder.key', 'log.key', 'service/ca.key', 'service/service.key', 'client/writer.key'):
            assert stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) == 0o600, name
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        troth('ledger', 'init', folder).refused('ALREADY_EXISTS', 2)
        other = os.path.join(home, 'other')
        troth('ledger', 'init', other, '--host', 'bad_name!').refused('BAD_NAME')
        assert not os.path.exists(other), 'nothing is left of one that was not made'
        troth('ledger', 'init', other, '--url', 'http://x').refused('BAD_VALUE')
        assert not os.path.exists(other)
        troth('ledger', 'status', '--ledger', other).refused('NOT_FOUND')


def test_writers_have_folders_of_their_own(troth, folder, home):
    with Ledger(troth, folder) as ledger:
        alice, reader = os.path.join(home, 'alice'), os.path.join(home, 'reader')
        url = f'https://{ledger.address}'
        troth('ledger', 'writer', 'new', 'alice', '--out', alice, '--ledger', folder, '--url', url).ok()
        troth('ledger', 'writer', 'new', 'alice', '--out', alice, '--ledger', folder, '--url', url).refused('ALREADY_EXISTS')
        troth('ledger', 'writer', 'new', '../alice', '--out', reader, '--ledger', folder).refused('BAD_NAME')
        troth('ledger', 'writer', 'new', '--reader', '--out', reader, '--ledger', folder, '--url', url).ok()
        troth('ledger', 'register', 'enclave', ledger.measurement(5), '--key', ledger.founder, '--ledger', alice).ok()
        troth('ledger', 'register', 'enclave', ledger.measurement(6), '--key', ledger.founder, '--ledger', reader).refused('WRITER_UNKNOWN', 1)
        assert troth('ledger', 'status', '--ledger', reader, '--json').ok().json['size'] == 4
        os.chmod(os.path.join(alice, 'writer.key'), 0o644)
        troth('ledger', 'status', '--ledger', alice).refused('NO_PERMISSION')


def test_a_writer_can_be_removed(troth, folder, home):
    with Ledger(troth, folder) as ledger:
        alice = os.path.join(home, 'alice')
        troth('ledger', 'writer', 'new', 'alice', '--out', alice, '--ledger', folder, '--url', f'https://{ledger.address}').ok()
        assert troth('ledger', 'writer', 'list', '--ledger', folder).ok().stdout.split() in (['alice', 'first'], ['first', 'alice'])
        troth('ledger', 'register', 'enclave', ledger.measurement(1), '--key', ledger.founder, '--ledger', alice).ok()
        troth('ledger', 'writer', 'remove', 'bob', '--ledger', folder).refused('NOT_FOUND')
        troth('ledger', 'writer', 'remove', 'alice', '--ledger', folder).ok()
        troth('ledger', 'writer', 'remove', 'alice', '--ledger', folder).ok()
        tx = ledger.transaction(2)
        deadline = time.monotonic() + 60 * SLOWNESS
        sent = troth('ledger', 'submit', '--ledger', alice, write(home, tx))
        while sent.code == 0 and time.monotonic() < deadline:
            sent = troth('ledger', 'submit', '--ledger', alice, write(home, tx))
        sent.refused('WRITER_UNKNOWN', 1)
        ledger.send(ledger.transaction(3))
        troth('ledger', 'status', '--ledger', alice).ok()
        troth('ledger', 'writer', 'new', 'alice', '--out', alice + '2', '--ledger', folder).refused('ALREADY_EXISTS')
        assert ledger.stop() == 0
        ledger.start()
        troth('ledger', 'submit', '--ledger', alice, write(home, tx)).refused('WRITER_UNKNOWN', 1)
        assert {'writer': 'alice', 'removed': True} in troth('ledger', 'writer', 'list', '--ledger', folder, '--json').ok().json


def test_the_service_gets_another_certificate(troth, folder):
    with Ledger(troth, folder) as ledger:
        before = ssl.get_server_certificate((ledger.host, ledger.port))
        troth('ledger', 'certificate', '--ledger', folder, '--host', 'not a name').refused('BAD_NAME')
        troth('ledger', 'certificate', '--ledger', folder, '--host', 'ledger.example.org').ok()
        assert ledger.stop() == 0
        ledger.start()
        after = ssl.get_server_certificate((ledger.host, ledger.port))
        assert before != after and troth('ledger', 'status', '--ledger', folder, '--json').ok().json['size'] == 2
        named = subprocess.run(['openssl', 'x509', '-noout', '-ext', 'subjectAltName'], input=after, capture_output=True, text=True, check=True).stdout
        assert 'DNS:ledger.example.org' in named and 'DNS:localhost' in named and 'IP Address:127.0.0.1' in named


def write(home, content):
    path = os.path.join(home, 'tx')
    with open(path, 'wb') as f:
        f.write(content)
    return path


def test_the_service_is_confined(troth, folder):
    """What the kernel says of every thread of a service that serves: no capabilities, nothing new by exec, calls filtered, no dumps."""
    with Ledger(troth, folder) as ledger:
        ledger.json('/health')
        pid = ledger.process.pid
        for task in os.listdir(f'/proc/{pid}/task'):
            with open(f'/proc/{pid}/task/{task}/status') as f:
                status = dict(line.rstrip('\n').split(':\t', 1) for line in f if ':\t' in line)
            assert int(status['CapEff'], 16) == int(status['CapPrm'], 16) == 0, task
            assert status['NoNewPrivs'] == '1' and status['Seccomp'] == '2', task
        with open(f'/proc/{pid}/limits') as f:
            assert any(line.startswith('Max core file size') and line.split()[4] == '1' for line in f)
        # A page of the proof is made by a worker, files are read by a thread of the engine: both began after it.
        ledger.send(ledger.transaction(1))
        assert ledger.get('/v1/proofs/leaf/2')[0] == 200


def test_one_process_on_a_folder(troth, folder):
    with Ledger(troth, folder) as ledger:
        second = Ledger(troth, folder, start=False)
        with pytest.raises(AssertionError, match='BUSY'):
            second.start()
        assert ledger.json('/health')['ok'], 'the first goes on'
        assert ledger.address == open(os.path.join(folder, 'service/address')).read().strip(), 'and is still found'


def test_a_fork_ends_the_place(troth, folder, home):
    """Two ledgers with one key: the operator who kept a copy of the folder and went on from both."""
    with Ledger(troth, folder) as ledger:
        place = os.path.join(home, 'place')
        url = f'https://{ledger.address}'
        troth('ledger', 'writer', 'new', 'alice', '--out', place, '--ledger', folder, '--url', url).ok()
        assert ledger.stop() == 0
        shutil.copytree(folder, folder + '2')
        ledger.start()
        ledger.send(ledger.transaction(1))
        troth('ledger', 'status', '--ledger', place).ok()
        address = ledger.address
        assert ledger.stop() == 0
    other = Ledger(troth, folder + '2', start=False)
    other.address = address
    with other.start():
        troth('ledger', 'status', '--ledger', place).refused('LEDGER_ROLLED_BACK', 1)
        other.send(other.transaction(2))
        troth('ledger', 'status', '--ledger', place).refused('LEDGER_FORKED', 1)
        assert {'one.checkpoint', 'other.checkpoint', 'log.vkey', 'why.txt'} == set(os.listdir(os.path.join(place, 'evidence')))
        assert open(os.path.join(place, 'evidence/one.checkpoint')).read() != open(os.path.join(place, 'evidence/other.checkpoint')).read()
        troth('ledger', 'status', '--ledger', place).refused('LEDGER_FORKED', 1)
        troth('ledger', 'register', 'enclave', other.measurement(6), '--key', other.founder, '--ledger', place).refused('LEDGER_FORKED', 1)
