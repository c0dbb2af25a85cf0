/*
 * The rotation transaction of the root of trust (docs/PROTOCOL.root): a secure processor AP with its state in the slots A and B,
 * a host with its history and its pins, and two verifiers: one is sent each record, the other reads the host's history
 * whenever it likes, so it may be behind for as long as it likes. The AP and the host are killed between any two steps,
 * CRASHES times in all; the AP never outlives its host. Checked by exhaustive search:
 *   no fork       never two records of one epoch outside (assertions at publishing, at the history and at each verifier)
 *   no brick      a start never finds a state it has to refuse, and whatever was killed when, the only state in which
 *                 nothing moves any more is the one where everybody holds the last epoch (assertions, invalid end states)
 *   roll forward  a pinned or published record is never given up for an older one (assertions)
 *   never behind  both verifiers reach the last epoch in every run (invalid end states, and no run goes on for ever:
 *                 rotation.progress.pml)
 *
 * TPM         with a counter that only rises; the newest slot is one ahead of it between PREPARED and COMMIT
 * ROLLED_BACK somebody saves what is on disk at one crash and puts it back at another: the AP's state, with TPM the
 *             host's pins and history as well. A start may now refuse, which recovery cures; a fork stays forbidden
 * WEAK_*      each removes one rule; each must fail (rotation.weak-*.pml)
 */
#define LAST 3 /* epochs; 1 is the inception */
#ifndef CRASHES
#define CRASHES 3
#endif
#define RECORDS (LAST + CRASHES + 2)

/* What is outside: the record of each epoch; records are numbered as they are made, 0 is none. */
byte published[LAST + 1];
byte previous[RECORDS]; /* the record that each names as its predecessor */
byte made;

/* Persistent: the AP's two slots, torn while they are written. */
typedef Slot { bool whole; byte sequence, epoch, record };
Slot slots[2];
/* Persistent: the host's history, then its pin. */
byte history[LAST + 1], written;
byte pin, pinned;
#ifdef TPM
byte counter;
#endif

bool kill_ap, kill_host, both;
byte deaths; /* of the AP, so that a host that waits for an answer notices */
bool start;  /* the host starts a secure processor */
bool restored, refused;
byte head_1 = 1, record_1 = 1, head_2 = 1, record_2 = 1;

mtype = { HEALTH, ROTATE, DRAIN };
chan ask = [0] of { mtype, byte };
chan answer = [0] of { byte, byte };

#ifdef ROLLED_BACK
bool saved;
Slot copies[2];
#ifdef TPM
byte copy_history[LAST + 1], copy_written, copy_pin, copy_pinned;
#endif
#define COPY(to, from) to.whole = from.whole; to.sequence = from.sequence; to.epoch = from.epoch; to.record = from.record
inline save()
{
	COPY(copies[0], slots[0]);
	COPY(copies[1], slots[1]);
#ifdef TPM
	copy_history[2] = history[2];
	copy_history[3] = history[3];
	copy_written = written;
	copy_pin = pin;
	copy_pinned = pinned;
#endif
	saved = true
}
inline put_back()
{
	COPY(slots[0], copies[0]);
	COPY(slots[1], copies[1]);
#ifdef TPM
	history[2] = copy_history[2];
	history[3] = copy_history[3];
	written = copy_written;
	pin = copy_pin;
	pinned = copy_pinned;
#endif
	restored = true
}
#endif

/* A start that may not go on. Never without somebody who exchanged what is on disk. */
inline refuse()
{
	assert(restored);
	refused = true;
	goto gone
}

/* ---- the secure processor ---- */

inline find_newest()
{
	if
	:: slots[0].whole && (!slots[1].whole || slots[0].sequence > slots[1].sequence) -> newest = 0
	:: slots[1].whole && (!slots[0].whole || slots[1].sequence > slots[0].sequence) -> newest = 1
	:: else -> refuse()
	fi
}

inline find_newest_or_same()
{
	if
	:: slots[0].whole && (!slots[1].whole || slots[0].sequence > slots[1].sequence) -> newest = 0
	:: else -> newest = 1
	fi
}

/* One durable write, always over the older slot: begun it is torn, ended it is the newest. */
inline persist(e, r)
{
	d_step {
		find_newest_or_same();
		sequence = slots[newest].sequence + 1;
#ifndef WEAK_ONE_SLOT
		newest = 1 - newest;
#endif
		slots[newest].whole = false
	}
	d_step {
		slots[newest].sequence = sequence;
		slots[newest].epoch = e;
		slots[newest].record = r;
		slots[newest].whole = true
	}
}

inline boot()
{
	find_newest();
#ifdef WEAK_REGENERATE
	/* Takes a record that it finds prepared for one that never was. */
	if
	:: slots[1 - newest].whole && slots[1 - newest].epoch < slots[newest].epoch -> slots[newest].whole = false; newest = 1 - newest
	:: else
	fi;
#endif
	epoch = slots[newest].epoch;
	record = slots[newest].record;
#ifdef TPM
	if
	:: epoch == counter
	:: epoch == counter + 1 -> counter++ /* PREPARED: commit, and publish these same bytes */
#ifdef WEAK_NO_COUNTER
	:: else -> counter = epoch
#else
	:: else -> refuse() /* ROLLBACK, TAMPERED */
#endif
	fi;
#endif
	persist(epoch, record) /* counts this start */
}

inline rotate()
{
	/* Fields and signatures of the record, in memory only. */
	d_step {
		made++;
		assert(made < RECORDS);
		fresh = made;
		previous[fresh] = record
	}
#ifdef WEAK_PUBLISH_FIRST
	answer!epoch + 1, fresh;
#endif
#ifdef WEAK_COMMIT_FIRST
	counter++;
#endif
	persist(epoch + 1, fresh); /* PREPARED */
#if defined(TPM) && !defined(WEAK_COMMIT_FIRST)
	counter++; /* COMMIT */
#endif
	d_step { epoch++; record = fresh; fresh = 0 }
#ifndef WEAK_PUBLISH_FIRST
	answer!epoch, record
#endif
}

inline serve()
{
end_serve:
	do
	:: refused -> goto gone
	:: ask?HEALTH(_) -> answer!epoch, record
	:: ask?ROTATE(expected) ->
		if
		:: expected == epoch -> rotate()
		:: else -> answer!epoch, record /* asked again: done already */
		fi;
		expected = 0
	:: ask?DRAIN(_) -> persist(epoch, record); answer!epoch, record
	od
}

proctype AP()
{
	byte newest, sequence, epoch, record, fresh, expected;
up:
	{
		if
		:: atomic { start -> start = false }
		:: refused -> goto gone
		fi;
		boot();
		serve()
	} unless {
		atomic {
			kill_ap -> kill_ap = false; start = false; deaths++;
			newest = 0; sequence = 0; epoch = 0; record = 0; fresh = 0; expected = 0;
#ifdef ROLLED_BACK
			if
			:: !saved -> save()
#ifdef TPM
			:: saved && !restored && both -> put_back() /* the whole folder, under nobody's hands */
#else
			:: saved && !restored -> put_back()
#endif
			:: true
			fi
#endif
		}
	};
	goto up;
gone:
	skip
}

/* ---- the host ---- */

/* What the AP answered, or its death. */
#define OR_DEAD(action) if :: action :: deaths != seen || refused -> goto restart fi

inline publish(e, r)
{
	d_step {
		assert(published[e] == 0 || published[e] == r);
		published[e] = r
	}
}

inline adopt(e, r)
{
	/* The link is verified, then each of the three is one step. */
	assert(e == pin + 1 && previous[r] == pinned);
#ifdef WEAK_PIN_LAST
	publish(e, r);
#endif
	d_step {
		assert(written < e || history[e] == r);
		history[e] = r;
		written = e
	}
	d_step { pin = e; pinned = r }
	publish(e, r)
}

proctype Host()
{
	byte seen, e, r;
restart:
	{
		if :: refused -> goto gone :: else fi;
		atomic { !kill_ap -> seen = deaths; start = true }
		OR_DEAD(ask!HEALTH(0));
		OR_DEAD(answer?e(r));
#ifdef WEAK_ENDLESS
		goto restart; /* asks once more, for ever */
#endif
#ifndef WEAK_HISTORY_IGNORED
		/* Killed between the two: what the history holds is known, so it is pinned before the AP is judged by the pin. */
		d_step { if :: written > pin -> pin = written; pinned = history[written] :: else fi };
#endif
		if
#ifdef WEAK_NEVER_TELLS
		:: e == pin && r == pinned
#else
		:: e == pin && r == pinned -> publish(e, r) /* it may have been killed just before */
#endif
#ifdef WEAK_NO_ROLL_FORWARD
		:: e == pin + 1 -> refuse()
#else
		:: e == pin + 1 && previous[r] == pinned -> adopt(e, r)
#endif
#ifdef WEAK_NO_PIN
		:: e < pin -> d_step { pin = e; pinned = r; written = e }
#else
		:: e < pin -> refuse() /* STALE_STATE */
#endif
		:: else -> refuse() /* EPOCH_FORKED */
		fi;
		do
		:: pin < LAST ->
			OR_DEAD(ask!ROTATE(pin));
			OR_DEAD(answer?e(r));
			adopt(e, r);
			OR_DEAD(ask!DRAIN(0));
			OR_DEAD(answer?e(r))
		:: else -> break
		od;
end_served:
		deaths != seen || refused
	} unless {
		atomic { kill_host -> kill_host = false; start = false; seen = 0; e = 0; r = 0 }
	};
	goto restart;
gone:
	skip
}

/* ---- verifiers ---- */

#define FOLLOW(head, record, source) \
	d_step { \
		assert(previous[source[head + 1]] == record); \
		assert(published[head + 1] == 0 || published[head + 1] == source[head + 1]); \
		head++; \
		record = source[head] \
	}

proctype Told()
{
	do
	:: head_1 < LAST && published[head_1 + 1] != 0 -> FOLLOW(head_1, record_1, published)
	:: head_1 == LAST || refused -> break
	od
}

/* Records are served as soon as they are pinned. */
proctype Fetches()
{
	do
	:: atomic { head_2 < LAST && pin > head_2 -> FOLLOW(head_2, record_2, history) }
	:: head_2 == LAST || refused -> break
	od
}

/* ---- who kills ---- */

proctype Killer()
{
	byte crashes;
	do
	:: atomic {
		crashes < CRASHES && !kill_ap && !kill_host && !refused ->
			crashes++;
			kill_ap = true; /* it dies with its host */
			both = false;
			if
			:: true
			:: kill_host = true; both = true
			fi
		}
	:: break
	od;
	/* Nothing more is killed: the end has to be the one where all hold the last epoch. */
	(!kill_ap && !kill_host && head_1 == LAST && head_2 == LAST && pin == LAST && published[LAST] != 0) || refused;
	assert(refused || (record_1 == record_2 && record_1 == pinned))
}

init
{
	atomic {
		made = 1;
		slots[0].whole = true; slots[0].sequence = 1; slots[0].epoch = 1; slots[0].record = 1;
		pin = 1; pinned = 1; history[1] = 1; written = 1; published[1] = 1;
#ifdef TPM
		counter = 1;
#endif
		run AP();
		run Host();
		run Told();
		run Fetches();
		run Killer()
	}
}
