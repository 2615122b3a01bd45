/* Nests of loops over floats, of infinities times 0 too: what NaN the processor makes of that must not be seen. */
#include <stdint.h>

#define EXPORT(NAME) __attribute__((export_name(#NAME), noinline))
enum { WIDTH = 24 };

#define NEST(NAME, T)                                                                                              \
    static T NAME##_left[WIDTH][WIDTH], NAME##_product[WIDTH][WIDTH];                                              \
    EXPORT(NAME) void NAME(uint32_t n) {                                                                           \
        T *volatile where[2] = {&NAME##_left[0][0], &NAME##_product[0][0]};                                        \
        T *a = where[0], *c = where[1];                                                                            \
        for (uint32_t i = 0; i < WIDTH * WIDTH; i++) a[i] = i % 13 == n % 13 ? (T)__builtin_inf() : (T)(i % 7) - 3; \
        for (int i = 0; i < WIDTH; i++) {                                                                          \
            for (int j = 0; j < WIDTH; j++) {                                                                      \
                T total = 0;                                                                                       \
                for (int k = 0; k < WIDTH; k++) total += a[i * WIDTH + k] * a[k * WIDTH + j];                       \
                c[i * WIDTH + j] = total;                                                                          \
            }                                                                                                      \
        }                                                                                                          \
    }
NEST(narrow, float)
NEST(wide, double)
