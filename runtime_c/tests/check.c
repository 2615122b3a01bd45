/* The harness of check.h; linked into every test program. */
#include "check.h"

#include <stdarg.h>

#include "wr.h"

bool check_fail(check_t *check, const char *file, int line, const char *format, ...) {
    va_list args;
    check->failures++;
    printf("\n  %s:%d: ", file, line);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    fflush(stdout);
    return false;
}

bool check_true(check_t *check, const char *file, int line, const char *what, bool held) {
    return held || check_fail(check, file, line, "%s does not hold", what);
}

bool check_u64(check_t *check, const char *file, int line, const char *what, uint64_t got, uint64_t want) {
    return got == want ||
           check_fail(check, file, line, "%s: got %" PRIu64 " (0x%" PRIx64 "), want %" PRIu64 " (0x%" PRIx64 ")", what,
                      got, got, want, want);
}

bool check_i64(check_t *check, const char *file, int line, const char *what, int64_t got, int64_t want) {
    return got == want || check_fail(check, file, line, "%s: got %" PRIi64 ", want %" PRIi64, what, got, want);
}

/* Bits are compared, so that -0 is not 0 and a NaN equals itself. */
bool check_f64(check_t *check, const char *file, int line, const char *what, double got, double want) {
    return memcmp(&got, &want, sizeof got) == 0 ||
           check_fail(check, file, line, "%s: got %.17g, want %.17g", what, got, want);
}

bool check_str(check_t *check, const char *file, int line, const char *what, const char *got, const char *want) {
    return (got != NULL && strcmp(got, want) == 0) ||
           check_fail(check, file, line, "%s: got \"%s\", want \"%s\"", what, got != NULL ? got : "(null)", want);
}

bool check_contains(check_t *check, const char *file, int line, const char *what, const char *got, const char *part) {
    return (got != NULL && strstr(got, part) != NULL) ||
           check_fail(check, file, line, "%s: got \"%s\", want it to contain \"%s\"", what,
                      got != NULL ? got : "(null)", part);
}

bool check_mem(check_t *check, const char *file, int line, const char *what, const void *got, const void *want,
               size_t len) {
    const uint8_t *g = got;
    const uint8_t *w = want;
    for (size_t i = 0; i < len; i++) {
        if (g[i] != w[i]) {
            return check_fail(check, file, line, "%s: byte %zu of %zu: got 0x%02x, want 0x%02x", what, i, len, g[i],
                              w[i]);
        }
    }
    return true;
}

bool check_status(check_t *check, const char *file, int line, const char *what, int got, int want) {
    return got == want || check_fail(check, file, line, "%s: got %s, want %s", what, wr_status_name((wr_status)got),
                                     wr_status_name((wr_status)want));
}

int check_run(const check_test *tests, size_t count, int argc, char **argv) {
    const char *filter = argc > 1 ? argv[1] : "";
    size_t passed = 0;
    size_t failed = 0;
    for (size_t i = 0; i < count; i++) {
        check_t check = {0};
        if (strstr(tests[i].name, filter) == NULL) {
            continue;
        }
        printf("%s ", tests[i].name); /* before it runs: a crash is then attributed to it */
        fflush(stdout);
        tests[i].run(&check);
        printf("%s\n", check.failures == 0 ? "ok" : "\n  FAILED");
        *(check.failures == 0 ? &passed : &failed) += 1;
    }
    printf("%zu passed, %zu failed\n", passed, failed);
    return failed == 0 && passed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
