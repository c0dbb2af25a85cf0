#!/usr/bin/python3
"""ML-KEM-768 written from FIPS 203 alone, for clients and vectors of IECP's suite 2. Slow and not constant time: for tests.

Functions take their randomness: keygen(d, z) -> (ek, dk), encaps(ek, m) -> (secret, ct), decaps(dk, ct) -> secret. As a
command it checks itself against known answers of others (those of FIPS 203's reference values in tests/unit/crypto/test_mlkem.c
are computed by OpenSSL, which shares no code with this).
"""
import hashlib

Q, N, K, ETA, DU, DV = 3329, 256, 3, 2, 10, 4
EK_SIZE, DK_SIZE, CT_SIZE = 1184, 2400, 1088


class BadKey(Exception):
    """An encapsulation key that section 7.2 refuses."""


def G(data):
    digest = hashlib.sha3_512(data).digest()
    return digest[:32], digest[32:]


def H(data):
    return hashlib.sha3_256(data).digest()


def J(data):
    return hashlib.shake_256(data).digest(32)


def PRF(seed, number):
    return hashlib.shake_256(seed + bytes([number])).digest(64 * ETA)


def bit_reversed(i):
    return int(f'{i:07b}'[::-1], 2)


ZETA = [pow(17, bit_reversed(i), Q) for i in range(128)]
GAMMA = [pow(17, 2 * bit_reversed(i) + 1, Q) for i in range(128)]


def ntt(f):
    f, i, length = list(f), 1, 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            zeta = ZETA[i]
            i += 1
            for j in range(start, start + length):
                t = zeta * f[j + length] % Q
                f[j + length], f[j] = (f[j] - t) % Q, (f[j] + t) % Q
        length //= 2
    return f


def inverse_ntt(f):
    f, i, length = list(f), 127, 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            zeta = ZETA[i]
            i -= 1
            for j in range(start, start + length):
                t = f[j]
                f[j], f[j + length] = (t + f[j + length]) % Q, zeta * (f[j + length] - t) % Q
        length *= 2
    return [x * 3303 % Q for x in f]


def multiply(f, g):
    h = [0] * N
    for i in range(128):
        a0, a1, b0, b1 = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        h[2 * i], h[2 * i + 1] = (a0 * b0 + a1 * b1 * GAMMA[i]) % Q, (a0 * b1 + a1 * b0) % Q
    return h


def add(f, g):
    return [(a + b) % Q for a, b in zip(f, g)]


def sample_ntt(seed):
    stream, out, at = hashlib.shake_128(seed).digest(3 * 1024), [], 0
    while len(out) < N:
        b = stream[at:at + 3]
        at += 3
        out += [d for d in (b[0] + 256 * (b[1] % 16), b[1] // 16 + 16 * b[2]) if d < Q]
    return out[:N]


def sample_cbd(data):
    bits = [byte >> i & 1 for byte in data for i in range(8)]
    return [(sum(bits[2 * i * ETA:(2 * i + 1) * ETA]) - sum(bits[(2 * i + 1) * ETA:(2 * i + 2) * ETA])) % Q for i in range(N)]


def encode(f, d):
    return sum(x << d * i for i, x in enumerate(f)).to_bytes(32 * d, 'little')


def decode(data, d):
    number = int.from_bytes(data, 'little')
    return [number >> d * i & (1 << d) - 1 for i in range(N)]


def compress(f, d):
    return [((x << d) + Q // 2) // Q % (1 << d) for x in f]


def decompress(f, d):
    return [(x * Q + (1 << d - 1)) >> d for x in f]


def matrix(rho):
    return [[sample_ntt(rho + bytes([j, i])) for j in range(K)] for i in range(K)]


def inner(row, vector):
    total = [0] * N
    for f, g in zip(row, vector):
        total = add(total, multiply(f, g))
    return total


def pke_keygen(d):
    rho, sigma = G(d + bytes([K]))
    A = matrix(rho)
    s = [ntt(sample_cbd(PRF(sigma, i))) for i in range(K)]
    e = [ntt(sample_cbd(PRF(sigma, K + i))) for i in range(K)]
    t = [add(inner(A[i], s), e[i]) for i in range(K)]
    return b''.join(encode(f, 12) for f in t) + rho, b''.join(encode(f, 12) for f in s)


def pke_encrypt(ek, m, r):
    t, rho = [decode(ek[384 * i:384 * i + 384], 12) for i in range(K)], ek[384 * K:]
    A = matrix(rho)
    y = [ntt(sample_cbd(PRF(r, i))) for i in range(K)]
    e1 = [sample_cbd(PRF(r, K + i)) for i in range(K)]
    e2 = sample_cbd(PRF(r, 2 * K))
    u = [add(inverse_ntt(inner([A[j][i] for j in range(K)], y)), e1[i]) for i in range(K)]
    v = add(add(inverse_ntt(inner(t, y)), e2), decompress(decode(m, 1), 1))
    return b''.join(encode(compress(f, DU), DU) for f in u) + encode(compress(v, DV), DV)


def pke_decrypt(dk, ct):
    u = [decompress(decode(ct[32 * DU * i:32 * DU * (i + 1)], DU), DU) for i in range(K)]
    v = decompress(decode(ct[32 * DU * K:], DV), DV)
    s = [decode(dk[384 * i:384 * i + 384], 12) for i in range(K)]
    w = inverse_ntt(inner(s, [ntt(f) for f in u]))
    return encode(compress([(a - b) % Q for a, b in zip(v, w)], 1), 1)


def keygen(d, z):
    ek, dk = pke_keygen(d)
    return ek, dk + ek + H(ek) + z


def encaps(ek, m):
    if len(ek) != EK_SIZE or any(x >= Q for i in range(K) for x in decode(ek[384 * i:384 * i + 384], 12)):
        raise BadKey
    secret, r = G(m + H(ek))
    return secret, pke_encrypt(ek, m, r)


def decaps(dk, ct):
    pke, ek, h, z = dk[:384 * K], dk[384 * K:768 * K + 32], dk[768 * K + 32:768 * K + 64], dk[768 * K + 64:]
    m = pke_decrypt(pke, ct)
    secret, r = G(m + h)
    return secret if ct == pke_encrypt(ek, m, r) else J(z + ct)
