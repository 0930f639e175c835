/* A program that uses packet sockets in many ways, one for each story. It
 * knows nothing of rxring: the stories hold on a kernel's own sockets too.
 *
 *	story NAME DEVICE [ARG]
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *device, *arg;

#define die(...) do { printf("line %d: ", __LINE__); printf(__VA_ARGS__); \
	printf(" (errno: %s)\n", strerror(errno)); fflush(stdout); _exit(1); } while (0)
#define must(x) ({ long r_ = (long)(x); if (r_ == -1) die("%s", #x); r_; })
#define want(x) do { if (!(x)) die("want %s", #x); } while (0)
#define refused(x, e) do { errno = 0; long r_ = (long)(x); \
	if (r_ != -1 || errno != (e)) die("%s = %ld, want %s", #x, r_, strerror(e)); } while (0)

#define BLOCK 16384
#define BLOCKS 4
#define FRAME 2048
#define FRAMES (BLOCK / FRAME * BLOCKS)

/* Milliseconds until a wait for a packet counts as a hang, also on a busy machine. */
#define LONG 120000

struct reader {
	int fd, version;
	unsigned char *ring;
	unsigned next;
	int seen;
	uint32_t last;
	uint64_t blocks;
};

static int index_of(const char *name)
{
	struct ifreq r = {0};
	int fd = must(socket(AF_UNIX, SOCK_DGRAM, 0));
	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	must(ioctl(fd, SIOCGIFINDEX, &r));
	close(fd);
	return r.ifr_ifindex;
}

static void set_ring(int fd, int version, int blocks)
{
	struct tpacket_req3 q = {BLOCK, blocks, FRAME, BLOCK / FRAME * blocks, .tp_retire_blk_tov = 5, .tp_sizeof_priv = 24};
	must(setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version));
	must(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &q, version == TPACKET_V3 ? sizeof q : sizeof(struct tpacket_req)));
}

static unsigned char *map(int fd)
{
	void *p = mmap(NULL, BLOCK * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static void bind_to(int fd, const char *name)
{
	struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = index_of(name)};
	must(bind(fd, (struct sockaddr *)&a, sizeof a));
}

static struct reader open_reader(int version, const char *name)
{
	struct reader r = {.version = version};
	r.fd = must(socket(AF_PACKET, SOCK_RAW, 0));
	set_ring(r.fd, version, BLOCKS);
	r.ring = map(r.fd);
	bind_to(r.fd, name);
	return r;
}

/* judge checks a packet: its bytes must be whole, and its number higher than the last. */
static void judge(struct reader *r, unsigned char *p, uint32_t snaplen, uint32_t len)
{
	uint32_t i, seq;
	memcpy(&seq, p + 14, 4);
	seq = ntohl(seq);
	if (snaplen != len || len != 60 + seq % 1000)
		die("packet %u: %u of %u bytes", seq, snaplen, len);
	for (i = 18; i < len; i++)
		if (p[i] != (seq & 0xff))
			die("packet %u: byte %u is %u", seq, i, p[i]);
	if (r->seen && seq <= r->last)
		die("packet %u after %u", seq, r->last);
	r->last = seq;
	r->seen++;
}

/* take_blocks is take for a V3 ring. */
static int take_blocks(struct reader *r)
{
	int n = 0;
	for (;; r->next = (r->next + 1) % BLOCKS) {
		struct tpacket_block_desc *d = (void *)(r->ring + r->next * BLOCK);
		unsigned char *p;
		if (!(__atomic_load_n(&d->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
			return n;
		want(d->version == TPACKET_V3 && d->hdr.bh1.offset_to_first_pkt == 48 + 24 && d->hdr.bh1.seq_num == ++r->blocks);
		p = (unsigned char *)d + d->hdr.bh1.offset_to_first_pkt;
		for (uint32_t i = 0; i < d->hdr.bh1.num_pkts; i++, n++) {
			struct tpacket3_hdr *h = (void *)p;
			judge(r, p + h->tp_mac, h->tp_snaplen, h->tp_len);
			want(!h->tp_next_offset == (i + 1 == d->hdr.bh1.num_pkts));
			p += h->tp_next_offset;
		}
		__atomic_store_n(&d->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
	}
}

/* take reads the packets that are in the ring. */
static int take(struct reader *r)
{
	int n = 0;
	if (r->version == TPACKET_V3)
		return take_blocks(r);
	for (;; n++, r->next = (r->next + 1) % FRAMES) {
		unsigned char *f = r->ring + r->next * FRAME;
		if (r->version == TPACKET_V1) {
			struct tpacket_hdr *h = (void *)f;
			if (!(__atomic_load_n(&h->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
				return n;
			judge(r, f + h->tp_mac, h->tp_snaplen, h->tp_len);
			__atomic_store_n(&h->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		} else {
			struct tpacket2_hdr *h = (void *)f;
			if (!(__atomic_load_n(&h->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
				return n;
			judge(r, f + h->tp_mac, h->tp_snaplen, h->tp_len);
			__atomic_store_n(&h->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		}
	}
}

static int wait_by(const char *how, int fd, int ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
	struct timeval tv = {ms / 1000, ms % 1000 * 1000};
	struct pollfd p = {fd, POLLIN, 0};
	static int ep = -1;
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
	fd_set set;
	sigset_t mask;
	int n;

	sigemptyset(&mask);
	FD_ZERO(&set);
	FD_SET(fd, &set);
	if (!strcmp(how, "poll"))
		n = poll(&p, 1, ms);
	else if (!strcmp(how, "ppoll"))
		n = ppoll(&p, 1, &ts, &mask);
	else if (!strcmp(how, "select"))
#ifdef SYS_select
		n = syscall(SYS_select, fd + 1, &set, NULL, NULL, &tv);
#else
		n = select(fd + 1, &set, NULL, NULL, &tv);
#endif
	else if (!strcmp(how, "pselect"))
		n = pselect(fd + 1, &set, NULL, NULL, &ts, &mask);
	else {
		if (ep < 0) {
			ep = must(epoll_create1(0));
			if (!strcmp(how, "epoll-edge"))
				ev.events |= EPOLLET;
			while (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) == -1)
				want(errno == EINTR); /* the one call that Linux does not interrupt */
		}
		if (!strcmp(how, "epoll") || !strcmp(how, "epoll-edge"))
#ifdef SYS_epoll_wait
			n = syscall(SYS_epoll_wait, ep, &ev, 1, ms);
#else
			n = epoll_wait(ep, &ev, 1, ms);
#endif
		else if (!strcmp(how, "epoll_pwait"))
			n = epoll_pwait(ep, &ev, 1, ms, &mask);
		else if (!strcmp(how, "epoll_pwait2"))
			n = syscall(SYS_epoll_pwait2, ep, &ev, 1, &ts, NULL, 8);
		else
			die("no way %s to wait", how);
	}
	if (n > 0)
		want(ev.data.fd == fd);
	return n;
}

/* Packets wake the reader, whichever way it waits, and are whole. */
static void read_packets(struct reader *r, const char *how, int count)
{
	while (r->seen < count) {
		take(r);
		want(wait_by(how, r->fd, LONG) == 1);
		/* Now there must be a packet, unless it was taken just above. */
	}
}

static void ring(void)
{
	int version = arg[0] - '1'; /* TPACKET_V1 is 0 */
	struct reader r = open_reader(version, device);
	read_packets(&r, arg + 2, 150);
	must(munmap(r.ring, BLOCK * BLOCKS));
	r.ring = map(r.fd);
	read_packets(&r, arg + 2, 300);
}

/* A reader that waits for edges and leaves a packet in the ring is woken by new ones. It
 * takes all but the newest: for a full ring Linux reports no edge. */
static void lazy_edge(void)
{
	struct reader r = open_reader(TPACKET_V2, device);
	for (int i = 0; i < 20; i++) {
		want(wait_by("epoll-edge", r.fd, LONG) == 1);
		for (;;) {
			struct tpacket2_hdr *oldest = (void *)(r.ring + r.next * FRAME);
			struct tpacket2_hdr *after = (void *)(r.ring + (r.next + 1) % FRAMES * FRAME);
			if (!__atomic_load_n(&oldest->tp_status, __ATOMIC_ACQUIRE) || !__atomic_load_n(&after->tp_status, __ATOMIC_ACQUIRE))
				break;
			__atomic_store_n(&oldest->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
			r.next = (r.next + 1) % FRAMES;
		}
	}
}

static void timeout(void)
{
	static const char *ways[] = {"poll", "ppoll", "select", "pselect", "epoll", "epoll_pwait", "epoll_pwait2"};
	struct reader r = open_reader(TPACKET_V2, device);
	for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++) {
		want(wait_by(ways[i], r.fd, 0) == 0);
		want(wait_by(ways[i], r.fd, 20) == 0);
	}
}

static volatile sig_atomic_t signals;
static void on_signal(int s) { (void)s; signals++; }

static void handle(int sig, int flags)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = flags};
	must(sigaction(sig, &sa, NULL));
}

static void ticking(int on)
{
	struct itimerval it = {{0, on ? 30000 : 0}, {0, on ? 30000 : 0}};
	must(setitimer(ITIMER_REAL, &it, NULL));
}

/* Signals interrupt a wait as they do in the kernel. */
static void interrupt(void)
{
	static const char *ways[] = {"poll", "ppoll", "select", "pselect", "epoll", "epoll_pwait"};
	struct reader r = open_reader(TPACKET_V2, device);
	struct pollfd p = {r.fd, POLLIN, 0};
	struct timespec ts = {20, 0};
	sigset_t alrm, none;

	for (int restart = 0; restart < 2; restart++) {
		handle(SIGALRM, restart ? SA_RESTART : 0);
		ticking(1);
		for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++)
			refused(wait_by(ways[i], r.fd, LONG), EINTR);
		ticking(0);
	}
	/* Blocked outside ppoll, let through within. */
	sigemptyset(&none);
	sigemptyset(&alrm);
	sigaddset(&alrm, SIGALRM);
	must(sigprocmask(SIG_BLOCK, &alrm, NULL));
	signals = 0;
	must(raise(SIGALRM));
	want(poll(&p, 1, 20) == 0 && signals == 0);
	refused(ppoll(&p, 1, &ts, &none), EINTR);
	want(signals == 1);
	must(sigprocmask(SIG_UNBLOCK, &alrm, NULL));

	/* A receive call waits, too, and goes on waiting when it is restarted. */
	char c;
	handle(SIGALRM, 0);
	ticking(1);
	refused(recv(r.fd, &c, 1, MSG_TRUNC), EINTR);
	ticking(0); /* or it might interrupt setsockopt, which Linux does not */
	struct timeval tv = {0, 200000};
	must(setsockopt(r.fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	refused(recv(r.fd, &c, 1, MSG_TRUNC), EAGAIN);
}

/* Options are set once, whatever signals arrive meanwhile. */
static void signal_storm(void)
{
	struct itimerval it = {{0, 100}, {0, 100}};
	handle(SIGALRM, SA_RESTART);
	must(setitimer(ITIMER_REAL, &it, NULL));
	for (int i = 0; i < 100; i++) {
		int fd = must(socket(AF_PACKET, SOCK_RAW, 0));
		set_ring(fd, TPACKET_V2, BLOCKS);
		must(munmap(map(fd), BLOCK * BLOCKS));
		for (int j = 0; j < 20; j++) { /* a signal that is faster loses no answer */
			struct tpacket_stats st;
			socklen_t len = sizeof st;
			must(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &st, &len));
			want(len == sizeof st);
		}
		close(fd);
	}
	it = (struct itimerval){0};
	must(setitimer(ITIMER_REAL, &it, NULL));
	want(signals > 0);
}

static void receive(void)
{
	struct reader r = open_reader(TPACKET_V2, device);
	struct mmsghdr m = {0};
	char c;
	struct iovec v = {&c, 1};
	m.msg_hdr.msg_iov = &v;
	m.msg_hdr.msg_iovlen = 1;
	refused(recv(r.fd, &c, 1, MSG_DONTWAIT), EAGAIN);
	refused(recvmsg(r.fd, &m.msg_hdr, MSG_DONTWAIT), EAGAIN);
	refused(recvmmsg(r.fd, &m, 1, MSG_DONTWAIT, NULL), EAGAIN);
	refused(recv(r.fd, &c, 1, MSG_OOB | MSG_DONTWAIT), EINVAL);
	int flags = must(fcntl(r.fd, F_GETFL));
	must(fcntl(r.fd, F_SETFL, flags | O_NONBLOCK));
	refused(recv(r.fd, &c, 1, MSG_TRUNC), EAGAIN);
	must(fcntl(r.fd, F_SETFL, flags));
	/* A call that waits, next after mmap. */
	struct timeval wait = {0, 100000}, forever = {0};
	must(setsockopt(r.fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait));
	must(munmap(r.ring, BLOCK * BLOCKS));
	must(munmap(map(r.fd), BLOCK * BLOCKS));
	refused(recv(r.fd, &c, 1, MSG_TRUNC), EAGAIN);
	must(setsockopt(r.fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof forever));
	/* O_NONBLOCK set between mmap and the next call counts as well. */
	must(munmap(map(r.fd), BLOCK * BLOCKS));
	must(fcntl(r.fd, F_SETFL, flags | O_NONBLOCK));
	refused(recv(r.fd, &c, 1, MSG_TRUNC), EAGAIN);
	want(must(fcntl(r.fd, F_GETFL)) & O_NONBLOCK);
	int fd = must(socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
	want(must(fcntl(fd, F_GETFL)) & O_NONBLOCK);
	want(must(fcntl(fd, F_GETFD)) & FD_CLOEXEC);
	want(!(must(fcntl(r.fd, F_GETFD)) & FD_CLOEXEC));
	refused(recv(fd, &c, 1, 0), EAGAIN);
}

static long ms_since(const struct timespec *start)
{
	struct timespec now;
	must(clock_gettime(CLOCK_MONOTONIC, &now));
	return (now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000;
}

/* SO_RCVTIMEO ends every call that waits for a packet, read among them. No packet comes. */
static void receive_timeouts(void)
{
	static const int names[] = {SO_RCVTIMEO_OLD, SO_RCVTIMEO_NEW};
	int fd = must(socket(AF_PACKET, SOCK_RAW, 0));
	bind_to(fd, device);
	int copy = must(dup(fd));
	char c[100];
	struct iovec v = {c, sizeof c};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	for (int option = 0; option < 2; option++)
		for (int how = 0; how < 6; how++) {
			int ms = how == 5 ? 300 : 40;
			struct timeval tv = {0, 1000 * 40};
			must(setsockopt(fd, SOL_SOCKET, names[option], &tv, sizeof tv));
			struct timespec start;
			must(clock_gettime(CLOCK_MONOTONIC, &start));
			switch (how) {
			case 0: refused(recv(fd, c, sizeof c, 0), EAGAIN); break;
			case 1: refused(recvmsg(copy, &m, 0), EAGAIN); break;
			case 2: refused(read(fd, c, sizeof c), EAGAIN); break;
			case 3: refused(readv(fd, &v, 1), EAGAIN); break;
			case 4: refused(read(copy, c, sizeof c), EAGAIN); break;
			case 5: want(wait_by("poll", fd, ms) == 0); break; /* has its own time-out */
			}
			/* Linux counts the time-outs of its own sockets, where read waits in any case, in ticks. */
			int tick = (how < 2 && getenv("STORY_ON_KERNEL")) || (how >= 2 && how <= 4) ? 10 : 0;
			if (ms_since(&start) < ms - tick)
				die("option %d, way %d: over after %ld ms", names[option], how, ms_since(&start));
		}
	struct timeval never = {-1, 0}; /* to wait */
	must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &never, sizeof never));
	refused(recv(fd, c, sizeof c, 0), EAGAIN);
	refused(read(copy, c, sizeof c), EAGAIN);
	struct timeval forever = {0, 0};
	must(setsockopt(copy, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof forever));
	handle(SIGALRM, 0);
	for (int how = 0; how < 2; how++) {
		ticking(1);
		refused(how ? read(fd, c, sizeof c) : recv(fd, c, sizeof c, 0), EINTR);
		ticking(0);
	}
}

/* A socket without a ring has its packets in a queue. */
static void check_packet(const unsigned char *p, long n, uint32_t *last)
{
	uint32_t seq;
	want(n >= 60);
	memcpy(&seq, p + 14, 4);
	seq = ntohl(seq);
	if (n != 60 + seq % 1000)
		die("packet %u: %ld bytes", seq, n);
	for (long i = 18; i < n; i++)
		if (p[i] != (seq & 0xff))
			die("packet %u: byte %ld is %u", seq, i, p[i]);
	if (*last && seq <= *last)
		die("packet %u after %u", seq, *last);
	*last = seq;
}

/* discard_queue takes what is in fd's queue, for which SO_RCVBUF has room for some
 * hundred packets. A writer that is faster than the reader may never leave it empty. */
static void discard_queue(int fd)
{
	static unsigned char b[2000];
	for (int n = 0; n < 1000 && recv(fd, b, sizeof b, MSG_DONTWAIT) > 0; n++) ;
}

static void queue(void)
{
	static const char *ways[] = {"poll", "ppoll", "select", "pselect", "epoll", "epoll_pwait", "epoll_pwait2"};
	static unsigned char b[8][2000];
	unsigned char control[8][256], small[100];
	struct sockaddr_ll a[8];
	struct iovec v[8][3];
	struct mmsghdr m[8];
	socklen_t len = sizeof *a;
	struct timespec ts;
	struct timeval tv;
	int one = 1, n;
	uint32_t last = 0;
	int fd = must(socket(AF_PACKET, SOCK_RAW, 0));
	refused(ioctl(fd, SIOCGSTAMP, &tv), ENOENT);
	bind_to(fd, device);

	/* Waits, in recvfrom and before it. */
	for (int i = 0; i < 100; i++)
		check_packet(*b, must(recvfrom(fd, *b, sizeof *b, 0, (void *)a, &len)), &last);
	want(len == sizeof *a && a->sll_family == AF_PACKET && a->sll_ifindex == index_of(device));
	want(a->sll_pkttype == PACKET_BROADCAST && a->sll_halen == 6 && a->sll_protocol == htons(0x88b5) && a->sll_addr[0] == 2 && a->sll_addr[5] == 1);
	for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++)
		for (int j = 0; j < 20; j++) {
			want(wait_by(ways[i], fd, LONG) == 1);
			check_packet(*b, must(recv(fd, *b, sizeof *b, MSG_DONTWAIT)), &last);
		}
	must(ioctl(fd, SIOCGSTAMP, &tv));
	want(tv.tv_sec > 1000000000);

	/* A look; how long is it; less of it. */
	n = must(recv(fd, *b, sizeof *b, MSG_PEEK));
	want(recv(fd, NULL, 0, MSG_PEEK | MSG_TRUNC) == n);
	int waiting;
	must(ioctl(fd, FIONREAD, &waiting));
	want(waiting == n);
	want(recv(fd, small, 20, 0) == 20 && !memcmp(small, *b, 20));
	want(recv(fd, small, 30, MSG_TRUNC) >= 60);

	/* In pieces, with its address and what else there is to know of it. */
	must(setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof one));
	must(setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one));
	for (int i = 0; i < 8; i++) {
		v[i][0] = (struct iovec){b[i], 7}, v[i][1] = (struct iovec){NULL, 0}, v[i][2] = (struct iovec){b[i] + 7, sizeof *b - 7};
		m[i].msg_hdr = (struct msghdr){&a[i], sizeof *a, v[i], 3, control[i], sizeof *control, -1};
	}
	usleep(1000); /* let pass what had no time stamp yet */
	discard_queue(fd);
	n = must(recvmsg(fd, &m->msg_hdr, 0));
	last = 0;
	check_packet(*b, n, &last);
	want(m->msg_hdr.msg_flags == 0 && m->msg_hdr.msg_namelen == sizeof *a && a->sll_halen == 6);
	int stamps = 0, auxes = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m->msg_hdr); c; c = CMSG_NXTHDR(&m->msg_hdr, c))
		if (c->cmsg_level == SOL_PACKET && c->cmsg_type == PACKET_AUXDATA) {
			struct tpacket_auxdata *x = (void *)CMSG_DATA(c);
			want(c->cmsg_len == CMSG_LEN(sizeof *x) && x->tp_len == (unsigned)n && x->tp_snaplen == (unsigned)n && x->tp_net == 14 && x->tp_status & TP_STATUS_USER);
			auxes++;
		} else {
			want(c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS && c->cmsg_len == CMSG_LEN(sizeof(struct timespec)));
			want(((struct timespec *)CMSG_DATA(c))->tv_sec > 1000000000);
			stamps++;
		}
	want(stamps == 1 && auxes == 1);
	v[0][2].iov_len = 10, m->msg_hdr.msg_controllen = CMSG_LEN(sizeof(struct timespec)) + 2;
	want(must(recvmsg(fd, &m->msg_hdr, 0)) == 17 && m->msg_hdr.msg_flags == (MSG_TRUNC | MSG_CTRUNC));
	m->msg_hdr.msg_control = NULL, m->msg_hdr.msg_controllen = 64, m->msg_hdr.msg_name = NULL, m->msg_hdr.msg_namelen = 77;
	want(must(recvmsg(fd, &m->msg_hdr, MSG_TRUNC)) >= 60 && m->msg_hdr.msg_flags == (MSG_TRUNC | MSG_CTRUNC));
	want(m->msg_hdr.msg_controllen == 0 && m->msg_hdr.msg_namelen == 77);

	/* Several at once: as many as are wanted, those that are queued, for a time. */
	v[0][2].iov_len = sizeof *b - 7;
	want(must(recvmmsg(fd, m, 8, 0, NULL)) == 8);
	for (int i = 0; i < 8; i++)
		check_packet(b[i], m[i].msg_len, &last);
	n = must(recvmmsg(fd, m, 8, MSG_WAITFORONE, NULL));
	want(n >= 1 && n <= 8);
	discard_queue(fd);
	ts = (struct timespec){0, 1};
	want(must(recvmmsg(fd, m, 8, 0, &ts)) == 1 && ts.tv_sec == 0 && ts.tv_nsec == 0);
	ts = (struct timespec){10, 0};
	want(must(recvmmsg(fd, m, 2, 0, &ts)) == 2 && ts.tv_sec <= 10);
	refused(recvmmsg(fd, m, 2, 0, (void *)8), EFAULT);
	ts.tv_nsec = 1000000000;
	refused(recvmmsg(fd, m, 2, 0, &ts), EINVAL);
	want(recvmmsg(fd, m, 0, 0, NULL) == 0);

	/* Calls that Linux refuses. */
	refused(recv(fd, (void *)8, 100, 0), EFAULT);
	refused(recvmsg(fd, (void *)8, 0), EFAULT);
	m->msg_hdr = (struct msghdr){NULL, 0, (void *)8, 1, NULL, 0, 0};
	refused(recvmsg(fd, &m->msg_hdr, 0), EFAULT);
	m->msg_hdr = (struct msghdr){NULL, 0, *v, 1025, NULL, 0, 0};
	refused(recvmsg(fd, &m->msg_hdr, 0), EMSGSIZE);
	m->msg_hdr = (struct msghdr){a, -1, *v, 3, NULL, 0, 0};
	refused(recvmsg(fd, &m->msg_hdr, 0), EINVAL);
	v[0][0].iov_len = -1;
	m->msg_hdr = (struct msghdr){NULL, 0, *v, 3, NULL, 0, 0};
	refused(recvmsg(fd, &m->msg_hdr, 0), EINVAL);
	len = -1;
	refused(recvfrom(fd, *b, sizeof *b, 0, (void *)a, &len), EINVAL);
	refused(recv(fd, *b, sizeof *b, MSG_WAITALL), EINVAL);
	refused(recv(fd, *b, sizeof *b, MSG_ERRQUEUE), EAGAIN);

	/* It is empty when a filter accepts nothing, and when there is a ring. */
	struct sock_filter none[] = {{BPF_RET | BPF_K, 0, 0, 0}};
	struct sock_fprog f = {1, none};
	must(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &f, sizeof f));
	usleep(1000);
	while (recv(fd, *b, sizeof *b, MSG_DONTWAIT) > 0)
		;
	refused(recv(fd, *b, sizeof *b, MSG_DONTWAIT), EAGAIN);
	want(wait_by("poll", fd, 20) == 0);
	tv = (struct timeval){0, 20000};
	must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	refused(recv(fd, *b, sizeof *b, 0), EAGAIN);
	must(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &one, sizeof one));
	want(wait_by("poll", fd, LONG) == 1);
	set_ring(fd, TPACKET_V2, BLOCKS);
	refused(recv(fd, *b, sizeof *b, MSG_DONTWAIT), EAGAIN);
}

/* read is a receive call, too. */
static void queue_read(void)
{
	unsigned char b[2000], c[10];
	struct iovec v[2] = {{c, sizeof c}, {b + sizeof c, sizeof b - sizeof c}};
	struct pollfd p = {.events = POLLIN};
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	struct sock_filter none[] = {{BPF_RET | BPF_K, 0, 0, 0}};
	struct sock_fprog f = {1, none};
	uint32_t last = 0;
	int one = 1, fd = must(socket(AF_PACKET, SOCK_RAW, 0));
	p.fd = fd;
	bind_to(fd, device);
	for (int i = 0; i < 50; i++)
		check_packet(b, must(read(fd, b, sizeof b)), &last);
	for (int i = 0; i < 50; i++) {
		long n = must(readv(fd, v, 2));
		memcpy(b, c, sizeof c);
		check_packet(b, n, &last);
	}
	for (int i = 0; i < 50; i++) {
		want(poll(&p, 1, LONG) == 1);
		check_packet(b, must(read(fd, b, sizeof b)), &last);
	}
	/* By turns with receive calls, in whichever order. */
	for (int i = 0; i < 50; i++) {
		check_packet(b, must(recv(fd, b, sizeof b, 0)), &last);
		want(poll(&p, 1, LONG) == 1);
		long n = must(recv(fd, b, sizeof b, MSG_PEEK));
		want(read(fd, b, sizeof b) == n);
		check_packet(b, n, &last);
	}
	/* Emptied, as scapy does, it is empty. */
	must(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &f, sizeof f));
	usleep(1000);
	while (wait_by("select", fd, 0) == 1)
		check_packet(b, must(read(fd, b, sizeof b)), &last);
	refused(recv(fd, b, sizeof b, MSG_DONTWAIT), EAGAIN);
	int flags = must(fcntl(fd, F_GETFL));
	must(fcntl(fd, F_SETFL, flags | O_NONBLOCK));
	refused(read(fd, b, sizeof b), EAGAIN);
	must(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &one, sizeof one));
	/* Edges: a queued packet, and each one that arrives while it is not read. A full queue has none. */
	int ep = must(epoll_create1(0));
	must(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	for (int seen = 0, lying = 0, tries = 0; seen < 20; tries++) {
		want(tries < 100);
		if (epoll_wait(ep, &ev, 1, lying ? 1000 : LONG) == 1) {
			seen += lying;
			lying = 1;
			continue;
		}
		want(lying);
		while (read(fd, b, sizeof b) > 0) ;
		lying = 0;
	}
	while (read(fd, b, sizeof b) > 0) ; /* the last edge was consumed: if the queue is full, there is no other */
	for (int i = 0; i < 50; i++) {
		want(epoll_wait(ep, &ev, 1, LONG) == 1);
		for (long n; (n = read(fd, b, sizeof b)) > 0;)
			check_packet(b, n, &last);
		want(errno == EAGAIN);
	}
}

/* The packets of a member that closed go to the others. Of three members each gets every
 * third packet, of two every second: then gaps are multiples of 3 or 2, even if the reader is
 * too slow and packets are dropped. */
static void fanout(void)
{
	unsigned char b[2000];
	uint32_t last = 0;
	int fd[3], group = PACKET_FANOUT_LB << 16 | (getpid() & 0xffff), alone = 0;
	for (int i = 0; i < 3; i++) {
		fd[i] = must(socket(AF_PACKET, SOCK_RAW, 0));
		bind_to(fd[i], device);
		must(setsockopt(fd[i], SOL_PACKET, PACKET_FANOUT, &group, sizeof group));
	}
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 20; j++)
			check_packet(b, must(recv(fd[i], b, sizeof b, 0)), (last = 0, &last));
	close(fd[1]), close(fd[2]);
	for (last = 0; alone < 50;) {
		uint32_t before = last;
		check_packet(b, must(recv(*fd, b, sizeof b, 0)), &last);
		alone += (last - before) % 2 && (last - before) % 3;
	}
}

/* The device is set down whenever this prints "ready", and up when it prints "down". Each
 * call that waits is woken for that, once. */
static void say_ready(const char *what)
{
	printf("%s\n", what);
	fflush(stdout);
}

static void await_up(int fd)
{
	struct ifreq q = {0};
	strcpy(q.ifr_name, device);
	do {
		usleep(1000);
		must(ioctl(fd, SIOCGIFFLAGS, &q));
	} while (!(q.ifr_flags & IFF_UP));
}

static void await_error(int fd, int by_epoll)
{
	struct pollfd p = {fd, POLLIN, 0};
	struct epoll_event ev = {.events = EPOLLIN};
	int errno_, ep = must(epoll_create1(0));
	socklen_t n = sizeof errno_;
	must(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	do { /* it may wake up for nothing */
		if (by_epoll)
			want(epoll_wait(ep, &ev, 1, LONG) == 1);
		else
			want(poll(&p, 1, LONG) == 1);
	} while (!((by_epoll ? (int)ev.events : p.revents) & POLLERR));
	want(poll(&p, 1, 0) == 1 && p.revents & POLLERR);
	must(getsockopt(fd, SOL_SOCKET, SO_ERROR, &errno_, &n));
	want(errno_ == ENETDOWN);
	must(getsockopt(fd, SOL_SOCKET, SO_ERROR, &errno_, &n));
	want(errno_ == 0);
	want(poll(&p, 1, 0) == 0 || !(p.revents & POLLERR));
	close(ep);
}

static void down(void)
{
	struct reader r = open_reader(TPACKET_V2, device);
	unsigned char b[2000];
	struct sockaddr_ll a;
	socklen_t len = sizeof a;
	uint32_t last = 0;
	for (int i = 0; i < 6; i++) {
		read_packets(&r, "poll", r.seen + 50);
		say_ready("ready");
		await_error(r.fd, i % 2);
		say_ready("down");
		await_up(r.fd);
	}
	close(r.fd);

	int fd = must(socket(AF_PACKET, SOCK_RAW, 0));
	bind_to(fd, device);
	for (int i = 0; i < 6; i++) {
		for (int j = 0; j < 50; j++)
			check_packet(b, must(j % 2 ? recv(fd, b, sizeof b, 0) : read(fd, b, sizeof b)), &last);
		say_ready("ready");
		if (i < 4) {
			await_error(fd, i % 2);
			while (recv(fd, b, sizeof b, MSG_DONTWAIT) > 0)
				;
			want(errno == EAGAIN);
		} else {
			long n;
			while ((n = recv(fd, b, sizeof b, 0)) > 0)
				check_packet(b, n, &last);
			want(n == -1 && errno == ENETDOWN);
		}
		say_ready("down");
		await_up(fd);
	}
	/* Bound to one that is down. */
	say_ready("ready");
	await_error(fd, 0);
	int late = must(socket(AF_PACKET, SOCK_RAW, 0));
	bind_to(late, device);
	await_error(late, 0);
	must(getsockname(late, (void *)&a, &len));
	want(a.sll_ifindex == index_of(device));
	say_ready("down");
	check_packet(b, must(recv(late, b, sizeof b, 0)), (last = 0, &last));

	say_ready("remove");
	await_error(late, 0);
	do { /* first it is down */
		len = sizeof a;
		usleep(1000);
		must(getsockname(late, (void *)&a, &len));
	} while (a.sll_ifindex != -1);
	want(len == 12);
}

/* The device is removed while this waits for it, by arg. */
static void gone(void)
{
	unsigned char b[2000] = {0};
	struct ifreq q = {0};
	strcpy(q.ifr_name, device);
	int fd = -1, queue = !strcmp(arg, "recv") || !strcmp(arg, "read");
	if (queue)
		bind_to(fd = must(socket(AF_PACKET, SOCK_RAW, 0)), device);
	else
		fd = open_reader(TPACKET_V2, device).fd;
	struct pollfd p = {fd, POLLIN, 0};
	say_ready("remove");
	if (!strcmp(arg, "recv"))
		refused(recv(fd, b, sizeof b, 0), ENETDOWN);
	else if (!strcmp(arg, "read"))
		want(read(fd, b, sizeof b) == -1);
	else
		await_error(fd, !strcmp(arg, "epoll"));
	while (ioctl(fd, SIOCGIFINDEX, &q) == 0)
		usleep(1000);
	want(errno == ENODEV);
	refused(recv(fd, b, sizeof b, MSG_DONTWAIT), EAGAIN);
	want(send(fd, b, 60, 0) == -1 && (errno == ENXIO || errno == ENETDOWN));
	want(poll(&p, 1, 20) == 0);
}

/* All threads are frozen and thawed several times while they wait: as for a signal without a
 * handler, only calls with a time-out return. Then the device is removed. */
static void *frozen_thread(void *socket)
{
	char b[100];
	int fd = *(int *)socket, interrupted = 0;
	while (recv(fd, b, sizeof b, 0) == -1 && errno == EINTR)
		interrupted++;
	want(errno == ENETDOWN && interrupted > 0);
	return NULL;
}

static void frozen(void)
{
	char b[100];
	struct timeval minute = {60, 0};
	pthread_t t;
	int fd = must(socket(AF_PACKET, SOCK_RAW, 0)), timed = must(socket(AF_PACKET, SOCK_RAW, 0));
	bind_to(fd, device);
	bind_to(timed, device);
	must(setsockopt(timed, SOL_SOCKET, SO_RCVTIMEO, &minute, sizeof minute));
	want(!pthread_create(&t, NULL, frozen_thread, &timed));
	printf("freeze %d\n", getpid());
	fflush(stdout);
	refused(recv(fd, b, sizeof b, 0), ENETDOWN);
	pthread_join(t, NULL);
}

/* Threads that wait in receive calls share the packets: each packet is received by one of
 * them. */
#define EACH 100
static int shared_fd;
static void *receiving_thread(void *got)
{
	unsigned char b[2000];
	uint32_t *seqs = got, last = 0;
	for (int i = 0; i < EACH; i++) {
		check_packet(b, must(recv(shared_fd, b, sizeof b, 0)), &last);
		seqs[i] = last;
	}
	return NULL;
}

static int ascending(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static void queue_threads(void)
{
	static uint32_t seqs[4 * EACH];
	pthread_t t[4];
	shared_fd = must(socket(AF_PACKET, SOCK_RAW, 0));
	bind_to(shared_fd, device);
	for (int i = 0; i < 4; i++)
		want(!pthread_create(&t[i], NULL, receiving_thread, &seqs[i * EACH]));
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	qsort(seqs, 4 * EACH, sizeof *seqs, ascending);
	for (int i = 1; i < 4 * EACH; i++)
		if (seqs[i] == seqs[i - 1])
			die("packet %u came twice", seqs[i]);
}

/* No packet is lost when a signal is handled meanwhile. */
static void queue_signals(void)
{
	unsigned char b[2000];
	uint32_t last = 0, lost = 0;
	struct tpacket_stats st;
	socklen_t n = sizeof st;
	struct itimerval it = {{0, 300}, {0, 300}};
	int fd = must(socket(AF_PACKET, SOCK_RAW, 0));
	handle(SIGALRM, SA_RESTART);
	must(setitimer(ITIMER_REAL, &it, NULL));
	bind_to(fd, device);
	for (int i = 0; i < 500; i++) {
		uint32_t before = last;
		check_packet(b, must(recv(fd, b, sizeof b, 0)), &last);
		if (before)
			lost += last - before - 1;
	}
	must(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &st, &n));
	want(lost <= st.tp_drops); /* except for those that had no room */
}

static void *reading_thread(void *how)
{
	struct reader r = open_reader(TPACKET_V2, device);
	struct pollfd p = {r.fd, POLLIN, 0};
	(void)how;
	while (r.seen < 100) {
		take(&r);
		want(poll(&p, 1, LONG) == 1);
	}
	close(r.fd);
	return NULL;
}

static void threads(void)
{
	pthread_t t[6];
	for (int i = 0; i < 6; i++)
		want(!pthread_create(&t[i], NULL, reading_thread, NULL));
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
}

static void two_sockets(void)
{
	struct reader a = open_reader(TPACKET_V1, device), b = open_reader(TPACKET_V2, device);
	struct pollfd p[2] = {{a.fd, POLLIN, 0}, {b.fd, POLLIN, 0}};
	while (a.seen < 100 || b.seen < 100) {
		take(&a), take(&b);
		want(poll(p, 2, LONG) >= 1);
	}
}

static void ended(int pid)
{
	int status;
	want(must(waitpid(pid, &status, 0)) == pid);
	if (status)
		die("child ended with status %#x", status);
}

/* The descriptor goes through dup, fork, exec and a message. */
static void inherit(void)
{
	struct reader r = open_reader(TPACKET_V2, device);
	int pid = must(fork());
	if (!pid) { /* inherited right after mmap */
		read_packets(&r, "epoll", 100);
		_exit(0);
	}
	ended(pid);

	struct reader d = open_reader(TPACKET_V2, device);
	int fd = d.fd;
	d.fd = must(dup2(fd, 200)); /* while the memory may be in place */
	must(close(fd));
	read_packets(&d, "poll", 100);
	fd = must(dup(d.fd));
	read_packets(&d, "ppoll", 200);
	must(munmap(d.ring, BLOCK * BLOCKS)); /* the next program maps it */

	pid = must(fork());
	if (!pid) {
		char n[20];
		snprintf(n, sizeof n, "%d", fd);
		must(execl("/proc/self/exe", "story", "inherited", device, n, NULL));
	}
	ended(pid);

	int pair[2];
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	struct reader s = open_reader(TPACKET_V2, device);
	char c = 0, control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec v = {&c, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	pid = must(fork());
	if (!pid) {
		close(s.fd);
		want(must(recvmsg(pair[1], &m, 0)) == 1);
		memcpy(&s.fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
		read_packets(&s, "select", 100);
		_exit(0);
	}
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &s.fd, sizeof(int));
	want(must(sendmsg(pair[0], &m, 0)) == 1);
	close(s.fd);
	ended(pid);
}

static void inherited(void)
{
	struct stat st;
	int type, fd = atoi(arg);
	socklen_t n = sizeof type;
	must(fstat(fd, &st));
	want(S_ISSOCK(st.st_mode));
	must(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n));
	want(type == SOCK_RAW);
	must(munmap(map(fd), BLOCK * BLOCKS));
}

/* Rings are made and freed; a mapped one stays. */
static void again(void)
{
	struct tpacket_req3 none = {0};
	for (int i = 0; i < 42; i++) {
		struct reader r = open_reader(i % 3, device);
		read_packets(&r, "poll", 3);
		refused(setsockopt(r.fd, SOL_PACKET, PACKET_RX_RING, &none, sizeof none), EBUSY);
		must(munmap(r.ring, BLOCK * BLOCKS));
		must(setsockopt(r.fd, SOL_PACKET, PACKET_RX_RING, &none, sizeof none));
		set_ring(r.fd, (i + 1) % 3, BLOCKS);
		r = (struct reader){.fd = r.fd, .version = (i + 1) % 3, .ring = map(r.fd)};
		read_packets(&r, "ppoll", 3);
		must(munmap(r.ring, BLOCK * BLOCKS));
		close(r.fd);
	}
}

/* A program that makes no call of a socket after it has mapped the ring: it looks into the
 * ring from time to time. */
static void spinning(void)
{
	struct reader r = {.fd = must(socket(AF_PACKET, SOCK_RAW, 0)), .version = TPACKET_V2};
	set_ring(r.fd, TPACKET_V2, BLOCKS);
	bind_to(r.fd, device);
	r.ring = map(r.fd);
	for (int i = 0; i < 30000 && r.seen < 100; i++) {
		usleep(1000);
		take(&r);
	}
	want(r.seen >= 100);
}

static void *polling_thread(void *stop)
{
	struct pollfd p = {0, 0, 0};
	while (!__atomic_load_n((int *)stop, __ATOMIC_ACQUIRE))
		poll(&p, 1, 0);
	return NULL;
}

/* A ring is mapped in two places, of which each shows the packets. Another process's ring
 * can be mapped twice in a row, and not any more after another call, until all is unmapped. */
static void twice(void)
{
	int attached = !strcmp(arg, "attached");
	struct reader r = {.fd = must(socket(AF_PACKET, SOCK_RAW, 0)), .version = TPACKET_V2};
	set_ring(r.fd, TPACKET_V2, BLOCKS);
	r.ring = map(r.fd);
	unsigned char *second = map(r.fd);
	bind_to(r.fd, device);
	read_packets(&r, "poll", 5);
	want(!memcmp(r.ring + 64, second + 64, FRAME - 64));
	second[100]++;
	want(r.ring[100] == second[100]);
	if (attached)
		refused(mmap(NULL, BLOCK * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, r.fd, 0), EBUSY);
	else
		must(munmap(map(r.fd), BLOCK * BLOCKS));
	must(munmap(r.ring, BLOCK * BLOCKS));
	must(munmap(second, BLOCK * BLOCKS));
	r.ring = map(r.fd);
	read_packets(&r, "poll", 10);
}

/* Another thread's calls do not put the stand-in back during an mmap. */
static void mmap_race(void)
{
	struct tpacket_req none = {0};
	int stop = 0, fd = must(socket(AF_PACKET, SOCK_RAW, 0));
	pthread_t t[2];
	for (int i = 0; i < 2; i++)
		want(!pthread_create(&t[i], NULL, polling_thread, &stop));
	for (int i = 0; i < 200; i++) {
		set_ring(fd, TPACKET_V2, BLOCKS);
		must(munmap(map(fd), BLOCK * BLOCKS));
		must(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &none, sizeof none));
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
}

static int late_epoll;
static void *late_thread(void *unused)
{
	struct epoll_event ev;
	(void)unused;
	want(epoll_wait(late_epoll, &ev, 1, LONG) == 1);
	return NULL;
}

/* A thread that waits already is woken for a socket that is added, and for a ring. */
static void late(void)
{
	pthread_t t;
	struct epoll_event ev = {.events = EPOLLIN};
	late_epoll = must(epoll_create1(0));
	want(!pthread_create(&t, NULL, late_thread, NULL));
	usleep(50000);
	int fd = must(socket(AF_PACKET, SOCK_RAW, 0));
	must(epoll_ctl(late_epoll, EPOLL_CTL_ADD, fd, &ev));
	set_ring(fd, TPACKET_V2, BLOCKS);
	map(fd);
	must(epoll_ctl(late_epoll, EPOLL_CTL_MOD, fd, &ev));
	bind_to(fd, device);
	pthread_join(t, NULL);
}

/* A closed socket leaves its epoll sets; a message that contains its descriptor keeps it
 * open. */
static void closed(void)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int ep = must(epoll_create1(0)), pair[2];
	char c = 0, control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec v = {&c, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	for (int early = 0; early < 2; early++) {
		struct reader r = open_reader(TPACKET_V2, device);
		must(epoll_ctl(ep, EPOLL_CTL_ADD, r.fd, &ev));
		if (early)
			want(epoll_wait(ep, &ev, 1, LONG) == 1);
		must(munmap(r.ring, BLOCK * BLOCKS));
		close(r.fd);
		for (int i = 0; i < 20; i++)
			want(epoll_wait(ep, &ev, 1, 5) == 0);
	}
	struct reader r = open_reader(TPACKET_V2, device);
	must(munmap(r.ring, BLOCK * BLOCKS));
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &r.fd, sizeof(int));
	want(must(sendmsg(pair[0], &m, 0)) == 1);
	close(r.fd);
	want(epoll_wait(ep, &ev, 1, 100) == 0);
	want(must(recvmsg(pair[1], &m, 0)) == 1);
	memcpy(&r.fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
	must(epoll_ctl(ep, EPOLL_CTL_ADD, r.fd, &ev));
	want(epoll_wait(ep, &ev, 1, LONG) == 1);
	r.ring = map(r.fd);
	read_packets(&r, "poll", 10);
	/* A mapping holds the socket as a descriptor does. */
	close(r.fd);
	want(epoll_wait(ep, &ev, 1, LONG) == 1);
}

/* Files, other sockets and pipes work as ever. */
static void bystanders(void)
{
	struct reader r = open_reader(TPACKET_V2, device);
	char name[] = "/tmp/rxring-story-XXXXXX", c = 'x';
	int fd = must(mkstemp(name)), p[2], one;
	must(unlink(name));
	must(ftruncate(fd, 4096));
	char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	want(m != MAP_FAILED);
	m[17] = 'y';
	want(pread(fd, &c, 1, 17) == 1 && c == 'y');
	refused(mmap(NULL, 4096, PROT_READ, MAP_SHARED, -1, 0), EBADF);

	must(pipe(p));
	struct pollfd pf[2] = {{p[0], POLLIN, 0}, {r.fd, 0, 0}};
	want(poll(pf, 2, 10) == 0);
	must(write(p[1], "z", 1));
	want(poll(pf, 2, LONG) == 1 && pf[0].revents == POLLIN);

	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof a;
	int u = must(socket(AF_INET, SOCK_DGRAM, 0));
	must(bind(u, (struct sockaddr *)&a, sizeof a));
	must(getsockname(u, (struct sockaddr *)&a, &n));
	want(a.sin_port != 0);
	want(sendto(u, "hello", 5, 0, (struct sockaddr *)&a, sizeof a) == 5);
	want(recv(u, &c, 1, MSG_TRUNC) == 5 && c == 'h');
	refused(recv(u, &c, 1, MSG_DONTWAIT), EAGAIN);
	n = sizeof one;
	must(getsockopt(u, SOL_SOCKET, SO_TYPE, &one, &n));
	want(one == SOCK_DGRAM);
	refused(setsockopt(u, SOL_PACKET, PACKET_AUXDATA, &one, sizeof one), ENOPROTOOPT);

	/* Devices are the namespace's on every socket. */
	struct ifreq q = {0};
	strcpy(q.ifr_name, device);
	must(ioctl(u, SIOCGIFINDEX, &q));
	want(q.ifr_ifindex == index_of(device));
	must(ioctl(u, SIOCGIFNAME, &q));
	want(!strcmp(q.ifr_name, device));
	must(ioctl(u, SIOCGIFMTU, &q));
	want(q.ifr_mtu == 1500);
	strcpy(q.ifr_name, "nosuch0");
	refused(ioctl(u, SIOCGIFMTU, &q), ENODEV);
	refused(ioctl(p[0], SIOCGIFMTU, &q), ENOTTY);
}

/* Calls that put something at a socket's number, or close it: done, and refused. */
static void descriptor_numbers(void)
{
	struct tpacket_stats st;
	socklen_t len = sizeof st;
	struct rlimit old, low;
	int fd = must(socket(AF_PACKET, SOCK_RAW, 0)), null = must(open("/dev/null", O_RDWR));
	must(getrlimit(RLIMIT_NOFILE, &old));
	refused(dup2(99, fd), EBADF);
	refused(dup3(99, fd, 0), EBADF);
	refused(dup3(null, fd, 1), EINVAL);
	refused(dup3(fd, fd, 0), EINVAL);
	want(dup2(fd, fd) == fd);
	refused(syscall(SYS_close_range, fd, fd, 1), EINVAL);
	refused(syscall(SYS_close_range, fd + 1, fd, 0), EINVAL);
	refused(dup2(fd, -1), EBADF);
	refused(dup2(fd, (int)old.rlim_cur), EBADF);
	refused(dup3(fd, 50, 1), EINVAL);
	must(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &st, &len));

	/* Above the limit there are only those that were there before. */
	want(dup3(fd, 200, O_CLOEXEC) == 200 && fcntl(200, F_GETFD) == FD_CLOEXEC);
	low = old;
	low.rlim_cur = 200;
	must(setrlimit(RLIMIT_NOFILE, &low));
	refused(dup2(null, 200), EBADF);
	refused(dup2(fd, 200), EBADF);
	must(getsockopt(200, SOL_PACKET, PACKET_STATISTICS, &st, &len));
	want(fcntl(200, F_GETFD) == FD_CLOEXEC);
	must(setrlimit(RLIMIT_NOFILE, &old));

	/* Changes are visible. */
	want(dup2(fd, 200) == 200 && fcntl(200, F_GETFD) == 0);
	want(dup2(null, 200) == 200);
	refused(getsockopt(200, SOL_PACKET, PACKET_STATISTICS, &st, &len), ENOTSOCK);
	want(dup2(fd, null) == null);
	must(getsockopt(null, SOL_PACKET, PACKET_STATISTICS, &st, &len));
	must(close(fd));
	refused(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &st, &len), EBADF);
	must(getsockopt(null, SOL_PACKET, PACKET_STATISTICS, &st, &len));
	must((int)syscall(SYS_close_range, null, null, 0));
	refused(getsockopt(null, SOL_PACKET, PACKET_STATISTICS, &st, &len), EBADF);
}

/* Lists of devices contain ours. */
static void devices(void)
{
	struct ifaddrs *all, *i;
	int ours = 0;
	must(getifaddrs(&all));
	for (i = all; i; i = i->ifa_next) {
		struct sockaddr_ll *a = (void *)i->ifa_addr;
		want(i->ifa_name);
		if (!a || a->sll_family != AF_PACKET)
			continue;
		if (strcmp(i->ifa_name, device))
			continue;
		ours++;
		want(a->sll_ifindex == index_of(device) && a->sll_hatype == ARPHRD_ETHER && a->sll_halen == 6);
		want(i->ifa_flags & IFF_UP && i->ifa_flags & IFF_BROADCAST);
	}
	freeifaddrs(all);
	want(ours == 1);
	struct if_nameindex *n = if_nameindex();
	for (; n->if_index; n++)
		ours += !strcmp(n->if_name, device) && (int)n->if_index == index_of(device);
	want(ours == 2);

	/* Promiscuous, it receives packets to other hosts. */
	struct ifreq q = {0};
	int packet = must(socket(AF_PACKET, SOCK_RAW, 0));
	strcpy(q.ifr_name, device);
	for (int i = 0; i < 4; i++) {
		must(ioctl(packet, SIOCGIFFLAGS, &q));
		want(!(q.ifr_flags & IFF_PROMISC) == !(i % 2));
		q.ifr_flags ^= IFF_PROMISC;
		must(ioctl(packet, SIOCSIFFLAGS, &q));
		must(ioctl(packet, SIOCSIFFLAGS, &q));
	}
	close(packet);

	/* By hand: how long is it, a look at it, and in small pieces. */
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
	} ask = {{sizeof ask, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 77, 0}, {.ifi_family = AF_PACKET}};
	struct sockaddr_nl to = {.nl_family = AF_NETLINK}, from;
	socklen_t len = sizeof to;
	char buf[32768], c[100];
	struct iovec v[3] = {{&ask, 16}, {(char *)&ask + 16, sizeof ask - 16}};
	struct msghdr m = {&to, sizeof to, v, 2, NULL, 0, 0};
	int fd = must(socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE));
	refused(recv(fd, buf, sizeof buf, 0), EAGAIN);
	want(must(sendmsg(fd, &m, 0)) == sizeof ask);
	must(getsockname(fd, (void *)&to, &len));
	long whole = must(recv(fd, NULL, 0, MSG_PEEK | MSG_TRUNC));
	want(whole > 50);
	v[0] = (struct iovec){c, 10}, v[1] = (struct iovec){NULL, 0}, v[2] = (struct iovec){c + 10, 30};
	m = (struct msghdr){&from, sizeof from, v, 3, NULL, 0, 0};
	want(must(recvmsg(fd, &m, MSG_PEEK)) == 40 && m.msg_flags == MSG_TRUNC);
	want(m.msg_namelen == sizeof from && from.nl_family == AF_NETLINK && from.nl_pid == 0);
	len = sizeof from;
	want(must(recvfrom(fd, buf, sizeof buf, 0, (void *)&from, &len)) == whole && len == sizeof from);
	want(!memcmp(buf, c, 40));
	int found = 0;
	for (int end = 0; !end; whole = end ? 0 : must(recv(fd, buf, sizeof buf, 0)))
		for (struct nlmsghdr *h = (void *)buf; NLMSG_OK(h, whole); h = NLMSG_NEXT(h, whole)) {
			struct ifinfomsg *i = NLMSG_DATA(h);
			want(h->nlmsg_seq == 77 && h->nlmsg_pid == to.nl_pid);
			end |= h->nlmsg_type == NLMSG_DONE;
			found += h->nlmsg_type == RTM_NEWLINK && i->ifi_index == index_of(device);
		}
	want(found == 1);
	refused(recv(fd, buf, sizeof buf, 0), EAGAIN);
	close(fd);
}

/* Files of /proc/net list ours. What is opened is read, and no more than that. */
static void files(void)
{
	static const char *const names[] = {"dev", "if_inet6", "route", "arp", "ipv6_route"};
	char path[64], line[256];
	struct stat st;
	int found = 0;
	for (unsigned i = 0; i < sizeof names / sizeof *names * 2; i++) {
		snprintf(path, sizeof path, i % 2 ? "/proc/self/net/%s" : "/proc/net/%s", names[i / 2]);
		FILE *f = fopen(path, "re");
		want(f && fcntl(fileno(f), F_GETFD) == FD_CLOEXEC);
		want((fcntl(fileno(f), F_GETFL) & O_ACCMODE) == O_RDONLY);
		refused(write(fileno(f), "x", 1), EBADF);
		must(fstat(fileno(f), &st));
		want(S_ISREG(st.st_mode));
		while (fgets(line, sizeof line, f))
			found += i / 2 == 0 && strstr(line, device) == line + strspn(line, " ") && line[strspn(line, " ") + strlen(device)] == ':';
		fclose(f);
	}
	want(found == 2);

	/* The path may end where memory does, and other files are the system's. */
	int page = getpagesize(), fd;
	char *two = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(munmap(two + page, page));
	char *end = two + page - sizeof "/proc/net/dev";
	strcpy(end, "/proc/net/dev");
	fd = must(open(end, O_RDONLY));
	want(must(read(fd, line, 6)) == 6 && !memcmp(line, "Inter-", 6));
	want(fcntl(fd, F_GETFD) == 0);
	must(lseek(fd, 0, SEEK_SET));
	close(fd);
#ifdef SYS_open
	fd = must(syscall(SYS_open, end, O_RDONLY | O_CLOEXEC));
	want(must(read(fd, line, 6)) == 6 && !memcmp(line, "Inter-", 6) && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	close(fd);
#endif
	refused(openat(AT_FDCWD, end + 1, O_RDONLY), ENOENT);
	refused(open(two + page - 1, O_RDONLY), ENOENT);
	memset(two, 'x', page);
	refused(open(two + page - 5, O_RDONLY), EFAULT);
	refused(open((char *)8, O_RDONLY), EFAULT);
	refused(open("/proc/net/devices", O_RDONLY), ENOENT);
	refused(open("/proc/net/dev", O_RDONLY | O_DIRECTORY), ENOTDIR);
	fd = must(open("/proc/self/comm", O_RDONLY));
	want(must(read(fd, line, sizeof line)) > 0);
	close(fd);
}

static int route_fd;

static void *ask_later(void *ask)
{
	usleep(50000);
	want(must(send(route_fd, ask, 20, 0)) == 20);
	return NULL;
}

/* An rtnetlink socket waits, wakes, is read, written, inherited and closed like any socket. */
static void netlink(void)
{
	struct {
		struct nlmsghdr h;
		struct rtgenmsg g;
	} ask = {{20, RTM_GETROUTE + 2 /* which no kernel knows */, NLM_F_REQUEST, 7, 0}, {0}};
	ask.h.nlmsg_type = NLMSG_NOOP, ask.h.nlmsg_flags |= NLM_F_ACK;
	struct sockaddr_nl me = {.nl_family = AF_NETLINK}, from;
	struct epoll_event ev = {.events = EPOLLIN};
	struct timeval tv = {0, 20000};
	char buf[4096], two[2][100];
	socklen_t len = sizeof me;
	pthread_t t;
	int fd = route_fd = must(socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_ROUTE)), n;
	struct pollfd p = {fd, POLLIN, 0};
	int ep = must(epoll_create1(0));
	must(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));

	must(bind(fd, (void *)&me, sizeof me));
	must(getsockname(fd, (void *)&me, &len));
	want(len == sizeof me && me.nl_pid == (unsigned)getpid());
	len = sizeof n;
	must(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &n, &len));
	want(n == AF_NETLINK);
	must(getsockopt(fd, SOL_SOCKET, SO_TYPE, &n, &len));
	want(n == SOCK_DGRAM);
	must(getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &n, &len));
	want(n == NETLINK_ROUTE);
	n = 1;
	must(setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &n, sizeof n));
	must(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, (n = 65536, &n), sizeof n));
	must(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &n, &len));
	want(n == 131072);

	/* Nothing there. */
	want(must(poll(&p, 1, 0)) == 0);
	want(must(epoll_wait(ep, &ev, 1, 0)) == 0);
	refused(recv(fd, buf, sizeof buf, MSG_DONTWAIT), EAGAIN);
	must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	refused(recv(fd, buf, sizeof buf, 0), EAGAIN);
	tv.tv_usec = 0;
	must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));

	/* An answer: read, and received once it was seen. */
	for (int how = 0; how < 4; how++) {
		if (how == 0)
			want(must(write(fd, &ask, 20)) == 20);
		else
			want(must(sendto(fd, &ask, 20, 0, (void *)&(struct sockaddr_nl){.nl_family = AF_NETLINK}, sizeof me)) == 20);
		want(must(poll(&p, 1, 1000)) == 1 && p.revents == POLLIN);
		want(must(epoll_wait(ep, &ev, 1, 1000)) == 1);
		if (how < 2) {
			n = must(read(fd, buf, sizeof buf));
		} else {
			len = sizeof from;
			n = must(recvfrom(fd, buf, sizeof buf, how == 3 ? MSG_TRUNC | MSG_PEEK : 0, (void *)&from, &len));
			want(from.nl_family == AF_NETLINK && from.nl_pid == 0 && len == sizeof from);
			if (how == 3)
				want(must(recv(fd, buf, 3, MSG_TRUNC)) == n);
		}
		struct nlmsghdr *h = (void *)buf;
		struct nlmsgerr *e = NLMSG_DATA(h);
		want(n == 36 && h->nlmsg_type == NLMSG_ERROR && h->nlmsg_seq == 7 && h->nlmsg_pid == me.nl_pid && e->error == 0);
		for (int i = 0; i < 100 && poll(&p, 1, 0); i++)
			usleep(1000); /* what was read leaves a little later */
		want(must(poll(&p, 1, 0)) == 0);
		want(must(epoll_wait(ep, &ev, 1, 0)) == 0);
		refused(recv(fd, buf, sizeof buf, MSG_DONTWAIT), EAGAIN);
	}

	/* Many at a time. */
	struct iovec in[2] = {{&ask, 20}, {&ask, 20}}, out[2] = {{two[0], 100}, {two[1], 100}};
	struct mmsghdr sends[2] = {{.msg_hdr = {.msg_iov = in, .msg_iovlen = 1}}, {.msg_hdr = {.msg_iov = in + 1, .msg_iovlen = 1}}};
	struct mmsghdr recvs[2] = {{.msg_hdr = {.msg_iov = out, .msg_iovlen = 1}}, {.msg_hdr = {.msg_iov = out + 1, .msg_iovlen = 1}}};
	want(must(sendmmsg(fd, sends, 2, 0)) == 2 && sends[1].msg_len == 20);
	want(must(recvmmsg(fd, recvs, 2, 0, NULL)) == 2 && recvs[0].msg_len == 36 && recvs[1].msg_len == 36);

	for (int i = 0; i < 100; i++)
		want(must(write(fd, &ask, 20)) == 20);
	refused(send(fd, &ask, 0, 0), ENODATA);
	for (int i = 0; i < 100; i++)
		want(must(recv(fd, buf, sizeof buf, 0)) == 36);

	/* Control messages, whole and cut. */
	must(setsockopt(fd, SOL_NETLINK, NETLINK_PKTINFO, (n = 1, &n), sizeof n));
	for (unsigned room = 100; room; room = room == 100 ? 18 : room == 18 ? 8 : 0) {
		char control[100] __attribute__((aligned(8)));
		struct msghdr m = {.msg_iov = out, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
		struct cmsghdr *c = (void *)control;
		want(must(send(fd, &ask, 20, 0)) == 20);
		want(must(recvmsg(fd, &m, 0)) == 36);
		want(m.msg_flags == (room < 20 ? MSG_CTRUNC : 0) && m.msg_controllen == (room == 100 ? 24 : room == 18 ? 18 : 0));
		want(room < 16 || (c->cmsg_level == SOL_NETLINK && c->cmsg_type == NETLINK_PKTINFO && c->cmsg_len == (room < 20 ? room : 20)));
		want(room < 20 || *(int *)CMSG_DATA(c) == 0);
	}

	/* A filter drops answers until it is detached. */
	struct sock_filter none[] = {{BPF_RET | BPF_K, 0, 0, 0}};
	struct sock_fprog f = {1, none};
	must(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &f, sizeof f));
	want(must(send(fd, &ask, 20, 0)) == 20);
	want(must(poll(&p, 1, 0)) == 0);
	must(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &n, sizeof n));
	refused(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &n, sizeof n), ENOENT);
	refused(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &f, 3), EINVAL);

	/* One thread waits for the answer to another's request. */
	must(pthread_create(&t, NULL, ask_later, &ask));
	want(must(recv(fd, buf, sizeof buf, 0)) == 36);
	pthread_join(t, NULL);

	/* A child has the same socket; one that no process holds leaves the set. */
	int pid = must(fork());
	if (!pid) {
		want(must(send(fd, &ask, 20, 0)) == 20);
		_exit(0);
	}
	must(waitpid(pid, &n, 0));
	want(n == 0);
	want(must(epoll_wait(ep, &ev, 1, 1000)) == 1);
	int other = must(dup(fd));
	close(fd);
	want(must(epoll_wait(ep, &ev, 1, 0)) == 1);
	close(other);
	want(must(epoll_wait(ep, &ev, 1, 0)) == 0);

	/* The port is free again, and many can be open. */
	for (int i = 0; i < 600; i++) {
		fd = must(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
		must(bind(fd, (void *)&me, sizeof me));
		close(fd);
	}
	refused(socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE), ESOCKTNOSUPPORT);
	fd = must(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
	refused(bind(fd, (void *)&me, 11), EINVAL);
	refused(bind(fd, (void *)8, 12), EFAULT);
	refused(sendto(fd, &ask, 20, MSG_OOB, NULL, 0), EOPNOTSUPP);
	refused(sendto(fd, (void *)8, 20, 0, NULL, 0), EFAULT);
	refused(sendto(fd, &ask, 20, 0, (void *)&me, 3), EINVAL);
	len = sizeof n;
	must(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &n, &len));
	refused(send(fd, buf, n, 0), EMSGSIZE);
	refused(recv(fd, buf, 1, MSG_OOB), EOPNOTSUPP);
	refused(setsockopt(fd, SOL_NETLINK, 77, &n, sizeof n), ENOPROTOOPT);
	refused(setsockopt(fd, SOL_PACKET, 1, &n, sizeof n), ENOPROTOOPT);
	refused(shutdown(fd, SHUT_RDWR), EOPNOTSUPP);
	refused(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0), ENODEV);
}

/* The number of sockets is bounded, and families of sockets that would show the system's
 * devices fail as without their modules. */
static void bounds(void)
{
	int n = 0;
	while (socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE) >= 0)
		n++;
	want(errno == ENFILE && n == 256);
	refused(socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER), EPROTONOSUPPORT);
	refused(socket(AF_NETLINK, SOCK_RAW | 0x10, NETLINK_NETFILTER), EINVAL);
	refused(socket(AF_BLUETOOTH, SOCK_RAW, 1), EAFNOSUPPORT);
	must(socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC));
	must(socket(AF_NETLINK, SOCK_RAW, NETLINK_USERSOCK));
}

/* Calls that Linux refuses have the same errno. Each line is compared with that of the
 * kernel's own packet socket. */
#define say(x) do { errno = 0; long r_ = (long)(x); printf("%s = %ld %s\n", #x, r_ < 0 ? r_ : 0, r_ < 0 ? strerror(errno) : ""); } while (0)

#include "sending.c"

static void errnos(void)
{
	int raw = must(socket(AF_PACKET, SOCK_RAW, 0)), one = 1, big = 99;
	struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_ifindex = index_of(device), .sll_protocol = htons(ETH_P_ALL)};
	struct sockaddr *sa = (struct sockaddr *)&a;
	struct tpacket_req q = {BLOCK, BLOCKS, FRAME, FRAMES}, odd = {BLOCK, BLOCKS, FRAME, 1};
	struct sock_filter code[] = {{BPF_RET | BPF_K, 0, 0, 0}}, wrong[] = {{BPF_LD, 0, 0, 0}};
	struct sock_fprog f = {1, code}, none = {0, code}, bad = {1, wrong}, lost = {1, (void *)8}, null = {1, NULL};
	struct packet_mreq mr = {.mr_ifindex = a.sll_ifindex, .mr_type = PACKET_MR_PROMISC}, nodev = {.mr_ifindex = 9999, .mr_type = PACKET_MR_PROMISC};
	char buf[64];
	void *nowhere = (void *)8;
	socklen_t n;

	say(socket(AF_PACKET, SOCK_STREAM, 0));
	say(socket(AF_PACKET, 0, 0));
	say(socket(AF_PACKET, 12, 0));
	say(socket(AF_PACKET, SOCK_RAW | 0x10, 0));
	say(bind(raw, sa, 19));
	say(bind(raw, sa, -1));
	say(bind(raw, sa, 4000));
	say(bind(raw, nowhere, 20));
	a.sll_family = AF_INET;
	say(bind(raw, sa, 20));
	a.sll_family = AF_PACKET;
	a.sll_ifindex = 9999;
	say(bind(raw, sa, 20));
	a.sll_ifindex = index_of(device);
	say(bind(raw, sa, 20));
	say(bind(raw, sa, 100));
	struct sockaddr_storage most = {0};
	memcpy(&most, &a, sizeof a);
	for (int length = 110; length <= 129; length++) {
		char frame[60] = {0};
		struct iovec v = {frame, sizeof frame};
		struct msghdr m = {.msg_name = &most, .msg_namelen = length, .msg_iov = &v, .msg_iovlen = 1};
		printf("address of %d bytes: ", length);
		say(bind(raw, (void *)&most, length));
		say(sendto(raw, frame, sizeof frame, 0, (void *)&most, length));
		say(sendmsg(raw, &m, 0));
		say(connect(raw, (void *)&most, length));
	}
	most.ss_family = AF_UNSPEC;
	say(connect(raw, (void *)&most, 16));
	say(connect(raw, nowhere, 16));
	say(connect(raw, nowhere, 0));
	say(connect(raw, (void *)&most, -1));
	say(send(raw, &most, 60, 0)); /* it works as before */
	n = sizeof buf;
	say(getsockname(raw, (void *)buf, &n));
	printf("%u family %u\n", n, *(unsigned short *)buf);
	n = 3;
	say(getsockname(raw, (void *)buf, &n));
	printf("%u\n", n);
	n = -1;
	say(getsockname(raw, (void *)buf, &n));
	n = 64;
	say(getsockname(raw, nowhere, &n));
	say(getsockname(raw, (void *)buf, nowhere));
	say(getpeername(raw, (void *)buf, &n));
	say(shutdown(raw, SHUT_RDWR));
	say(setsockopt(raw, SOL_PACKET, 77, &one, 4));
	say(setsockopt(raw, SOL_PACKET, PACKET_VERSION, &one, 3));
	say(setsockopt(raw, SOL_PACKET, PACKET_VERSION, &big, 4));
	say(setsockopt(raw, SOL_PACKET, PACKET_VERSION, nowhere, 4));
	say(setsockopt(raw, SOL_PACKET, PACKET_VERSION, &one, -1));
	say(setsockopt(raw, SOL_PACKET, PACKET_AUXDATA, &one, 2));
	say(setsockopt(raw, SOL_PACKET, PACKET_AUXDATA, &one, 4));
	say(setsockopt(raw, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &mr, sizeof mr));
	say(setsockopt(raw, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &mr, 8));
	say(setsockopt(raw, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &nodev, sizeof nodev));
	say(setsockopt(raw, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &mr, sizeof mr));
	say(setsockopt(raw, SOL_PACKET, PACKET_RX_RING, &odd, sizeof odd));
	say(setsockopt(raw, SOL_PACKET, PACKET_RX_RING, &q, 8));
	say(mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, raw, 0));
	say(setsockopt(raw, SOL_PACKET, PACKET_RX_RING, &q, sizeof q));
	say(setsockopt(raw, SOL_PACKET, PACKET_RX_RING, &q, sizeof q));
	say(setsockopt(raw, SOL_PACKET, PACKET_VERSION, &one, 4));
	say(setsockopt(raw, SOL_PACKET, PACKET_RESERVE, &one, 4));
	say(mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, raw, 0));
	say(mmap(NULL, BLOCK * BLOCKS, PROT_READ, MAP_SHARED, raw, 4096));
	say(mmap(NULL, BLOCK * BLOCKS, PROT_READ, MAP_SHARED, raw, 0));
	say(setsockopt(raw, SOL_PACKET, PACKET_RX_RING, &odd, sizeof odd));
	say(setsockopt(raw, SOL_SOCKET, SO_ATTACH_FILTER, &f, sizeof f));
	say(setsockopt(raw, SOL_SOCKET, SO_ATTACH_FILTER, &f, 8));
	say(setsockopt(raw, SOL_SOCKET, SO_ATTACH_FILTER, &none, sizeof f));
	say(setsockopt(raw, SOL_SOCKET, SO_ATTACH_FILTER, &bad, sizeof f));
	say(setsockopt(raw, SOL_SOCKET, SO_ATTACH_FILTER, &lost, sizeof f));
	say(setsockopt(raw, SOL_SOCKET, SO_ATTACH_FILTER, &null, sizeof f));
	n = 0;
	say(getsockopt(raw, SOL_SOCKET, SO_GET_FILTER, NULL, &n));
	printf("%u instructions\n", n);
	say(getsockopt(raw, SOL_SOCKET, SO_GET_FILTER, nowhere, &n));
	struct sock_filter got[2] = {{7, 7, 7, 7}, {7, 7, 7, 7}};
	n = 2;
	say(getsockopt(raw, SOL_SOCKET, SO_GET_FILTER, got, &n));
	printf("%u: %u %u %u %u, %u\n", n, got[0].code, got[0].jt, got[0].jf, got[0].k, got[1].k);
	n = -1;
	say(getsockopt(raw, SOL_SOCKET, SO_GET_FILTER, got, &n));
	say(setsockopt(raw, SOL_SOCKET, SO_DETACH_FILTER, &one, 4));
	say(setsockopt(raw, SOL_SOCKET, SO_DETACH_FILTER, &one, 4));
	say(getsockopt(raw, SOL_SOCKET, SO_GET_FILTER, got, &n));
	printf("%u instructions\n", n);
	say(setsockopt(raw, SOL_SOCKET, SO_PASSCRED, &one, 4));
	say(setsockopt(raw, SOL_SOCKET, SO_PEEK_OFF, &one, 4));
	struct ucred cred;
	n = sizeof cred;
	say(getsockopt(raw, SOL_SOCKET, SO_PEERCRED, &cred, &n));
	say(setsockopt(raw, SOL_SOCKET, SO_LOCK_FILTER, &one, 4));
	say(setsockopt(raw, SOL_SOCKET, SO_ATTACH_FILTER, &f, sizeof f));
	say(setsockopt(raw, SOL_SOCKET, 9999, &one, 4));
	int rcvbuf = 50000; /* the default depends on the machine */
	say(setsockopt(raw, SOL_SOCKET, SO_RCVBUF, &rcvbuf, 4));
	static const int opts[] = {SO_TYPE, SO_ERROR, SO_DOMAIN, SO_PROTOCOL, SO_BPF_EXTENSIONS, SO_RCVBUF, SO_ACCEPTCONN};
	for (unsigned i = 0; i < sizeof opts / sizeof *opts; i++) {
		int v = 0;
		n = sizeof v;
		printf("option %d: ", opts[i]);
		say(getsockopt(raw, SOL_SOCKET, opts[i], &v, &n));
		printf("%d, %u\n", v, n);
	}
	for (int v = -1; v < 4; v++) {
		int w = v;
		n = sizeof w;
		say(getsockopt(raw, SOL_PACKET, PACKET_HDRLEN, &w, &n));
		printf("%d\n", w);
	}
	n = 2;
	say(getsockopt(raw, SOL_PACKET, PACKET_HDRLEN, &one, &n));
	n = sizeof(struct tpacket_stats);
	say(getsockopt(raw, SOL_PACKET, PACKET_STATISTICS, buf, &n));
	printf("%u\n", n);
	n = -1;
	say(getsockopt(raw, SOL_PACKET, PACKET_STATISTICS, buf, &n));
	n = 8;
	say(getsockopt(raw, SOL_PACKET, PACKET_STATISTICS, nowhere, &n));
	say(getsockopt(raw, SOL_PACKET, PACKET_STATISTICS, buf, nowhere));
	say(getsockopt(raw, SOL_PACKET, 77, buf, &n));

	int lb = PACKET_FANOUT_LB << 16 | 4711, cbpf = PACKET_FANOUT_CBPF << 16 | 4711, v = -1;
	struct { int id; unsigned max; } two = {cbpf, 1}, bound = {lb, 2};
	say(setsockopt(raw, SOL_PACKET, PACKET_FANOUT_DATA, &f, sizeof f));
	say(setsockopt(raw, SOL_PACKET, PACKET_FANOUT, nowhere, 4));
	say(setsockopt(raw, SOL_PACKET, PACKET_FANOUT, &cbpf, 3));
	say(setsockopt(raw, SOL_PACKET, PACKET_FANOUT, &two, sizeof two));
	say(setsockopt(raw, SOL_PACKET, PACKET_FANOUT, &lb, 4));
	int other = must(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)));
	must(bind(other, sa, 20));
	say(setsockopt(other, SOL_PACKET, PACKET_FANOUT, &bound, sizeof bound));
	say(setsockopt(other, SOL_PACKET, PACKET_FANOUT, &cbpf, 4));
	lb++, bound.id++;
	say(setsockopt(other, SOL_PACKET, PACKET_FANOUT, &bound, sizeof bound));
	say(getsockopt(other, SOL_PACKET, PACKET_FANOUT, &v, &n));
	printf("%#x\n", v);
	say(setsockopt(other, SOL_PACKET, PACKET_FANOUT_DATA, &f, sizeof f));
	close(other);
	say(getsockopt(raw, SOL_PACKET, PACKET_ROLLOVER_STATS, buf, &n));
	raw = must(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)));
	must(bind(raw, sa, 20));
	cbpf++;
	say(setsockopt(raw, SOL_PACKET, PACKET_FANOUT, &cbpf, 4));
	say(setsockopt(raw, SOL_PACKET, PACKET_FANOUT_DATA, &f, sizeof f));
	say(setsockopt(raw, SOL_PACKET, PACKET_FANOUT_DATA, &f, 8));
	say(setsockopt(raw, SOL_PACKET, PACKET_FANOUT_DATA, &none, sizeof f));
	say(setsockopt(raw, SOL_PACKET, PACKET_FANOUT_DATA, &null, sizeof f));
	say(setsockopt(raw, SOL_PACKET, PACKET_FANOUT_DATA, &bad, sizeof f));
	say(setsockopt(raw, SOL_PACKET, PACKET_FANOUT_DATA, &lost, sizeof f));
	say(setsockopt(raw, SOL_PACKET, PACKET_FANOUT_DATA, nowhere, sizeof f));
	say(setsockopt(raw, SOL_SOCKET, SO_LOCK_FILTER, &one, 4));
	say(setsockopt(raw, SOL_PACKET, PACKET_FANOUT_DATA, &f, sizeof f));

	struct ifreq r = {0};
	r.ifr_ifindex = 9999;
	say(ioctl(raw, SIOCGIFNAME, &r));
	strcpy(r.ifr_name, "nosuch0");
	say(ioctl(raw, SIOCGIFINDEX, &r));
	say(ioctl(raw, SIOCGIFHWADDR, &r));
	say(ioctl(raw, SIOCGIFINDEX, nowhere));
	strcpy(r.ifr_name, device);
	say(ioctl(raw, SIOCGIFADDR, &r));
	say(ioctl(raw, SIOCGIFMTU, &r));
	printf("mtu %d\n", r.ifr_mtu);
	say(ioctl(raw, SIOCGIFHWADDR, &r));
	printf("hardware %d\n", r.ifr_hwaddr.sa_family);
	say(ioctl(raw, SIOCGIFFLAGS, &r));
	printf("up %d\n", !!(r.ifr_flags & IFF_UP));
	struct ethtool_value gso = {ETHTOOL_GGSO, 0};
	r.ifr_data = (void *)&gso;
	say(ioctl(raw, SIOCETHTOOL, &r));
	gso.cmd = ETHTOOL_GPAUSEPARAM;
	say(ioctl(raw, SIOCETHTOOL, &r));
	r.ifr_data = nowhere;
	say(ioctl(raw, SIOCETHTOOL, &r));
	struct timeval tv;
	say(ioctl(raw, SIOCGSTAMP, &tv));
	send_errnos();
}

/* Arguments that are made to break their reader. */
static void hostile(void)
{
	static const long values[] = {0, 1, -1, 8, 40, 4095, 0x7fffffff, 0x80000000L, 0xffffffffL, 0x100000003L,
		0x7fffffffffffffffL, (long)0x8000000000000000L, 0x7ffffffff000L, 0x7ffffffffff8L};
	static const int calls[] = {SYS_bind, SYS_getsockname, SYS_getpeername, SYS_setsockopt, SYS_getsockopt,
		SYS_ioctl, SYS_recvfrom, SYS_recvmsg, SYS_recvmmsg, SYS_sendto, SYS_sendmsg, SYS_sendmmsg, SYS_shutdown, SYS_mmap, SYS_socket, SYS_epoll_ctl};
	static const long ioctls[] = {SIOCGIFNAME, SIOCGIFINDEX, SIOCETHTOOL, SIOCGIFHWADDR, SIOCGIFCONF, SIOCGIFADDR};
	int count = sizeof values / sizeof *values, fd = must(socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0));
	static char page[65536]; /* the kernel writes beyond the 4096 that are pointed to */
	unsigned seed = atoi(arg ? arg : "1");
	int packet = fd, route = must(socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE));

	set_ring(fd, TPACKET_V2, BLOCKS);
	for (int i = 0; i < 2500; i++) {
		long a[6];
		for (int j = 0; j < 6; j++)
			a[j] = rand_r(&seed) % 4 ? values[rand_r(&seed) % count] : (long)page + rand_r(&seed) % 4096;
		for (unsigned j = 0; j < 4096; j += 1 + rand_r(&seed) % 512)
			page[j] = rand_r(&seed);
		int nr = calls[rand_r(&seed) % (sizeof calls / sizeof *calls)];
		fd = rand_r(&seed) % 2 ? packet : route;
		if (nr == SYS_mmap) { /* never at a fixed address */
			a[0] = 0, a[3] = MAP_SHARED, a[4] = rand_r(&seed) % 2 ? fd : a[4];
			if (a[4] >= 0 && a[4] < 3)
				continue;
		} else if (nr == SYS_socket) {
			a[0] = rand_r(&seed) % 2 ? AF_PACKET : AF_NETLINK, a[1] = rand_r(&seed) % 16;
		} else {
			a[0] = rand_r(&seed) % 8 ? fd : a[0];
			if (a[0] >= 0 && a[0] < 3)
				continue;
			if (nr == SYS_setsockopt || nr == SYS_getsockopt)
				a[1] = rand_r(&seed) % 2 ? fd == packet ? SOL_PACKET : SOL_NETLINK : SOL_SOCKET, a[2] = rand_r(&seed) % 64;
			if (nr == SYS_ioctl)
				a[1] = ioctls[rand_r(&seed) % 6];
			if (nr == SYS_recvfrom || nr == SYS_recvmsg || nr == SYS_recvmmsg)
				a[2] |= MSG_DONTWAIT, a[3] |= MSG_DONTWAIT;
			if (nr == SYS_recvmmsg)
				a[4] = 0;
		}
		long r = syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
		if (nr == SYS_socket && r > 2)
			close(r);
		if (nr == SYS_mmap && r != -1)
			munmap((void *)r, a[1]);
	}
}

/* The program ends, its child goes on. */
static void orphan(void)
{
	int pid = must(fork());
	if (pid) {
		printf("parent\n");
		return;
	}
	must(setsid());
	if (must(fork()))
		_exit(0);
	struct reader r = open_reader(TPACKET_V2, device);
	read_packets(&r, "poll", 50);
	printf("orphan\n");
}

static void code(void) { exit(atoi(arg)); }
static void die_by(void) { signal(atoi(arg), SIG_DFL); raise(atoi(arg)); }

/* Signals to rxring arrive here. */
static void report(void)
{
	sigset_t none, reported;
	sigemptyset(&none), sigemptyset(&reported);
	sigaddset(&reported, SIGUSR1), sigaddset(&reported, SIGTERM), sigaddset(&reported, SIGINT);
	must(sigprocmask(SIG_BLOCK, &reported, NULL)); /* except in sigsuspend, which so misses none */
	handle(SIGUSR1, 0), handle(SIGTERM, 0), handle(SIGINT, 0);
	printf("ready\n");
	fflush(stdout);
	for (int i = 0; i < atoi(arg); i++) {
		while (!signals)
			sigsuspend(&none);
		signals--;
		printf("got %d\n", i + 1);
		fflush(stdout);
	}
	printf("%s signals\n", arg);
}

/* report, with a socket. */
static void report_reader(void)
{
	open_reader(TPACKET_V2, device);
	report();
}

static void forever(void)
{
	signal(SIGTERM, SIG_IGN);
	if (!fork())
		setsid();
	printf("ready\n");
	fflush(stdout);
	for (;;)
		pause();
}

/* A child that shares the memory changes its user, as with Go's os/exec. */
static void spawn_as_another(void)
{
	struct reader r = open_reader(TPACKET_V2, device);
	struct tpacket_stats st;
	socklen_t len = sizeof st;
	int status, pid = must(vfork());
	if (!pid) {
		if (!syscall(SYS_setresgid, 65534, 65534, 65534) && !syscall(SYS_setresuid, 65534, 65534, 65534))
			execl("/proc/self/exe", "story", "ring", device, "2/poll", NULL);
		_exit(1);
	}
	want(must(waitpid(pid, &status, 0)) == pid && status == 0);
	must(getsockopt(r.fd, SOL_PACKET, PACKET_STATISTICS, &st, &len));
	read_packets(&r, "epoll", 100);
	must(munmap(r.ring, BLOCK * BLOCKS));
	r.ring = map(r.fd);
	read_packets(&r, "poll", 100);
}

/* As tcpdump does. */
static void give_up_root(void)
{
	must(setgroups(0, NULL));
	must(setresgid(65534, 65534, 65534));
	must(setresuid(65534, 65534, 65534));
}

int main(int argc, char **argv)
{
	static const struct { const char *name; void (*tell)(void); } stories[] = {
		{"ring", ring}, {"lazy-edge", lazy_edge}, {"timeout", timeout}, {"interrupt", interrupt},
		{"signal-storm", signal_storm}, {"receive", receive}, {"receive-timeouts", receive_timeouts}, {"queue", queue}, {"queue-read", queue_read}, {"queue-threads", queue_threads}, {"fanout", fanout}, {"down", down}, {"gone", gone}, {"frozen", frozen}, {"queue-signals", queue_signals}, {"threads", threads}, {"two-sockets", two_sockets},
		{"inherit", inherit}, {"inherited", inherited}, {"again", again}, {"twice", twice}, {"spinning", spinning}, {"mmap-race", mmap_race},
		{"late", late}, {"closed", closed}, {"bystanders", bystanders}, {"descriptor-numbers", descriptor_numbers}, {"devices", devices}, {"files", files}, {"netlink", netlink}, {"bounds", bounds}, {"errnos", errnos},
		{"edges", edges}, {"send", send_frames}, {"send-down", send_down}, {"write-faults", write_faults}, {"send-signals", send_signals}, {"send-ring", send_ring}, {"both-rings", both_rings}, {"hostile", hostile}, {"orphan", orphan},
		{"code", code}, {"die-by", die_by}, {"report", report}, {"spawn-as-another", spawn_as_another}, {"report-reader", report_reader}, {"forever", forever},
	};
	if (argc < 3)
		return 2;
	device = argv[2], arg = argv[3];
	if (getenv("STORY_GIVES_UP_ROOT"))
		give_up_root();
	for (unsigned i = 0; i < sizeof stories / sizeof *stories; i++)
		if (!strcmp(argv[1], stories[i].name)) {
			stories[i].tell();
			return 0;
		}
	printf("no story %s\n", argv[1]);
	return 2;
}
