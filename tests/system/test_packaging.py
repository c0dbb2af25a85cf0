"""packaging/systemd/trothd-host.service: what it takes away leaves the confinement whole. systemd itself is not needed."""
import configparser
import json
import os
import re
import shutil

import conftest
import pytest

UNIT = os.path.join(conftest.ROOT, 'packaging/systemd/trothd-host.service')
# What the unit must not have: it takes confinement away (below, some are tried), or hides what jobs name.
HARMFUL = {'RestrictNamespaces', 'PrivateUsers', 'ProtectKernelTunables', 'ProtectKernelLogs', 'ProtectProc', 'ProcSubset', 'ProtectHostname',
           'ProtectControlGroups', 'MemoryDenyWriteExecute', 'PrivateTmp', 'ProtectHome'}


@pytest.fixture(scope='module')
def unit():
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str
    parser.read(UNIT)
    return parser['Service']


def test_the_unit_names_what_it_leaves_out(unit):
    assert not HARMFUL & set(unit)
    with open(UNIT) as f:
        comments = ' '.join(line[1:] for line in f if line.startswith('#'))
    assert all(re.search(rf'\b{name}\b', comments) for name in HARMFUL)


def test_systemd_understands_the_unit(work):
    if not shutil.which('systemd-analyze'):
        pytest.skip('systemd-analyze is not installed')
    if os.geteuid() != 0 and not os.path.isdir('/run/systemd'):
        pytest.skip('systemd-analyze keeps files in /run/systemd, which only root can make where systemd does not run')
    with open(UNIT) as f:
        text = re.sub(r'^ExecStart=\S+', 'ExecStart=/bin/true', f.read(), flags=re.M)
    path = os.path.join(work, 'trothd-host.service')
    with open(path, 'w') as f:
        f.write(text)
    done = conftest.run(['systemd-analyze', 'verify', '--man=no', path]).ok()
    complaints = [line for line in done.stderr.splitlines() if path in line and 'DelegateSubgroup' not in line]
    assert not complaints, complaints


DOCTOR = [conftest.program('troth'), 'doctor', '--json']
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason='the unit is for root')


@AS_ROOT
def test_the_tier_is_reached_under_the_unit(unit):
    """Capabilities, no new privileges, an empty network and a read-only system, as the unit gives them."""
    keep = ','.join('+' + c.removeprefix('CAP_').lower() for c in unit['CapabilityBoundingSet'].split())
    below = ['setpriv', f'--bounding-set=-all,{keep}', '--inh-caps=-all', '--no-new-privs', '--']
    read_only = 'for d in /usr /boot /etc; do mount --bind $d $d && mount -o remount,ro,bind $d || exit 9; done; exec "$@"'
    done = conftest.run(['unshare', '--mount', '--net', '--', 'sh', '-c', read_only, 'sh', *below, *DOCTOR]).ok()
    found = json.loads(done.stdout)
    assert (found['tier'], found['isolation'], found['missing']) == ('N', 'uid', '')
    assert all(d['refused'] for d in found['denials'])
    # And one that it needs: an image is built by root.
    less = [w.replace(',+sys_admin', '') for w in below]
    assert less != below
    found = json.loads(conftest.run([*less, *DOCTOR]).ok().stdout)
    assert found['tier'] == 'L' and found['missing'].startswith('NO_NAMESPACES')


@AS_ROOT
def test_why_directives_are_left_out(deny):
    covered = ['unshare', '--mount', '--', 'sh', '-c', 'mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys; exec "$@"', 'sh']
    for wrap, word in ((covered, '/proc'), (deny('--call', 'sethostname=EPERM'), 'host name'), (deny('--no-userns'), 'namespaces')):
        found = json.loads(conftest.run([*wrap, *DOCTOR]).ok().stdout)
        assert found['tier'] == 'L' and word in found['missing'], (wrap, found)


def test_every_command_has_a_man_page(work):
    conftest.run([os.path.join(conftest.ROOT, 'tools/man'), work, '--programs', conftest.BIN]).ok()
    usage = conftest.run([conftest.program('troth'), '--help']).ok().stdout
    commands = re.findall(r'^  (\w+(?: [\w-]+)?)  +\S', usage, re.M)
    assert len(commands) > 10
    pages = set(os.listdir(work))
    assert pages == {f'troth-{c.replace(" ", "-")}.1' for c in commands} | {'troth.1', 'trothd.8', 'trothd-host.8', 'troth-ap.8'}
    for name in pages:
        with open(os.path.join(work, name), encoding='utf-8') as f:
            text = f.read()
        assert re.findall(r'^\.SH (.*)$', text, re.M)[:3] == ['NAME', 'SYNOPSIS', 'DESCRIPTION'], name
        if shutil.which('groff'):
            assert not conftest.run(['groff', '-man', '-ww', '-z', '-Tutf8', os.path.join(work, name)]).ok().stderr, name
    with open(os.path.join(work, 'troth-verify.1'), encoding='utf-8') as f:
        assert '\\-\\-trust' in f.read()
