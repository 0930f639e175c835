#!/bin/bash
# Writes the programs that libpcap makes of expressions.txt: offline for three
# link types, and live, as tcpdump attaches them to a packet socket on the
# loopback device and on "any". Needs root, tcpdump, strace. An expression that
# libpcap refuses for a link type is left out.
cd "$(dirname "$0")" || exit 1

offline() {
	while read -r expression; do
		program=$(tcpdump -dd -y "$1" "$expression" 2>/dev/null) || continue
		echo "# $expression"
		echo "$program" | tr -d '{},' | awk '{print $1, $2, $3, $4}'
	done <expressions.txt >"$2"
}

live() {
	while read -r expression; do
		# The second attached program is the real one; the first drops all.
		program=$(timeout -s INT 1 strace -f -e trace=setsockopt -e abbrev=none -X raw \
			tcpdump -i "$1" -p -w /dev/null "$expression" 2>&1 >/dev/null |
			grep -F '0x1, 0x1a, ' | sed -n 2p |
			grep -oE 'BPF_(STMT|JUMP)\([^)]*\)' |
			sed -E 's/BPF_STMT\(([^,]*), (.*)\)/\1 0 0 \2/; s/BPF_JUMP\(([^,]*), ([^,]*), ([^,]*), (.*)\)/\1 \3 \4 \2/')
		[ -n "$program" ] || continue
		echo "# $expression"
		# strace writes 0x5|0|0x10 and 0xfffff000+0x4: reckon.
		while read -r code jt jf k; do
			printf '%#x %d %d 0x%08x\n' $((code)) $((jt)) $((jf)) $((k))
		done <<<"$program"
	done <expressions.txt >"$2"
}

offline EN10MB en10mb.txt
offline RAW raw.txt
offline LINUX_SLL linux_sll.txt
live lo live_lo.txt
live any live_any.txt
