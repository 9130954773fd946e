/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The life of a forwarded connection, as a firewall sees it (RFC 5660 §2.5): no socket tells, the
 * packets do.
 */
#ifndef CLATCH_BPF_FOLLOW_H
#define CLATCH_BPF_FOLLOW_H

#include "forward.h"

/* What is read of a packet's TCP header. */
struct segment {
	__u32 known; /* 0 = it could not be read, or is not TCP */
	__u32 seq;
	__u32 ack;
	__u32 flags;
};

#define SEGMENT_FIN 0x01
#define SEGMENT_RST 0x04

/* Where the TCP header begins, counted from the packet's data; 0 = behind headers unknown here. */
static __always_inline __u32 tcp_offset(struct __sk_buff *ctx, __u32 link)
{
	__u8 byte;

	if (ctx->protocol == bpf_htons(ETH_P_IP))
		return bpf_skb_load_bytes(ctx, link, &byte, 1) ? 0 : link + (byte & 15) * 4;
	if (bpf_skb_load_bytes(ctx, link + 6, &byte, 1) || byte != IPPROTO_TCP)
		return 0;
	return link + sizeof(struct ipv6hdr);
}

verified_once int segment_read(struct __sk_buff *ctx, struct segment *s, __u32 link)
{
	struct tcphdr header = {};
	__u32 at = tcp_offset(ctx, link & 0xff);

	if (!s || !at || bpf_skb_load_bytes(ctx, at, &header, sizeof(header)))
		return 0;
	s->seq = bpf_ntohl(header.seq);
	s->ack = bpf_ntohl(header.ack_seq);
	s->known = 1;
	return 0;
}

/* A SYN of our side that opens another connection than the one known: not the same SYN again. */
static __always_inline bool opens_anew(const struct forward *fw, const struct packet *p,
				       const struct segment *s)
{
	return is_syn(p) && fw->stage != CLATCH_STAGE_NEW && (!s->known || fw->first != s->seq);
}

/* A SYN from outside is believed only where no connection is alive that it would end. */
static __always_inline bool replaces(const struct forward *fw, const struct packet *p)
{
	return is_syn(p) && (fw->stage == CLATCH_STAGE_ENDED || fw->stage == CLATCH_STAGE_RESET);
}

/* The same addresses and ports, another connection: of the old one nothing holds any more. */
static __noinline void forward_renew(const struct clatch_tuple *tuple, struct forward *fw)
{
	latch_delete(tuple, CLATCH_END_REPLACED);
	fw->flags = 0;
	fw->stage = CLATCH_STAGE_NEW;
}

/* A reset is believed only if the one who gets it believes it: RFC 5961. */
static __always_inline bool resets(const struct forward *fw, const struct segment *s,
				   enum clatch_dir dir)
{
	return dir == CLATCH_OUT ||
	       (s->known && (fw->flags & FORWARD_ACKED) && s->seq == fw->acked) ||
	       fw->stage == CLATCH_STAGE_OPENING;
}

static __always_inline enum clatch_stage tcp_stage(const struct forward *fw, const struct packet *p,
						   const struct segment *s, enum clatch_dir dir)
{
	const __u32 both = FORWARD_FIN_OUT | FORWARD_FIN_IN;

	if (fw->stage == CLATCH_STAGE_RESET || ((p->first & SEGMENT_RST) && resets(fw, s, dir)))
		return CLATCH_STAGE_RESET;
	if ((fw->flags & both) == both)
		return CLATCH_STAGE_ENDED;
	if (is_syn(p) && fw->stage <= CLATCH_STAGE_OPENING)
		return CLATCH_STAGE_OPENING;
	/* a handshake's second packet may be any but a repeated SYN */
	return CLATCH_STAGE_OPEN;
}

static __always_inline void follow_tcp(struct forward *fw, const struct packet *p,
				       const struct segment *s, enum clatch_dir dir)
{
	if (fw->stage == CLATCH_STAGE_NEW && !(p->first & TCP_FLAG_BYTE_SYN))
		fw->flags |= FORWARD_ADOPTED;
	if (dir == CLATCH_OUT && s->known) {
		if (is_syn(p))
			fw->first = s->seq;
		if (p->first & TCP_FLAG_BYTE_ACK) {
			fw->acked = s->ack;
			fw->flags |= FORWARD_ACKED;
		}
	}
	if (p->first & SEGMENT_FIN)
		fw->flags |= dir == CLATCH_OUT ? FORWARD_FIN_OUT : FORWARD_FIN_IN;
	forward_stage(fw, tcp_stage(fw, p, s, dir));
}

/* A packet of the connection came by: inbound, after its latch let it. */
static __noinline void follow(struct forward *fw, const struct packet *p, const struct segment *s,
			      enum clatch_dir dir)
{
	fw->last_ns = bpf_ktime_get_boot_ns();
	if (p->proto == IPPROTO_TCP)
		follow_tcp(fw, p, s, dir);
	else
		forward_stage(fw, CLATCH_STAGE_DATAGRAMS);
}

/*
 * Does a segment from outside begin before what our side expects next?  It brings nothing new and
 * makes it answer; see stale.h.
 */
static __always_inline bool segment_stale(const struct forward *fw, const struct segment *s)
{
	return fw && s->known && (fw->flags & FORWARD_ACKED) && (__s32)(s->seq - fw->acked) < 0;
}

#endif
