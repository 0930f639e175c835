/* Stories of sending, part of story.c. They may run side by side on one
 * device: each has an EtherType of its own and receives no other. */

#define HEADER 14 /* ETH_HLEN */
#define MTU 1500

static unsigned short my_type(void) { return 0x9000 + getpid() % 0x1000; }

static int device_socket(int type, int protocol)
{
	struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_ifindex = index_of(device)};
	int fd = must(socket(AF_PACKET, type, 0));
	struct sock_filter mine[] = {
		{BPF_LD | BPF_H | BPF_ABS, 0, 0, 12}, {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, my_type()},
		{BPF_RET | BPF_K, 0, 0, 0x40000}, {BPF_RET | BPF_K, 0, 0, 0},
	};
	struct sock_fprog f = {4, mine};
	if (type == SOCK_RAW)
		must(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &f, sizeof f));
	must(bind(fd, (struct sockaddr *)&a, sizeof a));
	return fd;
}

/* fill makes frame number seq, of n bytes. */
static unsigned char *fill(unsigned char *b, uint32_t seq, int n)
{
	static const unsigned char addresses[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7};
	memset(b, seq & 0xff, n);
	memcpy(b, addresses, sizeof addresses);
	b[12] = my_type() >> 8, b[13] = my_type() & 0xff;
	if (n >= 18)
		memcpy(b + 14, &seq, 4);
	return b;
}

/* receive_until receives until frame number seq. */
static void receive_until(int fd, uint32_t seq, int n)
{
	unsigned char got[4096], sent[4096];
	struct sockaddr_ll a;
	socklen_t len = sizeof a;
	struct timeval tv = {20, 0};
	must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	int heard = must(recvfrom(fd, got, sizeof got, 0, (void *)&a, &len));
	if (heard != n || memcmp(got, fill(sent, seq, n), n))
		die("%d bytes, want frame %u of %d", heard, seq, n);
	want(a.sll_pkttype == PACKET_OUTGOING && a.sll_ifindex == index_of(device) && a.sll_hatype == ARPHRD_ETHER);
	want(a.sll_halen == 6 && !memcmp(a.sll_addr, sent + 6, 6));
}

static void silence(int fd)
{
	char c;
	refused(recv(fd, &c, 1, MSG_DONTWAIT), EAGAIN);
}

static int sends_later[2], sender;

static void send_one(void)
{
	unsigned char b[60];
	want(send(sender, fill(b, 0, sizeof b), sizeof b, 0) == sizeof b);
}

static void *send_later(void *unused)
{
	char c;
	while (read(sends_later[0], &c, 1) == 1) {
		usleep(20000); /* until a thread waits */
		send_one();
	}
	return unused;
}

/* discard reads all packets of a socket with or without a ring. */
static void discard(struct reader *r, int version)
{
	char b[2000];
	if (!version)
		while (recv(r->fd, b, sizeof b, MSG_DONTWAIT) > 0) ;
	for (;;) {
		struct tpacket_block_desc *d = (void *)(r->ring + r->next * BLOCK);
		struct tpacket2_hdr *h = (void *)(r->ring + r->next * FRAME);
		__u32 *status = version == 3 ? &d->hdr.bh1.block_status : &h->tp_status;
		if (!version || !(__atomic_load_n(status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
			return;
		__atomic_store_n(status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		r->next = (r->next + 1) % (version == 3 ? BLOCKS : FRAMES);
	}
}

/* A packet that comes after an edge was seen and before the next wait is an edge, too,
 * though no other follows; also while one is left lying. The argument is the ring's
 * version, 0: no ring. */
static void edges(void)
{
	int version = atoi(arg), ep = must(epoll_create1(0));
	struct reader r = {.fd = device_socket(SOCK_RAW, ETH_P_ALL)};
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	pthread_t later;
	if (version) {
		set_ring(r.fd, version - 1, BLOCKS);
		r.ring = map(r.fd);
	}
	sender = device_socket(SOCK_RAW, 0);
	must(pipe(sends_later));
	want(!pthread_create(&later, NULL, send_later, NULL));
	must(epoll_ctl(ep, EPOLL_CTL_ADD, r.fd, &ev));
	for (int i = 0; i < 20; i++) {
		for (int j = 0; j < (version == 3 ? 1 : 3); j++) { /* a full ring has no edges */
			must(write(sends_later[1], "x", 1));
			want(epoll_wait(ep, &ev, 1, 20000) == 1);
			if (i % 2)
				discard(&r, version);
			send_one();
			want(epoll_wait(ep, &ev, 1, 20000) == 1);
		}
		do /* Linux gives no edge that is not due, rxring may give one */
			discard(&r, version);
		while (epoll_wait(ep, &ev, 1, 50));
	}
	must(close(sends_later[1]));
	want(!pthread_join(later, NULL));
}

/* Every call sends frames. Other sockets receive them, the sending one does not. */
static void send_frames(void)
{
	static unsigned char b[8][4096];
	unsigned char control[64] = {0};
	int one = 1, zero = 0, n = 60, fd = device_socket(SOCK_RAW, ETH_P_ALL), ear = device_socket(SOCK_RAW, ETH_P_ALL);
	int deaf = device_socket(SOCK_RAW, ETH_P_ALL), unbound = must(socket(AF_PACKET, SOCK_RAW, 0));
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(0x1234), .sll_ifindex = index_of(device)};
	struct iovec v[8][3];
	struct mmsghdr m[8];
	uint32_t seq = 0;

	must(setsockopt(deaf, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one));
	want(send(fd, fill(*b, seq, n), n, 0) == n);
	receive_until(ear, seq++, n);
	want(send(fd, fill(*b, seq, HEADER + MTU), HEADER + MTU, MSG_DONTWAIT) == HEADER + MTU);
	receive_until(ear, seq++, HEADER + MTU);
	want(sendto(fd, fill(*b, seq, HEADER), HEADER, 0, NULL, 77) == HEADER);
	receive_until(ear, seq++, HEADER);
	want(sendto(unbound, fill(*b, seq, n), n, 0, (void *)&to, sizeof to) == n);
	receive_until(ear, seq++, n);
	want(write(fd, fill(*b, seq, n), n) == n);
	receive_until(ear, seq++, n);
	fill(*b, seq, n);
	v[0][0] = (struct iovec){*b, 7}, v[0][1] = (struct iovec){*b + 7, n - 7};
	want(writev(fd, *v, 2) == n);
	receive_until(ear, seq++, n);
	/* A frame that was written first is sent first. */
	for (int i = 0; i < 50; i++) {
		want((i % 3 ? write(fd, fill(*b, seq + i, n), n) : send(fd, fill(*b, seq + i, n), n, 0)) == n);
		if (i % 5 == 4)
			for (int j = 4; j >= 0; j--)
				receive_until(ear, seq + i - j, n);
	}
	seq += 50;

	/* In pieces, and many at once. */
	for (int i = 0; i < 8; i++) {
		fill(b[i], seq + i, n + i);
		v[i][0] = (struct iovec){b[i], 7}, v[i][1] = (struct iovec){(void *)8, 0}, v[i][2] = (struct iovec){b[i] + 7, n + i - 7};
		m[i].msg_hdr = (struct msghdr){i % 2 ? &to : NULL, i % 2 ? sizeof to : 99, v[i], 3, NULL, 0, -1};
	}
	want(sendmsg(fd, &m->msg_hdr, 0) == n);
	receive_until(ear, seq, n);
	want(sendmmsg(fd, m, 8, 0) == 8);
	for (int i = 0; i < 8; i++) {
		want(m[i].msg_len == (unsigned)(n + i));
		receive_until(ear, seq + i, n + i);
	}
	v[3][2].iov_len = 1; /* 8 bytes are no frame */
	want(sendmmsg(fd, m, 8, 0) == 3);
	for (int i = 0; i < 3; i++)
		receive_until(ear, seq + i, n + i);
	refused(sendmmsg(fd, m + 3, 5, 0), EINVAL);
	want(sendmmsg(fd, m, 0, 0) == 0);
	/* A control message of another level. */
	struct cmsghdr *c = (void *)control;
	*c = (struct cmsghdr){.cmsg_len = CMSG_LEN(4), .cmsg_level = SOL_PACKET, .cmsg_type = 77};
	m->msg_hdr.msg_control = control, m->msg_hdr.msg_controllen = CMSG_SPACE(4);
	want(sendmsg(fd, &m->msg_hdr, 0) == n);
	receive_until(ear, seq++, n);
	c->cmsg_level = SOL_SOCKET;
	refused(sendmsg(fd, &m->msg_hdr, 0), EINVAL);
	c->cmsg_level = SOL_PACKET, c->cmsg_len = 5;
	refused(sendmsg(fd, &m->msg_hdr, 0), EINVAL);
	m->msg_hdr.msg_control = (void *)8;
	refused(sendmsg(fd, &m->msg_hdr, 0), EFAULT);

	/* The socket makes the header. */
	int dgram = device_socket(SOCK_DGRAM, 0);
	struct ifreq r = {0};
	strncpy(r.ifr_name, device, IFNAMSIZ - 1);
	must(ioctl(fd, SIOCGIFHWADDR, &r));
	to.sll_protocol = htons(my_type()), to.sll_halen = 6;
	memcpy(to.sll_addr, "\x02\x03\x04\x05\x06\x07", 6);
	want(sendto(dgram, "hello", 5, 0, (void *)&to, sizeof to) == 5);
	want(recv(ear, *b, sizeof *b, 0) == HEADER + 5 && !memcmp(*b, to.sll_addr, 6) && !memcmp(*b + 6, r.ifr_hwaddr.sa_data, 6));
	want((*b)[12] == my_type() >> 8 && (*b)[13] == (my_type() & 0xff) && !memcmp(*b + HEADER, "hello", 5));
	refused(send(dgram, "hello", 5, 0), EINVAL);

	/* Other processes send with it, too. */
	int copy = must(dup(fd)), status;
	want(send(copy, fill(*b, seq, n), n, 0) == n);
	receive_until(ear, seq++, n);
	if (must(fork()) == 0)
		_exit(send(fd, fill(*b, seq, n), n, 0) != n);
	must(wait(&status));
	/* The child has an EtherType of its own. */
	want(status == 0);

	/* It received the frames of two other sockets, and none of its own. */
	int heard = 0;
	while (recv(fd, *b, sizeof *b, MSG_DONTWAIT) >= 0)
		heard++;
	want(heard == 2);

	/* It can always be written to. */
	struct pollfd p = {fd, POLLIN | POLLOUT, 0};
	want(poll(&p, 1, 20000) == 1 && p.revents == POLLOUT);
	fd_set out;
	FD_ZERO(&out);
	FD_SET(fd, &out);
	want(select(fd + 1, NULL, &out, NULL, NULL) == 1);
	int ep = must(epoll_create1(0));
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT};
	must(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	want(epoll_wait(ep, &ev, 1, 20000) == 1 && ev.events == EPOLLOUT);

	/* A frame that bypasses the queues is not received. */
	must(setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof one));
	want(send(fd, fill(*b, 4711, n), n, 0) == n);
	must(setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &zero, sizeof zero));
	want(send(fd, fill(*b, seq, n), n, 0) == n);
	receive_until(ear, seq++, n);
	silence(ear);
	silence(fd);
	silence(deaf);
	silence(unbound);
}

/* A frame that is refused does not hold up the next ones. */
static void write_faults(void)
{
	unsigned char b[70000];
	int fd = device_socket(SOCK_RAW, 0), ear = device_socket(SOCK_RAW, ETH_P_ALL);
	for (uint32_t seq = 0; seq < 20; seq++) {
		want(write(fd, fill(b, 4711, HEADER - 1), HEADER - 1) != 0);
		want(write(fd, fill(b, 4712, sizeof b), sizeof b) != 0);
		want(write(fd, fill(b, seq, 60), 60) == 60);
		receive_until(ear, seq, 60);
	}
	silence(ear);
}

/* Who writes or sends is told that the device went down. When it is up again frames
 * leave, after one refusal at most, and none of them is lost. */
static void send_down(void)
{
	unsigned char b[60];
	int n = sizeof b, fd = device_socket(SOCK_RAW, ETH_P_ALL), ear = device_socket(SOCK_RAW, ETH_P_ALL);
	uint32_t seq = 0;

	for (int i = 0; i < 8; i++) {
		struct pollfd p = {fd, POLLIN, 0};
		struct ifconf none = {0};
		int refusals = 0;
		say_ready("ready");
		want(poll(&p, 1, 20000) == 1 && p.revents == POLLERR);
		for (int j = 0; j < i % 4; j++)
			want(write(fd, b, n) == -1 || j > 0); /* which need not report refusals after the first */
		refused(send(fd, fill(b, 4711, n), n, 0), ENETDOWN);
		say_ready("down");
		await_up(ear);
		must(ioctl(ear, SIOCGIFCONF, &none)); /* waits until that is done */
		refused(recv(ear, b, n, 0), ENETDOWN);
		while ((i & 4 ? send(fd, fill(b, seq, n), n, 0) : write(fd, fill(b, seq, n), n)) != n)
			want(++refusals == 1);
		seq++;
		for (int j = 0; j < 20; j++, seq++)
			want((j % 3 ? write(fd, fill(b, seq, n), n) : send(fd, fill(b, seq, n), n, 0)) == n);
		for (int j = 21; j > 0; j--)
			receive_until(ear, seq - j, n);
		p.events = POLLIN | POLLOUT;
		want(poll(&p, 1, 20000) == 1 && p.revents == POLLOUT);
		silence(fd);
	}
	silence(ear);
}

/* No frame is sent twice because of a signal. */
static void send_signals(void)
{
	unsigned char b[60];
	int fd = device_socket(SOCK_RAW, 0), ear = device_socket(SOCK_RAW, ETH_P_ALL);
	struct itimerval it = {{0, 100}, {0, 100}};
	handle(SIGALRM, SA_RESTART);
	must(setitimer(ITIMER_REAL, &it, NULL));
	for (uint32_t seq = 0; seq < 300; seq++) {
		want(send(fd, fill(b, seq, sizeof b), sizeof b, 0) == sizeof b);
		receive_until(ear, seq, sizeof b);
	}
	it = (struct itimerval){0};
	must(setitimer(ITIMER_REAL, &it, NULL));
	silence(ear);
	want(signals > 0);
}

/* Rings: frames of the size that all stories have, V1 to V3. */
static int frame_header(int version) { return version == TPACKET_V3 ? TPACKET_ALIGN(sizeof(struct tpacket3_hdr)) : TPACKET_ALIGN(sizeof(struct tpacket2_hdr)); }

static void set_tx_ring(int fd, int version, int blocks)
{
	struct tpacket_req3 q = {.tp_block_size = BLOCK, .tp_block_nr = blocks, .tp_frame_size = FRAME, .tp_frame_nr = BLOCK / FRAME * blocks};
	must(setsockopt(fd, SOL_PACKET, PACKET_TX_RING, &q, version == TPACKET_V3 ? sizeof q : sizeof(struct tpacket_req)));
}

static void put(unsigned char *f, int version, uint32_t seq, int n)
{
	fill(f + frame_header(version), seq, n);
	if (version == TPACKET_V1) {
		struct tpacket_hdr *h = (void *)f;
		h->tp_len = n;
		__atomic_store_n(&h->tp_status, TP_STATUS_SEND_REQUEST, __ATOMIC_RELEASE);
	} else if (version == TPACKET_V2) {
		struct tpacket2_hdr *h = (void *)f;
		h->tp_len = n;
		__atomic_store_n(&h->tp_status, TP_STATUS_SEND_REQUEST, __ATOMIC_RELEASE);
	} else {
		struct tpacket3_hdr *h = (void *)f;
		h->tp_len = n;
		__atomic_store_n(&h->tp_status, TP_STATUS_SEND_REQUEST, __ATOMIC_RELEASE);
	}
}

static unsigned long status_of(unsigned char *f, int version)
{
	if (version == TPACKET_V1)
		return __atomic_load_n(&((struct tpacket_hdr *)f)->tp_status, __ATOMIC_ACQUIRE);
	if (version == TPACKET_V2)
		return __atomic_load_n(&((struct tpacket2_hdr *)f)->tp_status, __ATOMIC_ACQUIRE);
	return __atomic_load_n(&((struct tpacket3_hdr *)f)->tp_status, __ATOMIC_ACQUIRE);
}

static void send_ring(void)
{
	int version = arg[0] - '1', n = 100, fd = device_socket(SOCK_RAW, 0), ear = device_socket(SOCK_RAW, ETH_P_ALL);
	must(setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version));
	set_tx_ring(fd, version, BLOCKS);
	unsigned char *ring = map(fd);
	uint32_t seq = 0;
	want(send(fd, NULL, 0, 0) == 0);
	for (int lap = 0; lap < 3; lap++)
		for (int i = 0; i < FRAMES; i += 4) {
			for (int j = 0; j < 4; j++)
				put(ring + (i + j) * FRAME, version, seq + j, n + j);
			struct pollfd p = {fd, POLLOUT, 0};
			want(poll(&p, 1, 20000) == 1 && p.revents == POLLOUT);
			/* No byte of the call's buffer is read. */
			long sent = lap == 0 ? send(fd, NULL, 0, 0) : lap == 1 ? sendto(fd, (void *)8, 5000, MSG_DONTWAIT, NULL, 0) : write(fd, "", 0);
			want(sent == 4 * n + 6 || (lap == 2 && sent == 0)); /* write need not know */
			for (int j = 0; j < 4; j++) {
				receive_until(ear, seq + j, n + j);
				while (status_of(ring + (i + j) * FRAME, version) == TP_STATUS_SENDING)
					usleep(100);
				want(status_of(ring + (i + j) * FRAME, version) == TP_STATUS_AVAILABLE);
			}
			seq += 4;
		}
	put(ring, version, seq, n);
	put(ring + FRAME, version, seq + 1, 13);
	put(ring + 2 * FRAME, version, seq + 2, n);
	refused(send(fd, NULL, 0, 0), EINVAL);
	receive_until(ear, seq, n);
	want(status_of(ring + FRAME, version) == TP_STATUS_WRONG_FORMAT);
	want(send(fd, NULL, 0, 0) == 0);
	put(ring + FRAME, version, seq + 1, n);
	want(send(fd, NULL, 0, 0) == 2 * n);
	receive_until(ear, seq + 1, n);
	receive_until(ear, seq + 2, n);
	silence(ear);
}

/* read_ring wants frames from number seq on in a V2 ring, and nothing behind them. */
static unsigned read_ring(unsigned char *ring, unsigned at, uint32_t seq, int count)
{
	unsigned char sent[FRAME];
	for (int i = 0; i < count; i++, seq++, at = (at + 1) % FRAMES) {
		struct tpacket2_hdr *h = (void *)(ring + at * FRAME);
		want(__atomic_load_n(&h->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER);
		want(h->tp_len == 60 + seq && h->tp_snaplen == h->tp_len && !memcmp((char *)h + h->tp_mac, fill(sent, seq, 60 + seq), 60 + seq));
		__atomic_store_n(&h->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
	}
	want(!((struct tpacket2_hdr *)(ring + at * FRAME))->tp_status);
	return at;
}

static unsigned char *map_size(int fd, size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		die("mmap %zu", n);
	return p;
}

/* map_ring maps rings of which packets are read next. Of another process's ring the
 * packets that were there before show after the next call. */
static unsigned char *map_ring(int fd, size_t n)
{
	struct pollfd p = {fd, POLLIN, 0};
	unsigned char *ring = map_size(fd, n);
	must(poll(&p, 1, 0));
	return ring;
}

/* Both rings in one mapping, set and taken away in any order, and nothing in them
 * lost. */
static void both_rings(void)
{
	int version = TPACKET_V2, size = BLOCK * BLOCKS, tx_first = atoi(arg);
	int fd = device_socket(SOCK_RAW, ETH_P_ALL), other = device_socket(SOCK_RAW, ETH_P_ALL);
	struct tpacket_req none = {0}, all = {BLOCK, BLOCKS, FRAME, FRAMES};
	unsigned char b[FRAME], *both, *rx, *tx;
	uint32_t in = 0, out = 1000;
	unsigned at = 0;
#define sends(n) for (int i_ = 0; i_ < (n); i_++) want(send(other, fill(b, in + i_, 60 + in + i_), 60 + in + i_, 0) == (int)(60 + in + i_))
#define takes(n) (at = read_ring(rx, at, in, n), in += (n))

	must(setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version));
	if (tx_first)
		set_tx_ring(fd, version, 1);
	must(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &all, sizeof all));
	if (!tx_first)
		set_tx_ring(fd, version, 1);
	refused(mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0), EINVAL);
	refused(mmap(NULL, size + 2 * BLOCK, PROT_READ, MAP_SHARED, fd, 0), EINVAL);
	sends(3); /* before it is mapped */
	rx = both = map_ring(fd, size + BLOCK), tx = both + size;
	takes(3);
	sends(2);
	put(tx, version, out, 60);
	want(send(fd, NULL, 0, 0) == 60);
	receive_until(other, out++, 60);
	refused(setsockopt(fd, SOL_PACKET, PACKET_TX_RING, &none, sizeof none), EBUSY);
	refused(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &none, sizeof none), EBUSY);
	put(tx + FRAME, version, out, 60); /* to be sent later */
	must(munmap(both, size + BLOCK));

	/* Mapped again, and then without the transmit ring. */
	both = map_size(fd, size + BLOCK);
	must(munmap(both, size + BLOCK));
	want(send(fd, NULL, 0, 0) == 60);
	receive_until(other, out++, 60);
	must(setsockopt(fd, SOL_PACKET, PACKET_TX_RING, &none, sizeof none));
	refused(mmap(NULL, size + BLOCK, PROT_READ, MAP_SHARED, fd, 0), EINVAL);
	rx = map_ring(fd, size);
	takes(2);
	sends(4);
	must(munmap(rx, size));

	/* A larger one. */
	set_tx_ring(fd, version, 3);
	sends(0);
	rx = both = map_ring(fd, size + 3 * BLOCK), tx = both + size;
	takes(4);
	for (int i = 0; i < 3 * BLOCK / FRAME; i++)
		put(tx + i * FRAME, version, out + i, 60);
	want(send(fd, NULL, 0, 0) == 3 * BLOCK / FRAME * 60);
	for (int i = 0; i < 3 * BLOCK / FRAME; i++)
		receive_until(other, out++, 60);
	put(tx, version, out, 60);
	must(munmap(both, size + 3 * BLOCK));

	/* The transmit ring alone. */
	must(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &none, sizeof none));
	tx = map_size(fd, 3 * BLOCK);
	put(tx + FRAME, version, out + 1, 60);
	want(send(fd, NULL, 0, 0) == 120);
	receive_until(other, out++, 60);
	receive_until(other, out++, 60);
	must(munmap(tx, 3 * BLOCK));
	must(setsockopt(fd, SOL_PACKET, PACKET_TX_RING, &none, sizeof none));
	want(send(fd, fill(b, out, 60), 60, 0) == 60);
	receive_until(other, out, 60);
}

/* Sends that Linux refuses: lines for errnos. */
static void send_errnos(void)
{
	static unsigned char b[70000];
	int raw = device_socket(SOCK_RAW, 0), dgram = device_socket(SOCK_DGRAM, 0), unbound = must(socket(AF_PACKET, SOCK_RAW, 0));
	int one = 1, version = TPACKET_V2;
	struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_ifindex = index_of(device), .sll_protocol = htons(my_type())}, nodev = {.sll_ifindex = 9999}, wide = {.sll_ifindex = a.sll_ifindex, .sll_halen = 9};
	void *nowhere = (void *)8, *to = &a;
	struct iovec v = {b, 60}, lost = {nowhere, 60}, minus = {b, -1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1}, bad = {.msg_iov = nowhere, .msg_iovlen = 1}, many = {.msg_iov = &v, .msg_iovlen = 1025},
		far = {.msg_iov = &lost, .msg_iovlen = 1}, odd = {.msg_iov = &minus, .msg_iovlen = 1}, name = {.msg_iov = &v, .msg_iovlen = 1, .msg_name = nowhere, .msg_namelen = 20},
		shortname = {.msg_iov = &v, .msg_iovlen = 1, .msg_name = &a, .msg_namelen = 19}, longname = {.msg_iov = &v, .msg_iovlen = 1, .msg_name = &wide, .msg_namelen = 4000},
		control = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = b, .msg_controllen = 1UL << 40};
	struct tpacket_req q = {BLOCK, BLOCKS, FRAME, FRAMES}, wrong = {BLOCK, BLOCKS, FRAME, 1};
	struct tpacket_req3 q3 = {.tp_block_size = BLOCK, .tp_block_nr = 1, .tp_frame_size = FRAME, .tp_frame_nr = BLOCK / FRAME, .tp_retire_blk_tov = 8};

	fill(b, 1, sizeof b);
	say(send(unbound, b, 60, 0));
	say(send(unbound, nowhere, 60, 0));
	say(send(raw, b, 0, 0));
	say(send(raw, b, HEADER - 1, 0));
	say(send(raw, b, HEADER + MTU + 1, 0));
	say(send(raw, b, sizeof b, 0));
	say(send(raw, b, 1UL << 40, 0));
	say(send(raw, nowhere, 60, 0));
	say(send(raw, nowhere, 0, 0));
	say(sendto(unbound, nowhere, 60, 0, (void *)&nodev, 20));
	say(sendto(raw, b, 60, 0, to, 19));
	say(sendto(raw, b, 60, 0, to, 0));
	say(sendto(raw, b, 60, 0, to, -1));
	say(sendto(raw, b, 60, 0, to, 129));
	say(sendto(raw, b, 60, 0, nowhere, 20));
	say(sendto(raw, b, 60, 0, (void *)&wide, 20));
	say(sendto(raw, b, 60, 0, (void *)&nodev, 20));
	say(sendto(dgram, b, MTU + 1, 0, to, 20));
	say(send(dgram, b, 60, 0));
	say(send(dgram, b, MTU + 1, 0));
	say(sendmsg(raw, nowhere, 0));
	say(sendmsg(raw, &bad, 0));
	say(sendmsg(raw, &many, 0));
	say(sendmsg(raw, &far, 0));
	say(sendmsg(raw, &odd, 0));
	say(sendmsg(raw, &name, 0));
	say(sendmsg(raw, &shortname, 0));
	say(sendmsg(raw, &longname, 0));
	say(sendmsg(raw, &control, 0));
	m.msg_namelen = -1;
	say(sendmsg(raw, &m, 0));
	m.msg_namelen = 0, m.msg_iovlen = 0;
	say(sendmsg(raw, &m, 0));
	say(sendmmsg(raw, nowhere, 1, 0));
	/* Control messages that sockets accept, and others. */
	static const int types[] = {0, SCM_RIGHTS, SCM_CREDENTIALS, SO_PRIORITY, SO_TIMESTAMPING, 61 /* SCM_TXTIME */, 65, 77, 4711};
	for (unsigned i = 0; i < sizeof types / sizeof *types; i++)
		for (int n = 0; n < 12; n += 4) {
			unsigned char c[64] = {0};
			*(struct cmsghdr *)c = (struct cmsghdr){.cmsg_len = CMSG_LEN(n), .cmsg_level = SOL_SOCKET, .cmsg_type = types[i]};
			m = (struct msghdr){.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = CMSG_SPACE(n)};
			printf("control %d, %d bytes: ", types[i], n);
			say(sendmsg(raw, &m, 0));
		}
	static const int options[] = {PACKET_LOSS, PACKET_TX_HAS_OFF, PACKET_QDISC_BYPASS};
	for (unsigned i = 0; i < sizeof options / sizeof *options; i++) {
		int x = 7;
		socklen_t n = sizeof x;
		printf("option %d: ", options[i]);
		say(setsockopt(raw, SOL_PACKET, options[i], &x, 3));
		say(setsockopt(raw, SOL_PACKET, options[i], &x, 4));
		say(getsockopt(raw, SOL_PACKET, options[i], &x, &n));
		printf("%d, %u\n", x, n);
	}
	say(setsockopt(raw, SOL_PACKET, PACKET_TX_RING, &q, 8));
	say(setsockopt(raw, SOL_PACKET, PACKET_TX_RING, &wrong, sizeof wrong));
	say(setsockopt(raw, SOL_PACKET, PACKET_TX_RING, &q, sizeof q));
	say(setsockopt(raw, SOL_PACKET, PACKET_TX_RING, &q, sizeof q));
	say(setsockopt(raw, SOL_PACKET, PACKET_LOSS, &one, sizeof one));
	say(setsockopt(raw, SOL_PACKET, PACKET_RESERVE, &one, sizeof one));
	say(setsockopt(raw, SOL_PACKET, PACKET_VERSION, &version, sizeof version));
	say(setsockopt(raw, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one));
	say(mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, raw, 0));
	say(mmap(NULL, BLOCK * BLOCKS, PROT_READ, MAP_SHARED, raw, 4096));
	say(send(raw, nowhere, 60, 0));
	say(sendto(raw, NULL, 0, 0, (void *)&nodev, 20));
	say(sendto(raw, NULL, 0, 0, to, 19));
	version = TPACKET_V3;
	say(setsockopt(unbound, SOL_PACKET, PACKET_VERSION, &version, sizeof version));
	say(setsockopt(unbound, SOL_PACKET, PACKET_TX_RING, &q3, sizeof q3));
	say(setsockopt(unbound, SOL_PACKET, PACKET_TX_RING, &q, sizeof q));
	q3.tp_retire_blk_tov = 0;
	say(setsockopt(unbound, SOL_PACKET, PACKET_TX_RING, &q3, sizeof q3));
	say(send(unbound, NULL, 0, 0));
}
