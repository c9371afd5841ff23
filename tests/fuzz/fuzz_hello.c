/* SPDX-License-Identifier: ISC */
/*
 * What the first octets of a TLS connection are is found from any beginning of them, and stays so:
 * more octets never change it, and nobody is waited for behind TLS_HELLO_MAX.
 */
#include "fuzz.h"
#include "tls/hello.h"

#define RECORD_HANDSHAKE 22

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = fuzz_copy(span_of(data, size));
	enum tls_hello_result was = TLS_HELLO_MORE;

	for (size_t n = 0; n <= size; n++) {
		/* So that ASan sees a look behind the N octets. */
		uint8_t *part = fuzz_copy(span_of(copy, n));
		enum tls_hello_result now = tls_hello_look(span_of(part, n));

		free(part);
		CHECK(was == TLS_HELLO_MORE || now == was);
		CHECK(now != TLS_HELLO_MORE || n < TLS_HELLO_MAX);
		CHECK(now != TLS_HELLO_WHOLE || (copy[0] == RECORD_HANDSHAKE && n >= 9));
		was = now;
	}
	CHECK(size == 0 || copy[0] == RECORD_HANDSHAKE || was == TLS_HELLO_NONE);
	free(copy);
	return 0;
}
