/* Inputs that once were trouble, found by the fuzzer or by hand: index.txt in the folder WR_TEST_REGRESSIONS says what
 * each was. What is done with them is fuzz/drive.c. */
#include "../fuzz/drive.h"
#include "check.h"

enum { INPUT_MAX = 1 << 16, NAME_MAX_BYTES = 128 };

static void run_file(check_t *check, const char *folder, const char *name) {
    char path[4096];
    drive_counts counts = {0};
    uint8_t *bytes = malloc(INPUT_MAX);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (CHECK(file != NULL) && CHECK(bytes != NULL)) {
        size_t len = fread(bytes, 1, INPUT_MAX, file);
        drive_input(bytes, len, &counts);
        CHECK_EQ_U64(counts.inputs, 1);
    }
    if (file != NULL) {
        fclose(file);
    }
    free(bytes);
}

static void nothing_happens_any_more(check_t *check) {
    const char *folder = getenv("WR_TEST_REGRESSIONS");
    char path[4096], line[512], name[NAME_MAX_BYTES];
    size_t count = 0;
    REQUIRE(folder != NULL);
    snprintf(path, sizeof path, "%s/index.txt", folder);
    FILE *index = fopen(path, "r");
    REQUIRE(index != NULL);
    while (fgets(line, sizeof line, index) != NULL) {
        if (sscanf(line, "%127s", name) == 1 && name[0] != '#') {
            run_file(check, folder, name);
            count++;
        }
    }
    fclose(index);
    CHECK(count > 0);
}

static const check_test TESTS[] = {
    CHECK_TEST(nothing_happens_any_more),
};
CHECK_MAIN(TESTS)
