"""IECP against the released runtime: a peer outside Troth (tests/outside/iecp_client.py), honest and hostile, at a channel of a running job."""
import os
import re
import struct

import conftest
import jobs
import partner
import pytest
from jobs import box, probe  # noqa: F401 (fixtures)
from partner import Partner, iecp

TEXT = b''.join(b'%d,row\n' % n for n in range(30000))


def refused_run(box, ran, *reasons):
    """The run failed for one of these reasons, named the edge's enclave, and left nothing."""
    ran.refused('STAGE_FAILED', 1)
    assert re.search('|'.join(reasons), ran.stderr), str(ran)
    jobs.assert_untouched(box)


def run_with(box, talk, key, **more):
    """Runs the receiving job against a partner that behaves as `talk`."""
    job = partner.receiving_job(box, key=key, **more)
    with Partner(box.work, talk) as peer:
        ran = box.run(job)
    return ran, peer


def channel_of(box, sock, identity):
    """The partner sends, so it is the initiator."""
    return iecp.initiate(sock, identity, partner.root_key(box))


@pytest.mark.smoke
def test_an_outside_peer_sends_to_an_enclave(box):
    who = partner.identity()

    def talk(sock):
        channel = channel_of(box, sock, who)
        channel.send(partner.stream(TEXT))
        channel.close()
        return channel.receive_all()

    ran, peer = run_with(box, talk, who.sign_key)
    ran.ok()
    assert peer.failure is None and peer.result == b''
    assert box.text().encode() == TEXT
    verdict = box.verify(box.trust(os.path.join(box.work, 'job.json'))).ok().json
    assert verdict['verdict'] == 'accepted'


@pytest.mark.sanitize
def test_an_enclave_sends_to_an_outside_peer(box):
    who = partner.identity()

    def talk(sock):
        channel = iecp.respond(sock, who, partner.root_key(box))
        data = channel.receive_all()
        channel.close()
        return data

    job = partner.sending_job(box, key=who.sign_key)
    with Partner(box.work, talk) as peer:
        box.run(job).ok()
    assert peer.failure is None
    frames, content = partner.read_stream(peer.result)
    assert content == b'sent\n' and [f[0] for f in frames] == [partner.OPEN, partner.CHUNK, partner.END]
    assert box.text() == 'done\n'


# ---- certificates

@pytest.mark.sanitize
@pytest.mark.attack('CF-14', 'BI-09')
def test_another_key_in_the_peers_name(box):
    """The right name under a key that is not the pinned one: a self-signed leaf, and one that claims the pinned issuer's work."""
    pinned, stranger = partner.identity(), partner.identity()

    def talk(sock):
        return channel_of(box, sock, stranger)

    ran, peer = run_with(box, talk, pinned.sign_key)
    refused_run(box, ran, 'CERTIFICATE_FOREIGN', 'BAD_SIGNATURE')
    assert isinstance(peer.failure, (iecp.Refused, OSError)) and peer.result is None


@pytest.mark.attack('CF-14')
@pytest.mark.parametrize('name', ['P', 'Q'])
def test_an_enclaves_name_from_outside(box, name):
    """A leaf of an enclave's full name under this very root's label, signed by the outsider's own key: the name alone opens nothing. The job has
    an enclave Q that P talks to; the outsider stands at the socket of an external peer."""
    pinned = partner.identity()
    liar = partner.identity(f'spiffe://{box.root_label()}.troth.internal/ire/{name}')
    ran, peer = run_with(box, lambda sock: channel_of(box, sock, liar), pinned.sign_key)
    refused_run(box, ran, 'CERTIFICATE_FOREIGN', 'BAD_SIGNATURE')
    assert peer.result is None


@pytest.mark.attack('BI-08')
@pytest.mark.parametrize('days, start', [(1, -3), (1, 3)])
def test_a_certificate_outside_its_time(box, days, start):
    """Expired the day before yesterday; and not valid before the day after tomorrow."""
    who = partner.identity(days=days, start_days=start)
    ran, peer = run_with(box, lambda sock: channel_of(box, sock, who), who.sign_key)
    refused_run(box, ran, 'CERTIFICATE_EXPIRED')
    assert peer.result is None


@pytest.mark.attack('BI-02')
def test_the_enclaves_own_messages_turned_back(box):
    """Reflection: the partner has no key and answers M1 with M1."""
    who = partner.identity()

    def talk(sock):
        m1 = iecp.read_frame(sock, iecp.MAX_M1)
        sock.sendall(iecp.lv(m1))
        return sock.recv(1)

    job = partner.sending_job(box, key=who.sign_key)
    with Partner(box.work, talk) as peer:
        ran = box.run(job)
    refused_run(box, ran, 'REFLECTED', 'TRAILING_BYTES', 'TRUNCATED', 'SUITE_REFUSED', 'BAD_VALUE', 'UNKNOWN_VERSION', 'TOO_LARGE')
    assert peer.result in (b'', None)


@pytest.mark.attack('BI-03', 'IE-02')
def test_a_recorded_session_played_again(box):
    """Everything the honest partner sent in one run, byte by byte, in the next: the other side's nonce and keys are new."""
    who = partner.identity()
    sent = []

    class Recorder:
        def __init__(self, sock):
            self.sock = sock

        def sendall(self, data):
            sent.append(data)
            self.sock.sendall(data)

        def recv(self, count):
            return self.sock.recv(count)

    def honest(sock):
        channel = channel_of(box, Recorder(sock), who)
        channel.send(partner.stream(b'first\n'))
        channel.close()
        return channel.receive_all()

    ran, _ = run_with(box, honest, who.sign_key)
    ran.ok()
    assert box.text() == 'first\n' and len(sent) >= 4
    out = os.path.join(box.home, 'again')

    def replay(sock):
        sock.sendall(sent[0])
        iecp.read_frame(sock, iecp.MAX_M2)
        sock.sendall(b''.join(sent[1:]))
        return sock.recv(1)

    with Partner(box.work, replay):
        ran = box.run(os.path.join(box.work, 'job.json'), out=out)
    ran.refused('STAGE_FAILED', 1)
    assert re.search('BAD_TAG|BAD_FINISHED|BAD_SIGNATURE', ran.stderr), str(ran)
    jobs.assert_untouched(box, out)


@pytest.mark.attack('BI-04')
def test_evidence_from_a_peer_that_has_no_root(box):
    """A pinned peer that sends evidence, of whatever kind, claims what it cannot have."""
    who = partner.identity()
    who.evidence = lambda bind: os.urandom(64) + bind
    ran, peer = run_with(box, lambda sock: channel_of(box, sock, who).receive(), who.sign_key)
    refused_run(box, ran, 'EVIDENCE_UNEXPECTED')


# ---- the stream

def misuse(box, act):
    """An honest handshake, then `act(channel, sock)`."""
    who = partner.identity()

    def talk(sock):
        channel = channel_of(box, sock, who)
        return act(channel, sock)

    return run_with(box, talk, who.sign_key)


@pytest.mark.sanitize
@pytest.mark.attack('IE-05')
@pytest.mark.parametrize('what', ['nothing', 'half', 'no end', 'no close', 'half a record'])
def test_a_connection_that_ends_too_early(box, what):
    """TCP-style truncation at every stage: what arrived counts for nothing, though the program has seen some of it."""
    whole = partner.stream(TEXT)

    def act(channel, sock):
        if what == 'half':
            channel.send(whole[:len(whole) // 2])
        elif what == 'no end':
            channel.send(whole[:-len(partner.ending(len(TEXT)))])
            channel.close()
        elif what == 'no close':
            channel.send(whole)
        elif what == 'half a record':
            record = channel.out.seal(iecp.DATA, whole[:60000])
            sock.sendall(record[:-7])
        sock.close()

    ran, _ = misuse(box, act)
    refused_run(box, ran, 'CHANNEL_TRUNCATED', 'INPUT_INCOMPLETE')


@pytest.mark.sanitize
@pytest.mark.attack('IE-03', 'IE-04')
@pytest.mark.parametrize('what', ['swapped', 'dropped', 'repeated'])
def test_records_out_of_order(box, what):
    whole = partner.stream(TEXT)

    def act(channel, sock):
        records = [channel.out.seal(iecp.DATA, whole[at:at + 50000]) for at in range(0, len(whole), 50000)]
        records.append(channel.out.seal(iecp.CLOSE, b''))
        changed = {'swapped': [records[0], records[2], records[1], *records[3:]], 'dropped': [records[0], *records[2:]],
                   'repeated': [records[0], records[0], *records[1:]]}[what]
        sock.sendall(b''.join(changed))
        return channel.receive_all()

    ran, peer = misuse(box, act)
    refused_run(box, ran, 'RECORD_OUT_OF_ORDER', 'BAD_TAG')


@pytest.mark.sanitize
@pytest.mark.attack('IE-13')
@pytest.mark.parametrize('length', [0, 15, 65536 + 17, 2**31, 2**32 - 1])
def test_lengths_that_no_record_has(box, length):
    def act(channel, sock):
        channel.send(partner.opening('partner-P'))
        sock.sendall(struct.pack('>HBBIQ', 0, iecp.DATA, 0, length, channel.out.seq) + bytes(64))
        return channel.receive_all()

    ran, peer = misuse(box, act)
    refused_run(box, ran, 'TOO_LARGE', 'BAD_VALUE', 'UNEXPECTED_RECORD', 'TRUNCATED', 'CHANNEL_TRUNCATED', 'BAD_TAG')


@pytest.mark.sanitize
@pytest.mark.attack('IE-13')
@pytest.mark.parametrize('length', [0, 16385, 2**32 - 1])
def test_lengths_that_no_message_has(box, length):
    who = partner.identity()

    def talk(sock):
        sock.sendall(struct.pack('>I', length) + bytes(64))
        return sock.recv(1)

    ran, peer = run_with(box, talk, who.sign_key)
    refused_run(box, ran, 'TOO_LARGE', 'TRUNCATED', 'BAD_VALUE', 'UNKNOWN_VERSION')
    assert peer.result in (b'', None)


@pytest.mark.attack('IE-06', 'IE-14')
def test_records_of_another_session(box):
    """Records sealed under the keys of an earlier channel of the same two, and the enclave's own."""
    who = partner.identity()
    kept = []

    def first(sock):
        channel = channel_of(box, sock, who)
        channel.send(partner.stream(b'first\n'))
        channel.close()
        kept.append(channel)
        return channel.receive_all()

    ran, _ = run_with(box, first, who.sign_key)
    ran.ok()
    out = os.path.join(box.home, 'again')

    def splice(sock):
        channel = channel_of(box, sock, who)
        kept[0].out.seq = 0
        sock.sendall(kept[0].out.seal(iecp.DATA, partner.stream(b'second\n')))
        return channel.receive_all()

    with Partner(box.work, splice):
        ran = box.run(os.path.join(box.work, 'job.json'), out=out)
    ran.refused('STAGE_FAILED', 1)
    assert 'BAD_TAG' in ran.stderr, str(ran)
    jobs.assert_untouched(box, out)


@pytest.mark.attack('IE-09')
def test_no_common_suite(box):
    who = partner.identity()

    def talk(sock):
        return iecp.initiate(sock, who, partner.root_key(box), suites=(9,))

    ran, _ = run_with(box, talk, who.sign_key)
    refused_run(box, ran, 'SUITE_REFUSED')


@pytest.mark.sanitize
@pytest.mark.attack('IE-11')
@pytest.mark.parametrize('point', ['infinity', 'off the curve', 'zero', 'compressed'])
def test_points_that_are_not_on_the_curve(box, point):
    who = partner.identity()
    bad = {'infinity': bytes(65), 'off the curve': b'\4' + b'\1' * 64, 'zero': b'\4' + bytes(64), 'compressed': b'\2' + bytes(64)}[point]

    def talk(sock):
        side = iecp.Initiator(who, partner.root_key(box), iecp.utc_now())
        m1 = side.m1()
        at = m1.index(partner.iecp.point_of(side.e))
        sock.sendall(iecp.lv(m1[:at] + bad + m1[at + 65:]))
        return sock.recv(1)

    ran, peer = run_with(box, talk, who.sign_key)
    refused_run(box, ran, 'BAD_POINT')
    assert peer.result in (b'', None)


# ---- frames

FRAMES = {
    'another edge': (partner.stream(b'x', edge='P-partner'), 'OPERATION_NOT_ALLOWED'),
    'another operation': (partner.stream(b'x', operation='steal'), 'OPERATION_NOT_ALLOWED'),
    'another run': (partner.stream(b'x', run_id=b'\7' * 32), 'DAC_FOREIGN_RUN'),
    'no opening': (partner.frame(partner.CHUNK, b'x') + partner.ending(1), 'ILLEGAL_STATE|BAD_'),
    'opened twice': (partner.opening('partner-P') + partner.stream(b'x'), 'ILLEGAL_STATE'),
    'more after the end': (partner.stream(b'x') + partner.frame(partner.CHUNK, b'y'), 'ILLEGAL_STATE'),
    'a wrong length': (partner.opening('partner-P') + partner.frame(partner.CHUNK, b'xyz') + partner.ending(2), 'INPUT_INCOMPLETE'),
    'an empty chunk': (partner.opening('partner-P') + partner.frame(partner.CHUNK, b'') + partner.ending(0), 'BAD_VALUE|BAD_TYPE|TRUNCATED|TOO_'),
    'an unknown type': (partner.opening('partner-P') + partner.frame(9, b'x'), 'BAD_VALUE|WRONG_KIND|UNKNOWN'),
    'a frame of 4 GB': (partner.opening('partner-P') + b'\xff\xff\xff\xff', 'TOO_LARGE'),
    'not CBOR': (iecp.lv(b'\xff' * 40), 'NOT_DETERMINISTIC|BAD_TYPE|BAD_SYNTAX|BAD_VALUE|TRUNCATED'),
    'an abort': (partner.opening('partner-P') + partner.frame(partner.ABORT, {1: 3, 2: 'out of paper', 3: 'partner'}), 'STAGE_ABORTED'),
}


@pytest.mark.sanitize
@pytest.mark.parametrize('what', FRAMES)
def test_frames_that_no_honest_peer_sends(box, what):
    data, reason = FRAMES[what]

    def act(channel, sock):
        channel.send(data)
        channel.close()
        return channel.receive_all()

    ran, _ = misuse(box, act)
    ran.refused('STAGE_FAILED', 1)
    assert re.search(reason, ran.stderr), str(ran)
    assert 'INTERNAL' not in ran.stderr
    jobs.assert_untouched(box)


@pytest.mark.attack('DA-03', 'DA-11')
def test_records_from_a_peer_that_can_have_none(box):
    """An external peer hands over 'records' of its own making: refused, whatever they say."""
    with_record = partner.frame(partner.END, {1: 1, 2: b'a record', 3: [], 4: [], 5: [], 6: []})
    with_closure = partner.frame(partner.END, {1: 1, 2: None, 3: [], 4: [], 5: [], 6: [b'a record']})
    for end in (with_record, with_closure):
        def act(channel, sock):
            channel.send(partner.opening('partner-P') + partner.frame(partner.CHUNK, b'x') + end)
            channel.close()
            return channel.receive_all()
        ran, _ = misuse(box, act)
        refused_run(box, ran, 'EVIDENCE_UNEXPECTED')


# ---- policy at the channel

@pytest.mark.attack('PO-11')
def test_a_pinned_peer_needs_leave_by_name(box):
    """Without allow_level0 a peer that shows no evidence is too low, whatever name it carries."""
    who = partner.identity()
    job = partner.receiving_job(box, key=who.sign_key)
    jobs.written(box.work, 'policies/P.json', __import__('json').dumps(jobs.policy('P', ['partner'])))

    def talk(sock):
        return channel_of(box, sock, who)

    with Partner(box.work, talk) as peer:
        ran = box.run(job)
    refused_run(box, ran, 'LEVEL_TOO_LOW')
    assert peer.result is None


def test_nobody_listens(box):
    who = partner.identity()
    job = partner.receiving_job(box, key=who.sign_key)
    ran = box.run(job)
    assert ran.code != 0 and 'partner' in ran.stderr
    jobs.assert_typed(ran.code, ran.stderr)
    jobs.assert_untouched(box)


@pytest.mark.slow
def test_a_peer_that_never_speaks(box):
    """It accepts and is silent: the handshake has a limit, and so has the run."""
    who = partner.identity()

    def talk(sock):
        sock.settimeout(90)
        return sock.recv(1)

    job = partner.receiving_job(box, key=who.sign_key)
    with Partner(box.work, talk) as peer:
        ran = box.run(job, timeout=90)
    refused_run(box, ran, 'TIMED_OUT', 'HANDSHAKE_EXPIRED')
    assert peer.result == b''
