// SPDX-License-Identifier: GPL-2.0-only
/* Any bytes as an XFRM netlink message, of which the kernel vouches for the length alone. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sad_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nlmsghdr *message;
	struct sad_change change;

	if (size < sizeof(*message))
		return 0;
	message = malloc(size); /* no byte more, for the address sanitizer */
	if (!message)
		return 0;
	memcpy(message, data, size);
	message->nlmsg_len = size;
	sad_message(&change, message, 1);
	free(message);
	return 0;
}
