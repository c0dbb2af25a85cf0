"""PKCS#11 tokens, on SoftHSM2: the worker as a client of its page sees it, and a root whose signing keys lie in one."""
import glob
import hashlib
import os
import shutil
import signal
import subprocess
import sys

import conftest
import jobs
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from jobs import Machine

sys.path.insert(0, os.path.join(conftest.ROOT, 'tests', 'outside'))
import token_client  # noqa: E402
from token_client import Refused, Worker  # noqa: E402

PIN = '314159'
TOKEN_UNAVAILABLE, TOKEN_PIN_WRONG, NOT_FOUND = 458, 475, 4


class Token:
    """A token of the test's own: its folder, its configuration, its PIN file."""

    def __init__(self, home, label='signing'):
        places = [*glob.glob('/usr/lib/softhsm/libsofthsm2.so'), *glob.glob('/usr/lib/*/softhsm/libsofthsm2.so')]
        assert places, 'SoftHSM2 is not installed: tools/install-deps test'
        self.module, self.label = places[0], label
        self.folder = os.path.join(home, 'token')
        os.mkdir(self.folder, 0o700)
        self.conf = jobs.written(home, 'softhsm2.conf', f'directories.tokendir = {self.folder}\nobjectstore.backend = file\nlog.level = ERROR\n')
        self.pin_file = os.path.join(home, 'pin')
        self.write_pin(PIN)
        self.env = {'SOFTHSM2_CONF': self.conf}
        self.tool('softhsm2-util', '--init-token', '--free', '--label', label, '--so-pin', '87654321', '--pin', PIN)

    def tool(self, *command):
        done = subprocess.run(command, env={**conftest.environment('/'), **self.env}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write_pin(self, pin):
        with open(self.pin_file, 'w') as f:
            f.write(pin + '\n')
        os.chmod(self.pin_file, 0o600)

    def options(self):
        return ['--sign-with', 'pkcs11', '--pkcs11-module', self.module, '--token', self.label, '--pin-file', self.pin_file, '--pkcs11-writable', self.folder]

    def keys(self):
        """Ids of the private keys, as another client of PKCS#11 lists them; all of them sensitive and never extractable."""
        listed = self.tool('pkcs11-tool', '--module', self.module, '--token-label', self.label, '--login', '--pin', PIN, '--list-objects', '--type', 'privkey')
        found = {line.split()[1] for line in listed.splitlines() if line.strip().startswith('ID:')}
        assert listed.count('always sensitive, never extractable') == len(found)
        return found

    def pull_out(self):
        os.rename(self.folder, self.folder + '.away')
        os.mkdir(self.folder, 0o700)

    def put_back(self):
        shutil.rmtree(self.folder)
        os.rename(self.folder + '.away', self.folder)


@pytest.fixture
def token(home):
    return Token(home)


def worker(token, pin=PIN, **more):
    return Worker(conftest.program('troth-token'), token.module, pin.encode(), ['--token', token.label, '--writable', token.folder], env=token.env, **more)


def check(point, message, signature):
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    der = utils.encode_dss_signature(int.from_bytes(signature[:32], 'big'), int.from_bytes(signature[32:], 'big'))
    public.verify(der, message, ec.ECDSA(hashes.SHA256()))


# ---- the worker, from its page

def test_a_client_written_from_the_page(token):
    with worker(token) as w:
        info = w.info()
        assert info['label'] == token.label and info['abilities'] == 0b1011 and info['confinement'] & 8
        assert w.list() == []
        made = w.generate(b'\x01\x02', 'first')
        assert made['abilities'] == token_client.SIGNS | token_client.KEEPS | token_client.MADE
        assert token.keys() == {'0102'}
        signature = w.sign(hashlib.sha256(b'message').digest(), label='first')
        check(made['point'], b'message', signature)
        with pytest.raises(InvalidSignature):
            check(made['point'], b'massage', signature)
        own = ec.generate_private_key(ec.SECP256R1())
        point = own.public_key().public_numbers()
        agrees = w.generate(b'\x03', 'second', token_client.AGREES)
        shared = w.agree(b'\x04' + point.x.to_bytes(32, 'big') + point.y.to_bytes(32, 'big'), key_id=b'\x03')
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), agrees['point'])
        assert shared == own.exchange(ec.ECDH(), theirs)
        assert {key['label'] for key in w.list()} == {'first', 'second'}
        assert w.random(64) != w.random(64)
        w.destroy(key_id=b'\x01\x02')
        assert token.keys() == {'03'}
        with pytest.raises(Refused) as refused:
            w.sign(bytes(32), key_id=b'\x01\x02')
        assert refused.value.reason == NOT_FOUND


@pytest.mark.attack('SE-13')
def test_a_wrong_pin_is_refused_without_a_second_try(token):
    with worker(token, pin='271828', stderr=subprocess.DEVNULL) as w:
        with pytest.raises(Refused) as refused:
            w.info()
        assert refused.value.reason == TOKEN_PIN_WRONG
        assert w.process.wait(20) == 1
    with worker(token) as w:
        assert w.info()['label'] == token.label


@pytest.mark.attack('SE-12')
def test_a_token_that_is_pulled_out_is_named_and_may_come_back(token):
    with worker(token) as w:
        made = w.generate(b'\x01', 'key')
        token.pull_out()
        for _ in range(2):
            with pytest.raises(Refused) as refused:
                w.sign(bytes(32), key_id=b'\x01')
            assert refused.value.reason == TOKEN_UNAVAILABLE
        token.put_back()
        check(made['point'], b'', w.sign(hashlib.sha256(b'').digest(), key_id=b'\x01'))


def test_the_worker_ends_with_its_client_and_at_nonsense(token):
    with worker(token) as w:
        w.info()
        w.socket.close()
        assert w.process.wait(20) == 0
    with worker(token, stderr=subprocess.DEVNULL) as w:
        w.socket.sendall(b'\xff\xff\xff\xff')
        with pytest.raises((EOFError, ConnectionError)):
            w.exactly(1)
        assert w.process.wait(20) == 1


def test_by_hand_it_says_that_it_is_of_no_use(troth):
    assert 'by hand it is of no use' in troth('--help', program='troth-token').ok().stdout
    assert troth(program='troth-token').code == 2
    assert troth('--serve', '/usr/lib/x.so', '--pin', '1', program='troth-token').code == 2


# ---- a root whose signing keys lie in a token

@pytest.fixture
def machine(home):
    return Machine(home)


def init(machine, token, *more):
    return machine.troth('host', 'init', '--state', machine.state, '--no-recovery', '--json', *token.options(), *more, env=token.env)


def nothing_tells_the_pin():
    """No process below the test carries the PIN where others can look."""
    for pid in conftest.descendants():
        for what in ('cmdline', 'environ'):
            try:
                with open(f'/proc/{pid}/{what}', 'rb') as f:
                    assert PIN.encode() not in f.read(), f'{what} of {conftest.describe(pid)}'
            except OSError:
                pass


@pytest.mark.parametrize('who', jobs.machines())
def test_a_job_under_a_root_in_a_token(home, token, who):
    machine = Machine(home, jobs.ordinary_user() if who == 'user' else None)
    machine.give_away()
    init(machine, token).ok()
    assert len(token.keys()) == 2  # this epoch's, and the next one's ahead
    assert machine.troth('host', 'status', '--state', machine.state, '--json').ok().json['token'] == token.label
    job = jobs.single(machine.work, 'date')
    machine.run(job).ok()
    trust = machine.trust(job)
    machine.verify(trust).ok()
    # Started again it goes on with the same keys.
    before = token.keys()
    shutil.rmtree(machine.out)
    machine.run(job).ok()
    machine.verify(trust).ok()
    assert token.keys() == before
    for folder, _, names in os.walk(machine.state):
        for one in names:
            with open(os.path.join(folder, one), 'rb') as f:
                assert PIN.encode() not in f.read(), one


def test_while_it_runs_the_pin_is_nowhere_to_be_seen(machine, token):
    init(machine, token).ok()
    job = jobs.single(machine.work, 'sleep', ['30'])
    with machine.running(job) as child:
        jobs.until(lambda: jobs.processes('troth-token') and jobs.processes('troth-ire'), 'the job runs')
        nothing_tells_the_pin()
        child.send_signal(signal.SIGINT)
        child.wait(60)


@pytest.mark.attack('SE-13')
def test_a_refused_pin_is_not_tried_again_before_it_changes(machine, token):
    token.write_pin('271828')
    init(machine, token).refused('TOKEN_PIN_WRONG', code=1)
    # However often the host is started.
    for _ in range(3):
        said = init(machine, token).refused('TOKEN_PIN_WRONG', code=1)
        assert 'was refused before' in said.stderr + said.stdout
    token.write_pin(PIN)
    init(machine, token).ok()
    os.chmod(token.pin_file, 0o644)
    machine.run(jobs.single(machine.work, 'date')).refused('NO_PERMISSION')


@pytest.mark.attack('SE-12')
def test_without_its_token_the_root_does_nothing_and_loses_nothing(machine, token):
    init(machine, token).ok()
    keys, job = token.keys(), jobs.single(machine.work, 'date')
    token.pull_out()
    machine.run(job).refused('TOKEN_UNAVAILABLE', code=3)
    machine.run(job).refused('TOKEN_UNAVAILABLE', code=3)
    token.put_back()
    machine.run(job).ok()
    machine.verify(machine.trust(job)).ok()
    assert token.keys() == keys


def test_a_killed_worker_fails_the_run_and_the_next_one_works(machine, token):
    init(machine, token).ok()
    with machine.running(jobs.single(machine.work, 'sleep', ['2'])) as child:
        for pid in jobs.until(lambda: jobs.processes('troth-ire') and jobs.processes('troth-token'), 'the job runs'):
            os.kill(pid, signal.SIGKILL)
        out, err = child.communicate(timeout=60)
        assert child.returncode == 1 and b'TOKEN_UNAVAILABLE' in err, (child.returncode, out, err)
    shutil.rmtree(machine.out, ignore_errors=True)
    machine.run(jobs.single(machine.work, 'date')).ok()


def test_keys_do_not_move(machine, token):
    machine.init()
    init(machine, token).refused('ROOT_EXISTS')
    assert token.keys() == set()
    machine.run(jobs.single(machine.work, 'date')).ok()


def test_asked_again_for_the_same_token_it_only_tells(machine, token):
    first = init(machine, token).ok().json
    again = init(machine, token).ok().json
    assert (first['created'], again['created']) == (True, False) and first['rot_id'] == again['rot_id']
    machine.troth('host', 'init', '--state', machine.state, '--sign-with', 'seed').refused('ROOT_EXISTS')
    token.label = 'another'
    init(machine, token).refused('ROOT_EXISTS')


@pytest.mark.parametrize('change', ['module', 'not-a-module', 'label', 'relative-pin', 'no-module', 'word', 'inside'])
def test_settings_that_cannot_be(machine, token, change):
    options = {
        'module': (['--pkcs11-module', '/nowhere/module.so'], 'TOKEN_UNAVAILABLE'),
        'not-a-module': (['--pkcs11-module', '/etc/passwd'], 'TOKEN_UNAVAILABLE'),
        'label': (['--token', 'another'], 'TOKEN_UNAVAILABLE'),
        'relative-pin': (['--pin-file', 'nowhere'], 'NOT_FOUND'),
        'no-module': (['--pkcs11-module', None], 'USAGE'),
        'word': (['--sign-with', 'stone'], 'USAGE'),
        'inside': (['--pkcs11-writable', os.path.join(machine.state, 'tokens')], 'BAD_VALUE'),
    }
    (option, value), reason = options[change]
    given = token.options()
    at = given.index(option)
    given[at:at + 2] = [option, value] if value is not None else []
    machine.troth('host', 'init', '--state', machine.state, '--no-recovery', *given, env=token.env).refused(reason)
    assert not os.path.exists(os.path.join(machine.state, 'pins'))


# ---- rotation and recovery

def test_rotation_makes_the_next_pair_ahead_and_drops_the_former(machine, token):
    init(machine, token).ok()
    job = jobs.single(machine.work, 'date')
    first = token.keys()
    machine.troth('root', 'rotate', '--state', machine.state).ok()
    machine.run(job).ok()  # its host drained what was left: the former epoch's key is gone
    second = token.keys()
    assert len(second) == 2 and len(first & second) == 1
    machine.troth('root', 'rotate', '--state', machine.state, '--emergency').ok()
    third = token.keys()
    assert len(third) == 2 and len(second & third) == 1 and not first & third
    machine.verify(machine.trust(job)).ok()
    token.pull_out()
    machine.troth('root', 'rotate', '--state', machine.state).refused('TOKEN_UNAVAILABLE')
    token.put_back()
    assert token.keys() == third
    machine.troth('root', 'rotate', '--state', machine.state).ok()


class Holder(Token):
    """A holder of a recovery key, with a token of their own."""

    def __init__(self, home, name):
        self.place = os.path.join(home, name)
        os.mkdir(self.place)
        super().__init__(self.place, label=name)

    def options(self):
        return ['--pkcs11-module', self.module, '--token', self.label, '--pin-file', self.pin_file, '--pkcs11-writable', self.folder]

    def ceremony(self, machine):
        done = machine.troth('root', 'ceremony', *self.options(), '--out', self.place, '--json', env=self.env)
        return done.ok().json['public']

    def sign(self, machine, candidate, output, key='troth recovery', *more):
        return machine.troth('root', 'recover', 'sign', '--candidate', candidate, *self.options(), '--key', key, '--output', output, *more, env=self.env)


def test_recovery_keys_in_tokens(machine, home):
    holders = [Holder(home, name) for name in ('anna', 'bruno')]
    publics = [holder.ceremony(machine) for holder in holders]
    assert all(len(holder.keys()) == 1 for holder in holders)
    machine.troth('root', 'ceremony', *holders[0].options(), '--out', home, env=holders[0].env).refused('ALREADY_EXISTS')
    machine.troth('host', 'init', '--state', machine.state, '--recovery', '2', *publics).ok()
    candidate, signatures = os.path.join(home, 'candidate'), [os.path.join(home, f'signature-{i}') for i in range(2)]
    machine.troth('root', 'recover', 'prepare', '--state', machine.state, '--output', candidate).ok()
    # Another label, another key, another PIN: refused, each once.
    holders[0].sign(machine, candidate, signatures[0], 'another').refused('NOT_FOUND')
    stranger = Holder(home, 'stranger')
    stranger.ceremony(machine)
    stranger.sign(machine, candidate, signatures[0]).refused('RECOVERY_QUORUM')
    holders[0].write_pin('271828')
    holders[0].sign(machine, candidate, signatures[0]).refused('TOKEN_PIN_WRONG')
    holders[0].write_pin(PIN)
    assert not os.path.exists(signatures[0])
    for holder, signature in zip(holders, signatures):
        holder.sign(machine, candidate, signature).ok()
    finish = ['root', 'recover', 'finish', '--state', machine.state, '--candidate', candidate, '--signature']
    machine.troth(*finish, signatures[0]).refused('RECOVERY_QUORUM')
    machine.troth(*finish, *signatures).ok()
    assert 'era 1' in machine.troth('root', 'status', '--state', machine.state).ok().stdout
    machine.run(jobs.single(machine.work, 'date')).ok()


def test_a_root_moves_into_a_token_by_recovery(machine, token, home):
    holder = Holder(home, 'anna')
    public = holder.ceremony(machine)
    machine.troth('host', 'init', '--state', machine.state, '--recovery', '1', public).ok()
    history, candidate, signature = (os.path.join(home, name) for name in ('history', 'candidate', 'signature'))
    machine.troth('root', 'history', '--state', machine.state, '--output', history).ok()
    prepare = ['root', 'recover', 'prepare', '--state', machine.state, '--history', history, '--output', candidate]
    machine.troth(*prepare, *token.options()[2:], env=token.env).refused('ROOT_EXISTS')
    shutil.rmtree(machine.state)  # lost
    machine.troth(*prepare, *token.options()[2:], env=token.env).ok()
    holder.sign(machine, candidate, signature).ok()
    machine.troth('root', 'recover', 'finish', '--state', machine.state, '--candidate', candidate, '--signature', signature, env=token.env).ok()
    assert len(token.keys()) == 2
    job = jobs.single(machine.work, 'date')
    machine.run(job).ok()
    token.pull_out()
    machine.run(job).refused('TOKEN_UNAVAILABLE')
    token.put_back()


def test_without_user_namespaces_the_worker_still_denies_calls(machine, home, deny):
    """A holder signs on a machine that has no namespaces for its users; the worker says what is missing, and works."""
    holder = Holder(home, 'anna')
    done = machine.troth('root', 'ceremony', *holder.options(), '--out', holder.place, env=holder.env, wrap=deny('--no-userns')).ok()
    assert 'without namespaces of its own' in done.stderr
    assert len(holder.keys()) == 1


def test_a_killed_host_leaves_no_worker_and_loses_nothing(machine, token):
    init(machine, token).ok()
    keys = token.keys()
    with machine.running(jobs.single(machine.work, 'sleep', ['30'])) as child:
        jobs.until(lambda: jobs.processes('troth-ire') and jobs.processes('troth-token'), 'the job runs')
        for pid in jobs.processes('trothd'):
            os.kill(pid, signal.SIGKILL)
        child.wait(60)
        jobs.until(lambda: not jobs.processes('troth-token') and not jobs.processes('troth-ap'), 'both are gone')
    shutil.rmtree(machine.out, ignore_errors=True)
    machine.run(jobs.single(machine.work, 'date')).ok()
    assert token.keys() == keys
