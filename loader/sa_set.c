// SPDX-License-Identifier: GPL-2.0-only
#include "sa_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "chains.h"

#define MAX_COMPARED 16 /* of the same addresses and reqid: more are no rekey's */

/* A class, found by what it is, by its addresses, and by these and its reqid. */
struct class
{
	struct link by_content;
	struct link by_pair;
	struct link by_reqid;
	struct member *last; /* that came; those before it follow */
	struct sa_class sa;
};

struct member {
	struct link by_key;
	struct clatch_sa_key key;
	struct class *class;
	struct member *older; /* in its class */
	struct member *newer;
	__u64 round;
	__u64 born;
	__u64 came_us; /* CLOCK_MONOTONIC */
	__u32 key_tag; /* of its key: another SA may follow at this SPI */
};

enum { BY_KEY, BY_CONTENT, BY_PAIR, BY_REQID, TABLES };

struct sa_set {
	struct chains tables[TABLES];
	__u64 seed; /* who chooses SPIs is not to choose buckets */
	__u64 round; /* of dumps */
	__u64 last_born;
	enum news news; /* since sa_set_begin() */
};

void sa_set_free(struct sa_set *set)
{
	if (!set)
		return;
	for (size_t i = 0; set->tables[BY_KEY].buckets && i < set->tables[BY_KEY].size; i++) {
		struct link *link = set->tables[BY_KEY].buckets[i];

		while (link) {
			struct member *m = ENTRY(link, struct member, by_key);

			link = link->next;
			if (!--m->class->sa.count)
				free(m->class);
			free(m);
		}
	}
	for (int i = 0; i < TABLES; i++)
		free(set->tables[i].buckets);
	free(set);
}

struct sa_set *sa_set_new(void)
{
	struct sa_set *set = calloc(1, sizeof(*set));

	if (!set)
		return NULL;
	for (int i = 0; i < TABLES; i++) {
		if (chains_new(&set->tables[i])) {
			sa_set_free(set);
			return NULL;
		}
	}
	(void)!getrandom(&set->seed, sizeof(set->seed), GRND_NONBLOCK);
	return set;
}

static __u64 hash_pair(const struct sa_set *set, const struct clatch_addr *src,
		       const struct clatch_addr *dst)
{
	return chains_hash(chains_hash(set->seed, src, sizeof(*src)), dst, sizeof(*dst));
}

static __u64 hash_reqid(__u64 pair, __u64 reqid)
{
	return chains_hash(pair, &reqid, sizeof(reqid));
}

_Static_assert(sizeof(struct clatch_sa_key) % 8 == 0 && sizeof(struct clatch_sa) % 8 == 0 &&
		       sizeof(struct xfrm_selector) % 8 == 0,
	       "hashed as whole words");

/* As it is compared: without what differs from one SA of a class to the next, or means nothing. */
static void normalise(struct sa_class *to, const struct sa_class *from)
{
	const size_t gap = offsetof(struct xfrm_selector, proto) + sizeof(to->selector.proto);

	memset(to, 0, sizeof(*to));
	to->sa = from->sa;
	to->sa.spi = 0;
	to->sa.key_tag = 0;
	to->sa.told_us = 0;
	to->selector = from->selector;
	to->selector.user = 0;
	memset((char *)&to->selector + gap, 0, offsetof(struct xfrm_selector, ifindex) - gap);
	to->mark = from->mark;
	to->mark_mask = from->mark_mask;
}

static __u64 hash_content(const struct sa_set *set, const struct sa_class *sa)
{
	const __u32 marks[] = { sa->mark, sa->mark_mask };
	__u64 hash = chains_hash(set->seed, &sa->sa, sizeof(sa->sa));

	return chains_hash(chains_hash(hash, &sa->selector, sizeof(sa->selector)), marks,
			   sizeof(marks));
}

/* Is the class @sa, but for the SPI, what @normal is? */
static bool is_content(const struct sa_class *sa, const struct sa_class *normal)
{
	struct clatch_sa facts = sa->sa;

	facts.spi = 0;
	return !memcmp(&facts, &normal->sa, sizeof(facts)) &&
	       !memcmp(&sa->selector, &normal->selector, sizeof(sa->selector)) &&
	       sa->mark == normal->mark && sa->mark_mask == normal->mark_mask;
}

static struct class *find_class(const struct sa_set *set, const struct sa_class *normal, __u64 hash)
{
	struct link *link = chains_at(&set->tables[BY_CONTENT], hash);

	for (; link; link = link->next) {
		struct class *class = ENTRY(link, struct class, by_content);

		if (link->hash == hash && is_content(&class->sa, normal))
			return class;
	}
	return NULL;
}

/* But for its ends. */
static bool is_twin(const struct class *class, const struct class *other)
{
	struct sa_class as_other = class->sa;

	if (class == other)
		return false;
	as_other.sa.spi = 0;
	as_other.sa.who = other->sa.sa.who;
	return is_content(&other->sa, &as_other);
}

/*
 * What it is that @class comes or goes.  Of one whose ends are unknown and that has a twin, no latch is
 * judged otherwise than of its twin, or better: so SAs come at a rekey.
 */
static enum news news_of(struct sa_set *set, const struct class *class)
{
	const struct clatch_who *who = &class->sa.sa.who;
	struct link *link = chains_at(&set->tables[BY_REQID], class->by_reqid.hash);
	enum news news = NEWS;

	if (who->peer_id || who->local_id)
		link = NULL;
	for (int i = 0; link && i < MAX_COMPARED; i++, link = link->next)
		if (is_twin(class, ENTRY(link, struct class, by_reqid)))
			news = NEWS_OF_REKEY;
	set->news = news_more(set->news, news);
	return news;
}

/* Is there a class that is the same but of other ends?  Where there are too many, maybe. */
static bool has_rival(const struct sa_set *set, const struct class *class)
{
	struct link *link = chains_at(&set->tables[BY_REQID], class->by_reqid.hash);

	for (int i = 0; link && i < MAX_COMPARED; i++, link = link->next) {
		const struct class *other = ENTRY(link, struct class, by_reqid);

		if (clatch_who_differs(class->sa.sa.who, other->sa.sa.who) && is_twin(class, other))
			return true;
	}
	return link;
}

/*
 * Another SA of the class is the newest: of two rivals' classes this tells which the kernel uses, and
 * so is news.  Else it is but a rekey.
 */
static enum news date_class(struct sa_set *set, struct class *class)
{
	__u64 before = class->sa.newest;

	class->sa.newest = class->last->born;
	class->sa.sa.spi = class->last->key.spi;
	if (!before || before == class->sa.newest || !has_rival(set, class))
		return NO_NEWS;
	set->news = NEWS;
	return NEWS;
}

/* As a rule it is the newest. */
static void into_class(struct class *class, struct member *m)
{
	struct member **at = &class->last, *newer = NULL;

	while (*at && (*at)->born > m->born) {
		newer = *at;
		at = &newer->older;
	}
	m->older = *at;
	m->newer = newer;
	if (m->older)
		m->older->newer = m;
	*at = m;
	m->class = class;
}

static void out_of_class(struct member *m)
{
	if (m->older)
		m->older->newer = m->newer;
	if (m->newer)
		m->newer->older = m->older;
	else
		m->class->last = m->older;
}

static struct class *add_class(struct sa_set *set, const struct sa_class *normal, __u64 hash)
{
	__u64 pair = hash_pair(set, &normal->sa.src, &normal->sa.dst);
	struct class *class = malloc(sizeof(*class));

	if (!class)
		return NULL;
	class->sa = *normal;
	class->last = NULL;
	chains_insert(&set->tables[BY_CONTENT], &class->by_content, hash);
	chains_insert(&set->tables[BY_PAIR], &class->by_pair, pair);
	chains_insert(&set->tables[BY_REQID], &class->by_reqid, hash_reqid(pair, normal->sa.reqid));
	return class;
}

/* One SA less in it, which was taken out: news if it has gone. */
static enum news leave_class(struct sa_set *set, struct class *class)
{
	enum news news;

	if (--class->sa.count)
		return date_class(set, class);
	news = news_of(set, class);
	chains_take_out(&set->tables[BY_CONTENT], &class->by_content);
	chains_take_out(&set->tables[BY_PAIR], &class->by_pair);
	chains_take_out(&set->tables[BY_REQID], &class->by_reqid);
	free(class);
	return news;
}

static struct member *find_member(const struct sa_set *set, const struct clatch_sa_key *key,
				  __u64 hash)
{
	struct link *link = chains_at(&set->tables[BY_KEY], hash);

	for (; link; link = link->next) {
		struct member *m = ENTRY(link, struct member, by_key);

		if (link->hash == hash && !memcmp(&m->key, key, sizeof(*key)))
			return m;
	}
	return NULL;
}

static void drop_member(struct sa_set *set, struct member *m)
{
	chains_take_out(&set->tables[BY_KEY], &m->by_key);
	free(m);
}

static struct member *add_member(struct sa_set *set, const struct clatch_sa_key *key, __u64 hash)
{
	struct member *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->key = *key;
	chains_insert(&set->tables[BY_KEY], &m->by_key, hash);
	return m;
}

/* @m becomes one of the class @normal, perhaps a new one: an enum news or -ENOMEM. */
static int join_class(struct sa_set *set, struct member *m, const struct sa_class *normal)
{
	__u64 hash = hash_content(set, normal);
	struct class *class = find_class(set, normal, hash), *before = m->class;
	enum news news = NO_NEWS;

	if (!class) {
		class = add_class(set, normal, hash);
		if (!class)
			return -ENOMEM;
		news = news_of(set, class);
	}
	class->sa.count++;
	if (before)
		out_of_class(m);
	into_class(class, m);
	news = news_more(news, date_class(set, class));
	return before ? news_more(news, leave_class(set, before)) : (int)news;
}

static __u64 now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ULL + now.tv_nsec / 1000;
}

int sa_set_put(struct sa_set *set, const struct clatch_sa_key *key, const struct sa_class *sa)
{
	__u64 hash = chains_hash(set->seed, key, sizeof(*key));
	struct member *m = find_member(set, key, hash);
	struct sa_class normal;
	int ret;

	if (!m)
		m = add_member(set, key, hash);
	if (!m)
		return -ENOMEM;
	if (!m->born || m->key_tag != sa->sa.key_tag) {
		m->born = ++set->last_born;
		m->came_us = now_us();
	}
	m->key_tag = sa->sa.key_tag;
	normalise(&normal, sa);
	ret = join_class(set, m, &normal);
	if (ret < 0 && !m->class)
		drop_member(set, m);
	else
		m->round = set->round;
	return ret;
}

int sa_set_tell(struct sa_set *set, const struct clatch_sa_key *key, __u32 tag,
		struct clatch_who who)
{
	struct member *m = find_member(set, key, chains_hash(set->seed, key, sizeof(*key)));
	struct sa_class normal;
	struct class *before;
	int news;

	if (!m || m->key_tag != tag)
		return NO_NEWS;
	before = m->class;
	normalise(&normal, &before->sa);
	normal.sa.who = who;
	news = join_class(set, m, &normal);
	return news == NO_NEWS && m->class != before ? NEWS_OF_REKEY : news;
}

static enum news remove_member(struct sa_set *set, struct member *m)
{
	enum news news;

	out_of_class(m);
	news = leave_class(set, m->class);
	drop_member(set, m);
	return news;
}

enum news sa_set_remove(struct sa_set *set, const struct clatch_sa_key *key)
{
	struct member *m = find_member(set, key, chains_hash(set->seed, key, sizeof(*key)));

	return m ? remove_member(set, m) : NO_NEWS;
}

const struct sa_class *sa_set_find(const struct sa_set *set, const struct clatch_sa_key *key)
{
	struct member *m = find_member(set, key, chains_hash(set->seed, key, sizeof(*key)));

	return m ? &m->class->sa : NULL;
}

__u64 sa_set_born(const struct sa_set *set, const struct clatch_sa_key *key)
{
	struct member *m = find_member(set, key, chains_hash(set->seed, key, sizeof(*key)));

	return m ? m->born : 0;
}

__u32 sa_set_key_tag(const struct sa_set *set, const struct clatch_sa_key *key)
{
	struct member *m = find_member(set, key, chains_hash(set->seed, key, sizeof(*key)));

	return m ? m->key_tag : 0;
}

__u64 sa_set_age_us(const struct sa_set *set, const struct clatch_sa_key *key)
{
	struct member *m = find_member(set, key, chains_hash(set->seed, key, sizeof(*key)));

	return m ? now_us() - m->came_us : 0;
}

__u64 sa_set_last_born(const struct sa_set *set)
{
	return set->last_born;
}

bool sa_set_has_unknown(const struct sa_set *set, __u64 born)
{
	const struct chains *t = &set->tables[BY_KEY];

	for (size_t i = 0; i < t->size; i++) {
		for (struct link *link = t->buckets[i]; link; link = link->next) {
			const struct member *m = ENTRY(link, struct member, by_key);

			if (m->born > born && !m->class->sa.sa.who.peer_id)
				return true;
		}
	}
	return false;
}

void sa_set_begin(struct sa_set *set)
{
	set->round++;
	set->news = NO_NEWS;
}

enum news sa_set_end(struct sa_set *set)
{
	const struct chains *t = &set->tables[BY_KEY];

	for (size_t i = 0; i < t->size; i++) {
		for (struct link *link = t->buckets[i], *next; link; link = next) {
			struct member *m = ENTRY(link, struct member, by_key);

			next = link->next;
			if (m->round != set->round)
				remove_member(set, m);
		}
	}
	return set->news;
}

static bool is_between(const struct sa_class *sa, const struct clatch_addr *src,
		       const struct clatch_addr *dst)
{
	return !memcmp(&sa->sa.src, src, sizeof(*src)) && !memcmp(&sa->sa.dst, dst, sizeof(*dst));
}

int sa_set_each(const struct sa_set *set, const struct clatch_addr *src,
		const struct clatch_addr *dst, sa_set_visit *visit, void *context)
{
	__u64 hash = hash_pair(set, src, dst);
	struct link *link = chains_at(&set->tables[BY_PAIR], hash);
	int ret = 0;

	for (; link && !ret; link = link->next) {
		const struct class *class = ENTRY(link, struct class, by_pair);

		if (link->hash == hash && is_between(&class->sa, src, dst))
			ret = visit(context, &class->sa);
	}
	return ret;
}

int sa_set_each_reqid(const struct sa_set *set, const struct clatch_addr *src,
		      const struct clatch_addr *dst, __u32 reqid, sa_set_visit *visit,
		      void *context)
{
	__u64 hash = hash_reqid(hash_pair(set, src, dst), reqid);
	struct link *link = chains_at(&set->tables[BY_REQID], hash);
	int ret = 0;

	for (; link && !ret; link = link->next) {
		const struct class *class = ENTRY(link, struct class, by_reqid);

		if (link->hash == hash && class->sa.sa.reqid == reqid &&
		    is_between(&class->sa, src, dst))
			ret = visit(context, &class->sa);
	}
	return ret;
}
