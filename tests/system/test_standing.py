"""The standing link between enrolled hosts: what it carries between runs, and what becomes of it (docs/HOSTS.md)."""
import os
import re

import jobs
import networks
import pytest
import test_revocation
import test_rotation
from test_hosts import DEADLINE, known_epoch, nothing_published, pair, two_host_job, under_way  # noqa: F401 (a fixture)
from test_revocation import Operator, load, pin, revokes, status

HALTED = 2


def version(host, operator):
    return next((row['version'] for row in status(host.machine)['lists'] if row['operator_id'] == operator.id.hex()), None)


def linked(north, south):
    for one, other in ((north, south), (south, north)):
        one.await_link(other)


def test_hosts_link_by_themselves_and_again(home, pair):  # noqa: F811
    north, south = pair
    linked(north, south)
    jobs.until(lambda: {north.link(south)['called'], south.link(north)['called']} == {False, True}, 'the one link that one of the two made', DEADLINE)
    assert re.search(r'link +up since', north.troth('host', 'peers').ok().stdout)
    south.kill()
    north.await_link(south, up=False)
    jobs.until(lambda: north.link(south)['why'], 'why it ended')
    south.start()
    linked(north, south)
    north.troth('host', 'remove-peer', 'south').ok()
    assert north.troth('host', 'peers', '--json').ok().json['links'] == []
    jobs.until(lambda: 'PEER_UNKNOWN' in south.link(north)['why'], 'what north says to strangers', 60)
    north.enrol(south).ok()
    linked(north, south)


def test_of_a_host_that_does_not_answer(home, pair):  # noqa: F811
    """It is called again and again, later and later; nothing waits for it, the end neither."""
    north, south = pair
    south.troth('host', 'remove-peer', 'north').ok()
    south.enrol(north, address=f'{networks.PREFIX}99:7400').ok()
    north.stop()
    jobs.until(lambda: 'PEER_UNREACHABLE' in south.link(north)['why'] and south.link(north)['tries'] >= 2, 'calls that fail', 60)
    assert re.search(r'link +(down|calling).*PEER_UNREACHABLE', south.troth('host', 'peers').ok().stdout)
    south.stop()
    assert south.service.child.returncode == 0
    north.start()


def test_epochs_travel_without_a_run(home, pair):  # noqa: F811
    north, south = pair
    linked(north, south)
    for host, other in (pair, reversed(pair)):
        host.troth('root', 'rotate').ok()
        jobs.until(lambda: known_epoch(other, host) == 2, 'the new epoch', DEADLINE)
    assert networks.LINK_UP == north.link(south)['state'], 'and the link has stood it'


@pytest.fixture
def recoverable(home):
    """Two linked hosts whose roots two of three keys can halt; halt() does it to north's."""
    keys = test_rotation.openssl_keys(os.path.join(home, 'keys'), 3)

    def make(folder, name, network):
        return networks.Host(folder, name, network, init=('--recovery', '2', *[public for _, public in keys]))
    with networks.enrolled(home, 'north', 'south', make=make) as (north, south):
        def halt():
            exported, candidate, halted = (os.path.join(home, n) for n in ('history', 'halt', 'halted'))
            north.troth('root', 'history', '--output', exported).ok()
            north.machine.troth('root', 'halt', 'prepare', '--history', exported, '--output', candidate).ok()
            signatures = [f'{candidate}.{n}' for n in range(2)]
            for path, (key, _) in zip(signatures, keys):
                north.machine.troth('root', 'halt', 'sign', '--candidate', candidate, '--key', key, '--output', path).ok()
            north.machine.troth('root', 'halt', 'assemble', '--candidate', candidate, '--history', exported, '--signature', *signatures, '--output', halted).ok()
            north.troth('root', 'halt', 'apply', '--history', halted).ok()

        def known():
            state = next(p['state'] for p in south.troth('host', 'peers', '--json').ok().json['peers'])
            return state == HALTED
        linked(north, south)
        yield north, south, halt, lambda: jobs.until(known, lambda: f'south knows it: {north.service.error} {south.service.error}', DEADLINE)


def test_a_halt_travels_without_a_run(recoverable):
    """North's recovery keys halt its root; south, which was not asked, has nothing to do with it any more."""
    north, south, halt, await_known = recoverable
    halt()
    await_known()
    south.await_link(north, up=False)


def test_who_was_away_hears_of_a_halt(recoverable):
    """A halted root can no longer prove who it is; what it has to say proves itself."""
    north, south, halt, await_known = recoverable
    south.stop()
    halt()
    south.start()
    await_known()


def test_lists_travel_to_who_pins_their_operator(home, pair):  # noqa: F811
    north, south = pair
    both, one = Operator(home, 'both'), Operator(home, 'one')
    pin(north.machine, both)
    for operator in (both, one):
        pin(south.machine, operator)
    linked(north, south)
    load(south.machine, one.list(1, [revokes('key', os.urandom(32))])).ok()
    load(south.machine, both.list(1, [revokes('key', os.urandom(32))])).ok()
    jobs.until(lambda: version(north, both) == 1, 'the list on north', DEADLINE)
    assert version(north, one) is None
    load(north.machine, both.list(2, [revokes('key', os.urandom(32))])).ok()
    jobs.until(lambda: version(south, both) == 2, 'the list on south', DEADLINE)

    def seen():
        return [(row['operator_id'], row['there'], row['here']) for row in north.link(south)['operators']]
    jobs.until(lambda: seen() == [(both.id.hex(), 2, 2)], 'what south obeys, as north sees it', DEADLINE)
    assert re.search(r'obeys .*version 2 there, 2 here', north.troth('host', 'peers').ok().stdout)
    # Two lists of one version: neither host takes the other's, and the link bears it.
    for host in pair:
        host.network.cut(host.number)
    for host, other in (pair, reversed(pair)):
        host.await_link(other, up=False)
        load(host.machine, both.list(3, [revokes('key', os.urandom(32))])).ok()
    load(south.machine, both.list(4, [revokes('key', os.urandom(32))])).ok()
    assert version(north, both) == 3
    for host in pair:
        host.network.cut(host.number, 'up')
    jobs.until(lambda: version(north, both) == 4, 'what was missed while the network was cut', DEADLINE)


@pytest.mark.attack('BI-07')
def test_a_cut_between_hosts_ends_their_channels_with_the_lease(home, pair):  # noqa: F811
    """Who obeys an operator does not go on with a host that may have been told of something: both give up, naming the lease."""
    north, south = pair
    operator = Operator(home)
    empty = operator.list(1)
    for host in pair:
        pin(host.machine, operator)
        load(host.machine, empty).ok()
    job = two_host_job(os.path.join(home, 'job'), north, south)
    run, join = under_way(north, south, job)
    north.network.cut(north.number)
    for child in (run, join):
        code, text, _ = networks.ended(child, DEADLINE)
        assert code in (1, 3) and 'LEASE_ENDED' in text, text
    nothing_published(north, south)


@pytest.mark.attack('BI-07')
@pytest.mark.parametrize('what', test_revocation.CLASSES)
def test_what_one_host_hears_closes_channels_between_both(home, pair, what):  # noqa: F811
    """Each of the six things of an enclave on south, revoked on south alone: both runtimes close their sockets, and the reason is in the logs of both hosts."""
    north, south = pair
    operator = Operator(home)
    for host in pair:
        pin(host.machine, operator)
    linked(north, south)
    job = two_host_job(os.path.join(home, 'job'), north, south)
    run, join = under_way(north, south, job)
    row = test_revocation.live(south.machine, 'B')
    value = row[{'host': 'rot_id'}.get(what, what)]
    before = edge_sockets(*pair)
    assert len(before) == 2 or os.geteuid() != 0, 'the two ends of the edge'
    load(south.machine, operator.list(1, [revokes(what, value, why='stolen laptop')])).ok()
    test_revocation.await_closed(before, test_revocation.WITHIN, lambda: all('reason=REVOKED' in host.service.error for host in pair))
    jobs.until(lambda: version(north, operator) == 1, 'the list on north', DEADLINE)
    for child in (run, join):
        code, text, _ = networks.ended(child, DEADLINE)
        assert code == 1 and 'REVOKED' in text, text
    nothing_published(north, south)
    for host, side in zip(pair, 'AB'):
        told = host.service.error
        assert 'a revocation list was taken' in told
        # The runtime, its host, or both by way of the other host: whichever end of the news comes first ends the rest.
        assert re.search(f'(a channel was closed enclave={side}|an enclave was ended enclave={side}|another host has ended a run .*) reason=REVOKED', told), (side, told)
    assert 'stolen laptop' in south.service.error


def edge_sockets(*hosts_):
    """TCP connections that runtimes hold; the network of a host lists them, not that of a confined process."""
    inodes = set()
    for host in hosts_:
        with open(f'/proc/{host.service.child.pid}/net/tcp') as f:
            inodes |= {line.split()[9] for line in f.readlines()[1:]}
    return {(pid, target) for pid, target in test_revocation.sockets_of('troth-ire') if target[len('socket:['):-1] in inodes}
