/* What every request to sockets about a device says, on sockets of every kind, to
 * who has no privileges. It knows nothing of rxring: what it prints is compared
 * with what it prints in a kernel's namespace.
 *
 *	ioctls DEVICE
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
	const char *name;
	int domain, type, fd;
} sockets[] = {
	{"inet", AF_INET, SOCK_DGRAM, -1}, {"inet6", AF_INET6, SOCK_DGRAM, -1}, {"unix", AF_UNIX, SOCK_DGRAM, -1},
	{"netlink", AF_NETLINK, SOCK_RAW, -1}, {"packet", AF_PACKET, SOCK_RAW, -1},
};

#define SOCKETS (sizeof sockets / sizeof *sockets)

static void show(int r, const void *p, unsigned n)
{
	if (r < 0) {
		printf(" %s\n", strerror(errno));
		return;
	}
	for (unsigned i = 0; i < n; i++)
		printf(" %02x", ((const unsigned char *)p)[i]);
	printf("\n");
}

static void ask(unsigned cmd, const char *name, int index)
{
	for (unsigned i = 0; i < SOCKETS; i++) {
		struct ifreq r;
		struct ethtool_value v = {ETHTOOL_GLINK, 0};
		memset(&r, 0xa5, sizeof r);
		strncpy(r.ifr_name, name, IFNAMSIZ);
		if (cmd == SIOCGIFNAME)
			r.ifr_ifindex = index;
		if (cmd == SIOCETHTOOL)
			r.ifr_data = (void *)&v;
		printf("%#x %s %s", cmd, sockets[i].name, name);
		int e = ioctl(sockets[i].fd, cmd, &r);
		if (cmd == SIOCETHTOOL)
			show(e, &v, sizeof v);
		else
			show(e, &r, sizeof r);
	}
}

static void addresses(void)
{
	struct ifreq all[100], one[2] = {0};
	for (unsigned i = 0; i < SOCKETS; i++) {
		struct ifconf c = {sizeof all, {(void *)all}};
		printf("list %s", sockets[i].name);
		memset(all, 0, sizeof all);
		int e = ioctl(sockets[i].fd, SIOCGIFCONF, &c);
		show(e, all, c.ifc_len);
		c = (struct ifconf){sizeof one + 3, {(void *)one}};
		printf("short list %s", sockets[i].name);
		e = ioctl(sockets[i].fd, SIOCGIFCONF, &c);
		show(e, one, c.ifc_len);
		c = (struct ifconf){0, {NULL}};
		e = ioctl(sockets[i].fd, SIOCGIFCONF, &c);
		printf("length %s %d %d\n", sockets[i].name, e, c.ifc_len);
	}
}

/* Also for one of several addresses. */
static void second(const char *name, unsigned addr)
{
	struct ifreq r = {0};
	struct sockaddr_in *a = (void *)&r.ifr_addr;
	strncpy(r.ifr_name, name, IFNAMSIZ);
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = htonl(addr);
	printf("netmask of %#x", addr);
	show(ioctl(sockets[0].fd, SIOCGIFNETMASK, &r), &r, sizeof r);
}

static void ethtool(unsigned cmd, const char *name, unsigned char words)
{
	struct ifreq r = {0};
	unsigned char b[4096] = {0};
	memcpy(b, &cmd, sizeof cmd);
	if (cmd == ETHTOOL_GLINKSETTINGS)
		((struct ethtool_link_settings *)b)->link_mode_masks_nwords = words;
	strncpy(r.ifr_name, name, IFNAMSIZ);
	r.ifr_data = (void *)b;
	printf("ethtool %#x", cmd);
	show(ioctl(sockets[2].fd, SIOCETHTOOL, &r), b, 256);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	const char *device = argv[1];
	char alias[IFNAMSIZ], longer[IFNAMSIZ];
	for (unsigned i = 0; i < SOCKETS; i++)
		if ((sockets[i].fd = socket(sockets[i].domain, sockets[i].type, 0)) < 0) {
			perror(sockets[i].name);
			return 1;
		}
	int index = if_nametoindex(device);
	if (setresuid(65534, 65534, 65534) && getuid() == 0)
		return 1;
	snprintf(alias, sizeof alias, "%s:1", device);
	snprintf(longer, sizeof longer, "%s%s", device, "xxxxxxxxxxxxxxx");
	for (unsigned cmd = 0x8910; cmd < 0x8a00; cmd++)
		if (cmd != SIOCGIFCONF) {
			ask(cmd, device, index);
			ask(cmd, alias, 9999);
			ask(cmd, "nosuch0", 0);
			ask(cmd, "lo", -1);
			ask(cmd, longer, index);
			ask(cmd, "", 0);
		}
	for (unsigned cmd = 0x8b00; cmd < 0x8b40; cmd++)
		ask(cmd, device, index);
	addresses();
	second(device, 0xc0000202);
	second(device, 0xc6336401);
	for (unsigned cmd = 0; cmd < 0x60; cmd++)
		ethtool(cmd, device, 0);
	ethtool(ETHTOOL_GLINKSETTINGS, device, 4);
	return 0;
}
