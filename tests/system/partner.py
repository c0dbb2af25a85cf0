"""An external peer of a job, honest or not: tests/outside/iecp_client.py on a Unix socket, with every step open to misuse."""
import datetime
import json
import os
import socket
import struct
import sys
import threading

import cbor2
import conftest
import jobs

sys.path.insert(0, os.path.join(conftest.ROOT, 'tests', 'outside'))
import iecp_client as iecp  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

OPEN, CHUNK, END, ABORT = 1, 2, 3, 4
NAME = 'spiffe://outside.example/ire/partner'


def pem_of(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def identity(uri=NAME, issuer=None, days=1, start_days=0, sign_key=None):
    """Keys and a leaf; `issuer` signs the leaf (itself without one)."""
    sign_key, kem_key = sign_key or ec.generate_private_key(iecp.CURVE), ec.generate_private_key(iecp.CURVE)
    start = iecp.utc_now() - datetime.timedelta(minutes=5) + datetime.timedelta(days=start_days)
    leaf = iecp.make_leaf(sign_key, kem_key, issuer or sign_key, uri, start, start + datetime.timedelta(days=days), 1)
    return iecp.Identity(sign_key, kem_key, leaf)


def root_key(machine):
    """The key that endorses this machine's enclaves, from its inception record."""
    with open(os.path.join(machine.state, 'inception.epoch'), 'rb') as f:
        payload = cbor2.loads(cbor2.loads(f.read()).value[2])
    return iecp.read_point(payload[7])


class Partner(threading.Thread):
    """Listens, takes one connection and lets `talk(sock)` do what it wants. What it raises and returns is kept."""

    def __init__(self, folder, talk, name='p.sock'):
        super().__init__(daemon=True)
        self.path = os.path.join(folder, name)
        self.talk, self.failure, self.result = talk, None, None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.settimeout(30)
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.listener.bind(self.path)
        self.listener.listen(4)

    def run(self):
        try:
            sock, _ = self.listener.accept()
            with sock:
                sock.settimeout(30)
                self.result = self.talk(sock)
        except Exception as failure:  # told to the test
            self.failure = failure

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.listener.close()
        self.join(40)
        assert not self.is_alive()


def frame(kind, body):
    return iecp.lv(cbor2.dumps({1: kind, 2: 1, 3: body}, canonical=True))


def opening(edge, operation='rows', run_id=bytes(32)):
    return frame(OPEN, {1: run_id, 2: edge, 3: operation, 4: os.urandom(16), 5: os.urandom(32)})


def ending(length):
    return frame(END, {1: length, 2: None, 3: [], 4: [], 5: [], 6: []})


def stream(data, edge='partner-P', **more):
    """The frames of one whole transfer."""
    parts = [opening(edge, **more)]
    parts += [frame(CHUNK, data[at:at + 60000]) for at in range(0, len(data), 60000)]
    return b''.join(parts) + ending(len(data))


def read_stream(data):
    """(frames by type, content) of what an enclave sent."""
    frames, content, at = [], b'', 0
    while at < len(data):
        length = struct.unpack('>I', data[at:at + 4])[0]
        one = cbor2.loads(data[at + 4:at + 4 + length])
        frames.append((one[1], one[3]))
        content += one[3] if one[1] == CHUNK else b''
        at += 4 + length
    return frames, content


def receiving_job(machine, program='cat', key=None, operation='rows', second=None, **more):
    """partner -> P -> out.txt; `key` is the one that the job pins. A `second` peer with the same key feeds a file; `more` is policy."""
    jobs.written(machine.work, 'p.sh', f'#!/bin/sh\n{program}\n', 0o755)
    jobs.written(machine.work, 'partner.pem', pem_of(key))
    names = ['partner', second] if second else ['partner']
    rules = jobs.policy('P', names, allow_level0=names, **more)
    flow = [{'from': 'partner', 'to': 'P', 'operation': operation}]
    externals = [{'name': 'partner', 'socket': './p.sock', 'key': 'partner.pem'}]
    if second:
        flow.append({'from': second, 'to': 'P', 'operation': operation, 'input': 'second'})
        externals.append({'name': second, 'socket': './q.sock', 'key': 'partner.pem'})
    return jobs.write_job(machine.work, [{**jobs.enclave('P', './p.sh', files=['/usr/bin/cat']), 'policy': rules}], flow=flow,
                          outputs=[{'name': 'out', 'from': 'P', 'file': 'out.txt'}], externals=externals)


def shown_a_path(path):
    """The same job, in which its peer outside is shown the certificates above the leaf."""
    with open(path, encoding='ascii') as file:
        job = json.load(file)
    job['externals'][0]['show'] = 'path'
    with open(path, 'w', encoding='ascii') as file:
        json.dump(job, file)
    return path


def sending_job(machine, program='echo sent', key=None, files=(), **more):
    """P -> partner, and P's output file beside it. `more` is policy."""
    jobs.written(machine.work, 'p.sh', f'#!/bin/sh\n{program}\necho done >/tmp/note\n', 0o755)
    jobs.written(machine.work, 'partner.pem', pem_of(key))
    rules = jobs.policy('P', ['partner'], allow_level0=['partner'], **more)
    one = jobs.enclave('P', './p.sh', files=list(files), outputs=[{'name': 'note', 'path': 'note'}])
    return jobs.write_job(machine.work, [{**one, 'policy': rules}],
                          flow=[{'from': 'P', 'to': 'partner', 'operation': 'rows'}],
                          outputs=[{'name': 'out', 'from': 'P', 'output': 'note', 'file': 'out.txt'}],
                          externals=[{'name': 'partner', 'socket': './p.sock', 'key': 'partner.pem'}])
