#include "fixture.h"

#if defined(__SANITIZE_THREAD__) /* gcc */
#define UNDER_THREAD_SANITIZER
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) /* clang */
#define UNDER_THREAD_SANITIZER
#endif
#endif

wr_status fixture_open(fixture *fix, const wr_engine_config *config) {
    *fix = (fixture){0};
    wr_status status = wr_engine_new(config, &fix->engine);
    status = status == WR_OK ? wr_store_new(fix->engine, &fix->store) : status;
    return status == WR_OK ? wr_exec_new(fix->engine, 0, &fix->exec) : status;
}

void fixture_close(fixture *fix) {
    if (fix->module != NULL) {
        wr_module_release(fix->module);
    }
    if (fix->exec != NULL) {
        wr_exec_free(fix->exec);
    }
    if (fix->store != NULL) {
        wr_store_free(fix->store);
    }
    if (fix->engine != NULL) {
        wr_engine_free(fix->engine);
    }
    *fix = (fixture){0};
}

wr_status fixture_load(fixture *fix, build_t *bytes) {
    if (fix->module != NULL) {
        wr_module_release(fix->module);
        fix->module = NULL;
    }
    fix->error = (wr_error){0};
    wr_status status = wr_module_load(fix->engine, bytes->at, bytes->len, &fix->module, &fix->error);
    build_free(bytes);
    return status;
}

wr_status fixture_link(fixture *fix, const wr_extern *imports, uint32_t count, const wr_instance_limits *limits) {
    fix->error = (wr_error){0};
    return wr_instance_new(fix->store, fix->module, imports, count, limits, fix->exec, &fix->instance, &fix->error);
}

wr_status fixture_module(fixture *fix, const wr_engine_config *config, const build_module *module) {
    build_t bytes = {0};
    wr_status status = fixture_open(fix, config);
    if (status != WR_OK) {
        return status;
    }
    build_whole(&bytes, module);
    status = fixture_load(fix, &bytes);
    return status == WR_OK ? fixture_link(fix, NULL, 0, NULL) : status;
}

wr_func *fixture_func(const fixture *fix, const char *name) {
    wr_extern found;
    if (fix->instance == NULL || wr_instance_export(fix->instance, name, strlen(name), &found) != WR_OK) {
        return NULL;
    }
    return found.kind == WR_EXTERN_FUNC ? found.of.func : NULL;
}

wr_status fixture_call(fixture *fix, const char *name, wr_slot *slots) {
    wr_func *func = fixture_func(fix, name);
    return func != NULL ? wr_call(fix->exec, func, slots, slots) : WR_NOT_FOUND;
}

bool fixture_has_guards(void) { return sizeof(void *) == 8; }

uint32_t fixture_guard_rounds(uint32_t natively) {
#ifdef UNDER_THREAD_SANITIZER
    (void)natively;
    return 0;
#else
    return getenv("WR_TEST_EMULATED") == NULL ? natively : 2;
#endif
}
