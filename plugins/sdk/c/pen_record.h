/* What stages between driver and format do with records: tell numbers from the rest, copy, replace a value. */
#ifndef PEN_RECORD_H
#define PEN_RECORD_H
#include "pen.h"

/* A sample with a value to reckon with: bool, i64, u64 or f64. */
static inline bool pen_record_is_number(const struct pen_record *record) {
    return record->kind == PEN_SAMPLE && record->type >= PEN_BOOL && record->type <= PEN_F64;
}

static inline bool pen_is_finite(double value) { return value - value == 0; }

/* The same, and not NaN or infinite. */
static inline bool pen_record_is_finite(const struct pen_record *record) {
    return pen_record_is_number(record) && (record->type != PEN_F64 || pen_is_finite(record->value.f64));
}

/* Numbers only. Above 2^53 integers are rounded. */
static inline double pen_record_number(const struct pen_record *record) {
    if (record->type == PEN_F64) return record->value.f64;
    return record->type == PEN_I64 ? (double)record->value.i64 : (double)record->value.u64;
}

static inline void pen_record_mark_bad(struct pen_record *record) {
    if (record->quality == PEN_GOOD) record->quality = PEN_BAD;
}

static inline void pen_record_copy(struct pen_record *to, const struct pen_record *from) {
    __builtin_memcpy(to, from, from->size);
}

#endif
