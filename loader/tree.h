/* SPDX-License-Identifier: GPL-2.0-only */
/* A set of things of one size, each allocated for itself and found by what it begins with. */
#ifndef CLATCH_TREE_H
#define CLATCH_TREE_H

#include <stdbool.h>
#include <stddef.h>

struct tree { /* {} = empty */
	void *root; /* of tsearch(3), with pointers to things, for twalk_r(3) */
	size_t count;
};

typedef int tree_compare(const void *a, const void *b);

void *tree_find(const struct tree *tree, const void *wanted, tree_compare *compare); /* or NULL */
/* The one like @wanted; where there was none, *added is set, and it is a copy.  NULL = no memory. */
void *tree_get(struct tree *tree, const void *wanted, size_t size, tree_compare *compare,
	       bool *added);
void tree_empty(struct tree *tree);

#endif
