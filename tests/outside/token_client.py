"""A client of troth-token written from docs/PROTOCOL.token alone. It starts a worker and speaks to it; shares no code with Troth."""
import os
import socket
import struct
import subprocess

INFO, LIST, FIND, GENERATE, SIGN, AGREE, DESTROY, RANDOM, CLOSE = range(1, 10)
SIGNS, AGREES, KEEPS, MADE = 1, 2, 4, 8


class Refused(Exception):
    def __init__(self, reason, text):
        super().__init__(f'{reason}: {text}')
        self.reason, self.text = reason, text


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        assert self.at + count <= len(self.data), 'the message ends too early'
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), 'big')

    def text(self):
        text = self.take(self.number(1)).decode('ascii')
        assert text.isprintable() or not text
        return text

    def end(self):
        assert self.at == len(self.data), 'bytes are left over'


def name(key_id=b'', label=''):
    return bytes([len(key_id)]) + key_id + bytes([len(label)]) + label.encode('ascii')


def read_key(r):
    key_id = r.take(r.number(1))
    return {'id': key_id, 'label': r.text(), 'abilities': r.number(1), 'point': r.take(65)}


class Worker:
    def __init__(self, program, module, pin, options=(), env=None, stderr=None):
        ours, theirs = socket.socketpair()
        reads, writes = os.pipe()
        os.write(writes, pin)
        os.close(writes)

        def arrange():
            # Both away from their places first, so that neither overwrites the other.
            client, secret = os.dup(theirs.fileno()), os.dup(reads)
            high = [os.dup2(client, 30, inheritable=False), os.dup2(secret, 31, inheritable=False)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen([program, '--serve', module, *options], env=env or {}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=stderr, pass_fds=(3, 4), preexec_fn=arrange, cwd='/')
        theirs.close()
        os.close(reads)
        self.socket, self.number = ours, 0
        ours.settimeout(60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def exactly(self, count):
        data = b''
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError('the worker closed the connection')
            data += piece
        return data

    def exchange(self, message):
        self.socket.sendall(struct.pack('>I', len(message)) + message)
        return self.exactly(struct.unpack('>I', self.exactly(4))[0])

    def ask(self, kind, body=b''):
        self.number += 1
        r = Reader(self.exchange(struct.pack('>BBI', 1, kind, self.number) + body))
        version, kind_back, number, reason = r.number(1), r.number(1), r.number(4), r.number(2)
        assert (version, kind_back, number) == (1, kind, self.number)
        if reason:
            text = r.take(r.number(2)).decode('ascii')
            r.end()
            raise Refused(reason, text)
        return r

    def info(self):
        r = self.ask(INFO)
        found = {'label': r.text(), 'manufacturer': r.text(), 'model': r.text(), 'serial': r.text(), 'abilities': r.number(1), 'confinement': r.number(1)}
        r.end()
        return found

    def list(self):
        keys = []
        while True:
            r = self.ask(LIST, struct.pack('>H', len(keys)))
            total, count = r.number(2), r.number(1)
            keys += [read_key(r) for _ in range(count)]
            r.end()
            if count == 0 or len(keys) >= total:
                return keys

    def find(self, **which):
        r = self.ask(FIND, name(**which))
        key = read_key(r)
        r.end()
        return key

    def generate(self, key_id, label, uses=SIGNS):
        r = self.ask(GENERATE, name(key_id, label) + bytes([uses]))
        key = read_key(r)
        r.end()
        return key

    def sign(self, digest, **which):
        r = self.ask(SIGN, name(**which) + digest)
        signature = r.take(64)
        r.end()
        return signature

    def agree(self, point, **which):
        r = self.ask(AGREE, name(**which) + point)
        shared = r.take(32)
        r.end()
        return shared

    def destroy(self, **which):
        self.ask(DESTROY, name(**which)).end()

    def random(self, count):
        r = self.ask(RANDOM, struct.pack('>H', count))
        assert r.number(2) == count
        data = r.take(count)
        r.end()
        return data
