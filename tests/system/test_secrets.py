"""Secrets of a job: released to what they were sealed for, through a pipe, and seen by nobody else: not the host, no file, no argument."""
import hashlib
import os
import re
import shutil

import conftest
import jobs
import pytest
from jobs import Machine, box, machine, probe  # noqa: F401 (fixtures)

SECRET = b'correct horse battery staple ' + bytes(range(1, 90))
READER = 'key=$(cat /dev/fd/3 | sha256sum); echo "$key" | cut -c1-64'
FILES = ['/usr/bin/cat', '/usr/bin/sha256sum', '/usr/bin/cut', '/usr/bin/sleep', '/usr/bin/touch']


def secret_job(machine, text=READER, name='P', role='key'):
    jobs.written(machine.work, 'p.sh', f'#!/bin/sh\n{text}\n', 0o755)
    return jobs.write_job(machine.work, [jobs.enclave(name, './p.sh', files=FILES, secrets=[{'name': 'k', 'fd': 3}])],
                          inputs=[{'role': role, 'to': name, 'secret': 'k'}], outputs=[{'name': 'out', 'from': name, 'file': 'out.txt'}])


def seal(machine, job, name='P', secret=SECRET, to='key.sealed', root=None):
    machine.give_away()
    path = os.path.join(machine.home, to)
    machine.troth('seal', '--job', job, '--enclave', name, '--as', 'k', '--root', root or os.path.join(machine.state, 'inception.epoch'),
                  '--state', machine.state, '--out', path, input=secret).ok()
    return path


def files_with(folder, needle):
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, 'rb') as f:
                    if needle in f.read():
                        found.append(path)
    return found


@pytest.mark.ire
def test_a_secret_reaches_its_program_and_no_file(machine):
    job = secret_job(machine)
    sealed = seal(machine, job)
    machine.run(job, sealed={'key': sealed}).ok()
    assert machine.text().strip() == hashlib.sha256(SECRET).hexdigest()
    assert machine.verify(machine.trust(job)).ok().json['verdict'] == 'accepted'
    assert not files_with(machine.home, SECRET[:24]), 'the secret is in a file'


@pytest.mark.sanitize
@pytest.mark.ire
@pytest.mark.attack('CF-04')
def test_a_secrets_descriptor_is_the_only_one_more(machine, probe):
    shutil.copy(probe, os.path.join(machine.work, 'probe'))
    job = jobs.write_job(machine.work, [jobs.enclave('P', './probe', ['cf-04', 3], secrets=[{'name': 'k', 'fd': 3}])],
                         inputs=[{'role': 'key', 'to': 'P', 'secret': 'k'}], outputs=[{'name': 'out', 'from': 'P', 'file': 'out.txt'}])
    sealed = seal(machine, job)
    machine.run(job, sealed={'key': sealed}).ok()
    assert 'holds    only descriptors of the manifest are open' in machine.text() and 'BROKEN' not in machine.text()


def memory_with(pid, needle):
    """Whether a process's memory holds these bytes; None when it cannot be read."""
    try:
        with open(f'/proc/{pid}/maps') as maps, open(f'/proc/{pid}/mem', 'rb', 0) as mem:
            for line in maps:
                area, rights = line.split()[:2]
                start, end = (int(x, 16) for x in area.split('-'))
                if not rights.startswith('r') or '[v' in line or end - start > 1 << 28:
                    continue
                try:
                    mem.seek(start)
                    if needle in mem.read(end - start):
                        return True
                except OSError:
                    pass
        return False
    except OSError:
        return None


@pytest.mark.attack('BI-10')
def test_neither_host_nor_client_ever_holds_it(box):
    """While the program holds the secret: it is not in the memory of trothd or troth, nor in any argument or environment of the machine."""
    text = SECRET[:28].decode()
    job = secret_job(box, 'read key </dev/fd/3; cat /job/p.sh >/tmp/ready; sleep 60; echo "$key" | cut -c1-3')
    sealed = seal(box, job, secret=(text + '\n').encode())
    box.give_away()
    child = box.running(job, more=['--sealed', f'key={sealed}'])
    needle = text.encode()
    with child as process:
        jobs.until(lambda: jobs.processes('sleep') or process.poll() is not None, 'the program has its secret')
        assert process.poll() is None, process.communicate()[1]
        holders = [pid for pid in conftest.descendants() if memory_with(pid, needle)]
        names = {conftest.describe(pid) for pid in holders}
        assert any('p.sh' in name for name in names), f'the method finds nothing: {names}'
        for name in ('troth', 'trothd', 'troth-ap'):
            pids = jobs.processes(name)
            assert pids
            for pid in pids:
                assert pid not in holders, f'{name} holds the secret'
                if os.geteuid() == 0 and name != 'troth-ap':
                    assert memory_with(pid, b'trothd' if name == 'trothd' else b'troth') is True, 'its memory cannot be read, so this shows nothing'
        for pid in conftest.parents():
            for place in ('cmdline', 'environ'):
                try:
                    with open(f'/proc/{pid}/{place}', 'rb') as f:
                        assert needle not in f.read() or pid == os.getpid(), conftest.describe(pid)
                except OSError:
                    pass
    conftest.gone(conftest.descendants(), 10)


@pytest.mark.sanitize
@pytest.mark.attack('BI-10')
def test_a_sealed_secret_opens_only_for_what_it_was_sealed_for(box):
    job = secret_job(box)
    sealed = seal(box, job)
    box.run(job, sealed={'key': sealed}, out=box.home + '/first').ok()
    # Another program of the same name, another policy, another limit: other measurements.
    for number, change in enumerate([lambda: secret_job(box, READER + '\necho more'),
                                     lambda: (secret_job(box), jobs.written(box.work, 'policies/P.json', '{"enclave_id": "P", "max_dac_depth": 7, '
                                              '"required_attestation_level": "Level-1"}'))]):
        change()
        ran = box.run(job, sealed={'key': sealed})
        assert 'SEAL_FOREIGN' in ran.stderr and ran.code == 1, str(ran)
        jobs.assert_untouched(box)
    # A stranger's name.
    ran = box.run(secret_job(box, name='Q'), sealed={'key': sealed})
    assert 'SEAL_FOREIGN' in ran.stderr, str(ran)
    # The right one still works.
    box.run(secret_job(box), sealed={'key': sealed}).ok()


@pytest.mark.sanitize
@pytest.mark.attack('BI-10')
def test_a_sealed_secret_that_was_altered(box, amount):
    job = secret_job(box)
    sealed = seal(box, job)
    with open(sealed, 'rb') as f:
        whole = f.read()
    broken = os.path.join(box.home, 'broken')
    places = [0, 1, len(whole) // 4, len(whole) // 2, len(whole) - 65, len(whole) - 1] if not conftest.LONG else range(len(whole))
    for at in places:
        with open(broken, 'wb') as f:
            f.write(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
        ran = box.run(job, sealed={'key': broken})
        assert ran.code == 1, str(ran)
        jobs.assert_typed(ran.code, ran.stderr)
        jobs.assert_untouched(box)
    for data in (b'', whole[:-1], whole + b'\0', os.urandom(200)):
        with open(broken, 'wb') as f:
            f.write(data)
        ran = box.run(job, sealed={'key': broken})
        assert ran.code in (1, 2), str(ran)
        jobs.assert_typed(ran.code, ran.stderr)
    jobs.assert_untouched(box)


@pytest.mark.sanitize
@pytest.mark.attack('BI-10')
def test_a_secret_of_another_root(home, box):
    """Sealed by another host for the very same measurement."""
    other = Machine(os.path.join(home, 'other')).init()
    job = secret_job(box)
    theirs = seal(other, job)
    ran = box.run(job, sealed={'key': theirs})
    assert ran.code == 1 and re.search('SEAL_FOREIGN|BAD_SIGNATURE', ran.stderr), str(ran)
    jobs.assert_untouched(box)
    # Nor does `troth seal` take one root's word for another's.
    told = box.troth('seal', '--job', job, '--enclave', 'P', '--as', 'k', '--root', os.path.join(other.state, 'inception.epoch'),
                     '--state', box.state, '--out', box.home + '/x', input=SECRET)
    assert told.code == 1, str(told)
    jobs.assert_typed(told.code, told.stderr)
    assert not os.path.exists(box.home + '/x')
