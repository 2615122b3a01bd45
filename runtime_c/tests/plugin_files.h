/* The compiled plugins of tests/plugins, from the folder that WR_TEST_PLUGINS names. */
#ifndef WR_PLUGIN_FILES_H
#define WR_PLUGIN_FILES_H
#include "check.h"
#include "wr.h"

static inline wr_module *load_plugin(check_t *check, wr_engine *engine, const char *name) {
    char path[512];
    static uint8_t bytes[65536];
    const char *folder = getenv("WR_TEST_PLUGINS");
    snprintf(path, sizeof path, "%s/%s.wasm", folder != NULL ? folder : "plugins", name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        CHECK_FAIL("%s: not found; build it with `make plugins` and set WR_TEST_PLUGINS", path);
        exit(EXIT_FAILURE);
    }
    size_t len = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    wr_module *module = NULL;
    wr_error error = {.message = ""};
    if (!CHECK_OK(wr_module_load(engine, bytes, len, &module, &error))) CHECK_FAIL("%s: %s", path, error.message);
    return module;
}

#endif
