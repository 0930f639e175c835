/* A libpcap program as event-driven ones are: non-blocking, an epoll loop around
 * pcap_get_selectable_fd, a signalfd beside it. The packets that it reads say
 * which ones they are: it must see every one, in order and whole, until SIGTERM.
 *
 *	epollpcap DEVICE immediate|buffered level|edge
 */
#define _GNU_SOURCE
#include <pcap/pcap.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/time.h>

#define die(...) do { printf("line %d: ", __LINE__); printf(__VA_ARGS__); printf("\n"); exit(1); } while (0)
#define must(x) ({ int r_ = (x); if (r_ < 0) die("%s = %d: %s", #x, r_, pcap_geterr(p)); r_; })

static uint32_t seen, next, missed;
static struct timeval filtered; /* libpcap accepts no packet while it sets a filter */

static void packet(u_char *unused, const struct pcap_pkthdr *h, const u_char *b)
{
	(void)unused;
	uint32_t seq;
	if (timercmp(&h->ts, &filtered, <))
		return;
	if (h->len < 60 || h->caplen != h->len)
		die("%u of %u bytes", h->caplen, h->len);
	memcpy(&seq, b + 14, 4);
	seq = be32toh(seq);
	if (h->len != 60 + seq % 1000)
		die("packet %u: %u bytes", seq, h->len);
	for (uint32_t i = 18; i < h->len; i++)
		if (b[i] != (seq & 0xff))
			die("packet %u: byte %u is %u", seq, i, b[i]);
	if (seen && seq < next)
		die("packet %u: after %u", seq, next - 1);
	if (seen)
		missed += seq - next;
	next = seq + 1;
	if (++seen == 500) {
		printf("seen 500\n");
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	char err[PCAP_ERRBUF_SIZE];
	struct epoll_event ev = {.events = EPOLLIN};
	struct pcap_stat st;
	struct bpf_program f;
	sigset_t term;

	if (argc != 4)
		return 2;
	if (!strcmp(argv[3], "edge"))
		ev.events |= EPOLLET;
	pcap_t *p = pcap_create(argv[1], err);
	if (!p)
		die("%s", err);
	must(pcap_set_snaplen(p, 65536));
	must(pcap_set_promisc(p, 1));
	must(pcap_set_timeout(p, 100));
	must(pcap_set_buffer_size(p, 512 << 10) /* it is used more than once */);
	must(pcap_set_immediate_mode(p, !strcmp(argv[2], "immediate")));
	must(pcap_activate(p));
	must(pcap_compile(p, &f, "ether proto 0x88b5", 1, PCAP_NETMASK_UNKNOWN));
	must(pcap_setfilter(p, &f));
	gettimeofday(&filtered, NULL);
	must(pcap_setnonblock(p, 1, err));
	if (pcap_getnonblock(p, err) != 1)
		die("blocking");
	int fd = must(pcap_get_selectable_fd(p));

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	must(sigprocmask(SIG_BLOCK, &term, NULL));
	int told = must(signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK));
	int ep = must(epoll_create1(EPOLL_CLOEXEC));
	ev.data.fd = fd;
	must(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	ev.data.fd = told, ev.events = EPOLLIN;
	must(epoll_ctl(ep, EPOLL_CTL_ADD, told, &ev));
	for (int end = 0; !end;) {
		struct epoll_event got[2];
		int n = must(epoll_wait(ep, got, 2, 20000));
		if (!n)
			die("no packet for 20 seconds");
		for (int i = 0; i < n; i++)
			if (got[i].data.fd == told)
				end = 1;
			else
				while (must(pcap_dispatch(p, -1, packet, NULL)))
					;
	}
	must(pcap_stats(p, &st));
	printf("told to end: %u missed, %u dropped\n", missed, st.ps_drop);
	pcap_close(p);
	return 0;
}
