/* Changes a module inside one section and keeps the sizes around it right, so that the change is looked at. */
#ifndef WR_FUZZ_MUTATOR_H
#define WR_FUZZ_MUTATOR_H
#include <stddef.h>
#include <stdint.h>

/* Changes len bytes in place, into at most max; returns how many there are now. */
typedef size_t (*mutate_fn)(uint8_t *bytes, size_t len, size_t max);

/* The new length. change works on the content of a section or of one function body; NULL: some changes of its own. The
 * same seed does the same. Input without sections is changed as a whole. */
size_t mutate_module(uint8_t *bytes, size_t len, size_t max, uint64_t seed, mutate_fn change);

#endif
