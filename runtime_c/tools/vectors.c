/* Runs a plugin's test vectors: vectors PLUGIN.wasm SCRIPT [--bytewise]. The format: ../flow/vectors.c.
 *
 * --bytewise delivers received bytes one by one. Ends at the first mismatch with status 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wr.h"

enum { GROW = 65536, REPORT_BYTES = 1 << 20 };

/* Also what cannot be sought, such as a pipe. NULL: cannot be read. */
static uint8_t *read_file(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = NULL;
    size_t got = 1;
    *len = 0;
    while (file != NULL && got > 0) {
        uint8_t *grown = realloc(bytes, *len + GROW);
        if (grown == NULL) break;
        bytes = grown;
        got = fread(bytes + *len, 1, GROW, file);
        *len += got;
    }
    if (file != NULL) fclose(file);
    return bytes;
}

static int run(wr_engine *engine, const char *plugin, const char *script, bool bytewise) {
    size_t len = 0;
    wr_vectors vectors = {.name = script, .bytewise = bytewise};
    wr_error error = {.message = ""};
    wr_module *module = NULL;
    uint8_t *bytes = read_file(plugin, &len), *text = read_file(script, &vectors.len);
    char *report = malloc(REPORT_BYTES);
    int status = EXIT_FAILURE;
    vectors.script = (const char *)text;
    if (bytes == NULL || text == NULL || report == NULL) {
        fprintf(stderr, "%s: cannot be read\n", bytes == NULL ? plugin : script);
    } else if (wr_module_load(engine, bytes, len, &module, &error) != WR_OK) {
        fprintf(stderr, "%s: %s\n", plugin, error.message);
    } else {
        bool passed = wr_vectors_run(engine, module, &vectors, report, REPORT_BYTES) == WR_OK;
        fputs(report, passed ? stdout : stderr);
        status = passed ? EXIT_SUCCESS : EXIT_FAILURE;
        wr_module_release(module);
    }
    free(report);
    free(text);
    free(bytes);
    return status;
}

int main(int argc, char **argv) {
    const char *paths[2] = {NULL, NULL};
    int count = 0;
    bool bytewise = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bytewise") == 0) {
            bytewise = true;
        } else if (count < 2) {
            paths[count++] = argv[i];
        }
    }
    wr_engine *engine = NULL;
    if (count < 2 || wr_engine_new(NULL, &engine) != WR_OK) {
        fprintf(stderr, "usage: vectors PLUGIN.wasm SCRIPT [--bytewise]\n");
        return 2;
    }
    int status = run(engine, paths[0], paths[1], bytewise);
    wr_engine_free(engine);
    return status;
}
