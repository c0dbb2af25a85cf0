"""A host as a service for tests of its root: started, spoken to on its socket without Troth's client, killed, and its history kept."""
import array
import contextlib
import os
import socket
import subprocess
import sys

import cbor2
import conftest
import jobs

sys.path.insert(0, os.path.join(conftest.ROOT, 'tests', 'outside'))
import follow_epochs  # noqa: E402
from cryptography.hazmat.primitives import hashes  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature  # noqa: E402

ATTEST, ROTATE, ROOT, HISTORY = 3, 9, 10, 11
ERROR, DONE, ATTESTED, ROOT_IS = 32, 33, 35, 40
REASONS = {}
with open(os.path.join(conftest.ROOT, 'src/base/reason.def')) as table:
    for line in table:
        if line.startswith('REASON('):
            number, name = line[len('REASON('):].split(',')[:2]
            REASONS[int(number)] = name.strip()


class Refused(Exception):
    """An ERROR of the host; args[0] is the reason's name."""


class Client:
    """One connection (docs/PROTOCOL.host)."""

    def __init__(self, state, timeout=60):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(os.path.join(state, 'socket'))
        self.reply()

    def close(self):
        self.socket.close()

    def read(self, size):
        data = b''
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise ConnectionError('the host hung up')
            data += more
        return data

    def reply(self):
        message = cbor2.loads(self.read(int.from_bytes(self.read(4), 'big')))
        body = cbor2.loads(message[2])
        if message[1] == ERROR:
            raise Refused(REASONS[body[1]], body[2])
        return message[1], body

    def call(self, kind, body, fds=()):
        message = cbor2.dumps({1: kind, 2: cbor2.dumps(body, canonical=True)}, canonical=True)
        data = len(message).to_bytes(4, 'big') + message
        if fds:
            sent = self.socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))])
            data = data[sent:]
        if data:
            self.socket.sendall(data)
        return self.reply()[1]

    def attest(self, challenge):
        """The rot challenge object."""
        return self.call(ATTEST, {1: challenge})[2]

    def rotate(self, emergency=False, text='test'):
        """The head record afterwards."""
        return self.call(ROTATE, {1: emergency, 2: text})[2]

    def rotate_on(self):
        """As rotate; after the one before, when that and its drain still run: the host's answer is to ask again."""
        def done():
            try:
                return self.rotate()
            except Refused as refused:
                if refused.args[0] != 'ROTATION_RUNNING':
                    raise
                return None
        return jobs.until(done, 'the end of the rotation before', 60)

    def root(self):
        return self.call(ROOT, {1: False})

    def history(self):
        """Bytes of an epoch_history."""
        fd = os.memfd_create('history')
        try:
            self.call(HISTORY, {1: False}, [fd])
            os.lseek(fd, 0, os.SEEK_SET)
            with os.fdopen(os.dup(fd), 'rb') as f:
                return f.read()
        finally:
            os.close(fd)


class Service:
    """`trothd host`, from when it is ready."""

    def __init__(self, machine, *options, wrap=()):
        self.machine = machine
        ours, theirs = socket.socketpair()
        command = [*wrap, *machine.command('host', '--state', machine.state, '--ready-fd', str(theirs.fileno()), *options, program='trothd')]
        self.log = os.path.join(machine.home, 'host.log')  # a pipe that nobody reads would hold it up
        with open(self.log, 'wb') as log:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, env=machine.env(),
                                          pass_fds=[theirs.fileno()])
        theirs.close()
        with ours:
            ours.settimeout(60)
            told = ours.recv(4)
            message = cbor2.loads(ours.recv(int.from_bytes(told, 'big'), socket.MSG_WAITALL)) if told else {1: None}
        self.refused = REASONS[cbor2.loads(message[2])[1]] if message[1] == ERROR else None
        if message[1] != DONE:
            self.child.wait(timeout=60)

    def client(self):
        return Client(self.machine.state)

    def ap(self):
        """The processes of its secure processor; the last is the one inside the namespaces."""
        return jobs.processes('troth-ap')

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
        self.child.wait(timeout=60)

    @property
    def error(self):
        with open(self.log, errors='replace') as f:
            return f.read()


@contextlib.contextmanager
def service(machine, *options, wrap=()):
    host = Service(machine, *options, wrap=wrap)
    try:
        assert host.refused is None, host.error
        yield host
    finally:
        host.stop()


def records_of(history):
    """Every epoch record in it, as {(era, epoch): {oid}}; a HALT is left out."""
    found = {}
    for item in cbor2.loads(history)[2]:
        signed = follow_epochs.Signed(item)
        if len(signed.fields) > 4:
            found.setdefault((signed.fields[3], signed.fields[4]), set()).add(signed.oid(follow_epochs.EPOCH))
    return found


def followed(history):
    """The history followed to its end by other code than Troth's."""
    follower, objects = follow_epochs.of_history(history)
    taken = list(follow_epochs.replay(follower, objects))
    refused = [told for told, may_stand in taken if not may_stand]
    assert not refused, refused
    return follower


def keys_of(follower):
    """The signing keys of its records by oid, also of those that do not count any more."""
    records = {**follower.chain, **follower.void}
    return {oid: follow_epochs.point_key(record.e[follow_epochs.SIGN_PK]) for oid, record in records.items()}


def check_answer(object_, challenge, keys):
    """A rot challenge object is one of these keys' over this challenge; gives its epoch."""
    protected, _, payload, signature = cbor2.loads(object_).value
    answer = cbor2.loads(payload)
    assert answer[2] == challenge, 'an answer to another challenge'
    message = cbor2.dumps(['Signature1', protected, b'troth rot challenge', payload])
    pair = encode_dss_signature(int.from_bytes(signature[:32], 'big'), int.from_bytes(signature[32:], 'big'))
    keys[answer[3]].verify(pair, message, ec.ECDSA(hashes.SHA256()))
    return answer[6]
