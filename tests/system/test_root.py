"""The root of trust on a real machine: altered programs, altered or exchanged state, and what the host says to them."""
import hashlib
import os
import shutil

import cbor2
import jobs
import pytest
from jobs import Machine

DURABLE = ('pins', 'pins.key', 'ap/state', 'ap/wrap.key', 'inception.epoch')


@pytest.fixture
def own(home):
    """A machine with copies of the programs that a test may alter."""
    machine = Machine(home)
    machine.own_programs()
    return machine.init()


def status(machine):
    return machine.troth('host', 'status', '--state', machine.state, '--json')


def append(path, data=b'\0'):
    with open(path, 'ab') as f:
        f.write(data)


def rot_id(machine):
    return status(machine).ok().json['health']['rot_id']


def files_of(machine):
    """Contents of the durable files of a state folder."""
    found = {}
    for name in DURABLE:
        with open(in_state(machine, name), 'rb') as f:
            found[name] = f.read()
    return found


def in_state(machine, name):
    return os.path.join(machine.state, name)


@pytest.mark.attack('RO-09')
def test_an_altered_secure_processor_is_not_started(own):
    before = rot_id(own)
    program = os.path.join(own.bin, 'troth-ap')
    append(program)
    status(own).refused('AP_CHANGED')
    own.run(jobs.single(own.work, 'true')).refused('AP_CHANGED')
    jobs.assert_untouched(own)
    # The operator may accept it, by the digest that stands there and by no other.
    with open(program, 'rb') as f:
        digest = hashlib.sha384(f.read()).hexdigest()
    own.troth('host', 'accept-ap', '00' * 48, '--state', own.state).refused('AP_CHANGED')
    own.troth('host', 'accept-ap', digest, '--state', own.state).ok()
    assert rot_id(own) == before


@pytest.mark.attack('RO-09')
def test_an_altered_host_program_is_not_endorsed(own):
    append(os.path.join(own.bin, 'troth-ire'))
    refused = own.run(jobs.single(own.work, 'true')).refused('MEASUREMENT_WRONG')
    assert 'phase 1' in refused.stderr
    jobs.assert_untouched(own)


@pytest.mark.attack('RO-08')
def test_the_host_does_not_choose_the_root(home):
    """Two roots of one host on one machine have nothing in common, and the record on disk is the one that is pinned."""
    one, two = Machine(os.path.join(home, 'one')).init(), Machine(os.path.join(home, 'two')).init()
    assert rot_id(one) != rot_id(two)
    records = [files_of(m)['inception.epoch'] for m in (one, two)]
    payloads = [cbor2.loads(cbor2.loads(r).value[2]) for r in records]
    for key in (7, 8, 9, 10):  # keys, salt and the commitment to the next keys
        assert payloads[0][key] != payloads[1][key]
    # Asked again, a host keeps the root that it has.
    before = rot_id(one)
    one.troth('host', 'init', '--state', one.state, '--no-recovery').ok()
    assert rot_id(one) == before and files_of(one)['inception.epoch'] == records[0]


def test_the_state_of_another_root_is_refused(home):
    one, two = Machine(os.path.join(home, 'one')).init(), Machine(os.path.join(home, 'two')).init()
    shutil.rmtree(in_state(one, 'ap'))
    shutil.copytree(in_state(two, 'ap'), in_state(one, 'ap'))
    refused = status(one)
    assert refused.code and any(r in refused.stderr for r in ('AP_UNTRUSTED', 'STALE_STATE')), str(refused)


@pytest.mark.attack('RO-16')
def test_damaged_state_is_told_and_nothing_is_lost(home):
    """Every durable file: cut short, one bit flipped, gone. Put back, all is as before."""
    machine = Machine(home).init()
    before, kept = rot_id(machine), files_of(machine)
    kept = files_of(machine)
    for name in ('pins', 'pins.key', 'ap/state', 'ap/wrap.key'):
        path = in_state(machine, name)
        flipped = bytes([kept[name][0] ^ 1]) + kept[name][1:]
        for damaged in (kept[name][:-1], flipped, None):
            if damaged is None:
                os.unlink(path)
            else:
                with open(path, 'r+b') as f:
                    f.truncate(0)
                    f.write(damaged)
            # Of the two slots of the state one bit may hit the old one: then the new one serves.
            told = status(machine)
            if told.code == 0:
                assert name == 'ap/state' and damaged is not None and told.json['health']['rot_id'] == before
            else:
                jobs.assert_typed(told.code, told.stderr)
            for back, content in kept.items():
                with open(in_state(machine, back), 'wb') as f:
                    f.write(content)
            assert rot_id(machine) == before, f'{name} was put back'
            kept = files_of(machine)
