"""What a program seals to its own enclave: back in a later launch under a grant that the receipt shows, and refused to everybody
and everything else."""
import os
import re
import shutil
import subprocess

import conftest
import pytest
from jobs import enclave, policy, write_job, written

OUTSIDE = os.path.join(conftest.ROOT, 'tests', 'outside')
CANARY = b'a-value-that-stays-in-here'
PRELUDE = '''#!/usr/bin/python3 -I
import os, sys
sys.path.insert(0, "/job")
import fabric_client as f
x = f.Fabric()
given = sys.stdin.buffer.read()
def refused(sealed, *statuses):
    try:
        x.unseal(sealed)
    except f.Refused as e:
        assert e.status in statuses and e.text, (e, len(sealed))
        return e.text
    raise SystemExit("it was opened")
'''
# Nothing given: seals. Else: what was sealed comes back, in the output only as its length and digest.
KEEPER = '''
import hashlib
value = b"%s" * 2000
if not given:
    sys.stdout.buffer.write(x.seal(value))
else:
    back = x.unseal(given)
    assert back == value and x.unseal(given) == value
    r = x.record("after", b"x")
    print(len(back), hashlib.sha256(back).hexdigest())
''' % CANARY.decode()


def content(*parts):
    with open(os.path.join(*parts), 'rb') as f:
        return f.read()


@pytest.fixture
def host(troth, state):
    troth('host', 'init', '--state', state, '--no-recovery').ok()
    return state


def job(folder, text, name='keeper'):
    os.makedirs(folder, exist_ok=True)
    shutil.copy(os.path.join(OUTSIDE, 'fabric_client.py'), folder)
    written(folder, 'program.py', PRELUDE + text, 0o755)
    one = {**enclave(name, './program.py', files=['./fabric_client.py']), 'policy': policy(name), 'fabric': 3}
    return write_job(folder, [one], inputs=[{'role': 'given', 'to': name}], outputs=[{'name': 'out', 'from': name, 'file': 'out'}])


def run(troth, state, path, given, out, *more, **rest):
    source = written(os.path.dirname(path), 'given', '')
    with open(source, 'wb') as f:
        f.write(given)
    return troth('run', path, '--state', state, '--output', out, '--input', f'given={source}', *more, **rest)


def verified(troth, state, path, out):
    trust = os.path.join(os.path.dirname(path), 'trust.json')
    if not os.path.exists(trust):
        troth('trust', 'new', '--root', os.path.join(state, 'inception.epoch'), '--reference', path, '--output', trust).ok()
    return troth('verify', os.path.join(out, 'receipt.troth'), '--trust', trust, '--json').ok()


def sealed_by(troth, state, path, out):
    run(troth, state, path, b'', out).ok()
    return content(out, 'out')


def test_a_later_launch_gets_back_what_was_sealed(troth, host, work):
    path = job(work, KEEPER)
    first, second = os.path.join(work, 'first'), os.path.join(work, 'second')
    sealed = sealed_by(troth, host, path, first)
    assert len(sealed) > 52000 and CANARY not in sealed
    assert 'grant.unsealed' not in verified(troth, host, path, first).stdout
    run(troth, host, path, sealed, second).ok()
    assert content(second, 'out').startswith(b'%d ' % (2000 * len(CANARY)))
    assert CANARY not in content(second, 'receipt.troth')
    assert 'grant.unsealed' in verified(troth, host, path, second).stdout
    shown = troth('show', os.path.join(second, 'receipt.troth')).ok().stdout
    assert 'keeper secret enters unsealed' in shown and 'Secrets released' in shown, shown


def test_it_survives_a_rotation_of_the_root(troth, host, work):
    path = job(work, KEEPER)
    sealed = sealed_by(troth, host, path, os.path.join(work, 'first'))
    troth('root', 'rotate', '--state', host).ok()
    second = os.path.join(work, 'second')
    run(troth, host, path, sealed, second).ok()
    verified(troth, host, path, second)


def test_nobody_else_opens_it(troth, host, work, tmp_path):
    """Another name, another measurement, another root: refused with a sentence, and the enclave goes on."""
    path = job(work, KEEPER)
    sealed = sealed_by(troth, host, path, os.path.join(work, 'out'))
    thief = 'print(refused(given, f.DENIED))\nprint(x.unseal(x.seal(b"own")) == b"own")\n'
    for name in ('other', 'keeper'):
        theirs = job(os.path.join(work, name), thief, name)
        out = os.path.join(work, name, 'out')
        run(troth, host, theirs, sealed, out).ok()
        text = content(out, 'out')
        assert b'SEAL_FOREIGN' in text and text.endswith(b'\nTrue\n'), text
        verified(troth, host, theirs, out)
    elsewhere = str(tmp_path / 'elsewhere')
    troth('host', 'init', '--state', elsewhere, '--no-recovery').ok()
    failed = run(troth, elsewhere, path, sealed, os.path.join(work, 'third'))
    assert failed.code != 0 and 'SEAL_FOREIGN' in failed.stderr


HOSTILE = r'''
import random
random.seed(7)
mine = x.seal(b"mine")
assert x.seal(b"mine") != mine
opened = 0
for at in random.sample(range(len(mine)), 40):
    refused(mine[:at] + bytes([mine[at] ^ 1 << random.randrange(8)]) + mine[at + 1:], f.MISUSED, f.DENIED)
    if at % 16 == 0:
        import time
        time.sleep(1.1)
for cut in (0, 1, 5, len(mine) // 2, len(mine) - 1):
    refused(mine[:cut], f.MISUSED)
refused(mine + b"x", f.MISUSED)
time.sleep(1.1)
one, other = x.seal(b"first" * 3), x.seal(b"other" * 3)
head = len(one) - 15 - 16
refused(one[:head] + other[head:], f.MISUSED)
assert x.unseal(one) == b"first" * 3 and x.unseal(one) == b"first" * 3
assert x.unseal(mine) == b"mine" and x.unseal(x.seal(b"")) == b""
try:
    x.seal(bytes(56 * 1024 + 1))
    raise SystemExit("too much was sealed")
except f.Refused as e:
    assert e.status == f.MISUSED, e
largest = os.urandom(56 * 1024)
assert x.unseal(x.seal(largest)) == largest
time.sleep(1.1)
status = None
for i in range(20):
    try:
        x.unseal(x.seal(b"%d" % i))
    except f.Refused as e:
        status = e.status
        break
assert status == f.LIMIT and i == 12, (status, i)
assert x.unseal(one) == b"first" * 3
status = None
for i in range(10000):
    try:
        x.seal(b"")
    except f.Refused as e:
        status = e.status
        break
assert status == f.LIMIT, status
print("good")
'''


def test_hostile_values_and_quotas(troth, host, work):
    path = job(work, HOSTILE)
    out = os.path.join(work, 'out')
    run(troth, host, path, b'', out, timeout=240).ok()
    assert content(out, 'out') == b'good\n'
    verdict = verified(troth, host, path, out).stdout
    assert verdict.count('grant.unsealed') == 16


LIBRARY = r'''
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <troth/troth.h>

int main(void)
{
	static char given[65536], large[TROTH_SEAL_MAX + 1];
	struct troth *t;
	void *sealed, *back;
	size_t len, back_len;
	if (troth_open(&t) != TROTH_OK)
		return 9;
	size_t got = fread(given, 1, sizeof(given), stdin);
	if (got) {
		if (troth_unseal(t, given, got, &back, &back_len) != TROTH_OK)
			return 1;
		if (back_len != 11 || memcmp(back, "kept for me", 12) != 0)
			return 2;
		free(back);
		given[got - 1] ^= 1;
		if (troth_unseal(t, given, got, &back, &back_len) != TROTH_MISUSED || !troth_error(t)[0])
			return 3;
		if (troth_seal(t, large, sizeof(large), &back, &back_len) != TROTH_LIMIT)
			return 4;
		printf("good\n");
	} else {
		if (troth_seal(t, "kept for me", 11, &sealed, &len) != TROTH_OK)
			return 5;
		fwrite(sealed, 1, len, stdout);
		free(sealed);
	}
	troth_close(t);
	return 0;
}
'''


def test_libtroth_seals_and_unseals(troth, host, work):
    written(work, 'keeper.c', LIBRARY)
    subprocess.run(['cc', '-std=c99', '-Wall', '-Wextra', '-Werror', '-I', os.path.join(conftest.ROOT, 'include'), '-D_GNU_SOURCE', '-o',
                    os.path.join(work, 'keeper'), os.path.join(work, 'keeper.c'), os.path.join(conftest.ROOT, 'src', 'libtroth', 'libtroth.c')],
                   check=True)
    one = {**enclave('keeper', './keeper'), 'policy': policy('keeper'), 'fabric': 3}
    path = write_job(work, [one], inputs=[{'role': 'given', 'to': 'keeper'}], outputs=[{'name': 'out', 'from': 'keeper', 'file': 'out'}])
    sealed = sealed_by(troth, host, path, os.path.join(work, 'first'))
    run(troth, host, path, sealed, os.path.join(work, 'second')).ok()
    assert content(work, 'second', 'out') == b'good\n'
    verified(troth, host, path, os.path.join(work, 'second'))


def test_what_is_revoked_gets_nothing_back(troth, state, work, home):
    """Not launched, so not unsealed, while its measurement is on a list; once a newer list lifts it, what was sealed is there again."""
    from test_revocation import Operator, revokes
    troth('host', 'init', '--state', state, '--no-recovery').ok()
    path = job(work, KEEPER)
    sealed = sealed_by(troth, state, path, os.path.join(work, 'first'))
    measured = troth('ire', 'measure', path, '--json').ok().stdout
    values = sorted(set(re.findall(r'\b[0-9a-f]{96}\b', measured)))
    operator = Operator(home)
    troth('host', 'revocation-key', 'add', operator.pub, '--state', state).ok()
    troth('revoke', 'load', operator.list(1, [revokes('measurement', v, why='leaks') for v in values]), '--state', state).ok()
    second = os.path.join(work, 'second')
    ran = run(troth, state, path, sealed, second)
    ran.refused('REVOKED')
    assert 'leaks' in ran.stderr and not os.path.exists(second)
    troth('revoke', 'load', operator.list(2), '--state', state).ok()
    run(troth, state, path, sealed, second).ok()
    verified(troth, state, path, second)
