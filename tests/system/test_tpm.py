"""A host on a TPM: Level-2 in receipts and in the decisions of enclaves, labelled as simulated, refused where nobody named its root."""
import datetime
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading

import cbor2
import conftest
import hosts
import jobs
import pytest
import test_rotation as rotation
from cryptography import x509
from jobs import Machine

sys.path.insert(0, os.path.join(conftest.ROOT, 'tests', 'outside'))
import platform_evidence  # noqa: E402

pytestmark = pytest.mark.skipif(not shutil.which('swtpm_setup'), reason='swtpm is not installed')
PLATFORM = 11


class Tpm:
    """swtpm with its own maker, in a folder of its own."""

    def __init__(self, folder, owner=None):
        self.folder = folder
        os.makedirs(os.path.join(folder, 'state'))
        self.socket = os.path.join(folder, 'socket')
        self.issuer = os.path.join(folder, 'ca', 'issuercert.pem')
        where = shutil.which('swtpm_localca', path='/usr/bin:/usr/local/bin')
        files = {'ca.conf': ''.join(f'{k} = {folder}/ca{v}\n' for k, v in (('statedir', ''), ('signingkey', '/signkey.pem'),
                                                                          ('issuercert', '/issuercert.pem'), ('certserial', '/certserial'))),
                 'ca.options': '--platform-manufacturer Troth\n--platform-version 1\n--platform-model test\n',
                 'setup.conf': f'create_certs_tool = {where}\ncreate_certs_tool_config = {folder}/ca.conf\n'
                               f'create_certs_tool_options = {folder}/ca.options\nactive_pcr_banks = sha256\n'}
        for name, text in files.items():
            with open(os.path.join(folder, name), 'w') as f:
                f.write(text)
        subprocess.run(['swtpm_setup', '--tpm2', '--tpm-state', os.path.join(folder, 'state'), '--create-ek-cert', '--config',
                        os.path.join(folder, 'setup.conf')], check=True, capture_output=True, timeout=60)
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ['swtpm', 'socket', '--tpm2', '--tpmstate', f'dir={self.folder}/state', '--server', f'type=unixio,path={self.socket}', '--flags',
             'not-need-init,startup-clear'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        jobs.until(lambda: os.path.exists(self.socket), 'the socket of the TPM')

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)
            self.process = None


@pytest.fixture
def tpm(home):
    made = Tpm(os.path.join(home, 'tpm'))
    yield made
    made.stop()


@pytest.fixture
def machine(home, tpm):
    one = Machine(home)
    one.troth('host', 'init', '--state', one.state, '--no-recovery', '--wrap', 'tpm', '--tpm', f'unix:{tpm.socket}', '--grace', '30').ok()
    one.enrolment = os.path.join(home, 'enrolment')
    return one


def enrol(machine, tpm, *more):
    return machine.troth('tpm', 'enrol', '--state', machine.state, '--tpm-root', tpm.issuer, '--output', machine.enrolment, *more, '--json')


def trust(machine, job, name, *more):
    path = os.path.join(machine.home, name)
    machine.troth('trust', 'new', '--root', os.path.join(machine.state, 'inception.epoch'), '--reference', job, '--output', path, *more).ok()
    return path


def rows(machine):
    return {'rows': jobs.written(machine.work, 'rows.txt', 'a\nb\nc\n')}


def level_2_job(machine, first='cat', more_files=()):
    job = jobs.pipeline(machine.work, first)
    if more_files:
        with open(job) as f:
            whole = json.load(f)
        for enclave in whole['enclaves']:
            enclave['files'] += more_files
        job = jobs.written(machine.work, 'job.json', json.dumps(whole))
    for name in 'ABC':
        path = os.path.join(machine.work, 'policies', f'{name}.json')
        with open(path) as f:
            text = f.read()
        with open(path, 'w') as f:
            f.write(text.replace('Level-1', 'Level-2'))
    return job


def sections(path):
    with open(path, 'rb') as f:
        return {number: content for number, content in cbor2.load(f)[2]}


def test_level_2_is_shown_labelled_and_needs_its_root(machine, tpm, home):
    job = level_2_job(machine)
    told = enrol(machine, tpm, '--local', '--allow-synthetic').ok().json
    assert told['synthetic']
    machine.run(job, rows(machine)).ok()
    receipt = os.path.join(machine.out, 'receipt.troth')
    believed = trust(machine, job, 'trust.json', '--tpm', machine.enrolment, '--allow-synthetic')
    answer = machine.troth('verify', receipt, '--trust', believed, '--json').ok().json
    assert answer['level'] == 2 and answer['platform'] == {'type': 'tpm', 'synthetic': True, 'refused': None, 'text': None}
    people = machine.troth('verify', receipt, '--trust', believed).ok().stdout
    assert 'Level-2' in people and 'simulated' in people
    # Nobody named the root of this TPM; or named it, but not as a test root that counts.
    for name, more, why in (('none.json', (), 'EK_UNTRUSTED'), ('strict.json', ('--tpm', machine.enrolment), 'EVIDENCE_SYNTHETIC')):
        refused = machine.troth('verify', receipt, '--trust', trust(machine, job, name, *more), '--json')
        refused.refused('LEVEL_TOO_LOW', code=1)
        assert refused.json['platform']['refused'] == why
        assert why in machine.troth('verify', receipt, '--trust', os.path.join(home, name)).stdout
    # A script that shares no code with Troth agrees.
    pieces = cbor2.loads(sections(receipt)[PLATFORM])
    with open(tpm.issuer, 'rb') as f:
        roots = [x509.load_pem_x509_certificate(f.read())]
    now = datetime.datetime.utcnow()
    outside = platform_evidence.judge(pieces[0], roots, now)
    assert (outside['ak'], outside['ek']) == (told['ak'], told['ek'])
    status = machine.troth('host', 'status', '--state', machine.state, '--json').ok().json
    assert outside['registers'] == [status['register0'], status['register1']]
    with pytest.raises(platform_evidence.Wrong):
        platform_evidence.judge(pieces[0], [], now)
    for at in range(0, len(pieces[0]), 41):
        changed = bytearray(pieces[0])
        changed[at] ^= 2
        with pytest.raises(Exception):
            assert platform_evidence.judge(bytes(changed), roots, now) != outside


def test_tools_of_others_accept_the_quote(machine, tpm, home):
    """tpm2_checkquote over what the receipt carries."""
    if not shutil.which('tpm2_checkquote'):
        pytest.skip('tpm2-tools is not installed')
    job = jobs.pipeline(machine.work)
    machine.run(job, rows(machine)).ok()
    body = cbor2.loads(cbor2.loads(cbor2.loads(sections(os.path.join(machine.out, 'receipt.troth'))[PLATFORM])[0])[2])
    ak = platform_evidence.public_area(body[4])['key']
    names = {'ak.pem': ak.public_bytes(platform_evidence.Encoding.PEM, platform_evidence.PublicFormat.SubjectPublicKeyInfo), 'attest': body[5],
             'signature': body[6]}
    for name, content in names.items():
        jobs.written(machine.work, name, content)
    nonce = platform_evidence.quote(body[5])['extra'].hex()
    command = ['tpm2_checkquote', '-u', 'ak.pem', '-m', 'attest', '-s', 'signature', '-g', 'sha256', '-q']
    subprocess.run([*command, nonce], cwd=machine.work, check=True, capture_output=True, timeout=30)
    other = subprocess.run([*command, '00' * 32], cwd=machine.work, capture_output=True, timeout=30)
    assert other.returncode != 0


def test_a_quote_on_demand(machine, tpm, home):
    out = os.path.join(home, 'quote')
    told = machine.troth('tpm', 'quote', '--state', machine.state, '--nonce', 'c0ffee', '--output', out, '--json').ok().json
    with open(tpm.issuer, 'rb') as f:
        roots = [x509.load_pem_x509_certificate(f.read())]
    with open(os.path.join(out, 'evidence'), 'rb') as f:
        outside = platform_evidence.judge(f.read(), roots, datetime.datetime.utcnow())
    assert outside['nonce'] == 'c0ffee' and outside['epoch'] == told['epoch']
    parts = [a for n in ('attest', 'signature', 'ak', 'pcrs') for a in ('--' + n, os.path.join(out, n))]
    machine.troth('tpm', 'verify', *parts, '--nonce', told['extra_data']).ok()
    machine.troth('tpm', 'verify', '--log', os.path.join(out, 'log'), '--bank', 'sha384').ok()
    machine.troth('tpm', 'quote', '--state', machine.state, '--nonce', 'c0ffee', '--output', out).refused('ALREADY_EXISTS', code=2)
    machine.troth('tpm', 'quote', '--state', machine.state, '--output', out).refused('USAGE', code=2)


def test_level_1_policies_do_not_care(machine, tpm):
    """A receipt with evidence that nobody asked for is one of Level-1 under a trust file that does not name the TPM."""
    job = jobs.pipeline(machine.work)
    machine.run(job, rows(machine)).ok()
    enrol(machine, tpm).ok()
    receipt = os.path.join(machine.out, 'receipt.troth')
    assert PLATFORM in sections(receipt)
    answer = machine.troth('verify', receipt, '--trust', trust(machine, job, 'none.json'), '--json').ok().json
    assert answer['level'] == 1 and answer['platform']['refused'] == 'EK_UNTRUSTED'
    answer = machine.troth('verify', receipt, '--trust', trust(machine, job, 'all.json', '--tpm', machine.enrolment, '--allow-synthetic'),
                           '--json').ok().json
    assert answer['level'] == 2


def test_the_operator_decides_what_enclaves_believe(machine, tpm):
    """Without an enrolment in the state folder a policy that asks for Level-2 denies; nothing is written."""
    job = level_2_job(machine)
    machine.run(job, rows(machine)).refused('LEVEL_TOO_LOW')
    jobs.assert_untouched(machine)
    enrol(machine, tpm, '--local').ok()
    machine.run(job, rows(machine)).refused('LEVEL_TOO_LOW')
    os.unlink(machine.enrolment)
    enrol(machine, tpm, '--local', '--allow-synthetic').ok()
    machine.run(job, rows(machine)).ok()


def test_enrolment_needs_the_makers_root(machine, tpm, home):
    other = os.path.join(home, 'other.pem')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', os.devnull, '-subj',
                    '/CN=swtpm-localca', '-days', '30', '-out', other], check=True, capture_output=True)
    machine.troth('tpm', 'enrol', '--state', machine.state, '--tpm-root', other, '--output', machine.enrolment).refused('EK_UNTRUSTED', code=1)
    assert not os.path.exists(machine.enrolment)
    machine.troth('tpm', 'enrol', '--state', machine.state, '--output', machine.enrolment).refused('USAGE', code=2)


def test_a_host_without_a_tpm_says_so(home, troth):
    plain = Machine(home).init()
    root = jobs.written(home, 'nothing.pem', '')
    plain.troth('tpm', 'enrol', '--state', plain.state, '--tpm-root', root, '--local').refused('BAD_CERTIFICATE')
    assert 'none' in next(line for line in plain.troth('host', 'status', '--state', plain.state).ok().stdout.splitlines() if ' TPM ' in line)


@pytest.mark.attack('RO-14')
def test_the_whole_state_folder_put_back(machine, tpm):
    """Epoch 5's folder at epoch 9, pin store and history included."""
    def rotate(times):
        for _ in range(times):
            machine.troth('root', 'rotate', '--state', machine.state, '--emergency').ok()
    rotate(4)
    copy = machine.state + '.copy'
    shutil.copytree(machine.state, copy, ignore=lambda folder, names: [n for n in names if n in ('socket', 'host.sock')])
    rotate(4)
    assert machine.troth('root', 'status', '--state', machine.state, '--json').ok().json['epoch'] == 9
    shutil.rmtree(machine.state)
    os.rename(copy, machine.state)
    machine.troth('host', 'status', '--state', machine.state).refused('ROLLBACK', code=1)


def test_tpm_gone_under_a_running_host(machine, tpm):
    """What needs it is refused by name; what does not goes on, at Level-1."""
    job = jobs.pipeline(machine.work)
    with hosts.service(machine):
        tpm.stop()
        machine.run(job, rows(machine)).ok()
        assert PLATFORM not in sections(os.path.join(machine.out, 'receipt.troth'))
        machine.troth('tpm', 'quote', '--state', machine.state, '--nonce', '00', '--output', machine.enrolment).refused('TPM_UNAVAILABLE', code=3)
        assert not os.path.exists(machine.enrolment)
        machine.troth('root', 'rotate', '--state', machine.state).refused('TPM_UNAVAILABLE', code=3)


@pytest.mark.slow
@pytest.mark.attack('RO-05')
def test_killed_while_it_counts(home, tpm, amount):
    """Host, secure processor or TPM, at any moment of rotations: it comes back, and no epoch ever has two records."""
    machine = Machine(home)
    machine.troth('host', 'init', '--state', machine.state, '--no-recovery', '--wrap', 'tpm', '--tpm', f'unix:{tpm.socket}', '--grace', '0').ok()
    rng, seen, last = random.Random(7), {}, 0
    for turn in range(amount(12, 150)):
        host = hosts.Service(machine, '--rotate-every', '0', '--rotate-burst', '0')
        assert host.refused is None, host.error
        client = host.client()
        records = hosts.records_of(client.history())
        for order, oids in records.items():
            seen.setdefault(order, set()).update(oids)
            assert len(seen[order]) == 1, f'two records of {order}'
        assert max(order[1] for order in records) >= last
        last = max(order[1] for order in records)
        victim = ('trothd', 'troth-ap', 'tpm')[turn % 3]
        pids = {'trothd': [host.child.pid], 'troth-ap': host.ap(), 'tpm': [tpm.process.pid]}[victim]
        timer = threading.Timer(rng.uniform(0.0, 0.4), lambda: [os.kill(p, signal.SIGKILL) for p in pids if os.path.exists(f'/proc/{p}')])
        timer.start()
        try:
            while True:
                client.rotate_on()
        except hosts.Refused as refused:
            assert refused.args[0] in ('AP_STOPPED', 'TPM_UNAVAILABLE', 'MEASUREMENT_WRONG'), refused.args
        except (ConnectionError, OSError):
            pass
        timer.join()
        client.close()
        host.stop()
        if victim == 'tpm':
            tpm.process.wait(10)
            if os.path.exists(tpm.socket):
                os.unlink(tpm.socket)
            tpm.start()
    assert last > 5
    machine.troth('root', 'rotate', '--state', machine.state).ok()


@pytest.mark.attack('DA-13')
def test_history_truncated_or_rewritten(machine, tpm):
    """The host's record of its epochs: cut, altered, put back alone, with its pins, and with everything."""
    def rotate(times):
        for _ in range(times):
            machine.troth('root', 'rotate', '--state', machine.state, '--emergency').ok()

    def copy(target, source):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, ignore=lambda folder, names: [n for n in names if n.endswith('sock')])

    def restored(names=()):
        """Today's folder, with these parts of the earlier one."""
        copy(machine.state, now)
        for name in names:
            target = os.path.join(machine.state, name)
            shutil.rmtree(target) if os.path.isdir(target) else os.unlink(target)
            source = os.path.join(earlier, name)
            shutil.copytree(source, target) if os.path.isdir(source) else shutil.copy2(source, target)
        return machine.troth('host', 'status', '--state', machine.state)

    earlier, now = machine.state + '.earlier', machine.state + '.now'
    rotate(2)
    copy(earlier, machine.state)
    rotate(2)
    copy(now, machine.state)
    restored().ok()
    history = [n for n in os.listdir(now) if n.startswith('epochs')]
    pins = [n for n in os.listdir(now) if n.startswith('pins')]
    assert history and pins
    restored(history).refused('HISTORY_DAMAGED', code=1)
    assert 'pin store' in restored(history + pins).refused('PIN_STALE', code=1).stderr
    assert 'pin store' in restored(['pins']).refused('PIN_STALE', code=1).stderr
    restored([*history, *pins, 'ap']).refused('ROLLBACK', code=1)
    restored().ok()
    path = os.path.join(machine.state, 'epochs', 'epochs-00000001.log')
    with open(path, 'rb') as f:
        content = bytearray(f.read())
    content[len(content.rstrip(b'\0')) // 2] ^= 1
    with open(path, 'wb') as f:
        f.write(content)
    machine.troth('host', 'status', '--state', machine.state).refused('HISTORY_DAMAGED', code=1)


@pytest.mark.parametrize('names', [('pins',), ('pins', 'epochs')])
def test_recovery_from_an_old_pin_store(home, tpm, names):
    """Named, recovered from, and the TPM then knows the new one as the latest."""
    machine = Machine(home)
    machine.keys = rotation.openssl_keys(os.path.join(home, 'keys'), 3)
    machine.troth('host', 'init', '--state', machine.state, '--recovery', '2', *[public for _, public in machine.keys], '--grace', '0', '--wrap',
                  'tpm', '--tpm', f'unix:{tpm.socket}').ok()
    former = os.path.join(home, 'former')
    os.mkdir(former)
    shutil.copy(os.path.join(machine.state, 'pins'), former)
    shutil.copytree(os.path.join(machine.state, 'epochs'), os.path.join(former, 'epochs'))
    rotation.rotate_to(machine, 4)
    exported = os.path.join(home, 'exported')
    machine.troth('root', 'history', '--state', machine.state, '--output', exported).ok()
    os.unlink(os.path.join(machine.state, 'pins'))
    shutil.copy(os.path.join(former, 'pins'), machine.state)
    if 'epochs' in names:
        shutil.rmtree(os.path.join(machine.state, 'epochs'))
        shutil.copytree(os.path.join(former, 'epochs'), os.path.join(machine.state, 'epochs'))
    machine.troth('host', 'status', '--state', machine.state).refused('PIN_STALE', code=1)
    rotation.recover(machine, *(('--history', exported) if 'epochs' in names else ())).ok()
    assert rotation.head(machine) == (1, 5)
    machine.troth('root', 'rotate', '--state', machine.state).ok()
    assert rotation.head(machine) == (1, 6)


def test_tpm_gone(machine, tpm):
    tpm.stop()
    machine.troth('host', 'status', '--state', machine.state).refused('TPM_UNAVAILABLE', code=3)
    os.unlink(tpm.socket) if os.path.exists(tpm.socket) else None
    tpm.start()
    machine.troth('host', 'status', '--state', machine.state).ok()


def test_level_2_across_a_rotation(machine, tpm):
    """The epoch changes while the job runs: launches are re-issued with evidence of the new epoch, and the receipt has both."""
    enrol(machine, tpm, '--local', '--allow-synthetic').ok()
    job = level_2_job(machine, first='while read -r x; do echo "$x"; sleep 0.4; done', more_files=['/usr/bin/sleep'])
    with machine.running(job, {'rows': '-'}, stdin=subprocess.PIPE) as run:
        run.stdin.write(b'row\n' * 9)
        run.stdin.flush()
        jobs.until(lambda: len(jobs.processes('sleep')) > 0 or run.poll() is not None, 'the pipeline runs')
        machine.troth('root', 'rotate', '--state', machine.state).ok()
        out, err = run.communicate(b'row\n', timeout=60)
        assert run.returncode == 0, (out, err)
    receipt = os.path.join(machine.out, 'receipt.troth')
    assert len(cbor2.loads(sections(receipt)[PLATFORM])) == 2
    believed = trust(machine, job, 'trust.json', '--tpm', machine.enrolment, '--allow-synthetic')
    assert machine.troth('verify', receipt, '--trust', believed, '--json').ok().json['level'] == 2
