// SPDX-License-Identifier: GPL-2.0-only
#include "chains.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BUCKETS 64

__u64 chains_hash(__u64 hash, const void *data, size_t size)
{
	const char *bytes = data;
	__u64 word;

	for (; size; size -= sizeof(word), bytes += sizeof(word)) {
		memcpy(&word, bytes, sizeof(word));
		hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
		hash ^= hash >> 32;
	}
	return hash;
}

int chains_new(struct chains *t)
{
	*t = (struct chains){ .size = FIRST_BUCKETS };
	t->buckets = calloc(FIRST_BUCKETS, sizeof(*t->buckets));
	return t->buckets ? 0 : -ENOMEM;
}

struct link *chains_at(const struct chains *t, __u64 hash)
{
	return t->buckets[hash & (t->size - 1)];
}

static void push(struct chains *t, struct link *link)
{
	struct link **head = &t->buckets[link->hash & (t->size - 1)];

	link->next = *head;
	link->back = head;
	if (*head)
		(*head)->back = &link->next;
	*head = link;
}

/* Without memory for more buckets the chains grow longer, which is no error. */
static void grow(struct chains *t)
{
	struct chains larger = { .size = 2 * t->size, .count = t->count };

	larger.buckets = calloc(larger.size, sizeof(*larger.buckets));
	if (!larger.buckets)
		return;
	for (size_t i = 0; i < t->size; i++) {
		for (struct link *link = t->buckets[i], *next; link; link = next) {
			next = link->next;
			push(&larger, link);
		}
	}
	free(t->buckets);
	*t = larger;
}

void chains_insert(struct chains *t, struct link *link, __u64 hash)
{
	if (t->count++ >= t->size)
		grow(t);
	link->hash = hash;
	push(t, link);
}

void chains_take_out(struct chains *t, struct link *link)
{
	*link->back = link->next;
	if (link->next)
		link->next->back = link->back;
	t->count--;
}
