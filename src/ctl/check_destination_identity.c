/* SPDX-License-Identifier: ISC */
/*
 * Whether a destination goes by the client that it is told of (identity= of DESTINATIONS): a client
 * at an address that is nobody's (RFC 5737, RFC 3849) must not relay, whatever our own address may.
 */
#include <string.h>

#include "ctl/check_destination.h"

#define NOBODYS_PORT 4321
#define RELAY	     "caronte-relay-check@example.com"

/* Whom it is told of. */
struct nobody {
	const char *ip;
	const char *cure;   /* where it does not take XCLIENT for such a client */
	const char *let_in; /* … and where it does not let it in; NULL: nothing that is known */
};

static const char ipv6_cure[] = "Postfix inet_protocols = all, or no IPv6 in LISTEN_ADDRESS";

static const struct nobody ipv4 = { "192.0.2.1", "Postfix smtpd_authorized_xclient_hosts", NULL };
static const struct nobody ipv6 = { "2001:db8::1", ipv6_cure, ipv6_cure };

static bool greets_and_offers(struct destination_check *k, struct smtp_reply *reply)
{
	enum probe_heard heard;

	destination_say(k, SMTP_HELLO_GREETING);
	if (destination_answer(k, &heard, reply) == SMTP_HELLO_BAD)
		return false;
	destination_say(k, SMTP_HELLO_EHLO);
	return destination_answer(k, &heard, reply) == SMTP_HELLO_GOOD;
}

/* Tells it of the client by XCLIENT. False: it takes no such word, and the report says so. */
static bool takes_xclient(struct destination_check *k, const struct nobody *who,
			  struct smtp_reply *reply)
{
	char words[DESTINATION_TEXT];
	enum probe_heard heard;

	if (!smtp_hello_can_present(&k->hello)) {
		destination_warn(k, who->cure, "%s: no mail goes there", smtp_identity_no_xclient);
		return false;
	}
	smtp_hello_begin_xclient(&k->hello, k->hello.xclient, &k->at.client, &k->at.addr);
	probe_send(&k->smtp, k->hello.line, strlen(k->hello.line));
	if (destination_answer(k, &heard, reply) != SMTP_HELLO_GOOD) {
		destination_words(heard, reply, words);
		destination_warn(k, who->cure,
				 "XCLIENT for the client %s gets %s: no mail %sgoes there", who->ip,
				 words, who == &ipv6 ? "of such clients " : "");
		return false;
	}
	destination_say(k, SMTP_HELLO_EHLO);
	return destination_answer(k, &heard, reply) == SMTP_HELLO_GOOD;
}

/* What it has said names the client. */
static void say_whom(struct destination_check *k, const char *ip, const struct smtp_reply *reply)
{
	if (memmem(reply->text.p, reply->text.n, ip, strlen(ip)))
		destination_good(k, "it takes us for the client %s, by its answer to EHLO", ip);
	else
		destination_note(k, "its log must name %s as the client of this connection", ip);
}

static void judge(struct destination_check *k, const char *ip, unsigned code, const char *words)
{
	if (code / 100 == 5)
		destination_good(k,
				 "told that the client is %s, it refuses mail to <" RELAY ">: %s",
				 ip, words);
	else if (code / 100 == 2)
		destination_warn(
			k,
			"it must go by the client's address: Postfix "
			"smtpd_upstream_proxy_protocol and mynetworks, Exim hosts_proxy and "
			"relay_from_hosts, OpenSMTPD listen … proxy-v2 and match from",
			"it relays for the client %s: RCPT TO:<" RELAY "> gets %s", ip, words);
	else
		destination_warn(k, NULL,
				 "told that the client is %s, RCPT TO:<" RELAY "> gets %s: "
				 "whether it relays is not known",
				 ip, words);
}

/* False: it takes nobody whom it is told of in this way. */
static bool check_stranger(struct destination_check *k, const struct nobody *who)
{
	char words[DESTINATION_TEXT];
	struct smtp_reply reply;

	if (!greets_and_offers(k, &reply)) {
		destination_warn(k, who->let_in,
				 "told that the client is %s, it does not let it in: nothing is "
				 "known of it",
				 who->ip);
		return false;
	}
	if (k->at.identity == ROUTE_IDENTITY_XCLIENT && !takes_xclient(k, who, &reply))
		return false;
	say_whom(k, who->ip, &reply);
	probe_say(&k->smtp, "MAIL FROM:<>");
	if (destination_hear(k, words) / 100 == 2) {
		probe_say(&k->smtp, "RCPT TO:<" RELAY ">");
		judge(k, who->ip, destination_hear(k, words), words);
	} else {
		destination_warn(k, NULL,
				 "told that the client is %s, MAIL FROM:<> gets %s: whether it "
				 "relays for clients is not known",
				 who->ip, words);
	}
	return true;
}

/* The same, in a connection of its own. */
static bool tell_of(struct destination_check *k, const struct nobody *who)
{
	struct probe_place ours = k->at;
	int err = addr_parse_ip(&k->at.client, who->ip);
	bool taken = false;

	k->at.client.port = NOBODYS_PORT;
	if (err == 0)
		err = probe_dial(&k->smtp, &k->at, k->patience_ms);
	if (err == 0)
		taken = check_stranger(k, who);
	else
		destination_warn(k, NULL, "cannot be connected to a second time: %s",
				 probe_error(&k->smtp, err));
	probe_hang_up(&k->smtp);
	k->at = ours;
	return taken;
}

void destination_check_identity(struct destination_check *k)
{
	if (k->at.identity == ROUTE_IDENTITY_NONE)
		return;
	if (k->at.identity == ROUTE_IDENTITY_XFORWARD) {
		if (k->forward & SMTP_ATTRIBUTE_ADDR && k->pipelining)
			destination_good(k, "it offers XFORWARD");
		else
			destination_warn(k, "Postfix smtpd_authorized_xforward_hosts",
					 "%s: no mail goes there", smtp_identity_no_xforward);
		return;
	}
	if (tell_of(k, &ipv4) && k->ipv6)
		(void)tell_of(k, &ipv6);
}
