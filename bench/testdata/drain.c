// drain DEVICE PACKETS BUFFER MILLISECONDS: reads so many packets with libpcap, once it is told
// to on its standard input, and says what that took: nanoseconds of CPU time,
// packets, and their bytes.
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static unsigned long packets, bytes, want;
static pcap_t *p;

static void handle(u_char *user, const struct pcap_pkthdr *h, const u_char *data) {
	(void)user;
	bytes += h->caplen + (data[0] & 0);
	if (++packets == want)
		pcap_breakloop(p);
}

static long long cpu(void) {
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv) {
	char err[PCAP_ERRBUF_SIZE], line[8];
	if (argc != 5 || !(p = pcap_create(argv[1], err)))
		return 2;
	want = strtoul(argv[2], NULL, 10);
	if (pcap_set_snaplen(p, 2048) || pcap_set_timeout(p, atoi(argv[4])) || pcap_set_buffer_size(p, atoi(argv[3])) || pcap_activate(p) < 0) {
		fprintf(stderr, "%s\n", pcap_geterr(p));
		return 1;
	}
	puts("ready");
	fflush(stdout);
	if (!fgets(line, sizeof line, stdin))
		return 1;
	long long before = cpu();
	pcap_loop(p, -1, handle, NULL);
	printf("%lld %lu %lu\n", cpu() - before, packets, bytes);
	return 0;
}
