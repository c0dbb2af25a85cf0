"""A proxy between an honest peer and the released runtime: it alters, drops, repeats, swaps, cuts or holds back each message and record."""
import re
import time

import conftest
import jobs
import partner
import pytest
from jobs import box  # noqa: F401 (fixture)
from partner import Partner, iecp

# What the honest peer sends, in order: M1, M3, records (the last but one says END, the last is CLOSE); what it gets: M2, CLOSE.
SENT = ['M1', 'M3', 'first record', 'last record', 'CLOSE']
REFUSED = ('BAD_|TRUNCATED|TRAILING_BYTES|RECORD_OUT_OF_ORDER|UNEXPECTED_RECORD|CHANNEL_|PEER_CLOSED|INPUT_INCOMPLETE|TOO_LARGE|UNKNOWN_VERSION|'
           'HANDSHAKE_EXPIRED|CERTIFICATE_|SUITE_REFUSED|ILLEGAL_STATE|EVIDENCE_UNEXPECTED|PQ_|UNKNOWN_FIELD|TIMED_OUT|PEER_ALERT')


class Proxy:
    """The peer's socket. `fault` befalls the unit number `at` of those that it sends."""

    def __init__(self, sock, at, fault):
        self.sock, self.at, self.fault, self.count, self.held = sock, at, fault, 0, b''

    def sendall(self, data):
        here, self.count = self.count == self.at, self.count + 1
        if here and self.fault == 'alter':
            data = data[:-1] + bytes([data[-1] ^ 1])
        elif here and self.fault == 'alter the head':
            data = bytes([data[0] ^ 0x80]) + data[1:]
        elif here and self.fault == 'drop':
            return
        elif here and self.fault == 'repeat':
            data += data
        elif here and self.fault == 'swap':
            self.held = data
            return
        elif here and self.fault == 'cut':
            self.sock.sendall(data[:len(data) // 2])
            self.sock.shutdown(1)
            raise iecp.Refused('cut here')
        elif here and self.fault == 'hold back':
            time.sleep(0.4)
        self.sock.sendall(data + self.held)
        self.held = b''

    def recv(self, count):
        return self.sock.recv(count)


def run_through(box, at, fault):
    who = partner.identity()

    def talk(sock):
        channel = iecp.initiate(Proxy(sock, at, fault), who, partner.root_key(box))
        for part in (partner.opening('partner-P') + partner.frame(partner.CHUNK, b'text\n'), partner.ending(5)):
            channel.send(part)
        channel.close()
        sock.shutdown(1)
        return channel.receive_all()

    job = partner.receiving_job(box, key=who.sign_key)
    began = time.monotonic()
    with Partner(box.work, talk) as peer:
        ran = box.run(job)
    assert time.monotonic() - began < 20 * conftest.SLOWNESS
    return ran, peer


@pytest.mark.attack('IE-02', 'IE-03', 'IE-04', 'IE-05')
@pytest.mark.parametrize('fault', ['alter', 'alter the head', 'drop', 'repeat', 'swap', 'cut'])
@pytest.mark.parametrize('at', range(len(SENT)), ids=SENT)
def test_every_message_and_record_through_a_hostile_proxy(box, at, fault):
    if (at, fault) == (4, 'swap'):
        fault = 'drop'  # nothing comes after CLOSE to swap it with
    ran, _ = run_through(box, at, fault)
    if (at, fault) == (4, 'repeat'):
        # Both sides have said CLOSE, or are about to: what follows is passed over, or ends a channel that has done its work.
        assert ran.code == 0 or re.search(REFUSED, ran.stderr), str(ran)
        return
    ran.refused('STAGE_FAILED', 1)
    assert re.search(REFUSED, ran.stderr), str(ran)
    jobs.assert_untouched(box)


@pytest.mark.parametrize('at', range(len(SENT)), ids=SENT)
def test_a_proxy_that_only_holds_back(box, at):
    ran, peer = run_through(box, at, 'hold back')
    ran.ok()
    assert peer.failure is None and box.text() == 'text\n'
