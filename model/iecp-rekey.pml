/*
 * Re-handshake of an IECP channel in place (src/enclave/iecp_rekey.c, docs/PROTOCOL.iecp): both sides, records in order each
 * way, each side starting whenever it may, KEYUPDATE and data in between. Checked by exhaustive search:
 *   every record is opened with the generation and the keys it was sealed with (assertion at each receipt)
 *   nothing arrives that its receiver has to refuse (assertions)
 *   when nothing moves any more, no side waits, and each receives with the keys the other sends with (at timeout)
 *
 * ATTACKED    instead of the opener somebody who has the old keys, and nothing else: whatever is delivered under new keys
 *             came after a handshake that verified
 * WEAK_*      each removes one rule; each must fail (iecp-rekey.weak-*.pml)
 */
#ifdef ATTACKED
#define STARTS 1
#define UPDATES 0
#define PIECES 1
#else
#define STARTS 2   /* re-handshakes that each side begins at most */
#define UPDATES 1  /* KEYUPDATEs of each side */
#define PIECES 2   /* of data */
#endif
#define LINE 16

mtype = { DATA, KEYUPDATE, M1, M2, M3, SWITCH };
mtype = { IDLE, WAIT_M2, WAIT_M3, WAIT_SWITCH };

/* type, generation, keys (the handshake's number), updates of them, nonce of M1, number of the keys that M2 and M3 are about */
chan line[2] = [LINE] of { mtype, byte, byte, byte, byte, byte };

#define OPENER 0
mtype state[2] = IDLE;
byte out_gen[2], out_key[2], out_up[2]; /* what each side seals with */
byte in_gen[2], in_key[2], in_up[2];	/* and opens with */
byte next[2];				/* keys of the handshake under way */
byte own[2];				/* nonce of the own M1 */
bool passed_over[2];
bool verified[2]; /* the handshake of next[] */
bool good[2] = true; /* that of in_key[] */
byte nonces, handshakes;

#define SEND(me, what, nonce, keys) line[me]!what, out_gen[me], out_key[me], out_up[me], nonce, keys

#ifdef ATTACKED
/* A refusal ends the channel; with an attacker about that is no failure. */
#define refused(me) dead = true
#else
#define refused(me) assert(false)
#endif
bool dead;

inline switch_out(me)
{
	SEND(me, SWITCH, 0, 0);
	out_gen[me]++;
	out_key[me] = next[me];
	out_up[me] = 0;
	state[me] = WAIT_SWITCH
}

/* Keys depend on the M1 that is answered and on fresh randomness. */
inline answer(me, nonce)
{
	handshakes++;
	next[me] = handshakes;
	verified[me] = false;
	passed_over[me] = false;
	SEND(me, M2, nonce, next[me]);
	state[me] = WAIT_M3
}

inline take_m1(me, nonce)
{
	if
	:: state[me] == IDLE -> answer(me, nonce)
#ifdef WEAK_NOBODY_WINS
	:: state[me] == WAIT_M2 -> answer(me, nonce)
#else
	:: state[me] == WAIT_M2 && me != OPENER -> answer(me, nonce)
	:: state[me] == WAIT_M2 && me == OPENER ->
		assert(!passed_over[me]);
		passed_over[me] = true
#endif
	:: else -> refused(me)
	fi
}

inline take_switch(me)
{
	in_gen[me]++;
	in_key[me] = next[me];
	good[me] = verified[me];
	in_up[me] = 0;
	passed_over[me] = false;
	state[me] = IDLE
}

inline take(me, what, nonce, keys)
{
	if
	:: what == DATA -> assert(good[me])
	:: what == KEYUPDATE -> in_gen[me]++; in_up[me]++
	:: what == M1 -> take_m1(me, nonce)
	:: what == M2 && state[me] == WAIT_M2 && nonce == own[me] ->
		next[me] = keys;
		verified[me] = true;
		SEND(me, M3, 0, keys);
		switch_out(me)
	:: what == M3 && state[me] == WAIT_M3 && keys == next[me] ->
		verified[me] = true;
		switch_out(me)
	:: what == SWITCH && state[me] == WAIT_SWITCH -> take_switch(me)
#ifdef WEAK_SWITCH_UNVERIFIED
	:: what == SWITCH && state[me] == WAIT_M3 -> take_switch(me)
	:: what == SWITCH && state[me] != WAIT_SWITCH && state[me] != WAIT_M3 -> refused(me)
#else
	:: what == SWITCH && state[me] != WAIT_SWITCH -> refused(me)
#endif
	:: what == M2 && !(state[me] == WAIT_M2 && nonce == own[me]) -> refused(me)
	:: what == M3 && !(state[me] == WAIT_M3 && keys == next[me]) -> refused(me)
	fi
}

#ifdef WEAK_START_EARLY
#define MAY_START(me) (state[me] == IDLE || state[me] == WAIT_SWITCH)
#else
#define MAY_START(me) (state[me] == IDLE)
#endif

proctype side(byte me)
{
	mtype what;
	byte gen, key, up, nonce, keys, starts, updates, sent;

	/* Fewer are tried too. */
	select(starts: 0 .. STARTS);
	select(updates: 0 .. UPDATES);
end:	do
	:: atomic { !dead && starts > 0 && MAY_START(me) ->
		starts--;
		nonces++;
		own[me] = nonces;
		SEND(me, M1, own[me], 0);
		state[me] = WAIT_M2 }
	:: atomic { !dead && updates > 0 ->
		updates--;
		SEND(me, KEYUPDATE, 0, 0);
		out_gen[me]++;
		out_up[me]++ }
	:: atomic { !dead && sent < PIECES -> sent++; SEND(me, DATA, 0, 0) }
	:: atomic { line[1 - me]?what, gen, key, up, nonce, keys ->
		if
		:: dead -> skip
		:: !dead && gen == in_gen[me] && key == in_key[me] && up == in_up[me] -> take(me, what, nonce, keys)
		:: else -> refused(me)
		fi }
	od
}

#ifdef ATTACKED
/*
 * Has the old keys, draws ephemerals of its own and so knows the keys of handshakes that it took part in; cannot make an M3
 * that verifies, since that needs the opener's signing key.
 */
proctype attacker()
{
	mtype what;
	byte gen, key, up, nonce, keys, steps, known;
end:	do
	:: atomic { line[1]?what, gen, key, up, nonce, keys -> if :: what == M2 -> known = keys :: else fi }
	:: atomic { steps < 5 -> steps++;
		if
		:: nonces++; SEND(0, M1, nonces, 0)
		:: SEND(0, M2, own[1], 9)
		:: SEND(0, M3, 0, 99) /* does not verify */
		:: SEND(0, SWITCH, 0, 0)
		:: SEND(0, DATA, 0, 0)
		:: SEND(0, KEYUPDATE, 0, 0); out_gen[0]++; out_up[0]++
		:: known -> out_gen[0]++; out_key[0] = known; out_up[0] = 0
		fi }
	od
}
#endif

init
{
	atomic {
		run side(1);
#ifdef ATTACKED
		run attacker()
#else
		run side(0)
#endif
	}
#ifndef ATTACKED
	/* Nothing moves any more. */
	timeout ->
		assert(state[0] == IDLE && state[1] == IDLE);
		assert(out_gen[0] == in_gen[1] && out_key[0] == in_key[1] && out_up[0] == in_up[1]);
		assert(out_gen[1] == in_gen[0] && out_key[1] == in_key[0] && out_up[1] == in_up[0]);
		assert(out_key[0] == out_key[1])
#endif
}
