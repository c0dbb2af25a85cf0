"""Witnesses of ledgers (c2sp.org/tlog-witness): asked by a log that is not ours, by a ledger that is honest, and by one that shows two histories."""
import base64
import contextlib
import json
import os
import shutil
import struct

import conftest
import ledger_houses as ledgers
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ledger_houses import outside, until


class Witness:
    def __init__(self, home, name='witness.example.org/w1', folder='witness'):
        self.home, self.name, self.dir, self.daemon = home, name, os.path.join(home, folder), None
        self.made = self.troth('new', name, '--json').ok().json
        self.key = outside.Key(self.made['key'])
        self.ca = os.path.join(self.dir, 'client', 'ca.crt')

    def troth(self, *args):
        return conftest.run([conftest.program('troth'), 'ledger', 'witness', *args, '--dir', self.dir], env=conftest.environment(self.home), cwd=self.home)

    def start(self, listen='127.0.0.1:0', **more):
        self.daemon = ledgers.Daemon(self.home, ['ledger', '--witness', '--dir', self.dir, '--listen', listen, '--log-level', 'warning'], **more)
        assert self.daemon.address, self.daemon.log
        return self

    def stop(self):
        daemon, self.daemon = self.daemon, None
        daemon.stop()

    def kill(self):
        daemon, self.daemon = self.daemon, None
        if daemon:
            daemon.kill()

    def options(self):
        """Of the ledger that asks it."""
        return ['--witness-url', self.daemon.url, '--witness-key', os.path.join(self.dir, 'client', 'witness.vkey'), '--witness-ca', self.ca]

    def client(self):
        """Any TLS client will do."""
        place = os.path.join(self.home, 'any')
        os.makedirs(place, exist_ok=True)
        shutil.copy(self.ca, os.path.join(place, 'ca.crt'))
        with open(os.path.join(place, 'ledger.conf'), 'w', encoding='utf-8') as f:
            f.write(f'url: {self.daemon.url}\nchain: {bytes(32).hex()}\n')
        with open(os.path.join(place, 'log.vkey'), 'w', encoding='utf-8') as f:
            f.write(self.made['key'] + '\n')
        return outside.Client(place, timeout=ledgers.PATIENCE)


@pytest.fixture
def witness(home):
    made = Witness(home)
    try:
        yield made.start()
        made.stop()
    finally:
        made.kill()


class Log:
    """A log of Ed25519 and RFC 9162 alone, whose operator signs whatever suits."""

    def __init__(self, name):
        self.name, self.key = name, Ed25519PrivateKey.generate()
        raw = b'\x01' + self.key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.id = outside.sha256(name.encode() + b'\n' + raw)[:4]
        self.vkey = f'{name}+{self.id.hex()}+{base64.b64encode(raw).decode()}'

    @staticmethod
    def root(leaves):
        if len(leaves) == 1:
            return outside.leaf_hash(leaves[0])
        half = 1 << (len(leaves) - 1).bit_length() - 1
        return outside.node(Log.root(leaves[:half]), Log.root(leaves[half:])) if leaves else outside.sha256(b'')

    @staticmethod
    def proof(first, leaves, whole=True):
        """RFC 9162 2.1.4.1"""
        if first == len(leaves):
            return [] if whole else [Log.root(leaves)]
        half = 1 << (len(leaves) - 1).bit_length() - 1
        if first <= half:
            return Log.proof(first, leaves[:half], whole) + [Log.root(leaves[half:])]
        return Log.proof(first - half, leaves[half:], False) + [Log.root(leaves[:half])]

    def note(self, leaves, name=None):
        text = f'{name or self.name}\n{len(leaves)}\n{base64.b64encode(self.root(leaves)).decode()}\n'.encode()
        line = base64.b64encode(self.id + self.key.sign(text))
        return text + b'\n' + outside.DASH + self.name.encode() + b' ' + line + b'\n'

    def request(self, old, leaves, proof=None, note=None):
        path = (self.proof(old, leaves) if 0 < old <= len(leaves) else []) if proof is None else proof
        return b'old %d\n' % old + b''.join(base64.b64encode(h) + b'\n' for h in path) + b'\n' + (note or self.note(leaves))


def leaves_of(count, history=b''):
    return [struct.pack('>I', n) + (history if n >= 3 else b'') for n in range(count)]


def test_as_the_specification_says(witness, home):
    """Each status of add-checkpoint, asked by a program of its own; what was said outlives the process."""
    log, client = Log('log.example.net/other'), witness.client()

    def ask(body, status, kind=None, data=None):
        answer = client.ask('POST', '/add-checkpoint', body, 'text/plain')
        assert answer.status == status, (answer.status, answer.data, body)
        assert kind is None or answer.type == kind, answer.type
        assert data is None or answer.data == data, answer.data
        return answer

    def cosigned(old, leaves):
        note = log.note(leaves)
        answer = ask(log.request(old, leaves, note=note), 200)
        text = note.partition(b'\n\n')[0] + b'\n'
        lines = [line for line in answer.data.split(b'\n') if line]
        assert len(lines) == 1 and lines[0].startswith(outside.DASH + witness.name.encode() + b' ')
        blob = outside.b64(lines[0].rpartition(b' ')[2])
        assert blob[:4] == witness.key.id
        stamp = witness.key.verify(text, blob[4:])
        assert stamp > 1_700_000_000

    ask(log.request(0, leaves_of(1)), 404)
    witness.troth('add-log', log.vkey).ok()
    witness.troth('add-log', log.vkey).refused('ALREADY_EXISTS')
    cosigned(0, leaves_of(1))
    forged = bytearray(log.note(leaves_of(3)))
    forged[-3] ^= 1
    assert client.ask('POST', '/add-checkpoint', log.request(1, leaves_of(3), note=bytes(forged))).status in (400, 403)
    stranger = Log(log.name)
    ask(stranger.request(1, leaves_of(3)), 403)
    ask(log.request(1, leaves_of(3), proof=[]), 422)
    ask(log.request(1, leaves_of(3), proof=[bytes(32)] * 2), 422)
    ask(log.request(5, leaves_of(3)), 400)
    ask(b'', 400)
    ask(b'old 1\n', 400)
    ask(log.request(1, leaves_of(3)).replace(b'old 1', b'old 01'), 400)
    ask(log.request(1, leaves_of(3), note=log.note(leaves_of(3)).replace(b'\n\n', b'\nextension\n\n')), 400)
    cosigned(1, leaves_of(3))
    ask(log.request(1, leaves_of(5)), 409, 'text/x.tlog.size', b'3\n')
    ask(log.request(0, leaves_of(5)), 409, 'text/x.tlog.size', b'3\n')
    cosigned(3, leaves_of(3))
    cosigned(3, leaves_of(100))
    ask(log.request(100, leaves_of(100, b'other')), 409)
    ask(log.request(100, leaves_of(200, b'other')), 422)
    with contextlib.suppress(OSError):  # it need not read to the end of what it refuses
        assert client.ask('POST', '/add-checkpoint', bytes(80_000), 'text/plain').status == 413
    assert client.get('/add-checkpoint').status == 405
    assert client.get('/nothing').status == 404
    assert client.get('/witness.vkey').ok().data == witness.made['key'].encode() + b'\n'
    assert client.get('/health').ok().json['ok'] is True
    row, = client.get('/v1/status').ok().json['logs']
    assert (row['origin'], row['size'], row['state'], row['forked']) == (log.name, 100, 'OK', True)
    assert b'troth_witness_forks_total 1\n' in client.get('/metrics').ok().data
    # Evidence: two notes of one size that the log signed.
    folder, = os.scandir(os.path.join(witness.dir, 'evidence'))
    notes = []
    for name in ('one', 'other'):
        with open(os.path.join(folder.path, name + '.checkpoint'), 'rb') as f:
            notes.append(outside.Checkpoint(f.read(), outside.Key(log.vkey)))
    assert notes[0].size == notes[1].size == 100 and notes[0].root != notes[1].root
    # It dies and comes back, and knows.
    for end in (witness.kill, witness.stop):
        end()
        witness.start()
        client = witness.client()
        ask(log.request(0, leaves_of(200)), 409, 'text/x.tlog.size', b'100\n')
    cosigned(100, leaves_of(200))
    listed = json.loads(witness.troth('list', '--json').ok().stdout)['logs']
    assert [(row['origin'], row['size'], row['forked']) for row in listed] == [(log.name, 200, True)]
    # A second one on the folder, and a folder that is none.
    second = ledgers.Daemon(home, ['ledger', '--witness', '--dir', witness.dir, '--listen', '127.0.0.1:0'])
    assert second.address is None and second.ended() != 0 and 'BUSY' in second.log, second.log
    none = ledgers.Daemon(home, ['ledger', '--witness', '--dir', os.path.join(home, 'none'), '--listen', '127.0.0.1:0'])
    assert none.ended() != 0 and 'NOT_FOUND' in none.log and 'witness new' in none.log, none.log
    witness.troth('new', 'again.example.org/w').refused('BUSY')
    witness.stop()
    witness.troth('new', 'again.example.org/w').refused('ALREADY_EXISTS')
    witness.start()


def test_killed_while_it_is_asked(witness, amount):
    """Whatever it said before it died is what it continues: the other history is never cosigned."""
    log, said = Log('log.example.net/other'), 0
    witness.troth('add-log', log.vkey).ok()
    for number in range(amount(6, 200)):
        client = witness.client()
        for _ in range(1 + number % 5):
            answer = client.ask('POST', '/add-checkpoint', log.request(said, leaves_of(said + 4)))
            assert answer.status == 200, answer.data
            said += 4
        # One more is on its way when it dies.
        with contextlib.suppress(OSError, outside.http.client.HTTPException):
            client.connection.request('POST', '/add-checkpoint', log.request(said, leaves_of(said + 1)))
        client.close()
        witness.kill()
        witness.start()
        client = witness.client()
        answer = client.ask('POST', '/add-checkpoint', log.request(0, leaves_of(said + 50, b'other')))
        assert answer.status == 409 and int(answer.data) in (said, said + 1), answer.data
        said = int(answer.data)
        assert client.ask('POST', '/add-checkpoint', log.request(said, leaves_of(said + 50, b'other'))).status == 422
        client.close()


def cosigners(house, keys):
    """Size of the latest checkpoint and which witnesses cosigned it."""
    client = house.client(certificate=False)
    head = client.checkpoint()
    client.close()
    return head, [key.name for key in keys if head.cosigned(key)]


def test_cosignatures_come_with_the_checkpoint(home):
    """Two witnesses of one ledger. One goes away: health says so, the ledger goes on, and when it is back it cosigns again."""
    first, second = Witness(home), Witness(home, 'another.example.net/w2', 'witness2')
    house = ledgers.House(home).init()
    try:
        vkey = os.path.join(house.client_dir, 'log.vkey')
        for one in (first, second):
            one.troth('add-log', vkey).ok()
            one.start()
        keys = [first.key, second.key]
        house.start(*first.options(), *second.options())
        client = house.client()

        def everybody_at(size):
            head, names = cosigners(house, keys)
            return head.size >= size and len(names) == 2

        until(lambda: everybody_at(2), 'both have cosigned the first checkpoint')
        receipt = client.submit(house.event()[0])
        until(lambda: everybody_at(receipt['size']), 'both have cosigned the next one')
        assert client.get('/health').status == 200
        # A proof carries them too.
        leaf_proof = outside.Proof(client.get(f'/v1/proofs/leaf/{receipt["index"]}').ok().data, client.log)
        assert all(leaf_proof.checkpoint.cosigned(key) for key in keys)
        where = second.daemon.address
        second.kill()
        receipt = client.submit(house.event()[0])
        until(lambda: cosigners(house, keys)[0].size >= receipt['size'] and cosigners(house, keys)[1] == [first.name], 'the first goes on alone')
        until(lambda: client.get('/health').status == 503, 'health says that one is away')
        assert second.name in client.get('/health').data.decode()
        second.start(where)
        until(lambda: everybody_at(receipt['size']), 'the second cosigns again')
        until(lambda: client.get('/health').status == 200, 'all is well again')
        # The service starts anew, and asks from where the witness is.
        client.close()
        house.stop()
        house.start(*first.options(), *second.options())
        client = house.client()
        receipt = client.submit(house.event()[0])
        until(lambda: everybody_at(receipt['size']), 'both have cosigned after a restart')
        client.close()
        house.stop()
        for one in (first, second):
            one.stop()
    finally:
        for one in (first, second):
            one.kill()
        if house.daemon:
            house.kill()


def turn_to(folder, url):
    """The client's folder with another address: what a network shows to it."""
    path = os.path.join(folder, 'ledger.conf')
    with open(path, encoding='utf-8') as f:
        lines = [line for line in f if not line.startswith('url')]
    with open(path, 'w', encoding='utf-8') as f:
        f.writelines([f'url: {url}\n', *lines])


def client_folder(house, name, url):
    folder = os.path.join(house.home, name)
    shutil.copytree(house.client_dir, folder)
    turn_to(folder, url)
    return folder


@pytest.mark.attack('LE-05')
def test_a_forked_history_is_caught(home, witness):
    """The operator runs two copies of one ledger, with its key, and shows one to each client. The witness cosigns one history alone; whoever
    sees both heads stops for good, keeps both, and says so."""
    first = ledgers.House(home).init()
    witness.troth('add-log', os.path.join(first.client_dir, 'log.vkey')).ok()
    second = None
    try:
        first.start(*witness.options())
        honest = first.client()
        for _ in range(3):
            receipt = honest.submit(first.event()[0])
        until(lambda: cosigners(first, [witness.key])[1], 'the witness has cosigned')
        honest.close()
        first.stop()
        second = first.copy('fork')
        first.start(*witness.options())
        # Both clients, of ours and of others, saw the history that both copies have.
        ones = [client_folder(first, name, first.daemon.url) for name in ('one', 'two')]
        for folder in ones:
            first.troth('ledger', 'status', '--ledger', folder).ok()
        outsider = outside.Client(ones[0], timeout=ledgers.PATIENCE)
        common = outsider.checkpoint()
        # The first goes on, and is cosigned.
        receipt = outsider.submit(first.event()[0])
        until(lambda: cosigners(first, [witness.key]) if cosigners(first, [witness.key])[0].size >= receipt['size'] and cosigners(first, [witness.key])[1] else None,
              'the first history is cosigned')
        outsider.checkpoint()
        # The second goes on otherwise, with the same key, and is not.
        second.start(*witness.options())
        deceived = outside.Client(second.client_dir, url=second.daemon.url, timeout=ledgers.PATIENCE)
        deceived.head = common
        hidden = deceived.submit(second.event()[0])
        assert hidden['size'] == receipt['size']
        until(lambda: deceived.get('/health').status == 503, 'the fork says itself that its witness refuses')
        assert 'WITNESS_REFUSED' in deceived.get('/health').data.decode()
        head = deceived.checkpoint()
        assert head.size == receipt['size'] and head.cosigned(witness.key) is None, 'who asks for the cosignature is not deceived'
        until(lambda: witness.client().get('/v1/status').ok().json['logs'][0]['forked'], 'the witness has seen both heads')
        # A client of somebody else's meets both.
        with pytest.raises(outside.Forked) as caught:
            outsider.judge(head)
        notes = [outside.Checkpoint(note, outsider.log) for note in (caught.value.one, caught.value.other)]
        assert notes[0].size == notes[1].size and notes[0].root != notes[1].root
        # So does ours.
        first.troth('ledger', 'status', '--ledger', ones[0]).ok()
        turn_to(ones[0], second.daemon.url)
        first.troth('ledger', 'status', '--ledger', ones[0]).refused('LEDGER_FORKED')
        kept = os.path.join(ones[0], 'evidence')
        found = [os.path.join(place, name) for place, _, names in os.walk(kept) for name in names if name.endswith('.checkpoint')]
        heads = []
        for path in found:
            with open(path, 'rb') as f:
                heads.append(outside.Checkpoint(f.read(), outsider.log))
        assert len(heads) == 2 and heads[0].size == heads[1].size and heads[0].root != heads[1].root
        # It stays so, whomever it asks.
        turn_to(ones[0], first.daemon.url)
        first.troth('ledger', 'status', '--ledger', ones[0]).refused('LEDGER_FORKED')
        # One that meets the fork at another size: by the proof that cannot be given.
        deceived.submit(second.event()[0])
        first.troth('ledger', 'status', '--ledger', ones[1]).ok()
        turn_to(ones[1], second.daemon.url)
        first.troth('ledger', 'status', '--ledger', ones[1]).refused('LEDGER_FORKED')
        for client in (outsider, deceived):
            client.close()
        first.stop()
        second.stop()
    finally:
        for house in (first, second):
            if house and house.daemon:
                house.kill()


@pytest.mark.attack('LE-05')
def test_an_old_copy_that_goes_on(home, witness):
    """An operator who puts an old copy of the folder back: the witness has a later size, and does not cosign what replaces it."""
    house = ledgers.House(home).init()
    witness.troth('add-log', os.path.join(house.client_dir, 'log.vkey')).ok()
    old = house.copy('old')
    try:
        house.start(*witness.options())
        client = house.client()
        for _ in range(3):
            receipt = client.submit(house.event()[0])
        until(lambda: cosigners(house, [witness.key])[0].size >= receipt['size'] and cosigners(house, [witness.key])[1], 'it is cosigned')
        head = client.checkpoint()
        client.close()
        house.stop()
        old.start(*witness.options())
        client = old.client()
        until(lambda: client.get('/health').status == 503, 'the old copy is told by its witness')
        assert 'old copy' in client.get('/health').data.decode()
        client.head = head
        with pytest.raises(outside.Wrong, match='went back'):
            client.checkpoint()
        while client.submit(old.event()[0])['size'] <= head.size:
            pass
        with pytest.raises(outside.Forked):
            client.checkpoint()
        until(lambda: 'WITNESS_REFUSED' in client.get('/health').data.decode(), 'the witness refuses')
        assert cosigners(old, [witness.key])[1] == []
        client.close()
        old.stop()
    finally:
        for one in (house, old):
            if one.daemon:
                one.kill()
