/* SPDX-License-Identifier: GPL-2.0-only */
/* What a change of SAs or policies is to whoever judges latches by them. */
#ifndef CLATCH_NEWS_H
#define CLATCH_NEWS_H

/* A function that returns one may return -errno too. */
enum news {
	NO_NEWS,
	/*
	 * What every rekey brings: another SPI, an SA that is as others, whose ends are not told
	 * yet, or which has its ends' other SAs beside it.  It breaks nothing by itself, so it can
	 * wait.
	 */
	NEWS_OF_REKEY,
	NEWS, /* latches are to be judged anew */
};

static inline int news_more(int a, int b)
{
	return a > b ? a : b;
}

#endif
