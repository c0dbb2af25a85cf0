#!/usr/bin/python3
"""Troth's IECP engine (the program given as argument) and the outside client meet over a Unix socket, in both roles.

Each acceptance has a refusal beside it: a client whose certificate another key signed gets nothing.
"""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENT = [sys.executable, '-B', os.path.join(HERE, 'iecp_client.py')]
TEXT = os.urandom(200000)  # several records
LIMIT = 30


class Side:
    """A program whose input and output are files, so that neither waits for us to read."""

    def __init__(self, work, name, command, text=b'', listens=False):
        self.out = os.path.join(work, name + '.out')
        given = os.path.join(work, name + '.in')
        with open(given, 'wb') as file:
            file.write(text)
        with open(given, 'rb') as file, open(self.out, 'wb') as out:
            self.process = subprocess.Popen(command, stdin=file, stdout=out, stderr=subprocess.PIPE)
        if listens:
            line = self.process.stderr.readline()
            assert line == b'ready\n', line

    def finish(self):
        _, error = self.process.communicate(timeout=LIMIT)
        with open(self.out, 'rb') as out:
            return self.process.returncode, out.read(), error.decode()


def meet(partner, work, role, suites='1', client='client', wishes='', ours_too=(), pq='prefer'):
    """Runs both; the client has `role`. Gives (code, stdout, stderr) of client and partner."""
    name = '-'.join([role, suites, client, wishes, pq, *ours_too])
    sock = os.path.join(work, f'{name}.sock')
    ours = CLIENT + [role, sock, '--identity', f'{work}/{client}', '--pin', f'{work}/troth/issuer.pem', '--suites', suites, *ours_too]
    other = 'responder' if role == 'initiator' else 'initiator'
    theirs = [partner, other, sock, f'{work}/troth', f'{work}/client/issuer.pem', wishes, pq]
    if role == 'initiator':
        second = Side(work, name + '-troth', theirs, listens=True)
        first = Side(work, name, ours, TEXT)
    else:
        first = Side(work, name, ours, TEXT, listens=True)
        second = Side(work, name + '-troth', theirs)
    return first.finish(), second.finish()


def check(partner):
    with tempfile.TemporaryDirectory() as work:
        for name in ('client', 'troth', 'stranger'):
            uri = f'spiffe://outside.example/ire/{name}'
            subprocess.run(CLIENT + ['identity', f'{work}/{name}', '--uri', uri], check=True)
        hybrid = subprocess.run([partner, 'has-suite-2']).returncode == 0
        # Who offers or takes what, and the suite that comes of it: 2 where both sides have it, else 1.
        for role in ('initiator', 'responder'):
            for suites, pq, suite in (('1', 'prefer', 1), ('2,1', 'prefer', 2 if hybrid else 1), ('1,2', 'off', 1)):
                client, troth = meet(partner, work, role, suites, pq=pq)
                assert client[0] == 0 and client[1] == b'from troth', (role, client[0], client[2])
                assert troth[0] == 0 and troth[1] == TEXT, (role, troth[0], troth[2])
                assert f'suite {suite}\n' in client[2] and f'suite {suite}\n' in troth[2], (role, suites, client[2], troth[2])
            client, troth = meet(partner, work, role, '2,1', pq='require')
            if hybrid:
                assert client[1] == b'from troth' and 'suite 2' in troth[2], (client, troth)
            else:
                assert client[1] == b'' and 'PQ_REQUIRED' in troth[2], troth
            client, troth = meet(partner, work, role, '1', pq='require')
            assert client[0] != 0 and client[1] == b'', client
            assert hybrid and role == 'responder' or 'PQ_REQUIRED' in troth[2], troth
        for role in ('initiator', 'responder') if hybrid else ():  # a suite 2 channel renews its keys with suite 2
            client, troth = meet(partner, work, role, '2,1', wishes='s', ours_too=('--start', '--rekeys', '1'))
            assert client[0] == 0 and '1 re-handshakes' in troth[2] and troth[1] == TEXT, (client, troth)
        # Who starts: the client, Troth, both; with KEYUPDATE before it; under load, and after Troth's CLOSE.
        for role in ('initiator', 'responder'):
            for wishes, ours, rekeys in (('', ('--start',), 1), ('s', (), 1), ('us', ('--update',), 1), ('uu', ('--start', '--update'), 1),
                                         ('s', ('--start',), 1)):
                client, troth = meet(partner, work, role, wishes=wishes, ours_too=(*ours, '--rekeys', str(rekeys)))
                assert client[0] == 0 and client[1] == b'from troth', (role, wishes, ours, client[0], client[2], troth[2])
                assert troth[0] == 0 and troth[1] == TEXT, (role, wishes, ours, troth[0], troth[2])
                assert f'{rekeys} re-handshakes' in troth[2], troth
        client, troth = meet(partner, work, 'initiator', client='stranger')
        assert client[0] != 0 and client[1] == b'', client
        assert troth[0] != 0 and 'CERTIFICATE_FOREIGN' in troth[2], troth
        client, troth = meet(partner, work, 'initiator', suites='2', pq='off')
        assert client[0] != 0 and 'SUITE_REFUSED' in troth[2], troth
        client, troth = meet(partner, work, 'responder', client='stranger')
        assert client[0] != 0 and client[1] == b'', client
        assert troth[0] != 0 and 'CERTIFICATE_FOREIGN' in troth[2], troth


if __name__ == '__main__':
    check(sys.argv[1])
    print('handshakes of both suites and re-handshakes completed; strangers and missing suites refused as they must be')
