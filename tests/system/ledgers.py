"""A ledger with its service, for the tests of everything that asks one.

    with Ledger(troth, folder) as ledger:     # troth ledger init, trothd ledger on a free port
        status, headers, body = ledger.get('/v1/status')
        receipt = ledger.send(transaction_bytes)

Transactions are made by `troth` itself (--tx FILE), or by the caller.
"""
import http.client
import json
import os
import select
import signal
import ssl
import subprocess
import time

from conftest import SLOWNESS, environment, program


class Ledger:
    def __init__(self, troth, folder, *options, init=(), env=None, wrap=(), start=True):
        self.troth, self.folder, self.options, self.env, self.wrap = troth, str(folder), options, env or {}, list(wrap)
        self.client = os.path.join(self.folder, 'client')
        self.founder = os.path.join(self.folder, 'founder.key')
        self.process = None
        self.address = None
        if not os.path.exists(os.path.join(self.folder, 'log.key')):
            self.made = troth('ledger', 'init', self.folder, '--name', 'example.org/ledger', '--json', *init).ok().json
        if start:
            self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    # ---- the service

    def start(self, *options, patience=60):
        """Starts it and waits until it serves; the address is told on a descriptor, not guessed."""
        read, write = os.pipe()
        home = os.path.dirname(self.folder)
        self.log_path = self.folder + '.log'
        with open(self.log_path, 'ab') as log:
            self.process = subprocess.Popen(
                [*self.wrap, program('trothd'), 'ledger', '--dir', self.folder, '--listen', self.address or '127.0.0.1:0', '--ready-fd', str(write),
                 *self.options, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[write], env={**environment(home), **self.env}, cwd=home,
                start_new_session=True)
        os.close(write)
        line, deadline = b'', time.monotonic() + patience * SLOWNESS
        while not line.endswith(b'\n'):
            left = deadline - time.monotonic()
            assert left > 0 and select.select([read], [], [], left)[0], f'the service did not begin\n{self.log()}'
            piece = os.read(read, 400)
            if not piece:
                break
            line += piece
        os.close(read)
        if not line.endswith(b'\n'):
            code = self.process.wait(patience * SLOWNESS)
            self.process = None
            raise AssertionError(f'the service ended with {code}\n{self.log()}')
        self.address = line.decode().strip()
        return self

    def stop(self, patience=90):
        """SIGTERM; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(patience * SLOWNESS)
        self.process = None
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def end(self):
        if self.process:
            self.kill()

    def log(self):
        with open(self.log_path, errors='replace') as f:
            return f.read()

    # ---- asking it without Troth

    @property
    def host(self):
        return self.address.rpartition(':')[0].strip('[]')

    @property
    def port(self):
        return int(self.address.rpartition(':')[2])

    def context(self, writer=True, client=None):
        folder = client or self.client
        context = ssl.create_default_context(cafile=os.path.join(folder, 'ca.crt'))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if writer:
            context.load_cert_chain(os.path.join(folder, 'writer.crt'), os.path.join(folder, 'writer.key'))
        return context

    def connection(self, writer=True, timeout=60):
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout * SLOWNESS, context=self.context(writer))

    def ask(self, method, path, body=None, writer=False, connection=None, headers=None):
        """(status, headers, body) of one request."""
        own = connection or self.connection(writer)
        try:
            own.request(method, path, body=body, headers=headers or {})
            answer = own.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            if not connection:
                own.close()

    def get(self, path, **more):
        return self.ask('GET', path, **more)

    def json(self, path, **more):
        status, _, body = self.get(path, **more)
        assert status == 200, (status, body)
        return json.loads(body)

    def send(self, transaction, **more):
        status, _, body = self.ask('POST', '/v1/transactions', body=transaction, writer=True, **more)
        assert status == 200, (status, body)
        return json.loads(body)

    def size(self):
        return int(self.get('/checkpoint')[2].split(b'\n')[1])

    def measurement(self, number):
        return f'{number:096x}'

    def transaction(self, number, *options):
        """Bytes of a transaction that counts: the founder registers a measurement made of the number."""
        path = os.path.join(os.path.dirname(self.folder), f'tx-{os.getpid()}-{number}')
        self.troth('ledger', 'register', 'enclave', self.measurement(number), '--key', self.founder, '--ledger', self.folder, '--tx', path, *options).ok()
        with open(path, 'rb') as f:
            found = f.read()
        os.unlink(path)
        return found
