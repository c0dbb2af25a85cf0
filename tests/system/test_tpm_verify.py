"""`troth tpm verify`: the quote of a recorded receipt, taken apart, and what must not pass for it. Needs no TPM."""
import os
import struct
import sys

import cbor2
import conftest
import jobs
import pytest

sys.path.insert(0, os.path.join(conftest.ROOT, 'tests', 'outside'))
import platform_evidence  # noqa: E402

RECEIPT = os.path.join(conftest.ROOT, 'tests', 'golden', 'level-2', 'receipt.troth')
VECTORS = os.environ.get('TROTH_VECTORS', os.path.join(conftest.ROOT, '..', 'shared', 'vectors'))


@pytest.fixture
def quote(home):
    """Its parts as files, and the body they come from."""
    with open(RECEIPT, 'rb') as f:
        sections = dict(cbor2.load(f)[2])
    body = cbor2.loads(cbor2.loads(cbor2.loads(sections[11])[0])[2])
    parts = {'attest': body[5], 'signature': body[6], 'ak': body[4], 'pcrs': '\n'.join(f'{i} {v.hex()}' for i, v in body[8]),
             'log': b''.join(body[9])}
    return body, {name: jobs.written(home, name, content) for name, content in parts.items()}


def command(files, nonce, *more, **other):
    files = {**files, **other}
    return ['tpm', 'verify', *[a for n in ('attest', 'signature', 'ak', 'pcrs') for a in ('--' + n, files[n])], '--nonce', nonce, *more]


def test_a_quote_taken_apart(quote, troth, home):
    body, files = quote
    nonce = platform_evidence.quote(body[5])['extra'].hex()
    told = troth(*command(files, nonce), '--json').ok().json
    assert told['verdict'] == 'accepted' and told['quote']['nonce'] == nonce
    framed = jobs.written(home, 'framed', struct.pack('>H', len(body[4])) + body[4])
    pem = jobs.written(home, 'ak.pem', platform_evidence.public_area(body[4])['key'].public_bytes(
        platform_evidence.Encoding.PEM, platform_evidence.PublicFormat.SubjectPublicKeyInfo))
    troth(*command(files, nonce, ak=framed)).ok()
    troth(*command(files, nonce, ak=pem)).ok()
    troth(*command(files, '00' * 32)).refused('TPM_NONCE_MISMATCH', code=1)
    troth(*command(files, nonce, '--bank', 'sha384')).refused('BAD_VALUE')
    troth('tpm', 'verify', '--attest', files['attest']).refused('USAGE', code=2)
    troth(*command(files, nonce)[:-2]).refused('USAGE', code=2)
    loose = bytearray(body[4])
    loose[5] &= ~1  # restricted
    troth(*command(files, nonce, ak=jobs.written(home, 'loose', bytes(loose)))).refused('TPM_AK_UNFIT', code=1)
    other = jobs.written(home, 'other', '\n'.join(f'{i} {(bytes([v[0] ^ 1]) + v[1:]).hex() if i == 4 else v.hex()}' for i, v in body[8]))
    troth(*command(files, nonce, pcrs=other)).refused('TPM_PCR_MISMATCH', code=1)
    fewer = jobs.written(home, 'fewer', '\n'.join(f'{i} {v.hex()}' for i, v in body[8][1:]))
    troth(*command(files, nonce, pcrs=fewer)).refused('TPM_SELECTION_MISMATCH', code=1)


def test_a_log_by_itself(quote, troth, home):
    body, files = quote
    told = troth('tpm', 'verify', '--log', files['log'], '--bank', 'sha384', '--json').ok().json['log']
    assert told['pcrs'] == {str(i): r.hex() for i, r in enumerate(platform_evidence.check_log(body[9], body)) if any(r)}
    damaged = bytearray(b''.join(body[9]))
    damaged[-1] ^= 1
    troth('tpm', 'verify', '--log', jobs.written(home, 'damaged', bytes(damaged)), '--bank', 'sha384').refused('EVENT_DIGEST_MISMATCH', code=1)
    troth('tpm', 'verify', '--log', files['log']).refused('TPM_WRONG_BANK', code=1)
    for content, reason in ((b'', 'EVENT_LOG_DAMAGED'), (b'\0' * 10, 'EVENT_LOG_DAMAGED'), (b'\xff' * 1000, 'TOO_LARGE'),
                            (b'\1' * 1000, 'TOO_LARGE')):
        troth('tpm', 'verify', '--log', jobs.written(home, 'nothing', content)).refused(reason, code=1)


def test_quotes_of_real_machines(troth, home):
    place = os.path.join(VECTORS, '_extracted', 'tpm')
    if not os.path.isdir(place):
        pytest.skip('no samples of real machines: name their folder in TROTH_VECTORS')

    def files(name):
        return {'attest': f'{place}/{name}.attest.bin', 'signature': f'{place}/{name}.sig.bin', 'ak': f'{place}/{name}.ak.pem', 'pcrs': f'{place}/{name}.pcrs.txt'}
    for bank in ('sha1', 'sha256', 'sha384'):
        troth(*command(files(f'gce-nonce9009-{bank}'), '9009', '--bank', bank, '--log', f'{place}/gce-nonce9009.eventlog.bin')).ok()
    troth(*command(files('gce-nonce9009-sha256'), '9008')).refused('TPM_NONCE_MISMATCH', code=1)
    troth(*command(files('az-mismatch'), '6368616c6c656e6765', pcrs=f'{place}/az-tdx.pcrs.txt')).refused('BAD_SIGNATURE', code=1)
