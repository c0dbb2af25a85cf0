"""A peer outside Troth that is known by an authority: certificates made with the commands of docs/PROTOCOL.certificate, good and wrong."""
import json
import os
import subprocess

import jobs
import partner
import pytest
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
