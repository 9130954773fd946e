// SPDX-License-Identifier: GPL-2.0-only
#include "tree.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

void *tree_find(const struct tree *tree, const void *wanted, tree_compare *compare)
{
	void **found = tfind(wanted, &tree->root, compare);

	return found ? *found : NULL;
}

void *tree_get(struct tree *tree, const void *wanted, size_t size, tree_compare *compare,
	       bool *added)
{
	void *node = tree_find(tree, wanted, compare);

	*added = !node;
	if (node)
		return node;
	node = malloc(size);
	if (!node)
		return NULL;
	memcpy(node, wanted, size);
	if (!tsearch(node, &tree->root, compare)) {
		free(node);
		return NULL;
	}
	tree->count++;
	return node;
}

void tree_empty(struct tree *tree)
{
	tdestroy(tree->root, free);
	*tree = (struct tree){};
}
