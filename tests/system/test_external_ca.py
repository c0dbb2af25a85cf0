"""A peer outside Troth that is known by an authority: certificates made with the commands of docs/PROTOCOL.certificate, good and wrong."""
import json
import os
import subprocess

import jobs
import partner
import pytest
from cryptography import x509
from jobs import box  # noqa: F401 (fixture)
from partner import Partner, iecp

HOST = 'outside.example'
GOOD = ['basicConstraints=critical,CA:TRUE,pathlen:0', 'keyUsage=critical,keyCertSign', f'nameConstraints=critical,permitted;URI:{HOST}']


def openssl(work, *args):
    subprocess.run(['openssl', *args], cwd=work, check=True, capture_output=True, timeout=30)


def make_authority(work, name='ca'):
    openssl(work, 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', f'{name}.key', '-out', f'{name}.pem',
            '-days', '3650', '-subj', '/CN=authority')


def certify(work, key, extensions=GOOD, by='ca', days='30'):
    """What the authority writes for the key that issues leaves; DER."""
    with open(os.path.join(work, 'issuer.pem'), 'wb') as file:
        file.write(partner.pem_of(key))
    with open(os.path.join(work, 'issuer.cnf'), 'w', encoding='ascii') as file:
        file.write('\n'.join(extensions) + '\n')
    openssl(work, 'x509', '-new', '-force_pubkey', 'issuer.pem', '-subj', '/CN=outside', '-CA', f'{by}.pem', '-CAkey', f'{by}.key', '-days', days,
            '-sha256', '-extfile', 'issuer.cnf', '-outform', 'DER', '-out', 'issuer.der')
    with open(os.path.join(work, 'issuer.der'), 'rb') as file:
        return file.read()


def job_of(box, uri=partner.NAME):
    """The receiving job, with the authority instead of a key."""
    path = partner.receiving_job(box, key=partner.identity().sign_key)
    with open(path, encoding='ascii') as file:
        job = json.load(file)
    job['externals'] = [{'name': 'partner', 'socket': './p.sock', 'ca': 'ca.pem', 'uri': uri}]
    with open(path, 'w', encoding='ascii') as file:
        json.dump(job, file)
    return path


def run_with(box, who):
    def talk(sock):
        channel = iecp.initiate(sock, who, partner.root_key(box))
        channel.send(partner.stream(b'by authority\n'))
        channel.close()
        return channel.receive_all()

    job = job_of(box)
    with Partner(box.work, talk) as peer:
        return box.run(job), peer


def identity_of(box, chain=None, **more):
    """An identity whose leaf an issuer key has signed; `chain(leaf, issuer)` gives what is shown."""
    issuer = partner.identity().sign_key
    who = partner.identity(issuer=issuer, **more)
    who.leaf = (chain or (lambda leaf, key: iecp.lv(leaf) + iecp.lv(certify(box.work, key))))(who.leaf, issuer)
    return who


def test_a_peer_that_an_authority_vouches_for(box):
    make_authority(box.work)
    ran, peer = run_with(box, identity_of(box))
    ran.ok()
    assert peer.failure is None and box.text() == 'by authority\n'
    trust = box.trust(os.path.join(box.work, 'job.json'))
    assert box.verify(trust).ok().json['verdict'] == 'accepted'
    with open(trust, encoding='ascii') as file:
        assert partner.NAME in file.read()


WRONG = {
    'the leaf alone': (lambda box: lambda leaf, key: leaf, 'CA_PATH'),
    'a list of the leaf alone': (lambda box: lambda leaf, key: iecp.lv(leaf), 'CA_PATH'),
    'no name constraint': (lambda box: lambda leaf, key: iecp.lv(leaf) + iecp.lv(certify(box.work, key, GOOD[:2])), 'CA_NAME'),
    'another host': (lambda box: lambda leaf, key: iecp.lv(leaf) + iecp.lv(certify(box.work, key, [*GOOD[:2],
                     'nameConstraints=critical,permitted;URI:other.example'])), 'CA_NAME'),
    'not critical': (lambda box: lambda leaf, key: iecp.lv(leaf) + iecp.lv(certify(box.work, key, [*GOOD[:2],
                     f'nameConstraints=permitted;URI:{HOST}'])), 'BAD_CERTIFICATE'),
    'another authority': (lambda box: lambda leaf, key: iecp.lv(leaf) + iecp.lv(certify(box.work, key, by='other')), 'CERTIFICATE_FOREIGN'),
    'an authority below': (lambda box: lambda leaf, key: iecp.lv(leaf) + iecp.lv(certify(box.work, key, ['basicConstraints=critical,CA:TRUE,pathlen:1',
                           *GOOD[1:]])), 'CA_PATH'),
    'a leaf as an authority': (lambda box: lambda leaf, key: iecp.lv(leaf) + iecp.lv(leaf), 'BAD_CERTIFICATE'),
}


@pytest.mark.parametrize('what', sorted(WRONG))
def test_paths_that_are_wrong(box, what):
    make, reason = WRONG[what]
    make_authority(box.work)
    make_authority(box.work, 'other')
    ran, peer = run_with(box, identity_of(box, make(box)))
    ran.refused('STAGE_FAILED', 1)
    assert reason in ran.stderr, str(ran)
    assert peer.result is None
    jobs.assert_untouched(box)


def test_another_name_of_the_same_host(box):
    make_authority(box.work)
    ran, peer = run_with(box, identity_of(box, uri=f'spiffe://{HOST}/ire/somebody'))
    ran.refused('STAGE_FAILED', 1)
    assert 'PEER_NAME_MISMATCH' in ran.stderr, str(ran)
    assert peer.result is None


@pytest.mark.parametrize('fields', [{'ca': 'ca.pem'}, {'uri': partner.NAME}, {'ca': 'ca.pem', 'uri': partner.NAME, 'key': 'ca.pem'},
                                    {'key': 'ca.pem', 'uri': partner.NAME}, {'ca': 'ca.pem', 'uri': 'https://outside.example/'}])
def test_jobs_that_name_an_authority_wrongly(box, fields):
    make_authority(box.work)
    path = job_of(box)
    with open(path, encoding='ascii') as file:
        job = json.load(file)
    job['externals'] = [{'name': 'partner', 'socket': './p.sock', **fields}]
    with open(path, 'w', encoding='ascii') as file:
        json.dump(job, file)
    box.run(path).refused('JOB_INCONSISTENT', 2)


# ---- the enclave shows a path

def asked_for(box):
    """What `troth root certify --request` says that an authority has to write."""
    return box.troth('root', 'certify', '--request', os.path.join(box.work, 'issuer.pem'), '--state', box.state, '--json').ok().json


def written_for(box, asked, by='ca', out='issuer.der', days='1', **change):
    """... and what one writes. `change` replaces a line of it."""
    lines = {'constraints': 'basicConstraints=critical,CA:TRUE,pathlen:0', 'usage': 'keyUsage=critical,keyCertSign',
             'names': f'nameConstraints=critical,permitted;URI:{asked["host"]}', **change}
    subject = lines.pop('subject', asked['subject'])
    with open(os.path.join(box.work, 'issuer.cnf'), 'w', encoding='ascii') as file:
        file.write('\n'.join(line for line in lines.values() if line) + '\n')
    openssl(box.work, 'x509', '-new', '-force_pubkey', 'issuer.pem', '-subj', f'/CN={subject}', '-CA', f'{by}.pem', '-CAkey', f'{by}.key', '-days', days,
            '-sha256', '-extfile', 'issuer.cnf', '-outform', 'DER', '-out', out)
    return os.path.join(box.work, out)


def certify_root(box, *files):
    return box.troth('root', 'certify', *files, '--state', box.state, '--json')


def authority_of(box, name='P', by='ca'):
    """What the peer outside knows: the authority's key, and whom it may vouch for."""
    with open(os.path.join(box.work, f'{by}.pem'), 'rb') as file:
        key = x509.load_pem_x509_certificate(file.read()).public_key()
    return iecp.Authority(key, f'spiffe://{box.root_label()}.troth.internal/ire/{name}')


def shown_to(box, knows, sends=True):
    """A run whose peer outside knows the enclave by `knows` alone."""
    who = partner.identity()

    def receive(sock):
        channel = iecp.respond(sock, who, [knows])
        data = channel.receive_all()
        channel.close()
        return partner.read_stream(data)[1]

    def send(sock):
        channel = iecp.initiate(sock, who, [knows])
        channel.send(partner.stream(b'by authority\n'))
        channel.close()
        return channel.receive_all()

    job = partner.shown_a_path((partner.sending_job if sends else partner.receiving_job)(box, key=who.sign_key))
    with Partner(box.work, receive if sends else send) as peer:
        return box.run(job), peer


@pytest.mark.parametrize('sends', [True, False])
def test_an_enclave_shows_its_path(box, sends):
    """The peer knows neither root nor epoch: only an authority that has certified the epoch's key, by the commands of the page."""
    make_authority(box.work)
    kept = certify_root(box, written_for(box, asked_for(box))).ok().json
    assert kept['certificates'] == 1 and kept['epoch'] == 1, kept
    ran, peer = shown_to(box, authority_of(box), sends)
    ran.ok()
    assert peer.failure is None, peer.failure
    assert peer.result == (b'sent\n' if sends else b'')
    trust = box.trust(os.path.join(box.work, 'job.json'))
    assert box.verify(trust).ok().json['verdict'] == 'accepted'


def test_an_enclave_shows_a_path_of_three(box):
    make_authority(box.work)
    asked = asked_for(box)
    openssl(box.work, 'req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'middle.key', '-out', 'middle.csr', '-subj', '/CN=middle')
    with open(os.path.join(box.work, 'middle.cnf'), 'w', encoding='ascii') as file:
        file.write('basicConstraints=critical,CA:TRUE,pathlen:1\nkeyUsage=critical,keyCertSign\n')
    openssl(box.work, 'x509', '-req', '-in', 'middle.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-days', '1', '-sha256', '-extfile', 'middle.cnf', '-out', 'middle.pem')
    openssl(box.work, 'x509', '-in', 'middle.pem', '-outform', 'DER', '-out', 'middle.der')
    certify_root(box, written_for(box, asked, by='middle'), os.path.join(box.work, 'middle.der')).ok()
    ran, peer = shown_to(box, authority_of(box))
    ran.ok()
    assert peer.failure is None and peer.result == b'sent\n', peer.failure


@pytest.mark.parametrize('knows', ['another authority', 'another name'])
def test_a_peer_that_knows_somebody_else_refuses_the_path(box, knows):
    make_authority(box.work)
    make_authority(box.work, 'other')
    certify_root(box, written_for(box, asked_for(box))).ok()
    authority = authority_of(box, by='other') if knows == 'another authority' else authority_of(box, name='Q')
    ran, peer = shown_to(box, authority)
    ran.refused('STAGE_FAILED', 1)
    assert isinstance(peer.failure, iecp.Refused), peer.failure
    jobs.assert_untouched(box)


def test_no_authority_has_certified_the_epoch(box):
    """At first, and again after a rotation: what was written is for the epoch before."""
    make_authority(box.work)
    job = partner.shown_a_path(partner.sending_job(box, key=partner.identity().sign_key))
    box.run(job).refused('ISSUER_MISSING', 1)
    certify_root(box, written_for(box, asked_for(box))).ok()
    box.troth('root', 'rotate', '--state', box.state).ok()
    box.run(job).refused('ISSUER_MISSING', 1)
    certify_root(box, os.path.join(box.work, 'issuer.der')).refused('CA_PATH', 1)
    certify_root(box, written_for(box, asked_for(box))).ok()
    ran, peer = shown_to(box, authority_of(box))
    ran.ok()
    assert peer.result == b'sent\n'


WRITTEN_WRONG = {
    'another host': ({'names': 'nameConstraints=critical,permitted;URI:other.example'}, 'CA_NAME'),
    'no constraint': ({'names': ''}, 'CA_NAME'),
    'may have more below it': ({'constraints': 'basicConstraints=critical,CA:TRUE,pathlen:1'}, 'CA_PATH'),
    'no authority': ({'constraints': 'basicConstraints=critical,CA:FALSE'}, 'BAD_CERTIFICATE'),
    'another subject': ({'subject': 'somebody'}, 'CA_PATH'),
    'longer than the epoch': ({'days': '36500'}, 'CA_PATH'),
}


@pytest.mark.parametrize('what', sorted(WRITTEN_WRONG))
def test_what_an_authority_wrote_wrongly_is_not_kept(box, what):
    change, reason = WRITTEN_WRONG[what]
    make_authority(box.work)
    certify_root(box, written_for(box, asked_for(box), **change)).refused(reason, 1)
    assert not os.path.exists(os.path.join(box.state, 'issuers'))


def test_show_is_leaf_or_path(box):
    path = partner.shown_a_path(partner.sending_job(box, key=partner.identity().sign_key))
    with open(path, encoding='ascii') as file:
        text = file.read()
    with open(path, 'w', encoding='ascii') as file:
        file.write(text.replace('"show": "path"', '"show": "chain"'))
    box.run(path).refused('JOB_INCONSISTENT', 2)
