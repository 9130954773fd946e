// SPDX-License-Identifier: GPL-2.0-only
#include "template.h"

#include <linux/pfkeyv2.h>
#include <netinet/in.h>
#include <string.h>

/*
 * The numbers by which the masks in templates know algorithms, from the kernel's
 * net/xfrm/xfrm_algo.c.  Those above 31 are in no mask.
 */
struct algorithm {
	const char *name;
	__u16 icv_bits; /* of an AEAD, 0 = any */
	__u8 number;
};

static const struct algorithm auth_algorithms[] = {
	{ "", 0, SADB_AALG_NONE }, /* an AEAD's SA, too */
	{ "cmac(aes)", 0, SADB_AALG_NONE },
	{ "hmac(md5)", 0, SADB_AALG_MD5HMAC },
	{ "hmac(sha1)", 0, SADB_AALG_SHA1HMAC },
	{ "hmac(sha256)", 0, SADB_X_AALG_SHA2_256HMAC },
	{ "hmac(sha384)", 0, SADB_X_AALG_SHA2_384HMAC },
	{ "hmac(sha512)", 0, SADB_X_AALG_SHA2_512HMAC },
	{ "hmac(rmd160)", 0, SADB_X_AALG_RIPEMD160HMAC },
	{ "xcbc(aes)", 0, SADB_X_AALG_AES_XCBC_MAC },
	{},
};

static const struct algorithm enc_algorithms[] = {
	{ "ecb(cipher_null)", 0, SADB_EALG_NULL },
	{ "cbc(des)", 0, SADB_EALG_DESCBC },
	{ "cbc(des3_ede)", 0, SADB_EALG_3DESCBC },
	{ "cbc(cast5)", 0, SADB_X_EALG_CASTCBC },
	{ "cbc(blowfish)", 0, SADB_X_EALG_BLOWFISHCBC },
	{ "cbc(aes)", 0, SADB_X_EALG_AESCBC },
	{ "rfc3686(ctr(aes))", 0, SADB_X_EALG_AESCTR },
	{ "cbc(camellia)", 0, SADB_X_EALG_CAMELLIACBC },
	{ "rfc4309(ccm(aes))", 64, SADB_X_EALG_AES_CCM_ICV8 },
	{ "rfc4309(ccm(aes))", 96, SADB_X_EALG_AES_CCM_ICV12 },
	{ "rfc4309(ccm(aes))", 128, SADB_X_EALG_AES_CCM_ICV16 },
	{ "rfc4106(gcm(aes))", 64, SADB_X_EALG_AES_GCM_ICV8 },
	{ "rfc4106(gcm(aes))", 96, SADB_X_EALG_AES_GCM_ICV12 },
	{ "rfc4106(gcm(aes))", 128, SADB_X_EALG_AES_GCM_ICV16 },
	{ "rfc4543(gcm(aes))", 0, SADB_X_EALG_NULL_AES_GMAC },
	{},
};

/* What the kernel has no number for, no mask can mean. */
static bool is_in_mask(__u32 mask, const struct algorithm *a, const char name[CLATCH_ALG_LEN],
		       __u16 icv_bits)
{
	for (; a->name; a++)
		if (!strncmp(a->name, name, CLATCH_ALG_LEN) &&
		    (!a->icv_bits || a->icv_bits == icv_bits))
			return mask >> a->number & 1;
	return true;
}

/*
 * The kernel looks at the masks of authentication algorithms only, and only inbound.  A policy
 * that names fewer algorithms than it did is a change of quality all the same (RFC 5660 R26).
 */
static __u32 algorithms_differ(const struct spd_template *t, const struct clatch_suite *s)
{
	__u32 fields = 0;

	if (!~(t->aalgos & t->ealgos))
		return 0;
	if (!is_in_mask(t->aalgos, auth_algorithms, s->auth, 0))
		fields |= CLATCH_FIELD_AUTH;
	if (!is_in_mask(t->ealgos, enc_algorithms, s->enc, s->icv_bits))
		fields |= CLATCH_FIELD_ENC;
	return fields;
}

/* Inbound and forwarded reqid 0 allows any (xfrm_state_ok()), outbound it is a number (xfrm_state_find()). */
static bool reqid_differs(const struct spd_template *t, __u32 reqid, __u8 dir)
{
	if (dir != XFRM_POLICY_OUT && !t->reqid)
		return false;
	return t->reqid != reqid;
}

__u32 template_differs(const struct spd_template *t, const struct clatch_sa *sa, __u8 dir)
{
	__u32 fields = algorithms_differ(t, &sa->suite);

	if (t->proto != sa->suite.proto)
		fields |= CLATCH_FIELD_PROTO;
	if (t->mode != sa->suite.mode)
		fields |= CLATCH_FIELD_MODE;
	if (reqid_differs(t, sa->reqid, dir))
		fields |= CLATCH_FIELD_REQID;
	return fields;
}

/* The reqid of a latched SA stands in for its ends only as long as these are not known. */
static __u32 latched_differs(const struct spd_template *t, const struct clatch_sa *sa, __u8 dir)
{
	__u32 fields = template_differs(t, sa, dir);

	return sa->who.peer_id ? fields & ~CLATCH_FIELD_REQID : fields;
}

static bool is_ours(const struct spd_template *t)
{
	return t->proto == IPPROTO_ESP || t->proto == IPPROTO_AH;
}

static void count_templates(struct template_match *m, const struct spd_policy *policy)
{
	for (size_t i = 0; i < policy->count; i++) {
		const struct spd_template *t = &policy->templates[i];

		if (!is_ours(t))
			continue;
		m->count++;
		m->mandatory += !t->optional;
		m->failed = t; /* the outermost, for SAs that are more than the templates */
	}
}

/* From the outermost inwards, until a template that is mandatory is not met. */
static size_t match_in_order(struct template_match *m, const struct spd_policy *policy,
			     const struct clatch_sa *sas, size_t count)
{
	size_t met = 0;

	for (size_t i = policy->count; i-- > 0;) {
		const struct spd_template *t = &policy->templates[i];
		__u32 fields = CLATCH_FIELD_NESTING;

		if (!is_ours(t))
			continue;
		if (met < count)
			fields = latched_differs(t, &sas[met], policy->dir);
		if (fields) {
			m->fields = fields;
			m->failed = t;
		}
		if (fields && !t->optional)
			return met;
		if (!fields && !met++)
			m->outer = t;
	}
	if (met == count)
		m->fields = 0;
	return met;
}

void template_match(struct template_match *m, const struct spd_policy *policy,
		    const struct clatch_sa *sas, size_t count)
{
	size_t met;

	*m = (struct template_match){};
	count_templates(m, policy);
	met = match_in_order(m, policy, sas, count);
	if ((m->fields || met < count) && (m->mandatory > count || m->count < count))
		m->fields |= CLATCH_FIELD_NESTING;
}
