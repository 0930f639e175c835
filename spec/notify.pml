/*
 * internal/notify/notify.go and Reader.Wait: writers wake sleepers through one flag.
 *
 * Each side stores first and looks second: a writer stores the slot's status,
 * then loads armed; a sleeper stores armed, then looks at the ring again before
 * it sleeps. Whatever the order of the four steps, one of the two sees the
 * other: the writer wakes, or the sleeper does not sleep. The two orders that
 * matter are store before load, so a store-release is not enough: the status
 * store and the load of armed must not change places. (Go's atomics are
 * sequentially consistent.)
 *
 * Several sleepers may wait on one Notify; each has a mailbox of one. A wait may
 * end early (its context did) and start again.
 *
 * Expected: nobody sleeps while there is something to read. Violated when the
 * sleeper looks first and arms after (ARM_LAST), and when a writer looks at
 * armed before it stores the status (LOAD_FIRST: what a mere store-release
 * allows).
 * With CLOSE the ring is closed meanwhile: a sleeper never sleeps for good, but
 * Wait may return ErrClosed while a packet acquired before Close is still in
 * mid-copy, and that one comes after (CHECK_drained violated).
 */
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef SLEEPERS
#define SLEEPERS 1
#endif
#ifndef PACKETS
#define PACKETS 2	/* of each writer */
#endif
#ifndef CANCELS
#define CANCELS 1	/* waits of each sleeper that end early */
#endif

byte acquired;		/* packets that got a slot */
byte published;		/* slots whose status says USER: the ring, which here never fills */
bool armed;
bool locked;		/* Notify.mu */
bool sleeper[SLEEPERS];	/* the list: who is in it */
chan wake0 = [1] of { bit };	/* Reader.wake */
chan wake1 = [1] of { bit };
bool head_closed, closed;	/* position.close, Ring.closed */
byte finished;

inline lock()   { atomic { !locked -> locked = true } }
inline unlock() { locked = false }

/* Reader.Wake: a full mailbox means already awake. */
inline post(mailbox, i)
{
	if
	:: atomic { nfull(mailbox) -> mailbox!1; printf("writer wakes sleeper %d\n", i) }
	:: atomic { full(mailbox) -> skip }
	fi
}

/* Notify.Wake, after its load of armed */
inline wake()
{
	lock();
	due0 = sleeper[0];
	sleeper[0] = false;
#if SLEEPERS > 1
	due1 = sleeper[1];
	sleeper[1] = false;
#endif
	armed = false;
	unlock();
	if
	:: due0 -> post(wake0, 0)
	:: else
	fi;
#if SLEEPERS > 1
	if
	:: due1 -> post(wake1, 1)
	:: else
	fi;
#endif
	due0 = false;
	due1 = false
}

proctype writer(byte me)
{
	byte left = PACKETS;
	bool due0, due1, look;

	do
	:: left > 0 ->
		d_step {	/* Acquire */
			if
			:: head_closed -> look = false
			:: else -> acquired++; look = true
			fi
		}
		if
		:: look ->
#ifdef LOAD_FIRST
			atomic { look = armed; printf("writer %d loads armed: %d\n", me, look) }
			atomic { published++; printf("writer %d stores USER: %d to read\n", me, published) }
#else
			atomic { published++; printf("writer %d stores USER: %d to read\n", me, published) }
			atomic { look = armed; printf("writer %d loads armed: %d\n", me, look) }
#endif
			if
			:: look -> wake()
			:: else
			fi
		:: else
		fi;
		atomic { left--; look = false }
	:: else -> break
	od;
	finished++
}

inline arm(i)
{
	lock();
	sleeper[i] = true;
	atomic { armed = true; printf("sleeper %d arms\n", i) }
	unlock()
}

inline disarm(i)
{
	lock();
	sleeper[i] = false;
#if SLEEPERS > 1
	armed = (sleeper[0] || sleeper[1]);
#else
	armed = sleeper[0];
#endif
	unlock()
}

/* A sleeper reads all there is, then waits for more, until it has had all or
 * Wait says ErrClosed. */
proctype reader(byte i; chan mailbox)
{
	byte had, cancels;

	do
	:: had == WRITERS * PACKETS -> break
	:: had < WRITERS * PACKETS ->
		if
		:: atomic { published > had -> had++; printf("sleeper %d reads packet %d\n", i, had) }
		:: atomic { published == had -> printf("sleeper %d finds nothing\n", i) }
			arm(i);
#ifndef ARM_LAST
			if
			:: atomic { published > had -> printf("sleeper %d looks again, and will not sleep\n", i) }
				disarm(i)
			:: published == had ->
#endif
				if
				:: atomic { closed -> printf("sleeper %d finds the ring closed\n", i) }
					disarm(i);
					if
					:: published > had
					:: published == had -> break	/* ErrClosed */
					fi
				:: !closed ->
					if
					:: mailbox?_
					:: atomic { cancels < CANCELS -> cancels++; printf("sleeper %d gives up waiting\n", i) }
						disarm(i)
					fi
				fi
#ifndef ARM_LAST
			fi
#endif
		fi
	od;
	printf("sleeper %d leaves with %d of %d packets\n", i, had, acquired);
#ifdef CHECK_drained
	assert(had == acquired)
#else
	skip
#endif
}

#ifdef CLOSE
/* Socket.replaceRing: Ring.Close, then Notify.Wake. */
proctype closer()
{
	bool due0, due1;

	atomic { head_closed = true; printf("closer closes the ring: %d captured\n", acquired) }
	closed = true;
	if
	:: armed -> wake()
	:: !armed
	fi
}
#endif

init
{
	byte i;

	atomic {
		run reader(0, wake0);
#if SLEEPERS > 1
		run reader(1, wake1);
#endif
#ifdef CLOSE
		run closer();
#endif
		for (i : 1 .. WRITERS) { run writer(i) }
	}
}
