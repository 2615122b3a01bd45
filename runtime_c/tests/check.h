/* A small C test harness; check.c is linked into every test program.
 *
 *     static void adds(check_t *check) { CHECK_EQ_U64(add(1, 2), 3); }
 *     static const check_test TESTS[] = {CHECK_TEST(adds)};
 *     CHECK_MAIN(TESTS)
 *
 * A failing check prints file:line with the values and the test goes on; REQUIRE leaves the test function, for checks
 * that what follows relies on. `test_x NAME` runs the tests whose name contains NAME. The last line is
 * `N passed, N failed` (tests), the exit status 1 if any failed. */
#ifndef WR_CHECK_H
#define WR_CHECK_H
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The state of a run; tests get it under the name `check`. */
typedef struct check_t {
    uint64_t failures; /* checks that failed */
} check_t;

typedef struct check_test {
    const char *name;
    void (*run)(check_t *check);
} check_test;

#define CHECK_TEST(function) {#function, function}

/* Each of these is true if the check held, so `if (!CHECK(x)) return;` works. */
#define CHECK(condition) check_true(check, __FILE__, __LINE__, #condition, (condition))
#define CHECK_EQ_U64(got, want) check_u64(check, __FILE__, __LINE__, #got, (uint64_t)(got), (uint64_t)(want))
#define CHECK_EQ_I64(got, want) check_i64(check, __FILE__, __LINE__, #got, (int64_t)(got), (int64_t)(want))
#define CHECK_EQ_F64(got, want) check_f64(check, __FILE__, __LINE__, #got, (got), (want))
#define CHECK_STR(got, want) check_str(check, __FILE__, __LINE__, #got, (got), (want))
#define CHECK_CONTAINS(got, part) check_contains(check, __FILE__, __LINE__, #got, (got), (part))
#define CHECK_MEM(got, want, len) check_mem(check, __FILE__, __LINE__, #got, (got), (want), (len))
/* For a wr_status: prints the names of both. Needs wr.h. */
#define CHECK_STATUS(got, want) check_status(check, __FILE__, __LINE__, #got, (int)(got), (int)(want))
#define CHECK_OK(got) CHECK_STATUS(got, WR_OK)
/* Fails the test with a printf text. */
#define CHECK_FAIL(...) check_fail(check, __FILE__, __LINE__, __VA_ARGS__)

#define REQUIRE(condition)                                                    \
    do {                                                                      \
        if (!check_true(check, __FILE__, __LINE__, #condition, (condition))) { \
            return;                                                           \
        }                                                                     \
    } while (0)
#define REQUIRE_OK(got)                \
    do {                               \
        if (!CHECK_STATUS(got, WR_OK)) { \
            return;                    \
        }                              \
    } while (0)

__attribute__((format(printf, 4, 5))) bool check_fail(check_t *check, const char *file, int line, const char *format,
                                                      ...);
bool check_true(check_t *check, const char *file, int line, const char *what, bool held);
bool check_u64(check_t *check, const char *file, int line, const char *what, uint64_t got, uint64_t want);
bool check_i64(check_t *check, const char *file, int line, const char *what, int64_t got, int64_t want);
bool check_f64(check_t *check, const char *file, int line, const char *what, double got, double want);
bool check_str(check_t *check, const char *file, int line, const char *what, const char *got, const char *want);
bool check_contains(check_t *check, const char *file, int line, const char *what, const char *got, const char *part);
bool check_mem(check_t *check, const char *file, int line, const char *what, const void *got, const void *want,
               size_t len);
bool check_status(check_t *check, const char *file, int line, const char *what, int got, int want);

int check_run(const check_test *tests, size_t count, int argc, char **argv);

#define CHECK_MAIN(table)                                                             \
    int main(int argc, char **argv) {                                                 \
        return check_run(table, sizeof(table) / sizeof((table)[0]), argc, argv);      \
    }

#endif
