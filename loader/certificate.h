/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Certificates and public keys as the IKE daemon lists them, in DER.  libcrypto parses and verifies;
 * the bytes are not trusted.
 */
#ifndef CLATCH_CERTIFICATE_READ_H
#define CLATCH_CERTIFICATE_READ_H

#include <clatch/certificate.h>
#include <stdbool.h>
#include <stddef.h>

#define CERTIFICATE_MAX 65535 /* bytes: no VICI value is longer */

struct certificate {
	struct x509_st *x509; /* libcrypto's X509; NULL = a bare public key */
	struct clatch_certificate facts;
	bool trusted; /* an authority of the administrator's: for the caller to say */
};

/*
 * One X.509 certificate and nothing else, its anchor not known yet; one SubjectPublicKeyInfo.
 * 0, -EBADMSG, -E2BIG, -ENOMEM; @c is untouched on failure.
 */
int certificate_read(struct certificate *c, const void *der, size_t size);
int certificate_read_key(struct certificate *c, const void *der, size_t size);
void certificate_free(struct certificate *c);

/*
 * Does the certificate certify @id, the text of an identity as the IKE daemon prints it?  What the
 * text reads as decides where it has to be: one with a '=' is the subject, an address an iPAddress,
 * one with a '@' an rfc822Name, any other a dNSName.  The last two without regard to case, as
 * strongSwan has them.  Text that more than one identity can have is nobody's: see dn.h.
 */
bool certificate_has_id(const struct certificate *c, const char *id);

/*
 * Sets the trust anchor in @c's facts: the trusted authority at which the chain of signatures ends,
 * a self-signed one if there is.  Of @authorities those that are not trusted are links of the chain
 * only, at most eight of them: the daemon lists what strangers sent it, too, even where it refused
 * them.  False: none, and who @c belongs to is not known.
 */
bool certificate_find_anchor(struct certificate *c, const struct certificate *authorities,
			     size_t count);

/*
 * The end-point channel binding of draft-ietf-btns-channel-binding-api-00 from the hashes of both
 * ends' keys, the same at both ends.  False: both ends have the same key, which binds nothing.
 */
bool channel_binding(__u8 binding[CLATCH_HASH_LEN], const __u8 local_key[CLATCH_HASH_LEN],
		     const __u8 peer_key[CLATCH_HASH_LEN]);

#endif
