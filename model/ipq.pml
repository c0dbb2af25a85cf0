/*
 * The ring of the inter-processor queue (src/root/ipq.c, docs/PROTOCOL.ipq): one sender P, one receiver C, on a machine
 * whose stores wait in a buffer before others see them (x86-TSO). Checked by exhaustive search:
 *   FIFO        C takes message n as the n-th, whole: no slot is overwritten before it was read (assertions)
 *   no lost wake-up   with sleeps that only a wake ends, every run ends with all messages taken (invalid end states)
 * The real sleeps also end at deadlines; here nothing hides a lost wake.
 *
 * FENCE       P and C fence at each signal instead (an end without membarrier); must hold as well
 * WEAK_*      each removes one rule; each must fail (ipq.weak-*.pml)
 */
#define SLOTS 4
#define STEP 2     /* credit is published every STEP slots, and before sleeping */
#define MESSAGES 6

/* Addresses of the words in an end's own ring. */
#define DATA 0            /* + slot */
#define SEQ SLOTS         /* + slot */
#define CREDIT (2 * SLOTS)
#define ASLEEP (2 * SLOTS + 1)
#define BELL (2 * SLOTS + 2)
#define WORDS (2 * SLOTS + 3)

/* What the other end sees: the ring of P, then the ring of C. */
#define OF_P 0
#define OF_C WORDS
byte ring[2 * WORDS];
/* What it does not see yet. */
chan stores_p = [3] of { byte, byte };
chan stores_c = [3] of { byte, byte };
bool futex_p, futex_c; /* asleep in the kernel */
byte taken;

/* Store buffers empty themselves at any time, in order. */
active proctype drain_p() { byte a, v; end: do :: atomic { stores_p?a, v -> ring[OF_P + a] = v } od }
active proctype drain_c() { byte a, v; end: do :: atomic { stores_c?a, v -> ring[OF_C + a] = v } od }

/* membarrier: own stores first, then, at some later time each, everybody's. */
#ifdef WEAK_NO_BARRIER
#define ORDER_BEFORE_SLEEP(own, other) skip
#define ORDER_BEFORE_LOOKING_AT_SLEEPER(own) skip
#else
#ifdef FENCE
#define ORDER_BEFORE_SLEEP(own, other) empty(own)
#define ORDER_BEFORE_LOOKING_AT_SLEEPER(own) empty(own)
#else
#define ORDER_BEFORE_SLEEP(own, other) empty(own); empty(other)
#define ORDER_BEFORE_LOOKING_AT_SLEEPER(own) skip
#endif
#endif

/* After a store that the other end may wait for: end each of its sleeps once. The wake call is itself a fence. */
inline wake_sleeper(own, other_ring, other_futex, woken, bell)
{
	ORDER_BEFORE_LOOKING_AT_SLEEPER(own);
	asleep = ring[other_ring + ASLEEP];
	if
	:: asleep != 0 && asleep != woken ->
		woken = asleep;
		bell++;
		own!BELL, bell;
		atomic { empty(own) -> other_futex = false }
	:: else
	fi;
	asleep = 0
}

/* One sleep; `there` is what it waits for. */
/* One sleep; `there` is what it waits for. */
inline sleep_once(own, other, other_ring, own_futex, sleep, there)
{
	sleep++;
#ifndef WEAK_BELL_LATE
	rung = ring[other_ring + BELL];
#endif
	own!ASLEEP, sleep;
	ORDER_BEFORE_SLEEP(own, other);
#ifdef WEAK_BELL_LATE
	rung = ring[other_ring + BELL];
#endif
	if
	:: there
	:: else ->
		/* FUTEX_WAIT compares and goes to sleep in one step. */
		atomic { empty(own) -> if :: ring[other_ring + BELL] == rung -> own_futex = true :: else fi };
		!own_futex
	fi;
	rung = 0;
	own!ASLEEP, 0
}

active proctype P()
{
	byte produced, credit, asleep, woken, bell, sleep, rung;
	do
	:: produced < MESSAGES ->
		do
		:: produced - credit < SLOTS -> break
		:: else ->
			credit = ring[OF_C + CREDIT];
			assert(credit <= produced);
			if
			:: produced - credit < SLOTS
			:: else -> sleep_once(stores_p, stores_c, OF_C, futex_p, sleep, ring[OF_C + CREDIT] != credit)
			fi
		od;
#ifdef WEAK_SEQ_FIRST
		stores_p!SEQ + produced % SLOTS, produced + 1;
		stores_p!DATA + produced % SLOTS, produced + 1;
#else
		stores_p!DATA + produced % SLOTS, produced + 1;
		stores_p!SEQ + produced % SLOTS, produced + 1;
#endif
		produced++;
		wake_sleeper(stores_p, OF_C, futex_c, woken, bell)
	:: else -> break
	od
}

active proctype C()
{
	byte consumed, credited, asleep, woken, bell, sleep, rung;
	do
	:: consumed < MESSAGES ->
		do
		:: ring[OF_P + SEQ + consumed % SLOTS] == consumed + 1 -> break
		:: else ->
			if
			:: credited != consumed ->
				credited = consumed;
				stores_c!CREDIT, credited;
				wake_sleeper(stores_c, OF_P, futex_p, woken, bell)
			:: else
			fi;
			sleep_once(stores_c, stores_p, OF_P, futex_c, sleep, ring[OF_P + SEQ + consumed % SLOTS] == consumed + 1)
		od;
#ifdef WEAK_CREDIT_EARLY
		stores_c!CREDIT, consumed + 1;
		wake_sleeper(stores_c, OF_P, futex_p, woken, bell);
#endif
		assert(ring[OF_P + DATA + consumed % SLOTS] == consumed + 1);
		consumed++;
		taken = consumed;
#ifndef WEAK_CREDIT_EARLY
		if
		:: consumed - credited >= STEP ->
			credited = consumed;
			stores_c!CREDIT, credited;
			wake_sleeper(stores_c, OF_P, futex_p, woken, bell)
		:: else
		fi
#endif
	:: else -> break
	od
}
