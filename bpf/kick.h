/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Makes TCP send at once what was refused while its SA's identity was not known.  With nothing under
 * way whose acknowledgement would make it go on, TCP would wait for its timer, 200 ms at the least.
 *
 * It moves what TCP holds ready to be sent for the first time, a FIN too.  A refused SYN, SYN-ACK,
 * retransmission or bare acknowledgement waits for a timer, ours or the peer's; so does what TCP
 * believes to be on its way, as where encryption is asynchronous (cryptd).
 */
#ifndef CLATCH_BPF_KICK_H
#define CLATCH_BPF_KICK_H

#include "latch.h"

#define SOL_TCP 6
#define TCP_NODELAY 1

/* Setting TCP_NODELAY sends what is waiting, even if it is set already. */
static __always_inline void tcp_push(struct tcp_sock *sk)
{
	int on = 1, before;

	if (bpf_getsockopt(sk, SOL_TCP, TCP_NODELAY, &before, sizeof(before)))
		return;
	bpf_setsockopt(sk, SOL_TCP, TCP_NODELAY, &on, sizeof(on));
	if (!before)
		bpf_setsockopt(sk, SOL_TCP, TCP_NODELAY, &before, sizeof(before));
}

/* No longer held before it sends: that may be refused anew. */
static __always_inline void kick(struct tcp_sock *sk)
{
	struct clatch_tuple tuple = {};
	struct clatch_latch *l;

	if (!kernel_socket_tuple(&tuple, (__u64)sk))
		return;
	tuple.proto = IPPROTO_TCP;
	l = bpf_map_lookup_elem(&clatch_latches, &tuple);
	if (l && (__sync_fetch_and_and(&l->flags, ~CLATCH_HELD) & CLATCH_HELD))
		tcp_push(sk);
}

#endif
