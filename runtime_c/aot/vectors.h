/* Behind prelude.h and simd.h in modules with vectors. */
#ifndef WR_AOT_VECTORS_H
#define WR_AOT_VECTORS_H

typedef wr_u64x2 v128;
CELL(wr_u64x2)
#undef CANON_F32X4
#undef CANON_F64X2
#define CANON_F32X4(EXPR) (EXPR)
#define CANON_F64X2(EXPR) (EXPR)
static inline v128 lanes_canon_f32(v128 value) { return (v128)wr_canon_f32x4((wr_f32x4)value); }
static inline v128 lanes_canon_f64(v128 value) { return (v128)wr_canon_f64x2((wr_f64x2)value); }
static inline v128 get128(const wr_slot *from) {
    v128 value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}
static inline void put128(wr_slot *to, v128 value) { __builtin_memcpy(to, &value, sizeof value); }
#define EXTRACT(T, VECTOR, LANE) (((T)(VECTOR))[LANE])
#define REPLACE(T, VECTOR, LANE, VALUE)       \
    ({                                        \
        T to_ = (T)(VECTOR);                  \
        to_[LANE] = (__typeof__(to_[0]))(VALUE); \
        (v128) to_;                           \
    })
/* Not a sum with zeroes: that would not keep every bit of a float. */
#define SPLAT(T, VALUE)                                                                   \
    ({                                                                                    \
        T to_;                                                                            \
        for (unsigned i_ = 0; i_ < sizeof to_ / sizeof to_[0]; i_++) to_[i_] = (__typeof__(to_[0]))(VALUE); \
        (v128) to_;                                                                       \
    })

#endif
