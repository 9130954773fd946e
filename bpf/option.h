/* SPDX-License-Identifier: GPL-2.0-only */
/* Which socket option of clatch.h is which function. */
#ifndef CLATCH_BPF_OPTION_H
#define CLATCH_BPF_OPTION_H

#include "inquire.h"

#define OPTLEN_SEEN 4096 /* of a longer option the hook is shown no more */

/*
 * Is this of our level?  All else goes on as it was: of a long option the kernel would take the part
 * that it has shown us for the whole, if it were not told otherwise.
 */
static __always_inline bool is_ours(struct bpf_sockopt *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	if (ctx->level == SOL_CLATCH && sk && (sk->family == AF_INET || sk->family == AF_INET6) &&
	    has_connections(sk))
		return true;
	if (ctx->optlen > OPTLEN_SEEN)
		ctx->optlen = 0;
	return false;
}

static __always_inline int set_option(struct bpf_sockopt *ctx, __u64 address)
{
	switch (ctx->optname) {
	case CLATCH_SO_REQUIRE:
		return ask_require(ctx, address);
	case CLATCH_SO_DISPOSITION:
		return ask_disposition(ctx, address);
	case CLATCH_SO_OFF:
		return ask_off(ctx, address);
	default:
		return ENOPROTOOPT;
	}
}

static __always_inline int get_option(struct bpf_sockopt *ctx, __u64 address)
{
	struct bpf_sock *sk = ctx->sk;

	if (!sk)
		return EINVAL;
	switch (ctx->optname) {
	case CLATCH_SO_INQUIRE:
		return inquire(ctx, address);
	case CLATCH_SO_LOCAL_ID:
	case CLATCH_SO_PEER_ID:
		return tell_id(ctx, address);
	case CLATCH_SO_REQUIRE:
		return tell_requirement(ctx, sk);
	case CLATCH_SO_DISPOSITION:
		return tell_disposition(ctx, sk);
	case CLATCH_SO_OFF:
		return tell_off(ctx, sk);
	default:
		return ENOPROTOOPT;
	}
}

#endif
