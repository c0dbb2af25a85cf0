"""What owners of data do: keys, names, grants, delegations, rules, revocation; and what the ledger says to those who try more."""
import hashlib
import json
import os

import conftest
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from ledgers import Ledger
from test_token import PIN, Token

CHAIN = '11' * 32
VMM, CODE, OTHER_CODE = 'aa' * 48, 'bb' * 48, 'cc' * 48


class People:
    """Keys and names in one state folder, and the commands that they give."""

    def __init__(self, home, names=('owner', 'bob', 'carol', 'processor'), ledger=None):
        self.home, self.ledger, self.number = home, ledger, 0
        self.address = {}
        for name in names:
            made = self('key', 'new', f'{name}.pem', '--public', f'{name}.pub', '--json').ok().json
            self.address[name] = made['address']
            self('grant', 'names', 'add', name, f'{name}.pub').ok()

    def __call__(self, *args, **more):
        where = [] if args[0] == 'key' else ['--state', os.path.join(self.home, 'state')]
        if self.ledger and args[0] != 'key' and args[1] != 'names':
            where += ['--ledger', self.ledger]
        env = {**conftest.environment(self.home), **more.pop('env', {})}
        return conftest.run([conftest.program('troth'), *args, *where], env=env, cwd=self.home, **more)

    def file(self, ending):
        self.number += 1
        return f'{self.number}.{ending}'

    def grant(self, *more, key='owner.pem', to='bob', scope='/payroll', operations='read,compute', chain=True):
        """A grant by the owner; the file."""
        path = self.file('grant')
        self.made = self('grant', 'new', '--key', key, '--to', to, '--scope', scope, '--operations', operations, '--output', path, '--json',
                         *(['--chain', CHAIN] if not self.ledger and chain else []), *more)
        self.made.ok()
        return path

    def delegate(self, parent, *more, key='bob.pem', to='carol'):
        path = self.file('grant')
        return path, self('grant', 'delegate', parent, '--key', key, '--to', to, '--output', path, '--json', *more)

    def request(self, actor='carol', operation='read', scope='owner/payroll', *more):
        path = self.file('request')
        self('ledger', 'request', '--key', f'{actor}.pem', '--operation', operation, '--scope', scope, '--output', path, *more).ok()
        return path

    def operate(self, request, grant=None, *more, key='processor.pem', code=CODE):
        written(self.home, 'data', 'some data')
        return self('ledger', 'operation', '--key', key, '--request', request, *(['--grant', grant] if grant else []), '--vmm', VMM, '--measurement', code,
                    '--data', 'data', '--salt', 'salt', '--json', *more)

    def explain(self, grant=None, actor='carol', operation='read', scope='owner/payroll', measurement=CODE):
        said = self('grant', 'explain', *([grant] if grant else []), '--actor', actor, '--operation', operation, '--scope', scope, '--json',
                    *(['--measurement', measurement] if measurement else [])).ok().json
        assert said['because'] and said['would_change']
        return said


def written(home, name, text):
    with open(os.path.join(home, name), 'w') as f:
        f.write(text)
    return name


@pytest.fixture
def offline(home):
    return People(home)


@pytest.fixture
def served(home, troth):
    """People at a ledger that knows the host, the code and the co-processor."""
    people = People(home)
    with Ledger(troth, os.path.join(home, 'ledger'), init=['--processor', os.path.join(home, 'processor.pub')]) as ledger:
        people.ledger, people.service = ledger.folder, ledger
        people('ledger', 'register', 'vmm', VMM, '--label', 'host', '--key', 'processor.pem').ok()
        people('ledger', 'register', 'enclave', CODE, '--label', 'code', '--key', ledger.founder, '--endorse').ok()
        yield people


# ---- without a ledger

def test_keys_and_names(offline, home):
    public = serialization.load_pem_public_key(open(os.path.join(home, 'bob.pub'), 'rb').read())
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    shown = offline('key', 'show', 'bob.pem', '--json').ok().json
    assert shown['id'] == hashlib.sha256(spki).hexdigest() and shown['address'] == offline.address['bob']
    assert offline('key', 'show', 'bob.pub', '--json').ok().json == shown
    assert os.stat(os.path.join(home, 'bob.pem')).st_mode & 0o777 == 0o600
    offline('key', 'new', 'bob.pem').refused('ALREADY_EXISTS')
    offline('key', 'show', 'nobody.pem').refused('NOT_FOUND')
    listed = offline('grant', 'names', 'list', '--json').ok().json
    assert {row['name']: row['address'] for row in listed} == offline.address
    offline('grant', 'names', 'add', 'bob', offline.address['carol']).refused('ALREADY_EXISTS')
    offline('grant', 'names', 'add', 'b/ob', offline.address['carol']).refused('BAD_NAME')
    slip = offline.address['carol'][:-1] + ('q' if offline.address['carol'][-1] != 'q' else 'p')
    offline('grant', 'names', 'add', 'dave', slip).refused('DIGEST_MISMATCH')
    offline('grant', 'names', 'remove', 'bob').ok()
    offline('grant', 'names', 'remove', 'bob').refused('NOT_FOUND')
    offline('grant', 'names', 'list', 'all').refused('USAGE', 2)


def test_a_grant_and_its_delegation(offline):
    parent = offline.grant('--depth', '2', '--uses', '9', '--measurement', CODE)
    made = offline.made.json
    assert made['issuer'] == offline.address['owner'] and made['audience'] == offline.address['bob']
    assert made['scope'] == offline.address['owner'] + '/payroll' and made['operations'] == ['read', 'compute'] and made['max_uses'] == 9
    child, done = offline.delegate(parent, '--operations', 'read', '--uses', '2', '--scope', 'owner/payroll/may')
    done.ok()
    links = offline('grant', 'show', child, '--offline', '--json').ok().json['links']
    assert [link['oid'] for link in links] == [made['oid'], done.json['oid']] and links[1]['parent'] == made['oid']
    assert links[1]['max_depth'] == 1 and links[1]['measurements'] == [CODE] and links[1]['not_after'] == links[0]['not_after']
    assert 'carol' in offline('grant', 'show', child, '--offline').ok().stdout
    # what is there is not written over, and the file holds exactly what was signed
    offline('grant', 'delegate', parent, '--key', 'bob.pem', '--to', 'carol', '--output', child).refused('ALREADY_EXISTS')
    with open(os.path.join(offline.home, child), 'rb') as f:
        good = f.read()
    for at in range(4, len(good), max(1, len(good) // 12)):
        bad = bytearray(good)
        bad[at] ^= 1
        with open(os.path.join(offline.home, 'bad.grant'), 'wb') as f:
            f.write(bad)
        shown = offline('grant', 'show', 'bad.grant', '--offline')
        assert shown.code == 1 and 'bad.grant' in shown.stderr, str(shown)


WIDER = [
    ('scope', ['--scope', 'owner']), ('scope', ['--scope', 'bob/payroll']), ('scope', ['--scope', 'owner/payroll2']), ('operations', ['--operations', 'read,export']),
    ('operations', ['--operations', 'all']), ('measurements', ['--measurement', CODE, '--measurement', OTHER_CODE]), ('not_before', ['--from', '2020-01-01']),
    ('not_after', ['--until', '9d']), ('max_uses', ['--uses', '6']), ('max_uses', ['--uses', 'any']), ('max_depth', ['--depth', '1']), ('max_depth', ['--depth', '7']),
]


@pytest.mark.attack('LE-01')
@pytest.mark.sanitize
def test_a_wider_delegation_is_refused_by_the_field(offline):
    parent = offline.grant('--depth', '1', '--uses', '5', '--until', '8d', '--measurement', CODE)
    for field, options in WIDER:
        path, done = offline.delegate(parent, *options)
        error = json.loads(done.refused('GRANT_WIDENED', 1).stderr)['error']
        assert error['text'].startswith(field), error
        assert not os.path.exists(os.path.join(offline.home, path))
    child, done = offline.delegate(parent, '--operations', 'compute', '--uses', '5', '--until', '7d', '--depth', '0')
    done.ok()
    offline.delegate(child, key='carol.pem', to='bob')[1].refused('GRANT_TOO_DEEP', 1)
    offline.delegate(parent, key='carol.pem')[1].refused('GRANT_BROKEN', 1)
    offline.delegate(parent, '--chain', '22' * 32)[1].refused('CHAIN_FOREIGN', 1)


def test_what_no_grant_can_say(offline):
    base = ['grant', 'new', '--key', 'owner.pem', '--to', 'bob', '--scope', '/x', '--operations', 'read', '--output', 'x.grant', '--chain', CHAIN]

    def changed(option, value):
        words = list(base)
        words[words.index(option) + 1] = value
        return offline(*words)
    changed('--to', 'nobody').refused('NOT_FOUND')
    changed('--operations', 'fly').refused('BAD_NAME')
    changed('--scope', '/x//y').refused('BAD_NAME')
    changed('--scope', 'bob/x').refused('GRANT_BROKEN')
    changed('--key', 'owner.pub').refused('BAD_KEY')
    changed('--chain', '11').refused('BAD_VALUE')
    for options in (['--uses', '0'], ['--uses', 'x'], ['--depth', '8'], ['--from', '2d', '--until', '1d']):
        offline(*base, *options).refused('USAGE', 2)
    offline(*base, '--until', 'soon').refused('BAD_VALUE')
    offline(*base, '--measurement', 'ab').refused('BAD_VALUE')
    offline(*[word for word in base if word not in ('--chain', CHAIN)]).refused('NOT_FOUND')  # there is no ledger to ask for its chain
    assert not os.path.exists(os.path.join(offline.home, 'x.grant'))
    changed('--to', 'bob.pub').ok()


# ---- with one

@pytest.mark.attack('LE-01')
@pytest.mark.sanitize
def test_granted_delegated_used_and_revoked(served):
    scope = served.address['owner'] + '/payroll'
    parent = served.grant('--depth', '2', '--submit')
    assert served.made.json['on_ledger'] and served.made.json['code'] == 0
    child, done = served.delegate(parent, '--operations', 'read', '--uses', '1')
    done.ok()
    assert served('grant', 'show', child, '--json').ok().json['links'][1]['ledger']['on_ledger'] is False
    served('grant', 'submit', child, '--key', 'owner.pem').refused('SENDER_NOT_ALLOWED', 1)
    assert served('grant', 'submit', child, '--key', 'carol.pem', '--json').ok().json['oid'] == done.json['oid']
    assert served('grant', 'show', child, '--json').ok().json['links'][1]['ledger']['state'] == 'live'
    said = served.explain(child)
    assert said['allow'] and said['basis'] == 'grant' and said['decides']['grants'][-1] == done.json['oid']
    assert any('1 of 1 uses left' in line for line in said['would_change'])
    # used: once, by whom it is for
    request = served.request()
    first = served.operate(request, child).ok().json
    assert first['on_ledger'] and first['data_commitment'] != first['txid']
    served.operate(request, child).refused('TX_REPLAYED', 1)
    served.operate(served.request(), child).refused('GRANT_EXHAUSTED', 1)
    assert served.explain(child)['reason'] == 'GRANT_EXHAUSTED'
    served.operate(served.request('bob'), child).refused('GRANT_NOT_FOR_THIS', 1)
    served.operate(served.request('carol', 'compute'), child).refused('GRANT_NOT_FOR_THIS', 1)
    served.operate(served.request('carol', 'read', 'owner/other'), child).refused('GRANT_NOT_FOR_THIS', 1)
    served.operate(served.request(), parent).refused('GRANT_NOT_FOR_THIS', 1)
    served.operate(served.request()).refused('ACCESS_NOT_GRANTED', 1)
    served.operate(served.request('bob'), parent, key='carol.pem').refused('PROCESSOR_UNKNOWN', 1)
    served.operate(served.request('bob'), parent, code=OTHER_CODE).refused('NOT_REGISTERED', 1)
    listed = {row['oid']: row['ledger'] for row in served('grant', 'list', '--scope', scope, '--json').ok().json}
    assert listed[done.json['oid']]['state'] == 'used up' and listed[served.made.json['oid']]['uses'] == 1
    # revoked: by an issuer at or above it, for good, and below too
    served('grant', 'revoke', child, '--key', 'carol.pem').refused('SENDER_NOT_ALLOWED', 1)
    served('grant', 'revoke', served.made.json['oid'], '--key', 'bob.pem').refused('SENDER_NOT_ALLOWED', 1)
    served('grant', 'revoke', child, '--link', '1', '--key', 'owner.pem', '--check').ok()
    assert served.explain(parent, 'bob')['allow']
    revoked = served('grant', 'revoke', child, '--link', '1', '--key', 'owner.pem', '--json').ok().json
    assert revoked['revoked'] == served.made.json['oid']
    served('grant', 'revoke', parent, '--key', 'owner.pem').refused('GRANT_REVOKED', 1)
    said = served.explain(parent, 'bob')
    assert said['reason'] == 'GRANT_REVOKED' and str(revoked['index']) in said['because']
    served.operate(served.request('bob'), parent).refused('GRANT_REVOKED', 1)
    assert [row['ledger']['state'] for row in served('grant', 'list', '--json').ok().json] == ['revoked', 'revoked above']
    assert served('grant', 'list', '--live', '--json').ok().json == []
    fact = served('ledger', 'query', 'grant', parent, '--proof', 'g.proof').ok().json
    assert fact['revoked_at'] == revoked['index'] and fact['uses'] == 1
    assert open(os.path.join(served.home, 'g.proof')).readline() == 'c2sp.org/tlog-proof@v1\n'
    shown = served('ledger', 'query', 'transaction', revoked['txid']).ok().json
    assert shown['transaction']['type'] == 'revoke' and shown['transaction']['sender'] == served.address['owner']


@pytest.mark.attack('LE-01')
def test_time_depth_and_rules(served):
    ended = served.grant('--from', '2020-01-01', '--until', '2020-02-01')
    served.operate(served.request('bob'), ended).refused('GRANT_EXPIRED', 1)
    assert served.explain(ended, 'bob')['reason'] == 'GRANT_EXPIRED'
    later = served.grant('--from', '1d', '--until', '2d')
    said = served.explain(later, 'bob')
    assert said['reason'] == 'GRANT_EXPIRED' and any('begins' in line for line in said['would_change'])
    narrow = served.grant('--measurement', OTHER_CODE)
    served.operate(served.request('bob'), narrow).refused('GRANT_NOT_FOR_THIS', 1)
    assert 'other' not in served.explain(narrow, 'bob', measurement=None)['because']
    # rules, by their owner alone; denying wins over a grant
    good = served.grant('--depth', '1')
    rules = written(served.home, 'rules.yaml', 'rules:\n  - allow: [read]\n    actors: [carol]\n    measurements: [%s]\n' % CODE)
    served('ledger', 'access', 'owner/payroll', '--rules', rules, '--key', 'bob.pem').refused('SCOPE_NOT_OWNED', 1)
    assert served('ledger', 'access', '/payroll', '--rules', rules, '--key', 'owner.pem', '--json').ok().json['version'] == 1
    said = served.explain()
    assert said['allow'] and said['basis'] == 'rule' and said['decides'] == {'scope': served.address['owner'] + '/payroll', 'rule': 1}
    served.operate(served.request()).ok()
    said = served.explain(measurement=None)
    assert said['reason'] == 'ACCESS_NOT_GRANTED' and any('no measurement was given' in line for line in said['would_change'])
    served('ledger', 'access', '/payroll', '--rules', rules, '--version', '1', '--key', 'owner.pem').refused('VERSION_BELOW_FLOOR', 1)
    shown = served('ledger', 'query', 'rules', 'owner/payroll').ok().json
    shown['rules'].append({'deny': ['compute']})
    shown['version'] += 1
    again = written(served.home, 'rules.json', json.dumps(shown))
    served('ledger', 'access', '/payroll', '--rules', again, '--key', 'owner.pem').ok()
    served.operate(served.request('bob', 'compute'), good).refused('ACCESS_DENIED', 1)
    served.operate(served.request('bob', 'read'), good).ok()
    said = served.explain(good, 'bob', 'compute')
    assert said['reason'] == 'ACCESS_DENIED' and said['decides']['rule'] == 2
    wrong = written(served.home, 'wrong.yaml', 'rules:\n  - alow: [read]\n')
    assert 'wrong.yaml:2' in served('ledger', 'access', '/payroll', '--rules', wrong, '--key', 'owner.pem').refused('UNKNOWN_FIELD').stderr


def test_written_now_and_sent_later(served):
    parent = served.grant()
    made = served('grant', 'revoke', parent, '--key', 'owner.pem', '--tx', 'later.tx', '--json').ok().json
    assert served.explain(parent, 'bob')['allow']
    inspected = conftest.run([conftest.program('troth'), 'inspect', 'later.tx', '--json'], cwd=served.home).ok().json['content']
    assert inspected['kind'] == 'troth transaction' and inspected['oid'] == made['txid'] and inspected['content']['type_name'] == 'revoke'
    served('ledger', 'submit', 'later.tx', '--check').ok()
    assert served.explain(parent, 'bob')['allow']
    first = served('ledger', 'submit', 'later.tx', '--json').ok().json
    assert first['txid'] == made['txid'] and not served.explain(parent, 'bob')['allow']
    assert served('ledger', 'submit', 'later.tx', '--json').ok().json['index'] == first['index']
    foreign = served('grant', 'new', '--key', 'owner.pem', '--to', 'bob', '--scope', '/x', '--operations', 'read', '--output', 'f.grant', '--chain', CHAIN)
    foreign.ok()
    said = served.explain('f.grant', 'bob', 'read', 'owner/x')
    assert said['reason'] == 'CHAIN_FOREIGN'
    served('grant', 'show', 'f.grant').refused('CHAIN_FOREIGN', 1)
    other = served.grant()
    served('grant', 'revoke', other, '--key', 'owner.pem', '--tx', 'forged.tx').ok()
    with open(os.path.join(served.home, 'forged.tx'), 'r+b') as f:
        f.seek(-1, os.SEEK_END)
        last = f.read(1)
        f.seek(-1, os.SEEK_END)
        f.write(bytes([last[0] ^ 1]))
    served('ledger', 'submit', 'forged.tx').refused('BAD_SIGNATURE', 1)
    assert served.explain(other, 'bob')['allow']
    # without a service the ledger's folder can be read, not written to
    assert served.service.stop() == 0
    assert not served.explain(parent, 'bob')['allow']
    served('grant', 'revoke', parent, '--key', 'owner.pem').refused('LEDGER_NOT_RUNNING', 3)


def test_configuration_and_registrars(served):
    founder = os.path.join(served.ledger, 'founder.key')
    assert served('ledger', 'config', 'show', '--json').ok().json['quorum'] == 1
    served('ledger', 'config', 'new', '--add-member', 'bob.pub', '--quorum', '3', '--output', 'c.next').refused('CONFIG_INVALID', 1)
    served('ledger', 'config', 'new', '--add-member', 'bob.pub', '--add-registrar', 'bob.pub', '--quorum', '2', '--registrar-quorum', '2', '--output', 'c.next').ok()
    served('ledger', 'config', 'send', 'c.next', '--key', founder).refused('CONFIG_QUORUM', 1)
    served('ledger', 'config', 'sign', 'c.next', '--key', 'bob.pem', '--output', 'c.bob').ok()
    served('ledger', 'config', 'send', 'c.bob', '--key', founder).refused('CONFIG_QUORUM', 1)
    served('ledger', 'config', 'sign', 'c.next', '--key', founder, '--output', 'c.founder').ok()
    assert served('ledger', 'config', 'send', 'c.founder', '--key', 'carol.pem', '--json').ok().json['seq'] == 1
    served('ledger', 'config', 'new', '--remove-processor', 'processor', '--output', 'd.next').ok()
    for who, key in (('founder', founder), ('bob', 'bob.pem')):
        served('ledger', 'config', 'sign', 'd.next', '--key', key, '--output', f'd.{who}').ok()
    served('ledger', 'config', 'send', 'd.founder', '--key', founder).refused('CONFIG_QUORUM', 1)
    served('ledger', 'config', 'send', 'd.founder', 'd.bob', '--key', founder).ok()
    assert served('ledger', 'config', 'show', '--json').ok().json['processors'] == []
    # two registrars endorse one registration
    served('ledger', 'endorse', 'enclave', OTHER_CODE, '--label', 'new code', '--key', founder, '--output', 'e.1').ok()
    served('ledger', 'endorse', '--endorsement', 'e.1', '--key', 'bob.pem', '--output', 'e.2').ok()
    served('ledger', 'register', '--endorsement', 'e.1', '--key', 'carol.pem').ok()
    assert served('ledger', 'query', 'registration', 'enclave', OTHER_CODE).ok().json['status'] == 'observed'
    served('ledger', 'register', '--endorsement', 'e.1', '--endorsement', 'e.2', '--key', 'carol.pem').ok()
    assert served('ledger', 'query', 'registration', 'enclave', OTHER_CODE).ok().json['status'] == 'authorised'
    served('ledger', 'endorse', 'enclave', OTHER_CODE, '--label', 'newer', '--key', 'bob.pem', '--output', 'e.3').ok()
    served('ledger', 'register', '--endorsement', 'e.1', '--endorsement', 'e.3', '--key', 'carol.pem').refused('REQUEST_MISMATCH', 1)
    served('ledger', 'unregister', 'enclave', OTHER_CODE, '--key', 'carol.pem').refused('SENDER_NOT_ALLOWED', 1)
    served('ledger', 'unregister', 'enclave', OTHER_CODE, '--key', 'bob.pem', '--why', 'broken').ok()
    assert served('ledger', 'query', 'registration', 'enclave', OTHER_CODE).ok().json['until'] is not None
    served('ledger', 'query', 'registration', 'enclave', 'dd' * 48).refused('NOT_FOUND')


# ---- an owner's key in a token

def test_an_owners_key_in_a_token(offline, home):
    token = Token(home, 'owner token')
    token.tool('pkcs11-tool', '--module', token.module, '--token-label', token.label, '--login', '--pin', PIN, '--keypairgen', '--key-type', 'EC:prime256v1',
               '--label', 'grants', '--id', '01', '--usage-sign')
    uri = f'pkcs11:token=owner%20token;object=grants;type=private?module-path={token.module}&pin-source=file://{token.pin_file}'
    writable = ['--pkcs11-writable', token.folder]
    shown = offline('key', 'show', '--key', uri, *writable, '--json', env=token.env).ok().json
    offline('grant', 'names', 'add', 'hsm', shown['address']).ok()
    base = ['grant', 'new', '--to', 'bob', '--scope', '/x', '--operations', 'read', '--depth', '1', '--chain', CHAIN, '--json']
    made = offline(*base, '--output', 't.grant', '--key', uri, *writable, env=token.env).ok().json
    assert made['issuer'] == shown['address'] and made['scope'] == shown['address'] + '/x'
    with open(os.path.join(home, 't.grant'), 'rb') as f:
        check_link(f.read(), bytes.fromhex(shown['point']))
    options = ['--pkcs11-module', token.module, '--token', token.label, '--pin-file', token.pin_file, *writable]
    offline(*base, '--output', 'u.grant', '--key', 'grants', *options, env=token.env).ok()
    offline('grant', 'delegate', 't.grant', '--key', 'bob.pem', '--to', 'carol', '--output', 'v.grant').ok()
    offline(*base, '--output', 'w.grant', '--key', 'other', *options, env=token.env).refused('NOT_FOUND')
    offline(*base, '--output', 'w.grant', '--key', uri + '&pin-value=1234', *writable, env=token.env).refused('BAD_VALUE')
    offline(*base, '--output', 'w.grant', '--key', uri, '--token', 'another', *writable, env=token.env).refused('USAGE', 2)
    os.chmod(token.pin_file, 0o644)
    offline(*base, '--output', 'w.grant', '--key', uri, *writable, env=token.env).refused('NO_PERMISSION')
    token.write_pin('271828')
    offline(*base, '--output', 'w.grant', '--key', uri, *writable, env=token.env).refused('TOKEN_PIN_WRONG')
    assert not os.path.exists(os.path.join(home, 'w.grant'))


def check_link(file, point):
    """The first grant of a file, by what docs/PROTOCOL.ledger says and another library."""
    import cbor2
    payload, signature = cbor2.loads(cbor2.loads(file)[1][0]).value[2:]
    grant = cbor2.loads(payload)
    assert grant[3] == point and 12 in grant and grant[12] is None
    signed = cbor2.dumps(['Signature1', cbor2.dumps({1: -7}), b'troth grant', payload])
    der = utils.encode_dss_signature(int.from_bytes(signature[:32], 'big'), int.from_bytes(signature[32:], 'big'))
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point).verify(der, signed, ec.ECDSA(hashes.SHA256()))
