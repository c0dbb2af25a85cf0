"""A client of docs/PROTOCOL.fabric that shares no code with Troth: what a program says to the runtime around it.

Nothing but the standard library, so that it can be measured into an enclave as one file. Requests may be in flight at once:
`ask` sends one and returns its tag, `answer` waits for the reply to a tag.
"""
import os
import struct

HELLO, CALL, ACCEPT, READ, WRITE, CLOSE, RECORD, ATTEST, SIGN, SEAL, UNSEAL = range(1, 12)
OK, DENIED, PEER_FAILED, TIMED_OUT, CANCELLED, LIMIT, MISUSED, TROUBLE = range(8)
DATA_MAX = 60 * 1024


# ---- deterministic CBOR, as much of it as the page uses

def head(major, value):
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 24:
            return bytes([major << 5 | value])
        if value < 1 << 8 * size:
            return bytes([major << 5 | code]) + value.to_bytes(size, 'big')
    raise ValueError(value)


def encode(item):
    if item is True or item is False:
        return b'\xf5' if item else b'\xf4'
    if item is None:
        return b'\xf6'
    if isinstance(item, int):
        return head(0, item)
    if isinstance(item, bytes):
        return head(2, len(item)) + item
    if isinstance(item, str):
        text = item.encode()
        return head(3, len(text)) + text
    if isinstance(item, (list, tuple)):
        return head(4, len(item)) + b''.join(map(encode, item))
    if isinstance(item, dict):
        return head(5, len(item)) + b''.join(encode(k) + encode(item[k]) for k in sorted(item))
    raise TypeError(item)


def decode(data, at=0):
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        return {20: False, 21: True, 22: None}[low], at
    if low >= 24:
        size = 1 << low - 24
        low, at = int.from_bytes(data[at:at + size], 'big'), at + size
    if major == 0:
        return low, at
    if major in (2, 3):
        piece = data[at:at + low]
        return (bytes(piece) if major == 2 else piece.decode()), at + low
    if major == 4:
        items = []
        for _ in range(low):
            item, at = decode(data, at)
            items.append(item)
        return items, at
    if major == 5:
        pairs = {}
        for _ in range(low):
            key, at = decode(data, at)
            pairs[key], at = decode(data, at)
        return pairs, at
    raise ValueError(f'major type {major}')


class Refused(Exception):
    def __init__(self, status, reason, text):
        super().__init__(f'status {status}, reason {reason}: {text}')
        self.status, self.reason, self.text = status, reason, text


class Hung(Exception):
    """The runtime has ended the conversation."""


class Fabric:
    def __init__(self, fd=None):
        self.fd = int(os.environ['TROTH_FABRIC']) if fd is None else fd
        self.tag = 0
        self.replies = {}
        self.buffer = b''

    def send(self, message):
        data = struct.pack('>I', len(message)) + message
        while data:
            data = data[os.write(self.fd, data):]

    def ask(self, kind, body):
        self.tag += 1
        self.send(encode({1: kind, 2: self.tag, 3: encode(body)}))
        return self.tag

    def receive(self):
        while len(self.buffer) < 4 or len(self.buffer) < 4 + struct.unpack('>I', self.buffer[:4])[0]:
            piece = os.read(self.fd, 1 << 16)
            if not piece:
                raise Hung()
            self.buffer += piece
        size = struct.unpack('>I', self.buffer[:4])[0]
        reply, end = decode(self.buffer[4:4 + size])
        assert end == size, 'bytes behind a reply'
        self.buffer = self.buffer[4 + size:]
        self.replies[reply[1]] = reply

    def answer(self, tag):
        while tag not in self.replies:
            self.receive()
        reply = self.replies.pop(tag)
        if reply[2] != OK:
            raise Refused(reply[2], reply[3], reply[4])
        return decode(reply[5])[0]

    def do(self, kind, body):
        return self.answer(self.ask(kind, body))

    # ---- what a program wants

    def hello(self):
        return self.do(HELLO, {1: 1})

    def open(self, to, operation='', data=b'', last=False, causes=(), timeout_ms=0, push=False):
        return self.do(CALL, {1: to, 2: operation, 3: list(causes), 4: timeout_ms, 5: push, 6: data, 7: last})[1]

    def write(self, handle, data, last=False):
        pieces = [data[i:i + DATA_MAX] for i in range(0, len(data), DATA_MAX)] or [b'']
        for i, piece in enumerate(pieces):
            self.do(WRITE, {1: handle, 2: piece, 3: last and i + 1 == len(pieces)})

    def read(self, handle, most=0):
        reply = self.do(READ, {1: handle, 2: most})
        return reply[1], reply[2]

    def read_all(self, handle):
        data, last = b'', False
        pieces = []
        while not last:
            data, last = self.read(handle)
            pieces.append(data)
        return b''.join(pieces)

    def close(self, handle):
        self.do(CLOSE, {1: handle})

    def call(self, to, data, operation='', **more):
        small = len(data) <= DATA_MAX
        handle = self.open(to, operation, data if small else b'', last=small, **more)
        if not small:
            self.write(handle, data, last=True)
        answer = self.read_all(handle)
        self.close(handle)
        return answer

    def accept(self, wait=True):
        reply = self.do(ACCEPT, {1: wait})
        return {'handle': reply[1], 'from': reply[2], 'edge': reply[3], 'operation': reply[4], 'push': reply[5], 'timeout_ms': reply[6],
                'end': reply[7]}

    def respond(self, handle, data):
        self.write(handle, data, last=True)
        self.close(handle)

    def serve(self, answer):
        """Answers every call with answer(call, data) until nobody is left who could call."""
        while True:
            call = self.accept()
            if call['end']:
                return
            # A caller that gave up is no reason to end; what `answer` raises is.
            data = self.unless_refused(call['handle'], lambda: self.read_all(call['handle']))
            if data is None:
                continue
            said = answer(call, data)
            if call['push']:
                self.close(call['handle'])
            else:
                self.unless_refused(call['handle'], lambda: self.respond(call['handle'], said))

    def unless_refused(self, handle, act):
        try:
            return act()
        except Refused:
            self.close(handle)
            return None

    def record(self, name, data, causes=()):
        reply = self.do(RECORD, {1: name, 2: list(causes), 3: data})
        return {'oid': reply[1], 'salt': reply[2], 'commit': reply[3]}

    def attest(self, nonce):
        reply = self.do(ATTEST, {1: nonce})
        return {'certificate': reply[1], 'report': reply[2]}

    def sign(self, name, data, media_type='application/octet-stream'):
        return self.do(SIGN, {1: name, 2: media_type, 3: data})[1]

    def seal(self, data):
        return self.do(SEAL, {1: data})[1]

    def unseal(self, sealed):
        return self.do(UNSEAL, {1: sealed})[1]
