"""A TCP proxy that harms what passes: wire_proxy.py LISTEN_HOST LISTEN_PORT TO_HOST TO_PORT HOW CONNECTION DIRECTION OFFSET

Of the CONNECTION-th connection (0 is the first) the byte at OFFSET in DIRECTION (out: from who connected) is flipped, or everything from there on is
dropped (cut), swallowed (hold) or sent twice (double). Other connections pass untouched.
"""
import select
import socket
import sys


def main():
    listen_host, listen_port, to_host, to_port, how, which, direction, offset = sys.argv[1:]
    listener = socket.create_server((listen_host, int(listen_port)))
    print('up', flush=True)
    pairs, count, seen = {}, 0, {}
    while True:
        ready, _, _ = select.select([listener, *pairs], [], [])
        for one in ready:
            if one is listener:
                near, _ = listener.accept()
                far = socket.create_connection((to_host, int(to_port)))
                pairs[near], pairs[far] = far, near
                seen[near], seen[far] = [count, 'out', 0], [count, 'in', 0]
                count += 1
                continue
            if one not in pairs:
                continue
            try:
                data = one.recv(65536)
            except OSError:
                data = b''
            number, way, passed = seen[one]
            seen[one][2] += len(data)
            at = int(offset) - passed
            hit = number == int(which) and way == direction and 0 <= at < len(data)
            if hit and how == 'flip':
                data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
            elif hit and how == 'double':
                data += data
            elif hit and how == 'hold':
                data = data[:at]
                seen[one][2] = -1 << 60
            other = pairs[one]
            try:
                if hit and how == 'cut':
                    other.sendall(data[:at])
                    raise OSError
                if seen[one][2] < 0 and not hit:
                    continue
                if not data and not (hit and how == 'hold'):
                    raise OSError
                other.sendall(data)
            except OSError:
                for end in (one, other):
                    pairs.pop(end, None)
                    end.close()


main()
