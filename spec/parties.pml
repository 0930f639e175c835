/*
 * Who takes part: writers, one reader, and init, which looks at what is left.
 */

/* What the registers of acquire held is of no use after it; states that differ
 * in nothing else are one. */
inline forget() { FORGET v = 0; st = 0; was_full = false; was_busy = false }

proctype writer(byte me; byte left)
{
	byte slot, n, id, st;
	mtype v;
	bool was_full, was_busy;
	REGISTERS

	do
	:: left > 0 ->
		acquire();
		if
		:: atomic { v == Acquired -> left = left - n; forget() }
			do
			:: n > 0 ->
				front[slot] = id;	/* the copy: no lock held */
				back[slot] = id;
				release(slot);
				atomic { n--; id++; slot = (slot + 1) % SLOTS }
			:: else -> break
			od
		:: atomic { v != Acquired ->
				printf("writer %d drops a packet at slot %d: %e\n", me, slot, v);
				check_honest(v != Full || was_full);
				check_honest(v != Owned || was_busy);
				check_needless(v == NoRoom || was_full || was_busy);
				check_reusable(!probing);
				dropped++;
				left--;
				forget()
			}
		fi;
		atomic { slot = 0; id = 0; n = 0 }
	:: else -> break
	od;
	finished++
}

#if defined(READER_lawful) || defined(READER_legacy)

#ifdef READER_lawful
#define MINE(st) (st == USER)
#else
#define MINE(st) (st != KERNEL)		/* as libpcap does */
#endif

proctype reader()
{
	byte at, f, b;

end:	do
	:: MINE(status[at]) ->
		f = front[at];
		b = back[at];
		d_step {
			printf("reader finds the halves of packets %d and %d in slot %d\n", f, b, at);
			check_whole(f == b);
			check_order(f == seen + 1 && b == seen + 1);
			status[at] = KERNEL;
			printf("reader stores KERNEL to slot %d\n", at);
			seen++;
			at = (at + 1) % SLOTS;
			f = 0;
			b = 0
		}
	od
}
#define READER_IDLE every_slot_kernel()
#define READER_ORDERLY true

#elif defined(READER_hostile)

bool reader_done;

proctype reader()
{
	byte s, stores;

	do
	:: stores < STORES ->
		if
		:: s = 0
#if SLOTS > 1
		:: s = 1
#endif
		fi;
		if
		:: atomic { status[s] = KERNEL; printf("reader stores KERNEL to slot %d\n", s) }
		:: atomic { status[s] = USER; printf("reader stores USER to slot %d\n", s) }
		:: atomic { status[s] = KERNEL_OWNED; printf("reader stores KERNEL_OWNED to slot %d\n", s) }
#ifdef MARK
		:: atomic { mark[s] = 1; printf("reader stores 1 to the mark of slot %d\n", s) }
		:: atomic { mark[s] = 0; printf("reader stores 0 to the mark of slot %d\n", s) }
#endif
		fi;
		d_step { s = 0; stores++ }
	:: else -> break
	od;
	reader_done = true
}
#define READER_IDLE reader_done
#define READER_ORDERLY false

#elif defined(READER_stopped)

proctype reader() { skip }
#define READER_IDLE true
#define READER_ORDERLY false

#else
#error a READER is wanted: READER_lawful, READER_legacy, READER_hostile or READER_stopped
#endif

#if SLOTS > 1
#define every_slot_kernel() (status[0] == KERNEL && status[1] == KERNEL)
#else
#define every_slot_kernel() (status[0] == KERNEL)
#endif

#ifdef CLOSE
/* Somebody closes the ring meanwhile; what was captured then is final. */
bool closing_done;
byte final;

proctype closer()
{
	close_ring();
	d_step { final = accepted; closing_done = true; printf("closer has closed the ring, %d captured\n", final) }
}
#define CLOSER_DONE closing_done
#else
#define CLOSER_DONE true
#endif

init
{
	byte i;

	atomic {
		run reader();
#ifdef CLOSE
		run closer();
#endif
		run writer(1, PACKETS + EXTRA);
		for (i : 2 .. WRITERS) { run writer(i, PACKETS) }
		i = 0
	}

	atomic {
		finished == WRITERS && CLOSER_DONE && READER_IDLE;
		check_count(accepted + dropped == OFFERED);
		check_count(TAKEN == accepted);
		check_order(!READER_ORDERLY || seen == accepted);
#ifdef CLOSE
		check_count(final == accepted)
	}
#else
		/* No reader holds anything now, a lawful one by itself and any
		 * other because it gives back what it held: each slot must be
		 * there to be taken once more. */
		for (i : 0 .. SLOTS - 1) { status[i] = KERNEL }
		printf("init finds all writers finished and all slots KERNEL\n");
		probing = true;
		run writer(0, SLOTS)
	}
	finished == WRITERS + 1
#endif
}

#ifdef CHECK_finish
ltl finish { <> (finished == WRITERS) }
#endif
