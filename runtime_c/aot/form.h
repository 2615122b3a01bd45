/* Sums of locals: what an address or a counter is, as far as it can be told from the text of a loop. In 32 bits, which
 * wrap around as those of the module do. */
#ifndef WR_AOT_FORM_H
#define WR_AOT_FORM_H
#include <stdbool.h>
#include <stdint.h>

#include "text.h"

enum { AOT_FORM_TERMS = 4 };

/* number + Σ factor · local. Terms are in the order of their locals, no factor is 0. */
typedef struct wr_aot_form {
    bool is_known;
    uint8_t count;
    uint32_t number;
    struct {
        uint32_t local, factor;
    } terms[AOT_FORM_TERMS];
} wr_aot_form;

wr_aot_form wr_aot_form_number(uint32_t number);
wr_aot_form wr_aot_form_local(uint32_t local);
/* a + factor · b; not known where one of them is not, or it has too many terms. */
wr_aot_form wr_aot_form_add(const wr_aot_form *a, const wr_aot_form *b, uint32_t factor);
bool wr_aot_form_is_number(const wr_aot_form *form);
/* Whether they differ by a number alone. */
bool wr_aot_form_same_terms(const wr_aot_form *a, const wr_aot_form *b);
/* As an expression of type uint32_t. */
void wr_aot_form_put(wr_text *text, const wr_aot_form *form);

#endif
