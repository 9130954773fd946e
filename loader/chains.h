/* SPDX-License-Identifier: GPL-2.0-only */
/* Hash tables whose entries carry their links, so that what is found can be taken out at once. */
#ifndef CLATCH_CHAINS_H
#define CLATCH_CHAINS_H

#include <linux/types.h>
#include <stddef.h>

struct link {
	struct link *next;
	struct link **back;
	__u64 hash;
};

struct chains {
	struct link **buckets;
	size_t size; /* a power of two */
	size_t count;
};

/* What has the link @link as its @field. */
#define ENTRY(link, type, field) ((type *)((char *)(link)-offsetof(type, field)))

int chains_new(struct chains *t); /* 0 or -ENOMEM */
/* Of whole words, on top of a @hash of something else. */
__u64 chains_hash(__u64 hash, const void *data, size_t size);

/* Where the entries with this hash are, others among them. */
struct link *chains_at(const struct chains *t, __u64 hash);
void chains_insert(struct chains *t, struct link *link, __u64 hash);
void chains_take_out(struct chains *t, struct link *link);

#endif
