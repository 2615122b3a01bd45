#include "form.h"

wr_aot_form wr_aot_form_number(uint32_t number) { return (wr_aot_form){.is_known = true, .number = number}; }

wr_aot_form wr_aot_form_local(uint32_t local) {
    return (wr_aot_form){.is_known = true, .count = 1, .terms = {{local, 1}}};
}

bool wr_aot_form_is_number(const wr_aot_form *form) { return form->is_known && form->count == 0; }

static void add_term(wr_aot_form *to, uint32_t local, uint32_t factor) {
    if (factor == 0) return;
    if (to->count == AOT_FORM_TERMS) {
        to->is_known = false;
        return;
    }
    to->terms[to->count].local = local;
    to->terms[to->count++].factor = factor;
}

wr_aot_form wr_aot_form_add(const wr_aot_form *a, const wr_aot_form *b, uint32_t factor) {
    wr_aot_form sum = {.is_known = a->is_known && b->is_known, .number = a->number + factor * b->number};
    uint32_t i = 0, k = 0;
    while (sum.is_known && (i < a->count || k < b->count)) {
        const uint32_t left = i < a->count ? a->terms[i].local : UINT32_MAX;
        const uint32_t right = k < b->count ? b->terms[k].local : UINT32_MAX;
        uint32_t total = 0;
        if (left <= right) total += a->terms[i++].factor;
        if (right <= left) total += factor * b->terms[k++].factor;
        add_term(&sum, left < right ? left : right, total);
    }
    return sum;
}

bool wr_aot_form_same_terms(const wr_aot_form *a, const wr_aot_form *b) {
    const wr_aot_form difference = wr_aot_form_add(a, b, UINT32_MAX);
    return wr_aot_form_is_number(&difference);
}

void wr_aot_form_put(wr_text *text, const wr_aot_form *form) {
    wr_text_add(text, "(0x%xu", form->number);
    for (uint32_t i = 0; i < form->count; i++) {
        wr_text_add(text, form->terms[i].factor == 1 ? " + l%u" : " + l%u * 0x%xu", form->terms[i].local,
                    form->terms[i].factor);
    }
    wr_text_add(text, ")");
}
