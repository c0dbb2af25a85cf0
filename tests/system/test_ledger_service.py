"""What strangers and bad writers do to a ledger's service: each is refused with a typed reason or shown out, nothing is lost, and others are still served."""
import contextlib
import os
import random
import re
import resource
import shutil
import socket
import ssl
import subprocess
import threading
import time

import conftest
import ledger_houses as ledgers
import pytest
from ledger_houses import outside, until


@pytest.fixture
def house(home):
    with ledgers.house(home) as made:
        yield made


def assert_serves(house):
    """A writer writes, a reader reads, and what comes fits to what came before."""
    client = house.client()
    tx, txid = house.event()
    receipt = client.submit(tx)
    assert receipt['reason'] == 'OK' and receipt['on_ledger'], receipt
    assert client.leaf(receipt['index']).tx == tx
    assert client.checkpoint().size > receipt['index']
    client.close()
    return txid, receipt


def refused(answer, reason, *statuses):
    assert answer.status in statuses and answer.json['error'] == reason and answer.json['do'], (answer.status, answer.data)


# ---- who comes in

@pytest.mark.smoke
def test_a_ledger_is_served_and_proved(house):
    """By a client that is not ours: what it sends is there, proved, and sending it again changes nothing."""
    client = house.client()
    sent = [house.event() for _ in range(5)]
    receipts = [client.submit(tx) for tx, _ in sent]
    assert [receipt['txid'] for receipt in receipts] == [txid.hex() for _, txid in sent]
    assert [client.submit(tx) for tx, _ in sent] == receipts
    leaves, head = client.audit()
    assert sum(not leaf.is_tail for leaf in leaves) == 1 + len(sent)
    for (tx, txid), receipt in zip(sent, receipts):
        assert leaves[receipt['index']].tx == tx and client.leaf(receipt['index']).code == 0
        found = client.get('/v1/transactions/' + txid.hex()).ok().json
        assert (found['index'], found['code']) == (receipt['index'], 0)
    assert client.fact(outside.fact_key(1, b''))[0] is not None
    assert client.fact(outside.fact_key(3, bytes(32)))[0] is None
    # A grant by an owner whom nobody knows, and what the ledger keeps of it.
    owner, audience = outside.Person(), outside.Person()
    grant, oid = owner.sign(b'troth grant', {1: 1, 2: client.chain, 3: owner.point, 4: audience.address, 5: owner.text + '/lab', 6: 1, 7: None, 8: 0, 9: 2 ** 62, 10: 3,
                                             11: 0, 12: None, 13: bytes(32)})
    receipt = client.submit(owner.transaction(client.chain, 4, {1: [grant]})[0])
    assert receipt['reason'] == 'OK', receipt
    value, head = client.fact(outside.fact_key(3, oid))
    assert outside.decode(value)[2] == owner.address and head.size > receipt['index']
    # Refused by the contract, and on the ledger with its code.
    refusal = client.submit(audience.transaction(client.chain, 5, {1: [grant], 2: oid})[0])
    assert refusal['reason'] == 'SENDER_NOT_ALLOWED' and refusal['on_ledger']
    assert client.fact(outside.fact_key(6, oid))[0] is None
    turned_away = client.submit(owner.transaction(bytes(32), 5, {1: [grant], 2: oid})[0])
    assert turned_away['reason'] == 'CHAIN_FOREIGN' and not turned_away['on_ledger']
    revoked = client.submit(owner.transaction(client.chain, 5, {1: [grant], 2: oid})[0])
    assert revoked['reason'] == 'OK' and client.fact(outside.fact_key(6, oid))[0] is not None


@pytest.mark.attack('SV-01', 'SV-02', 'SV-03')
def test_strangers(house):
    place = os.path.join(house.home, 'other')
    os.mkdir(place)
    with ledgers.house(place) as other:
        # TLS 1.2 and older, and no TLS at all.
        old = house.context()
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, OSError)):
            house.tls(context=old)
        with house.plain() as plain:
            plain.sendall(b'GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n')
            assert b'HTTP/1.1 200' not in ledgers.listen(plain)
        with house.plain() as plain:
            plain.sendall(os.urandom(4096))
            assert b'HTTP/1.1 200' not in ledgers.listen(plain)
        # Another protocol above TLS.
        h2 = house.context()
        h2.set_alpn_protocols(['h2'])
        with contextlib.suppress(OSError), house.tls(context=h2) as connection:
            assert connection.selected_alpn_protocol() != 'h2'
        # Without a certificate one reads and does not write.
        reader = house.client(certificate=False)
        tx, txid = house.event()
        refused(reader.ask('POST', '/v1/transactions', tx), 'WRITER_UNKNOWN', 403)
        assert reader.get('/v1/transactions/' + txid.hex()).status == 404
        assert reader.checkpoint().size >= 2
        # The writer of another ledger, whose CA is not this one's.
        foreign = house.context(certificate=False)
        foreign.load_cert_chain(os.path.join(other.client_dir, 'writer.crt'), os.path.join(other.client_dir, 'writer.key'))
        with contextlib.suppress(OSError), house.tls(context=foreign) as connection:
            connection.sendall(b'POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n' % len(tx) + tx)
            assert not any(status == 200 for status, _ in ledgers.answers(ledgers.listen(connection)))
        assert reader.get('/v1/transactions/' + txid.hex()).status == 404
        # And the other way: whoever trusts one CA does not speak to a service of another.
        with pytest.raises(ssl.SSLError):
            outside.Client(other.client_dir, url=house.daemon.url).checkpoint()
        assert_serves(house)
        assert_serves(other)


# ---- what is sent

SMUGGLED = b'GET /v1/status HTTP/1.1\r\nHost: smuggled\r\n\r\n'
POST = b'POST /v1/check HTTP/1.1\r\nHost: x\r\n'
FRAMINGS = [
    b'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    b'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n',
    b'Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde',
    b'Content-Length: 5, 6\r\n\r\nabcde',
    b'Content-Length: +5\r\n\r\nabcde',
    b'Content-Length: -5\r\n\r\nabcde',
    b'Content-Length: 0x5\r\n\r\nabcde',
    b'Content-Length: 5 5\r\n\r\nabcde',
    b'Content-Length: 5;\r\n\r\nabcde',
    b'Content-Length:\r\n\r\nabcde',
    b'Content-Length: 99999999999999999999999999\r\n\r\nabcde',
    b'Content-Length: 18446744073709551621\r\n\r\nabcde',
    b'Content-Length : 5\r\n\r\nabcde',
    b'Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n',
    b'Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n',
    b'Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nabcde',
    b'Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n',
    b'Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n',
    b'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n',
    b'Transfer-Encoding: chunked\r\n\r\n+5\r\nabcde\r\n0\r\n\r\n',
    b'Transfer-Encoding: chunked\r\n\r\n-1\r\nabcde\r\n0\r\n\r\n',
    b'Transfer-Encoding: chunked\r\n\r\n0x5\r\nabcde\r\n0\r\n\r\n',
    b'Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabcde\r\n0\r\n\r\n',
    b'Transfer-Encoding: chunked\r\n\r\n5\nabcde\n0\n\n',
    b'Transfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh\r\n0\r\n\r\n',
    b'X: a\rContent-Length: 5\r\n\r\nabcde',
    b'X\r\nContent-Length: 5\r\n\r\nabcde',
    b'X Y: a\r\nContent-Length: 5\r\n\r\nabcde',
]
LINES = [
    b'GET  /v1/status HTTP/1.1\r\nHost: x\r\n\r\n',
    b'GET\t/v1/status HTTP/1.1\r\nHost: x\r\n\r\n',
    b'GET /v1/status HTTP/1.1 x\r\nHost: x\r\n\r\n',
    b'GET /v1/status HTTP/2.0\r\nHost: x\r\n\r\n',
    b'GET /v1/status\r\n\r\n',
    b'get /v1/status HTTP/1.1\r\nHost: x\r\n\r\n',
    b'PUT /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n',
    b'CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n',
    b'TRACE / HTTP/1.1\r\nHost: x\r\n\r\n',
    b'\0\0\0\0\r\n\r\n',
    b'GET /' + b'a' * 20000 + b' HTTP/1.1\r\nHost: x\r\n\r\n',
    b'GET /v1/status HTTP/1.1\r\n' + b'X: y\r\n' * 5000 + b'\r\n',
    b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
]


@pytest.mark.attack('SV-07')
def test_a_request_has_one_framing(house):
    """Whatever two readers could cut in two ways is refused, and the connection with it: nothing behind it is taken for a request."""
    taken = []
    for request in [POST + framing + SMUGGLED for framing in FRAMINGS] + LINES:
        said = [status for status, _ in ledgers.answers(house.said(request, certificate=False, patience=1))]
        if len(said) > 1 or any(not 400 <= status < 600 for status in said):
            taken.append((request[:100], said))
    assert not taken, taken
    # Two requests on one connection are two.
    said = ledgers.answers(house.said(SMUGGLED + SMUGGLED, certificate=False))
    assert [status for status, _ in said] == [200, 200]
    assert_serves(house)


@pytest.mark.attack('SV-08')
def test_paths_lead_nowhere_else(house):
    with open(os.path.join(house.dir, 'log.key'), 'rb') as f:
        secret = f.read()
    ups = ['/../log.key', '/../../log.key', '/v1/../log.key', '/v1/leaves/../../log.key', '/v1/leaves/..%2f..%2flog.key', '/v1/leaves/%2e%2e/log.key',
           '/v1/leaves/%252e%252e%252flog.key', '/v1/checkpoints/..\\..\\log.key', '//log.key', '/log.key', '/founder.key', '/service/ca.key', '/v1/leaves/1%00', '/v1/leaves/%',
           '/v1/leaves/%zz', '/v1/leaves/1/2', '/v1/leaves/', '/v1/leaves', '/v1/leaves/-1', '/v1/leaves/01', '/v1/leaves/1e3', '/v1/leaves/99999999999999999999',
           '/v1/leaves/1?x=y', '/v1/transactions/' + '0' * 63, '/v1/transactions/' + 'G' * 64, '/v1/proofs/fact/xyz', '/v1/checkpoints/3', '/v1/consistency?from=5&to=2',
           '/v1/consistency?from=1&from=2&to=2', '/v1/entries?limit=-1', '/v1/entries?nothing=1', '/etc/passwd', '/.git/config', '*', 'https://x/v1/status']
    for path in ups:
        said = house.said(b'GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' % path.encode(), certificate=False)
        assert ledgers.answers(said) and all(400 <= status < 500 for status, _ in ledgers.answers(said)), (path, said[:300])
        assert secret not in said and secret.hex().encode() not in said and b'PRIVATE KEY' not in said and b'root:' not in said, path
    assert_serves(house)


@pytest.mark.attack('SV-06')
def test_a_body_of_a_gigabyte(house, amount):
    """Announced, endless, or longer than announced: refused long before memory is taken for it."""
    before = house.daemon.resident()
    for head in (b'Content-Length: 1073741824\r\n\r\n', b'Transfer-Encoding: chunked\r\n\r\n'):
        with house.tls() as connection:
            sent, piece = 0, bytes(1 << 20)
            with contextlib.suppress(OSError):
                connection.sendall(b'POST /v1/transactions HTTP/1.1\r\nHost: x\r\n' + head)
                while sent < amount(64 << 20, 1 << 30):
                    connection.sendall(b'%x\r\n' % len(piece) + piece + b'\r\n' if b'chunked' in head else piece)
                    sent += len(piece)
            said = b''
            with contextlib.suppress(OSError):
                said = ledgers.listen(connection)
            assert sent < 32 << 20, f'{sent} bytes of a body were taken'
            assert all(status in (400, 411, 413) for status, _ in ledgers.answers(said)), said[:300]
    client = house.client()
    with contextlib.suppress(OSError):  # it may hang up while this is still being sent
        assert client.ask('POST', '/v1/transactions', bytes(65537)).status == 413
    client.close()
    junk = client.submit(bytes(57345))
    assert junk['reason'] == 'TX_MALFORMED' and not junk['on_ledger']
    assert house.daemon.resident() < before + 64 * 1024
    assert_serves(house)


# ---- who holds a connection

@pytest.mark.attack('SV-04')
def test_slow_requests_make_nobody_wait(home, amount):
    """More slow clients than there may be connections, at every step from the handshake to the body: whoever comes next is served."""
    with ledgers.house(home, '--connections', '64') as house:
        slow = []
        try:
            for number in range(amount(100, 400)):
                raw = house.plain()
                slow.append(raw)
                with contextlib.suppress(OSError):
                    if number % 4 == 0:
                        raw.sendall(b'\x16\x03\x01\x02\x00\x01')  # the beginning of a ClientHello
                    elif number % 4:
                        slow[-1] = raw = house.context(certificate=False).wrap_socket(raw, server_hostname='127.0.0.1')
                        raw.sendall(b'POST /v1/check HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n' + (b'\r\nabc' if number % 4 == 1 else b'X-Slow: '))
            for _ in range(amount(3, 20)):
                patiently(lambda: assert_serves(house))
                for raw in slow:
                    with contextlib.suppress(OSError, ValueError):
                        raw.sendall(b'a')
        finally:
            for raw in slow:
                raw.close()
        assert_serves(house)


def patiently(step):
    """A newcomer that finds every place taken may try again, as its client would."""
    deadline = time.monotonic() + ledgers.PATIENCE
    while True:
        try:
            return step()
        except (OSError, outside.http.client.HTTPException):
            assert time.monotonic() < deadline, 'others hold every connection'


@pytest.mark.attack('SV-05')
def test_ten_thousand_idle_connections(house, amount):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = amount(3000, 10_000)  # a thousand may stay
    if most < wanted + 500:
        wanted = most - 500
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    idle, handshakes, served = [], 0, 0
    try:
        for number in range(wanted):
            raw = socket.socket()
            raw.settimeout(ledgers.PATIENCE)
            raw.connect(house.daemon.where)
            idle.append(raw)
            if number % 500 == 0:  # some with a whole handshake, and somebody who works
                with contextlib.suppress(OSError):
                    idle[-1] = house.context(certificate=False).wrap_socket(raw, server_hostname='127.0.0.1')
                    handshakes += 1
                patiently(lambda: assert_serves(house))
                served += 1
        assert handshakes >= wanted // 1000 and served == -(-wanted // 500)
        patiently(lambda: assert_serves(house))
        assert house.daemon.descriptors() < 2500
    finally:
        for raw in idle:
            raw.close()
    assert_serves(house)


@pytest.mark.attack('SV-09')
def test_half_closed(house):
    """A client that has sent all it will is answered; one that stops in the middle is let go of."""
    assert_serves(house)
    before = house.daemon.descriptors()
    # Below TLS: FIN after a whole request, without close_notify.
    for cut, whole in ((None, True), (20, False)):
        raw = house.plain()
        with house.context(certificate=False).wrap_socket(raw, server_hostname='127.0.0.1') as connection:
            connection.sendall(SMUGGLED[:cut])
            socket.socket.shutdown(connection, socket.SHUT_WR)
            said = ledgers.answers(ledgers.listen(connection))
            assert [status for status, _ in said] in ([[200], []] if whole else [[], [400]]), said
    # TLS's own end of sending.
    with house.tls(certificate=False) as connection:
        connection.sendall(SMUGGLED)
        with contextlib.suppress(OSError, ValueError):
            connection.unwrap()
    until(lambda: house.daemon.descriptors() <= before, 'all descriptors are given back')
    assert_serves(house)


@pytest.mark.attack('SV-10')
def test_hanging_up_at_each_step(house, amount):
    """After any number of bytes of a whole exchange, by FIN and by RST: the transaction is on the ledger or is not, as asking tells."""
    assert_serves(house)
    before = house.daemon.descriptors()
    dice = random.Random(6)
    fates = {True: 0, False: 0}
    for number in range(amount(60, 1000)):
        tx, txid = house.event()
        request = b'POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n' % len(tx) + tx
        raw = house.plain()
        if number % 3 == 0:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
        if number % 4 == 0:  # within the handshake
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            half = house.context().wrap_bio(incoming, outgoing, server_hostname='127.0.0.1')
            with contextlib.suppress(ssl.SSLWantReadError):
                half.do_handshake()
            hello = outgoing.read()
            raw.sendall(hello[:dice.randrange(len(hello) + 1)])
            raw.close()
        else:
            connection = house.context().wrap_socket(raw, server_hostname='127.0.0.1')
            connection.sendall(request[:len(request) if number % 2 else dice.randrange(len(request))])
            connection.close()
        # Sent again by somebody who stays, it has one verdict.
        if number % 10 == 1:
            client = house.client()
            found = client.get('/v1/transactions/' + txid.hex())
            assert found.status in (200, 404)
            fates[found.status == 200] += 1
            receipt = client.submit(tx)
            assert receipt['reason'] == 'OK' and (found.status == 404 or found.json['index'] == receipt['index'])
            client.close()
    until(lambda: house.daemon.descriptors() <= before, 'all descriptors are given back')
    assert_serves(house)


# ---- the machine

def free_port():
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


@pytest.mark.attack('SV-12')
def test_a_full_disk(home):
    """What is sent is refused, reads go on, and with room again so does writing; nothing that was acknowledged is lost."""
    made = ledgers.House(home).init()
    inner, port = os.path.join(home, 'inner'), free_port()
    os.mkdir(inner)
    own_mounts = ['unshare', '--mount', '--propagation', 'private'] if os.geteuid() == 0 else ['unshare', '--user', '--map-current-user', '--keep-caps', '--mount']
    script = ('mount -t tmpfs -o size=14m,mode=0700 none "$1"; cp -a "$2" "$1/ledger"; chmod 700 "$1/ledger"; head -c 4m /dev/zero > "$1/filler"; '
              '"$3" ledger --dir "$1/ledger" --listen "127.0.0.1:$4" --log-level warning --rate 0 & trothd=$!; read line; rm "$1/filler"; echo removed; '
              'read line; kill -TERM $trothd; wait $trothd')
    with open(os.path.join(home, 'inner.log'), 'wb') as log:
        child = subprocess.Popen([*own_mounts, 'sh', '-ec', script, 'sh', inner, made.dir, conftest.program('trothd'), str(port)], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=log, env=conftest.environment(home), start_new_session=True)
    try:
        client = outside.Client(made.client_dir, url=f'https://127.0.0.1:{port}', timeout=ledgers.PATIENCE)
        until(lambda: reachable(port) or child.poll() is not None, 'the service answers')
        sent, full = [], None
        for number in range(2000):
            # A body that is none: refused by the contract, kept by the log, and large.
            tx, txid = made.founder.transaction(client.chain, 9, {1: 1, 2: 'x', 3: bytes(32), 4: 0, 5: os.urandom(48_000)})
            answer = client.ask('POST', '/v1/transactions', tx)
            if answer.status != 200:
                full = answer
                break
            assert answer.json['on_ledger'], answer.json
            sent.append((tx, txid, answer.json))
        refused(full, 'DISK_FULL', 503, 507)
        assert len(sent) > 10
        for kept, txid, receipt in (sent[0], sent[len(sent) // 2], sent[-1]):
            assert client.leaf(receipt['index']).tx == kept
            assert client.get(f'/v1/transactions/{txid.hex()}').ok().json['index'] == receipt['index']
        again = client.ask('POST', '/v1/transactions', sent[-1][0]).ok().json
        assert {**again, 'text': ''} == {**sent[-1][2], 'text': ''}, 'what is on the ledger has its receipt'
        assert client.fact(outside.fact_key(1, b''))[0] is not None
        assert len(client.get('/v1/status').ok().json) > 3
        head = client.checkpoint()
        refused(client.ask('POST', '/v1/transactions', tx), 'DISK_FULL', 503, 507)
        child.stdin.write(b'\n')
        child.stdin.flush()
        assert child.stdout.readline() == b'removed\n'
        receipt = client.submit(made.event(client.chain)[0])
        assert receipt['reason'] == 'OK' and receipt['index'] >= head.size
        for kept, _, receipt in sent[::9] + sent[-1:]:
            assert client.leaf(receipt['index']).tx == kept
        client.close()
        child.stdin.write(b'\n')
        child.stdin.close()
        assert child.wait(timeout=ledgers.PATIENCE) == 0
    finally:
        if child.poll() is None:
            os.killpg(child.pid, 9)
            child.wait()
        child.stdout.close()


def reachable(port):
    with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port), timeout=1):
        return True
    return False


CLOCK = r'''
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *out)
{
	static int (*real)(clockid_t, struct timespec *);
	static const volatile long *seconds;
	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	if (!seconds) {
		int fd = open(getenv("TEST_CLOCK"), O_RDONLY | O_CLOEXEC);
		seconds = fd < 0 ? NULL : mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
	}
	int done = real(clock, out);
	if (done == 0 && clock == CLOCK_REALTIME && seconds)
		out->tv_sec += *seconds;
	return done;
}
'''


@pytest.mark.attack('SV-13')
def test_the_clock_jumps(home):
    """Forward by a day and back: the ledger's time never goes back, what is dated otherwise is refused with a reason, and reads go on."""
    source, shim, offset = (os.path.join(home, name) for name in ('clock.c', 'clock.so', 'offset'))
    with open(source, 'w', encoding='utf-8') as f:
        f.write(CLOCK)
    subprocess.run(['cc', '-D_GNU_SOURCE', '-shared', '-fPIC', '-O1', '-o', shim, source, '-ldl'], check=True, stdin=subprocess.DEVNULL)

    def jump(seconds):
        with open(offset, 'r+b') as f:
            f.write(seconds.to_bytes(8, 'little', signed=True))

    with open(offset, 'wb') as f:
        f.write(bytes(8))
    house = ledgers.House(home).init()
    try:
        house.start(env={'LD_PRELOAD': shim, 'TEST_CLOCK': offset})
        client, day = house.client(), 86400

        def send(seconds=0):
            now = int(time.time() * 1000) + seconds * 1000
            return client.submit(house.founder.transaction(client.chain, 9, {1: 1, 2: 'x', 3: os.urandom(32), 4: now}, now=now)[0])

        assert send()['reason'] == 'OK'
        jump(-day)  # the clock goes back: the ledger's time stands still, and who has the right time is served
        back = [send(), send()]
        assert [receipt['reason'] for receipt in back] == ['OK', 'OK']
        jump(day)
        assert send()['reason'] == 'TX_EXPIRED'
        forward = send(day)
        assert forward['reason'] == 'OK' and forward['time'] >= back[-1]['time'] + (day - 3600) * 1000
        jump(0)  # the ledger has said a time, and stays there until the clock has caught up
        late = send()
        assert late['reason'] == 'TX_EXPIRED' and not late['on_ledger']
        assert send(day)['reason'] == 'OK'
        house.stop()
        house.start(env={'LD_PRELOAD': shim, 'TEST_CLOCK': offset})
        client.close()
        client.url = house.daemon.url
        assert send()['reason'] == 'TX_EXPIRED' and send(day)['reason'] == 'OK'
        leaves, head = client.audit()  # which demands that the times of TAILs do not go back
        assert head.size > forward['index']
        client.close()
        house.stop()
    finally:
        if house.daemon:
            house.kill()


def test_two_services_on_one_folder(house):
    second = ledgers.House(house.home)
    second.start(ready=False)
    assert second.daemon.ended() != 0 and 'BUSY' in second.daemon.log, second.daemon.log
    assert_serves(house)
    again = house.troth('ledger', 'init', house.dir)
    again.refused('ALREADY_EXISTS')
    assert_serves(house)


# ---- durable

def test_a_sync_comes_before_each_answer(home):
    """By the release binary's own calls: between a transaction that is read and its answer that is written stands a sync of the log that succeeded."""
    house = ledgers.House(home).init()
    trace, count = os.path.join(home, 'trace'), 40
    calls = 'accept,accept4,fdatasync,fsync,read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg'
    try:
        house.start(wrap=['strace', '-D', '-f', '-qq', '-y', '-s', '0', '-o', trace, '-e', f'trace={calls}', '-e', 'signal=none'])
        client = house.client()
        client.get('/health').ok()
        for _ in range(count):
            assert client.submit(house.event()[0])['reason'] == 'OK'
        client.close()
        house.stop()
    finally:
        if house.daemon:
            house.kill()
    rows = list(parse_trace(trace))
    # Whoever may not look at the daemon's descriptors sees numbers alone.
    named = any('/log-' in first for _, first, _ in rows)
    accepted, connection = next((number, value) for number, (name, _, value) in enumerate(rows) if name.startswith('accept') and value >= 0)
    story = ''
    for name, first, value in rows[accepted + 1:]:
        number = int(first.partition('<')[0]) if first.partition('<')[0].isdigit() else -1
        if name in ('fdatasync', 'fsync') and value == 0 and ('/log-' in first or not named):
            story += 's'
        elif number == connection and value > 0:
            story += 'r' if name in ('read', 'readv', 'recvfrom', 'recvmsg') else 'w'
    # Each stretch from reading to the last write before the next reading: handshake and /health without, every transaction with a sync first.
    stretches = re.findall('r[rs]*w[ws]*', story)
    synced = [re.fullmatch('r[r]*s[rs]*w[ws]*', stretch) is not None for stretch in stretches]
    assert sum(synced) == count if named else sum(synced) >= count, (count, story)
    first = synced.index(True)
    assert not named or all(synced[first:first + count]), story


def parse_trace(path):
    """(call, first argument, result) in the order in which calls returned."""
    begun = {}
    with open(path, encoding='utf-8', errors='replace') as f:
        for line in f:
            thread, _, rest = line.strip().partition(' ')
            rest = rest.strip()
            if rest.endswith('<unfinished ...>'):
                begun[thread] = rest[:-len('<unfinished ...>')]
                continue
            if rest.startswith('<...'):
                rest = begun.pop(thread, '') + rest.partition('resumed>')[2]
            name, opened, arguments = rest.partition('(')
            value = re.match(r'-?[0-9]+', rest.rpartition(' = ')[2])
            if opened and value:
                yield name, re.split('[,)]', arguments, 1)[0].strip(), int(value[0])


class Writer(threading.Thread):
    """Sends one transaction after the other over one connection, across deaths of the service, until told to end."""

    def __init__(self, house, chain, ending):
        super().__init__(daemon=True)
        self.house, self.chain, self.ending = house, chain, ending
        self.acknowledged, self.failure = [], None

    def run(self):
        try:
            client, pending = None, None
            while not self.ending.is_set():
                pending = pending or self.house.founder.transaction(self.chain, 9, {1: 1, 2: 'load', 3: os.urandom(32), 4: int(time.time() * 1000)})
                try:
                    daemon = self.house.daemon
                    if daemon is None:
                        self.ending.wait(0.01)
                        continue
                    if client is None:
                        client = outside.Client(self.house.client_dir, url=daemon.url, timeout=ledgers.PATIENCE)
                    receipt = client.submit(pending[0])
                except (OSError, outside.http.client.HTTPException, outside.Wrong) as cause:
                    if isinstance(cause, outside.Wrong) and 'SERVICE_STOPPING' not in str(cause) and 'LEDGER_BUSY' not in str(cause):
                        raise
                    if client:
                        client.close()
                    client = None
                    self.ending.wait(0.01)
                    continue
                assert receipt['reason'] == 'OK' and receipt['txid'] == pending[1].hex(), receipt
                self.acknowledged.append((pending[1], receipt['index'], receipt['size']))
                pending = None
        except BaseException as cause:  # told to the test, which ends it
            self.failure = cause


@pytest.mark.slow
@pytest.mark.attack('SV-11')
def test_killed_under_load(home, amount):
    """256 writers, and the service dies at any moment: every acknowledged id is present, and the head never regresses."""
    kills = int(os.environ.get('TROTH_KILLS', amount(3, 1000)))
    house, ending, dice = ledgers.House(home).init(), threading.Event(), random.Random(11)
    chain, seen, threads = house.chain, None, []
    try:
        house.start()
        threads = [Writer(house, chain, ending) for _ in range(256)]
        for thread in threads:
            thread.start()
        done = lambda: sum(len(thread.acknowledged) for thread in threads)
        for number in range(kills):
            base = done()
            until(lambda: done() > base + dice.randrange(400) or any(thread.failure for thread in threads), 'transactions are acknowledged')
            assert not [thread.failure for thread in threads if thread.failure]
            house.kill()
            floor = max((size for thread in threads for _, _, size in thread.acknowledged[-2:]), default=0)
            house.start()
            watcher = house.client()
            watcher.head = seen
            seen = watcher.checkpoint()  # continues the head of before, by its proof
            assert seen.size >= floor, f'the head is {seen.size}, {floor} was acknowledged'
            watcher.close()
        ending.set()
        for thread in threads:
            thread.join(ledgers.PATIENCE)
            assert not thread.is_alive() and not thread.failure, thread.failure
        check_acknowledged(house, [row for thread in threads for row in thread.acknowledged], dice)
        house.stop()
    finally:
        ending.set()
        if house.daemon:
            house.kill()
        for thread in threads:
            thread.join(ledgers.PATIENCE)


def check_acknowledged(house, rows, dice):
    """Each is there where the receipt said; the indices are all different; some are proved."""
    assert len({index for _, index, _ in rows}) == len({txid for txid, _, _ in rows}) == len(rows)
    client = house.client()
    client.checkpoint()
    for txid, index, _ in rows:
        found = client.get('/v1/transactions/' + txid.hex())
        assert found.status == 200 and found.json['index'] == index and found.json['code'] == 0, (txid.hex(), found.data)
    for txid, index, size in dice.sample(rows, min(50, len(rows))):
        leaf = client.leaf(index)
        assert not leaf.is_tail and leaf.code == 0
    client.close()


# ---- a damaged folder

def answers_of(house, receipts):
    """What the service says of all that is on the ledger; every word of it checked by its proofs."""
    client = house.client()
    said = []
    for path in ['/checkpoint', *(f'/v1/leaves/{n}' for n in range(receipts[-1]['size'])), *('/v1/transactions/' + r['txid'] for r in receipts),
                 '/v1/proofs/fact/' + outside.fact_key(1, b'').hex()]:
        answer = client.get(path)
        said.append((path, answer.status, answer.data))
    proofs = [client.get(f'/v1/proofs/leaf/{r["index"]}') for r in receipts[::7]]
    for answer in proofs:
        if answer.status == 200:
            outside.Proof(answer.data, client.log)
    client.close()
    return said


DATA = ('log-', 'log.head', 'log.key', 'log.vkey', 'state.snapshot', 'tree', 'index.sqlite', 'index.sum')


@pytest.mark.slow
def test_one_flipped_byte(home, amount):
    """At random places of the folder: the service refuses to start and names file and repair, or answers right, or refuses an answer; it never answers wrong."""
    house, dice = ledgers.House(home).init(), random.Random(66)
    try:
        house.start()
        client = house.client()
        receipts = [client.submit(house.event()[0]) for _ in range(30)]
        client.close()
        house.stop()
        house.start()
        right = answers_of(house, receipts)
        house.stop()
        kept = os.path.join(home, 'kept')
        shutil.copytree(house.dir, kept)
        places = [(name, at) for name in sorted(os.listdir(kept)) if name.startswith(DATA)
                  for at in range(last_used(os.path.join(kept, name)))]
        told = {'refused at the start': 0, 'right': 0, 'refused answers': 0}
        for name, at in dice.sample(places, amount(25, 500)):
            shutil.rmtree(house.dir)
            shutil.copytree(kept, house.dir)
            flip(os.path.join(house.dir, name), at, dice)
            told[outcome(house, receipts, right, (name, at))] += 1
        assert told['right'] and sum(told.values()) == amount(25, 500), told
    finally:
        if house.daemon:
            house.kill()


def last_used(path):
    """Bytes up to the last that is not zero: what was taken ahead says nothing."""
    with open(path, 'rb') as f:
        return len(f.read().rstrip(b'\0'))


def flip(path, at, dice):
    with open(path, 'r+b') as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ dice.randrange(1, 256)]))


def outcome(house, receipts, right, place):
    house.daemon = ledgers.Daemon(house.home, ['ledger', '--dir', house.dir, '--listen', '127.0.0.1:0', '--log-level', 'warning'])
    if house.daemon.address is None:
        assert house.daemon.ended() > 0, (place, house.daemon.log)
        log, house.daemon = house.daemon.log, None
        assert any(reason in log for reason in ('DAMAGED', 'ROLLED_BACK', 'BAD_', 'NOT_FOUND')), (place, log)
        assert any(word in log for word in DATA + ('copy', 'reindex')), (place, log)
        return 'refused at the start'
    wrong = [(path, status, data[:200], was) for (path, status, data), (_, was_status, was) in zip(answers_of(house, receipts), right)
             if (status, data) != (was_status, was) and not (status >= 500 and b'"error"' in data)]
    assert not wrong, (place, wrong[:3])
    refusals = sum(status >= 500 for _, status, _ in answers_of(house, receipts))
    house.kill()  # closing would repair
    return 'refused answers' if refusals else 'right'
