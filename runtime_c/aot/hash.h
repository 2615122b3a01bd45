/* SHA-256 (FIPS 180-4). */
#ifndef WR_AOT_HASH_H
#define WR_AOT_HASH_H
#include <stddef.h>
#include <stdint.h>

enum { WR_HASH_BYTES = 32 };
void wr_hash(const uint8_t *bytes, size_t len, uint8_t out[WR_HASH_BYTES]);

#endif
