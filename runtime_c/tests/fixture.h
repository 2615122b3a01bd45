/* An engine with everything that a test of one module needs. */
#ifndef WR_TESTS_FIXTURE_H
#define WR_TESTS_FIXTURE_H
#include "build.h"
#include "check.h"
#include "wr.h"

typedef struct fixture {
    wr_engine *engine;
    wr_store *store;
    wr_exec *exec;
    wr_module *module;     /* of the last fixture_load */
    wr_instance *instance; /* of the last fixture_link */
    wr_error error;        /* of the last step that failed */
} fixture;

/* Engine, store and exec; config NULL: defaults. */
wr_status fixture_open(fixture *fix, const wr_engine_config *config);
void fixture_close(fixture *fix);
/* Loads bytes; frees them and what was loaded before. */
wr_status fixture_load(fixture *fix, build_t *bytes);
wr_status fixture_link(fixture *fix, const wr_extern *imports, uint32_t count, const wr_instance_limits *limits);
/* Open, build, load and link without imports. */
wr_status fixture_module(fixture *fix, const wr_engine_config *config, const build_module *module);

/* An export of the instance, or NULL. */
wr_func *fixture_func(const fixture *fix, const char *name);
/* Calls an export with limits; WR_NOT_FOUND if there is none of this name. */
wr_status fixture_call(fixture *fix, const char *name, wr_slot *slots);

/* Whether the guard strategy can be asked for on this machine. */
bool fixture_has_guards(void);

/* How often to repeat what reserves guarded memory: emulators keep a record of every reserved page, so each costs them
 * milliseconds and megabytes. WR_TEST_EMULATED is set where one runs the test. None under the thread sanitizer: it
 * leaves SIGSEGV blocked when a handler ends by a jump. */
uint32_t fixture_guard_rounds(uint32_t natively);

#endif
