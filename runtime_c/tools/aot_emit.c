/* Writes a module as C, or completes a shared object made of it: for tests and benches without Python.
 *
 *   aot_emit MODULE.wasm >MODULE.c
 *   aot_emit --seal TARGET MODULE.so */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wr.h"

static int failed(const wr_error *error) {
    fprintf(stderr, "aot_emit: %s\n", error->message);
    return EXIT_FAILURE;
}

static int emit(const char *path) {
    wr_engine *engine = NULL;
    wr_error error = {0};
    char *text = NULL;
    size_t text_len = 0;
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        return EXIT_FAILURE;
    }
    const size_t len = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(len + 1);
    wr_status status = bytes != NULL && fread(bytes, 1, len, file) == len ? wr_engine_new(NULL, &engine) : WR_SYSTEM;
    fclose(file);
    if (status == WR_OK) status = wr_aot_emit_c(engine, bytes, len, &text, &text_len, &error);
    if (status == WR_OK) fwrite(text, 1, text_len, stdout);
    wr_aot_free_c(text);
    wr_engine_free(engine);
    free(bytes);
    return status == WR_OK ? EXIT_SUCCESS : failed(&error);
}

int main(int argc, char **argv) {
    wr_error error = {0};
    if (argc == 2) return emit(argv[1]);
    if (argc == 4 && strcmp(argv[1], "--seal") == 0) {
        return wr_aot_seal(argv[3], argv[2], &error) == WR_OK ? EXIT_SUCCESS : failed(&error);
    }
    fprintf(stderr, "usage: aot_emit MODULE.wasm | aot_emit --seal TARGET MODULE.so\n");
    return EXIT_FAILURE;
}
