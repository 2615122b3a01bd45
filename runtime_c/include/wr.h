/* Penstock runtime: a WebAssembly engine and the data plane that runs plugins in it.
 *
 * The one public header. Three parts:
 *   wasm  engine, modules, stores, instances, calls, traps        (runtime_c/wasm)
 *   wasi  WASI preview 1, over the public part of wasm            (runtime_c/wasi)
 *   flow  rings, ports, stages, the event loop                    (runtime_c/flow)
 *
 * Conventions. Functions that can fail return wr_status and deliver their result through the last pointer
 * (before an optional wr_error). Handles are opaque. Sizes are bytes, times are microseconds (_us) or
 * nanoseconds (_ns), addresses are offsets in a linear memory. Nothing here has mutable file-scope state
 * but the process-wide fault handler (wr_engine_new installs it, docs/engine-internals.md).
 *
 * This header is also the source of the Python binding: with WR_CDEF defined it expands to plain
 * declarations only. */
#ifndef WR_H
#define WR_H

#ifndef WR_CDEF
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
#endif

/* ---- status ------------------------------------------------------------------------------------------ */

/* Who is at fault. Traps (a running plugin), module errors and host errors never share a path. */
typedef enum wr_status_class {
    WR_CLASS_OK = 0,
    WR_CLASS_MALFORMED,  /* the bytes are not a module */
    WR_CLASS_INVALID,    /* a module that breaks the typing rules */
    WR_CLASS_UNLINKABLE, /* its imports do not fit what the host offers */
    WR_CLASS_LIMIT,      /* fits the specification but exceeds a configured limit */
    WR_CLASS_TRAP,       /* running code trapped */
    WR_CLASS_HOST        /* wrong use of this API, or the operating system refused */
} wr_status_class;

/* X(NAME, CLASS, text). Texts of the first five classes are those of the official test suite. */
#define WR_STATUS_TABLE(X)                                                                     \
    X(OK, OK, "ok")                                                                            \
    X(UNEXPECTED_END, MALFORMED, "unexpected end")                                             \
    X(BAD_MAGIC, MALFORMED, "magic header not detected")                                       \
    X(BAD_VERSION, MALFORMED, "unknown binary version")                                        \
    X(INT_TOO_LONG, MALFORMED, "integer representation too long")                              \
    X(INT_TOO_LARGE, MALFORMED, "integer too large")                                           \
    X(BAD_UTF8, MALFORMED, "malformed UTF-8 encoding")                                         \
    X(BAD_SECTION_ID, MALFORMED, "malformed section id")                                       \
    X(SECTION_SIZE, MALFORMED, "section size mismatch")                                        \
    X(SECTION_ORDER, MALFORMED, "unexpected content after last section")                       \
    X(LENGTH_BOUNDS, MALFORMED, "length out of bounds")                                        \
    X(FUNC_CODE_MISMATCH, MALFORMED, "function and code section have inconsistent lengths")    \
    X(DATA_COUNT_MISMATCH, MALFORMED, "data count and data section have inconsistent lengths") \
    X(DATA_COUNT_REQUIRED, MALFORMED, "data count section required")                           \
    X(TOO_MANY_LOCALS, MALFORMED, "too many locals")                                           \
    X(ILLEGAL_OPCODE, MALFORMED, "illegal opcode")                                             \
    X(END_EXPECTED, MALFORMED, "END opcode expected")                                          \
    X(ZERO_EXPECTED, MALFORMED, "zero byte expected")                                          \
    X(BAD_TYPE_FORM, MALFORMED, "malformed type")                                              \
    X(BAD_VALUE_TYPE, MALFORMED, "malformed value type")                                       \
    X(BAD_REF_TYPE, MALFORMED, "malformed reference type")                                     \
    X(BAD_IMPORT_KIND, MALFORMED, "malformed import kind")                                     \
    X(BAD_EXPORT_KIND, MALFORMED, "malformed export kind")                                     \
    X(BAD_MUTABILITY, MALFORMED, "malformed mutability")                                       \
    X(BAD_LIMITS_FLAGS, MALFORMED, "malformed limits flags")                                   \
    X(BAD_SEGMENT_KIND, MALFORMED, "malformed segment kind")                                   \
    X(BAD_MEMOP_FLAGS, MALFORMED, "malformed memop flags")                                     \
    X(TYPE_MISMATCH, INVALID, "type mismatch")                                                 \
    X(UNKNOWN_TYPE, INVALID, "unknown type")                                                   \
    X(UNKNOWN_FUNC, INVALID, "unknown function")                                               \
    X(UNKNOWN_TABLE, INVALID, "unknown table")                                                 \
    X(UNKNOWN_MEMORY, INVALID, "unknown memory")                                               \
    X(UNKNOWN_GLOBAL, INVALID, "unknown global")                                               \
    X(UNKNOWN_LOCAL, INVALID, "unknown local")                                                 \
    X(UNKNOWN_LABEL, INVALID, "unknown label")                                                 \
    X(UNKNOWN_TAG, INVALID, "unknown tag")                                                     \
    X(UNKNOWN_ELEM, INVALID, "unknown elem segment")                                           \
    X(UNKNOWN_DATA, INVALID, "unknown data segment")                                           \
    X(IMMUTABLE_GLOBAL, INVALID, "immutable global")                                           \
    X(ALIGNMENT, INVALID, "alignment must not be larger than natural")                         \
    X(OFFSET_RANGE, INVALID, "offset out of range")                                            \
    X(CONST_REQUIRED, INVALID, "constant expression required")                                 \
    X(DUPLICATE_EXPORT, INVALID, "duplicate export name")                                      \
    X(START_FUNCTION, INVALID, "start function")                                               \
    X(LIMITS_ORDER, INVALID, "size minimum must not be greater than maximum")                  \
    X(MEMORY_SIZE, INVALID, "memory size")                                                     \
    X(TABLE_SIZE, INVALID, "table size")                                                       \
    X(UNDECLARED_FUNC_REF, INVALID, "undeclared function reference")                           \
    X(INVALID_ARITY, INVALID, "invalid result arity")                                          \
    X(INVALID_LANE, INVALID, "invalid lane index")                                             \
    X(UNINIT_LOCAL, INVALID, "uninitialized local")                                            \
    X(NON_EMPTY_TAG, INVALID, "non-empty tag result type")                                     \
    X(SHARED_MAXIMUM, INVALID, "shared memory must have maximum")                              \
    X(UNKNOWN_IMPORT, UNLINKABLE, "unknown import")                                            \
    X(IMPORT_TYPE, UNLINKABLE, "incompatible import type")                                     \
    X(LIMIT_MODULE_BYTES, LIMIT, "module larger than the limit")                               \
    X(LIMIT_TYPES, LIMIT, "more types than the limit")                                         \
    X(LIMIT_FUNCTIONS, LIMIT, "more functions than the limit")                                 \
    X(LIMIT_IMPORTS, LIMIT, "more imports than the limit")                                     \
    X(LIMIT_EXPORTS, LIMIT, "more exports than the limit")                                     \
    X(LIMIT_GLOBALS, LIMIT, "more globals than the limit")                                     \
    X(LIMIT_TABLES, LIMIT, "more tables than the limit")                                       \
    X(LIMIT_MEMORIES, LIMIT, "more memories than the limit")                                   \
    X(LIMIT_SEGMENTS, LIMIT, "more segments than the limit")                                   \
    X(LIMIT_PARAMS, LIMIT, "more parameters or results than the limit")                        \
    X(LIMIT_LOCALS, LIMIT, "more locals than the limit")                                       \
    X(LIMIT_BODY_BYTES, LIMIT, "function body larger than the limit")                          \
    X(LIMIT_NESTING, LIMIT, "blocks nested deeper than the limit")                             \
    X(LIMIT_FRAME, LIMIT, "function frame larger than the limit")                              \
    X(LIMIT_LOAD_BYTES, LIMIT, "loading takes more memory than the limit")                     \
    X(LIMIT_TABLE_ELEMENTS, LIMIT, "table larger than the limit")                              \
    X(LIMIT_MEMORY_BYTES, LIMIT, "memory larger than the limit")                               \
    X(LIMIT_NAME_BYTES, LIMIT, "name longer than the limit")                                   \
    X(UNSUPPORTED, LIMIT, "feature not supported by this build")                               \
    X(TRAP_UNREACHABLE, TRAP, "unreachable")                                                   \
    X(TRAP_DIV_ZERO, TRAP, "integer divide by zero")                                           \
    X(TRAP_INT_OVERFLOW, TRAP, "integer overflow")                                             \
    X(TRAP_INT_CONVERSION, TRAP, "invalid conversion to integer")                              \
    X(TRAP_MEMORY_BOUNDS, TRAP, "out of bounds memory access")                                 \
    X(TRAP_MEMORY_PROTECTED, TRAP, "store to read-only memory")                                \
    X(TRAP_TABLE_BOUNDS, TRAP, "out of bounds table access")                                   \
    X(TRAP_UNDEFINED_ELEMENT, TRAP, "undefined element")                                       \
    X(TRAP_UNINITIALIZED_ELEMENT, TRAP, "uninitialized element")                               \
    X(TRAP_CALL_TYPE, TRAP, "indirect call type mismatch")                                     \
    X(TRAP_NULL_FUNC, TRAP, "null function reference")                                         \
    X(TRAP_NULL_REF, TRAP, "null reference")                                                   \
    X(TRAP_UNALIGNED, TRAP, "unaligned atomic")                                                \
    X(TRAP_NOT_SHARED, TRAP, "expected shared memory")                                         \
    X(TRAP_STACK, TRAP, "call stack exhausted")                                                \
    X(TRAP_DEADLINE, TRAP, "deadline exceeded")                                                \
    X(TRAP_FUEL, TRAP, "fuel exhausted")                                                       \
    X(TRAP_INTERRUPTED, TRAP, "interrupted by the host")                                       \
    X(TRAP_RING, TRAP, "ring cursor or record out of range")                                   \
    X(TRAP_CAPABILITY, TRAP, "capability not granted")                                         \
    X(TRAP_HOST, TRAP, "host function failed")                                                 \
    X(TRAP_EXCEPTION, TRAP, "uncaught exception")                                              \
    X(TRAP_EXIT, TRAP, "exited")                                                               \
    X(NO_MEMORY, HOST, "out of memory")                                                        \
    X(BAD_ARGUMENT, HOST, "wrong argument")                                                    \
    X(BAD_STATE, HOST, "not possible in this state")                                           \
    X(NOT_FOUND, HOST, "not found")                                                            \
    X(SCHEMA, HOST, "record schemas differ")                                                   \
    X(ARTEFACT, HOST, "compiled code refused")                                                 \
    X(FULL, HOST, "no room")                                                                   \
    X(SYSTEM, HOST, "system call failed")

#define WR_STATUS_ENUM_(NAME, CLASS, TEXT) WR_##NAME,
typedef enum wr_status { WR_STATUS_TABLE(WR_STATUS_ENUM_) WR_STATUS_COUNT } wr_status;
#undef WR_STATUS_ENUM_

wr_status_class wr_status_class_of(wr_status status);
const char *wr_status_name(wr_status status); /* "TRAP_DIV_ZERO" */
const char *wr_status_text(wr_status status); /* "integer divide by zero" */

/* Filled where a call takes one and fails; may be NULL. */
typedef struct wr_error {
    wr_status status;
    uint32_t offset;     /* byte offset in the module, where it makes sense; else 0 */
    char message[232];   /* one line: text, where, what was found */
} wr_error;

/* ---- engine ------------------------------------------------------------------------------------------ */

typedef struct wr_engine wr_engine;     /* configuration, interned types; shared by everything */
typedef struct wr_module wr_module;     /* immutable translated code; shared by instances and threads */
typedef struct wr_store wr_store;       /* unit of lifetime of instances that may refer to each other */
typedef struct wr_instance wr_instance;
typedef struct wr_exec wr_exec;         /* one per thread that calls: stack, limits, last trap */
typedef struct wr_func wr_func;
typedef struct wr_table wr_table;
typedef struct wr_memory wr_memory;
typedef struct wr_global wr_global;
typedef struct wr_tag wr_tag;

typedef enum wr_bounds {
    WR_BOUNDS_AUTO = 0, /* guard where the address space allows, else checked */
    WR_BOUNDS_GUARD,    /* refuse to fall back: memories that cannot be reserved fail */
    WR_BOUNDS_CHECKED
} wr_bounds;

/* Largest accepted values. Zero in any field means the default in brackets. */
typedef struct wr_limits {
    uint32_t module_bytes_max;   /* [64 MiB] at most 1 GiB */
    uint32_t types_max;          /* [65536] */
    uint32_t functions_max;      /* [65536] defined and imported */
    uint32_t imports_max;        /* [4096] */
    uint32_t exports_max;        /* [65536] */
    uint32_t globals_max;        /* [65536] */
    uint32_t tables_max;         /* [256] */
    uint32_t memories_max;       /* [16] */
    uint32_t segments_max;       /* [65536] data and element segments each */
    uint32_t params_max;         /* [1024] per function type, results alike; at most 32767 */
    uint32_t locals_max;         /* [50000] per function */
    uint32_t body_bytes_max;     /* [8 MiB] per function */
    uint32_t nesting_max;        /* [4096] open blocks */
    uint32_t name_bytes_max;     /* [65536] */
    uint32_t table_elements_max; /* [10,000,000] per table at run time */
    uint64_t memory_bytes_max;   /* [4 GiB] per memory at run time, without mapped regions */
    uint32_t load_ratio_max;     /* [6] bytes that loading may take per byte of the module, */
    uint32_t load_bytes_min;     /* [9216] or so many, if that is more */
} wr_limits;

/* realloc-like: size 0 frees, old NULL allocates. old_size is what was asked for. */
typedef void *(*wr_alloc_fn)(void *user, void *old, size_t old_size, size_t size);

typedef struct wr_engine_config {
    wr_limits limits;
    wr_bounds bounds;
    wr_alloc_fn alloc; /* NULL: malloc, realloc, free */
    void *alloc_user;
} wr_engine_config;

wr_status wr_engine_new(const wr_engine_config *config /* NULL: defaults */, wr_engine **out);
void wr_engine_free(wr_engine *engine); /* after everything made with it */

/* ---- modules ----------------------------------------------------------------------------------------- */

/* Value types as in the binary format. */
enum {
    WR_TYPE_I32 = 0x7F,
    WR_TYPE_I64 = 0x7E,
    WR_TYPE_F32 = 0x7D,
    WR_TYPE_F64 = 0x7C,
    WR_TYPE_V128 = 0x7B,
    WR_TYPE_FUNCREF = 0x70,
    WR_TYPE_EXTERNREF = 0x6F
};

typedef enum wr_extern_kind {
    WR_EXTERN_FUNC = 0,
    WR_EXTERN_TABLE = 1,
    WR_EXTERN_MEMORY = 2,
    WR_EXTERN_GLOBAL = 3,
    WR_EXTERN_TAG = 4
} wr_extern_kind;

/* Function type: params and results are arrays of value type bytes, owned by the engine. */
typedef struct wr_func_type {
    const uint8_t *params;
    const uint8_t *results;
    uint32_t param_count;
    uint32_t result_count;
} wr_func_type;

typedef struct wr_import_desc {
    const char *module; /* NUL-terminated; names with a NUL inside compare by length */
    const char *name;
    uint32_t module_len;
    uint32_t name_len;
    wr_extern_kind kind;
    uint32_t index;         /* among what the module has of this kind */
    wr_func_type func_type; /* where kind is FUNC */
} wr_import_desc;

typedef struct wr_export_desc {
    const char *name;
    uint32_t name_len;
    wr_extern_kind kind;
    uint32_t index; /* among what the module has of this kind */
} wr_export_desc;

/* Type of a function, table, memory, global or tag; says which fields count. */
typedef struct wr_extern_type {
    wr_extern_kind kind;
    wr_func_type func; /* FUNC, TAG */
    uint8_t value;     /* GLOBAL: its value type; TABLE: that of its elements; typed references as funcref */
    bool is_mutable;   /* GLOBAL */
    bool is64;         /* TABLE, MEMORY: indices are i64 */
    bool is_shared;    /* MEMORY */
    uint64_t min;      /* TABLE: elements; MEMORY: pages of 64 KiB */
    uint64_t max;      /* ditto; UINT64_MAX: not limited */
} wr_extern_type;

/* Decode, validate, translate. The bytes are not kept. */
wr_status wr_module_load(wr_engine *engine, const uint8_t *bytes, size_t len, wr_module **out, wr_error *error);

/* The same in pieces of any size, as they arrive. Function bodies are translated one by one; what is held is at most
 * one section or body that is not complete yet. */
typedef struct wr_module_stream wr_module_stream;
/* len: of the whole module, if it is known, else 0. A module that is too short, or takes too much memory, is refused
 * earlier then. */
wr_status wr_module_begin(wr_engine *engine, size_t len, wr_module_stream **out, wr_error *error);
/* Takes all of the bytes. A failure is final and comes again from every later call. */
wr_status wr_module_feed(wr_module_stream *stream, const uint8_t *bytes, size_t len, wr_error *error);
/* Ends the module, and frees the stream whatever comes of it. out NULL: the module is not wanted any more. */
wr_status wr_module_finish(wr_module_stream *stream, wr_module **out, wr_error *error);
wr_module *wr_module_retain(wr_module *module);
void wr_module_release(wr_module *module);
uint32_t wr_module_import_count(const wr_module *module);
wr_import_desc wr_module_import(const wr_module *module, uint32_t index);
uint32_t wr_module_export_count(const wr_module *module);
wr_export_desc wr_module_export(const wr_module *module, uint32_t index);
/* How many functions, tables, … there are: imported ones, which come first, and defined ones. */
uint32_t wr_module_count(const wr_module *module, wr_extern_kind kind);
wr_extern_type wr_module_type(const wr_module *module, wr_extern_kind kind, uint32_t index);
/* Custom section by name; returns its bytes (owned by the module) or NULL. */
const uint8_t *wr_module_custom(const wr_module *module, const char *name, size_t *len);
/* Name of a function from the name section, or its export name, or NULL. */
const char *wr_module_func_name(const wr_module *module, uint32_t func_index, uint32_t *len);
/* Bytes of memory the module holds. */
size_t wr_module_footprint(const wr_module *module);

/* ---- stores and instances ---------------------------------------------------------------------------- */

/* One 8-byte stack slot. v128 takes two. i32 and f32 use the low half. References are 0 for null. */
typedef union wr_slot {
    uint64_t u64;
    int64_t i64;
    uint32_t u32;
    int32_t i32;
    float f32;
    double f64;
} wr_slot;

/* A host function reads its arguments from slots[0..] and writes its results to slots[0..]. It returns WR_OK or
 * a status of class TRAP. exec gives the calling instance (wr_exec_instance) and may be used for calls back. */
typedef wr_status (*wr_host_fn)(wr_exec *exec, void *env, wr_slot *slots);

typedef struct wr_extern {
    wr_extern_kind kind;
    union {
        wr_func *func;
        wr_table *table;
        wr_memory *memory;
        wr_global *global;
        wr_tag *tag;
        void *any;
    } of;
} wr_extern;

wr_status wr_store_new(wr_engine *engine, wr_store **out);
void wr_store_free(wr_store *store); /* frees every instance and object made in it */
/* Zeroed memory that is freed with the store: for what host functions need. NULL: out of memory. */
void *wr_store_alloc(wr_store *store, size_t bytes);

wr_status wr_func_new(wr_store *store, const wr_func_type *type, wr_host_fn fn, void *env, wr_func **out);
wr_status wr_global_new(wr_store *store, uint8_t type, bool is_mutable, wr_slot value, wr_global **out);
wr_status wr_global_new_v128(wr_store *store, bool is_mutable, const wr_slot *value /* 2 */, wr_global **out);
wr_status wr_table_new(wr_store *store, uint8_t type, uint32_t min, uint32_t max, wr_table **out);
wr_status wr_memory_new(wr_store *store, uint32_t pages_min, uint32_t pages_max, wr_memory **out);
/* A shared memory, for instances of several stores and threads (UNSUPPORTED without threads, as wr_tag_new is without
 * exceptions). wr_memory_share makes it known to another store. */
wr_status wr_memory_new_shared(wr_store *store, uint32_t pages_min, uint32_t pages_max, wr_memory **out);
wr_status wr_memory_share(const wr_memory *memory, wr_store *store, wr_memory **out);
wr_status wr_tag_new(wr_store *store, const wr_func_type *type, wr_tag **out);

typedef struct wr_instance_limits {
    uint64_t memory_bytes_max; /* 0: the engine's limit */
    uint64_t map_bytes;        /* address space kept beyond the maximum for wr_memory_map; 0: none */
} wr_instance_limits;

/* imports: one per import of the module, in its order. Runs the start function in exec. A failed instance stays
 * owned by the store (the specification lets its partial effects live on) but is not returned. */
wr_status wr_instance_new(wr_store *store, const wr_module *module, const wr_extern *imports, uint32_t import_count,
                          const wr_instance_limits *limits /* NULL: defaults */, wr_exec *exec, wr_instance **out,
                          wr_error *error);
wr_status wr_instance_export(wr_instance *instance, const char *name, size_t name_len, wr_extern *out);
wr_memory *wr_instance_memory(wr_instance *instance, uint32_t index); /* NULL: none */
void *wr_instance_user(const wr_instance *instance);
void wr_instance_set_user(wr_instance *instance, void *user);

wr_func_type wr_func_type_of(const wr_func *func);
wr_slot wr_global_get(const wr_global *global);
uint8_t wr_global_type_of(const wr_global *global, bool *is_mutable);
wr_status wr_global_set(wr_global *global, wr_slot value);
/* Two slots each; BAD_ARGUMENT if the global has another type. wr_global_set refuses v128, wr_global_get gives its low
 * half. */
wr_status wr_global_get_v128(const wr_global *global, wr_slot *value);
wr_status wr_global_set_v128(wr_global *global, const wr_slot *value);
uint32_t wr_table_size(const wr_table *table);

/* Linear memory. data never moves; size grows. Host code must bounds-check with wr_memory_at. */
uint8_t *wr_memory_data(const wr_memory *memory);
uint64_t wr_memory_size(const wr_memory *memory);
bool wr_memory_is_guarded(const wr_memory *memory);
/* Pointer to len readable bytes at address, or NULL if any of them is outside. */
void *wr_memory_at(const wr_memory *memory, uint64_t address, uint64_t len);

typedef struct wr_map_part {
    int fd;
    uint64_t fd_offset;  /* multiple of the host page size */
    uint64_t bytes;      /* multiple of the host page size */
    bool writable;       /* for the plugin */
} wr_map_part;

/* Grow the memory by whole Wasm pages and map the parts over them one behind the other, MAP_SHARED. *address is
 * where the first part starts, a multiple of 64 KiB. A store to a read-only part traps with
 * TRAP_MEMORY_PROTECTED. Needs wr_instance_limits.map_bytes. */
wr_status wr_memory_map(wr_memory *memory, const wr_map_part *parts, uint32_t count, uint64_t *address);
/* Maps other parts over those that wr_memory_map put at address; their sizes must be the same. Where it fails, what is
 * mapped there now is not known. */
wr_status wr_memory_remap(wr_memory *memory, uint64_t address, const wr_map_part *parts, uint32_t count);

/* ---- calls and traps --------------------------------------------------------------------------------- */

enum { WR_BACKTRACE_MAX = 16 };

typedef struct wr_frame {
    uint32_t func_index;
    uint32_t offset;   /* of the instruction in the module's bytes; 0 unknown */
    char name[60];     /* function name or "" */
} wr_frame;

typedef struct wr_trap {
    wr_status status;
    int32_t exit_code;      /* TRAP_EXIT */
    uint32_t frame_count;   /* innermost first, at most WR_BACKTRACE_MAX kept */
    uint32_t frames_total;  /* of a call that a deadline or an interrupt ended only some are looked for: above
                               frame_count if there are more. Of large compiled modules that are deep in recursion,
                               calls that were inlined may be left out */
    wr_frame frames[16];
} wr_trap;

wr_status wr_exec_new(wr_engine *engine, uint32_t stack_bytes /* 0: 256 KiB */, wr_exec **out);
void wr_exec_free(wr_exec *exec);
/* For the outermost call that follows. deadline_us 0: none; counts the time in which the thread ran or the call slept,
 * not that in which others had the processor. fuel 0: unlimited; one unit is one loop back-edge or call. Both are
 * checked at back-edges and calls and by long memory operations. */
void wr_exec_set_limits(wr_exec *exec, uint64_t deadline_us, uint64_t fuel);
uint64_t wr_exec_fuel_left(const wr_exec *exec);
/* From any thread: the running call traps with TRAP_INTERRUPTED at its next check. */
void wr_exec_interrupt(wr_exec *exec);
wr_instance *wr_exec_instance(const wr_exec *exec);
/* args: param slots; results: result slots; they may be the same array. Returns WR_OK, a TRAP status or a HOST one. */
wr_status wr_call(wr_exec *exec, const wr_func *func, const wr_slot *args, wr_slot *results);
/* Calls count times with the same arguments, each time with the limits that are set; times_ns gets how long each call
 * took, results those of the last one. Ends at the first failure. */
wr_status wr_call_timed(wr_exec *exec, const wr_func *func, const wr_slot *args, wr_slot *results, uint64_t *times_ns,
                        uint32_t count);
/* Of the last call that trapped; until the next call. */
const wr_trap *wr_exec_trap(wr_exec *exec);

/* For host functions. What takes long asks wr_exec_check now and then, what waits calls wr_exec_sleep (until_ns is of
 * CLOCK_MONOTONIC); both answer WR_OK, or the TRAP status of a limit of the call, to be returned. */
wr_status wr_exec_check(wr_exec *exec);
wr_status wr_exec_sleep(wr_exec *exec, uint64_t until_ns);
/* Exit code of the TRAP_EXIT that is returned next. */
void wr_exec_set_exit_code(wr_exec *exec, int32_t code);

/* ---- modules compiled ahead of time -------------------------------------------------------------------- */

/* Writes a module as C: one file for `cc -shared`, that needs no header. WR_UNSUPPORTED: it has instructions that are
 * only interpreted. The text ends in NUL; wr_aot_free_c frees it. */
wr_status wr_aot_emit_c(wr_engine *engine, const uint8_t *bytes, size_t len, char **text, size_t *text_len,
                        wr_error *error);
void wr_aot_free_c(char *text);
/* Completes the shared object that a compiler made: adds what damage and foreign targets are known by. target: x86_64,
 * aarch64, armv7 or riscv64. */
wr_status wr_aot_seal(const char *path, const char *target, wr_error *error);
/* Instances of the module that are made from now on run the compiled code. bytes are those the module was loaded from.
 * WR_ARTEFACT: damaged, for another target, engine or module; the module stays interpreted. */
wr_status wr_aot_attach(wr_module *module, const uint8_t *bytes, size_t len, const char *path, wr_error *error);
/* False also where the code relies on guard pages and a memory of this instance has none. */
bool wr_instance_is_compiled(const wr_instance *instance);

/* ---- WASI preview 1 ---------------------------------------------------------------------------------- */

/* The functions that standard libraries need, as imports of module wasi_snapshot_preview1: arguments, environment,
 * clocks, random numbers, standard output to a function of the host, an empty standard input, exit, waiting for a
 * clock. There are no files. The other functions answer ENOSYS, or are refused. */

typedef struct wr_wasi wr_wasi;

/* Gets what the program writes: fd 1 standard output, 2 standard error. WR_OK, or a TRAP status that ends the call. */
typedef wr_status (*wr_wasi_output_fn)(void *user, uint32_t fd, const uint8_t *bytes, uint32_t len);

typedef struct wr_wasi_config {
    const char *const *args; /* copied; the first is the program's name */
    const char *const *env;  /* copied; "NAME=value" */
    uint32_t arg_count;
    uint32_t env_count;
    wr_wasi_output_fn output; /* NULL: thrown away */
    void *output_user;
    bool is_seeded;       /* random_get gives the same bytes in every run with this seed; else the kernel's */
    bool refuses_missing; /* importing what only answers ENOSYS is WR_UNKNOWN_IMPORT */
    uint64_t seed;
} wr_wasi_config;

/* Lives as long as the store. For one instance: descriptors and seed are its state. */
wr_status wr_wasi_new(wr_store *store, const wr_wasi_config *config /* NULL: no arguments, no output */, wr_wasi **out);
/* The function of this name. WR_UNKNOWN_IMPORT: preview 1 has none, or it is refused. */
wr_status wr_wasi_import(wr_wasi *wasi, const char *name, size_t name_len, wr_extern *out);

/* ---- flow: rings ------------------------------------------------------------------------------------- */

/* Normative: docs/record-format.md. Little-endian, 8-byte aligned. */
typedef struct wr_record {
    uint32_t size;     /* whole record, multiple of 8, at least 32 */
    uint16_t kind;     /* WR_KIND_ */
    uint8_t quality;   /* WR_QUALITY_ */
    uint8_t type;      /* WR_VALUE_ */
    uint32_t tag;      /* index in the site's tag table; WR_NO_TAG: none */
    uint32_t seq;      /* counts the source's records of this tag, wraps */
    int64_t time_ns;   /* capture time: Unix time at the end of the frame; never rewritten */
    uint64_t value;    /* scalar bits, or for BYTES the length: u32 bytes, u16 topic length, u8 qos, u8 flags */
} wr_record;

enum {
    WR_KIND_SAMPLE = 1,
    WR_KIND_EVENT = 2,
    WR_KIND_COMMAND = 3,
    WR_KIND_PAYLOAD = 4,
    WR_KIND_HEARTBEAT = 5,
    WR_QUALITY_GOOD = 0,
    WR_QUALITY_BAD = 1,
    WR_QUALITY_STALE = 2,
    WR_VALUE_NONE = 0,
    WR_VALUE_BOOL = 1,
    WR_VALUE_I64 = 2,
    WR_VALUE_U64 = 3,
    WR_VALUE_F64 = 4,
    WR_VALUE_BYTES = 5
};

/* Record schemas of rings. */
enum { WR_SCHEMA_ANY = 0, WR_SCHEMA_SAMPLES = 1, WR_SCHEMA_PAYLOADS = 2, WR_SCHEMA_COMMANDS = 3 };

typedef struct wr_ring wr_ring;
typedef enum wr_policy { WR_POLICY_BLOCK = 0, WR_POLICY_DROP_OLDEST = 1 } wr_policy;

typedef struct wr_ring_config {
    const char *name;       /* copied */
    uint32_t bytes;         /* data bytes; rounded up to whole host pages, a power of two */
    uint32_t consumers_max; /* ends that may be attached, 1..64 */
    uint32_t schema;        /* record schema id; linking refuses ends that expect another */
} wr_ring_config;

typedef struct wr_ring_stats {
    uint64_t records;      /* published */
    uint64_t bytes;        /* published */
    uint64_t capacity;
    uint64_t high_water;   /* most bytes ever outstanding for the slowest blocking consumer */
    uint64_t blocked;      /* times the producer found too little room */
} wr_ring_stats;

typedef struct wr_consumer_stats {
    uint64_t records;      /* taken */
    uint64_t dropped;      /* records it never took: overwritten (drop-oldest), skipped after a trap, spoiled */
    uint64_t lag_bytes;
} wr_consumer_stats;

wr_status wr_ring_new(const wr_ring_config *config, wr_ring **out, wr_error *error);
void wr_ring_free(wr_ring *ring);
wr_status wr_ring_attach(wr_ring *ring, wr_policy policy, uint32_t *consumer);
void wr_ring_stats_get(const wr_ring *ring, wr_ring_stats *out);
wr_status wr_ring_consumer_stats(const wr_ring *ring, uint32_t consumer, wr_consumer_stats *out);

/* One thread at a time may be a ring's producer, and one each of its consumers; different ends may be in different
 * threads. An end that a stage uses is not the host's: BAD_STATE. */

/* The host as producer: appends whole records, all or none. FULL: no room now. BAD_ARGUMENT: malformed records, or
 * more than half of the ring at once. */
wr_status wr_ring_write(wr_ring *ring, const void *records, uint32_t bytes);
/* The host as consumer: copies whole records, as many as fit; *got = bytes copied, 0 when empty. FULL: the next record
 * is larger than capacity. The records of a blocking consumer stay claimed, and block, until wr_ring_read is called
 * again or wr_ring_release. */
wr_status wr_ring_read(wr_ring *ring, uint32_t consumer, void *into, uint32_t capacity, uint32_t *got);
wr_status wr_ring_release(wr_ring *ring, uint32_t consumer);
/* eventfd that becomes readable when records are published for this consumer; owned by the ring. Do not read it:
 * call wr_ring_read until *got is 0, which resets it. */
wr_status wr_ring_doorbell(wr_ring *ring, uint32_t consumer, int *fd);

/* ---- flow: the event loop ---------------------------------------------------------------------------- */

typedef struct wr_loop wr_loop;

typedef struct wr_loop_config {
    uint32_t events_bytes;  /* ring for logs, traps, port events [64 KiB] */
    uint32_t stack_bytes;   /* Wasm stack [256 KiB] */
} wr_loop_config;

wr_status wr_loop_new(wr_engine *engine, const wr_loop_config *config, wr_loop **out, wr_error *error);
wr_status wr_loop_start(wr_loop *loop);  /* own native thread */
void wr_loop_stop(wr_loop *loop);        /* returns when the thread has ended; stages stay as they are */
void wr_loop_free(wr_loop *loop);

/* Ports: byte streams (serial, TCP) or datagrams (UDP) behind a file descriptor. */
typedef struct wr_port_config {
    const char *name;        /* copied */
    bool datagram;
    uint32_t rx_bytes;       /* receive buffer [4096] */
    uint32_t tx_bytes;       /* transmit buffer [4096] */
} wr_port_config;

typedef struct wr_port_stats {
    bool up;
    uint64_t rx_bytes;
    uint64_t tx_bytes;
    uint64_t rx_overflows;   /* bytes thrown away because the plugin did not read them */
    uint64_t downs;          /* times the descriptor failed or closed */
} wr_port_stats;

wr_status wr_loop_add_port(wr_loop *loop, const wr_port_config *config, uint32_t *port);
/* Takes ownership of fd (made non-blocking); -1 closes. Pending bytes of the old descriptor are dropped. On error or
 * end of file the loop closes it by itself, tells the stage and posts a WR_EVENT_PORT. */
wr_status wr_loop_set_port_fd(wr_loop *loop, uint32_t port, int fd);
wr_status wr_loop_port_stats(wr_loop *loop, uint32_t port, wr_port_stats *out);

/* HAL functions a manifest can grant; bit = position. X(NAME, wasm name, params, results) with i = i32, l = i64. */
#define WR_HAL_TABLE(X)                          \
    X(TX, "tx", "iii", "i")                      \
    X(RX, "rx", "iii", "i")                      \
    X(NOW, "now", "i", "l")                      \
    X(TIMER, "timer", "il", "i")                 \
    X(CONFIG, "config", "ii", "i")               \
    X(KV_GET, "kv_get", "iiii", "i")             \
    X(KV_PUT, "kv_put", "iiii", "i")             \
    X(LOG, "log", "iii", "")                     \
    X(METRIC, "metric", "iiil", "")              \
    X(RING_IN, "ring_in", "i", "i")              \
    X(RING_OUT, "ring_out", "i", "i")            \
    X(PORT_STATE, "port_state", "i", "i")        \
    X(STATE_PUT, "state_put", "ii", "i")         \
    X(STATE_GET, "state_get", "ii", "i")         \
    X(KEEP, "keep", "ii", "i")

#define WR_HAL_ENUM_(NAME, WASM, PARAMS, RESULTS) WR_HAL_##NAME,
typedef enum wr_hal { WR_HAL_TABLE(WR_HAL_ENUM_) WR_HAL_COUNT } wr_hal;
#undef WR_HAL_ENUM_
int wr_hal_by_name(const char *name); /* bit position, or -1 */

enum { WR_STAGE_PORTS_MAX = 8, WR_STAGE_RINGS_MAX = 16 };

/* The field bus behind a stage's ports, and what its driver may write there. Whatever else it tries to send is refused
 * and counted: one `tx` is one request, a read or a write inside of one of the rules. */
typedef enum wr_bus { WR_BUS_NONE /* any bytes may be sent */, WR_BUS_MODBUS_TCP, WR_BUS_MODBUS_RTU } wr_bus;
typedef enum wr_bus_table { WR_BUS_COIL, WR_BUS_HOLDING } wr_bus_table;
typedef struct wr_write_rule {
    bool any_unit;
    uint8_t unit;
    uint16_t first, last; /* addresses on the wire */
    wr_bus_table table;
} wr_write_rule;

typedef struct wr_stage_config {
    const char *name;             /* copied */
    const wr_module *module;      /* retained */
    uint32_t hal_grants;          /* bits of wr_hal; an import beyond them refuses the stage */
    const uint8_t *config;        /* copied: what hal.config returns */
    uint32_t config_bytes;
    uint64_t memory_bytes_max;    /* linear memory, without rings */
    uint64_t deadline_us;         /* per entry point call [100,000] */
    uint64_t fuel;                /* per entry point call, 0: unlimited */
    uint32_t kv_bytes_max;        /* key-value quota [4096] */
    uint32_t state_bytes_max;     /* what pen_save may hand over [65536] */
    uint32_t port_count;
    uint32_t ports[8];            /* local number -> port of the loop */
    uint32_t in_count;
    wr_ring *in_rings[16];        /* local number -> ring and consumer of it */
    uint32_t in_consumers[16];
    uint32_t in_schema;           /* 0: any */
    uint32_t in_commands;         /* the last so many inputs are of WR_SCHEMA_COMMANDS whatever in_schema is */
    uint32_t out_count;
    wr_ring *out_rings[16];
    uint32_t out_schema;          /* 0: any */
    uint32_t out_commands;        /* likewise for outputs */
    wr_bus bus;
    const wr_write_rule *writes;  /* copied */
    uint32_t write_count;         /* at most 32 */
} wr_stage_config;

enum { WR_STAGE_RUNNING = 1, WR_STAGE_STOPPED = 2 };

typedef struct wr_stage_stats {
    uint32_t state;
    uint64_t calls;          /* entry point calls */
    uint64_t records_in;
    uint64_t records_out;
    uint64_t busy_ns;        /* time spent in the plugin */
    uint64_t longest_ns;     /* longest single call */
    uint64_t traps;
    uint64_t restarts;
    uint64_t stalls;         /* calls that took nothing from a ring with records: waits for room or an event */
    uint64_t memory_bytes;   /* linear memory without rings */
    uint64_t generation;     /* of its plugin: 1, and one more for each swap */
    uint64_t refused;        /* requests that its bus did not allow */
    uint64_t last_pause_ns;  /* how long the loop stood still for the last swap; 0: none yet */
    uint64_t longest_pause_ns;
} wr_stage_stats;

/* Instantiates, links, calls pen_init. May be called while the loop runs. The stage restarts by itself after a trap
 * (new instance, same rings and cursors; the record or frame being handled is skipped); more than 3 traps in 30 s
 * stop it. A stopped stage no longer blocks: its inputs become drop-oldest, so the newest records wait for a
 * successor and the others are counted as dropped. Its ports read on and throw away. Rings must outlive the loop. */
wr_status wr_loop_add_stage(wr_loop *loop, const wr_stage_config *config, uint32_t *stage, wr_error *error);
wr_status wr_loop_stage_stats(wr_loop *loop, uint32_t stage, wr_stage_stats *out);
/* Metrics a plugin published: copies up to capacity entries, *count = how many there are. */
typedef struct wr_metric {
    char name[48];
    uint32_t kind;
    int64_t value;
} wr_metric; /* kind 0 counter, 1 gauge */
wr_status wr_loop_stage_metrics(wr_loop *loop, uint32_t stage, wr_metric *into, uint32_t capacity, uint32_t *count);

/* ---- flow: swapping ---- */

/* A candidate: another module or configuration for a stage, complete with an instance, on rings of its own. What it
 * writes, sends or arms reaches nobody until it becomes the stage. For one thread at a time, never the loop's. */
typedef struct wr_swap wr_swap;

typedef struct wr_swap_result {
    uint64_t pause_ns;      /* how long the loop stood still for it */
    uint64_t generation;    /* of the stage now */
    uint32_t state_bytes;   /* carried over */
    uint32_t state_version; /* what pen_save returned; 0: the new version started anew */
} wr_swap_result;

/* Makes a candidate in the calling thread: instantiates and calls pen_init. Name, ports and rings are those of the
 * stage; these fields of config do not count. carries_state: the running version's state is for it. SCHEMA, LIMIT,
 * UNLINKABLE, NOT_FOUND (an export is missing), a TRAP or BAD_STATE: the module does not fit here, error tells why. */
wr_status wr_swap_new(wr_loop *loop, uint32_t stage, const wr_stage_config *config, bool carries_state, wr_swap **out,
                      wr_error *error);
/* Between two events: pen_save in the running version, pen_load in the candidate, then the candidate is the stage.
 * Ring cursors, bytes of ports, values, metrics and counters stay with the stage; its trap history begins anew, and a
 * stopped stage runs again. On an error the running version goes on, and this candidate is of no more use. BAD_STATE:
 * the stage was swapped, or stopped, after the candidate was made. */
wr_status wr_swap_commit(wr_swap *swap, wr_swap_result *result, wr_error *error);
/* Fields of a record that can differ; VALUE also means the bytes that follow. */
enum {
    WR_FIELD_KIND = 1,
    WR_FIELD_QUALITY = 2,
    WR_FIELD_TYPE = 4,
    WR_FIELD_TAG = 8,
    WR_FIELD_SEQ = 16,
    WR_FIELD_TIME = 32,
    WR_FIELD_VALUE = 64,
    WR_DIFFERENCES_MAX = 8
};

typedef struct wr_difference {
    uint64_t record;       /* which of those compared, from 1 */
    uint32_t output;
    uint32_t fields;       /* WR_FIELD_ bits */
    wr_record old_record;  /* heads */
    wr_record new_record;
} wr_difference;

typedef struct wr_shadow_report {
    uint64_t compared;          /* records that both versions have put out */
    uint64_t differences;       /* of these: other than the running version's */
    uint64_t old_waiting_bytes; /* put out by one of them only, so far */
    uint64_t new_waiting_bytes;
    char broken[64];            /* why comparing has ended, or "" */
    wr_difference first[8];     /* the first WR_DIFFERENCES_MAX */
} wr_shadow_report;

/* The candidate runs along from now on, with the running version's state: it gets the same bytes, records, times and
 * timers of its own. What it sends is thrown away, what it puts out is compared. ignored: WR_FIELD_ bits that may
 * differ. Such a candidate cannot become the stage any more; while it runs along, no other can. */
wr_status wr_swap_shadow(wr_swap *swap, uint32_t ignored, wr_error *error);
wr_status wr_swap_shadow_report(wr_swap *swap, wr_shadow_report *out);
/* Frees the candidate, after a commit the version it replaced. Before the loop is freed. NULL is allowed. */
void wr_swap_free(wr_swap *swap);

/* ---- flow: test vectors ---- */

typedef struct wr_vectors {
    const char *name;   /* of the script, for the report */
    const char *script; /* lines; format: runtime_c/flow/vectors.c */
    size_t len;
    bool bytewise;      /* received bytes are delivered one by one */
} wr_vectors;

/* Runs a plugin's own vectors in the calling thread, on stages and rings of their own. WR_OK: all passed; BAD_STATE:
 * one did not, or they took too long. report gets text, cut where it does not fit. */
wr_status wr_vectors_run(wr_engine *engine, const wr_module *module, const wr_vectors *vectors, char *report,
                         size_t report_bytes);

/* Events for the host: fixed head, then len bytes of text, padded to 8. */
enum { WR_EVENT_LOG = 1, WR_EVENT_TRAP = 2, WR_EVENT_PORT = 3, WR_EVENT_STAGE = 4, WR_EVENT_LOST = 5 };
typedef struct wr_event {
    uint32_t size;      /* whole event, multiple of 8 */
    uint16_t kind;      /* WR_EVENT_ */
    uint16_t level;     /* LOG: 0 debug .. 3 error; PORT: 1 up, 0 down; STAGE: WR_STAGE_ */
    uint32_t source;    /* stage or port number */
    uint32_t len;       /* bytes of text that follow; LOST: events dropped because the host did not read */
    int64_t time_ns;    /* Unix time */
} wr_event;

wr_status wr_loop_read_events(wr_loop *loop, void *into, uint32_t capacity, uint32_t *got);
wr_status wr_loop_events_fd(wr_loop *loop, int *fd); /* eventfd, readable when there are events */

#ifndef WR_CDEF
#ifdef __cplusplus
}
#endif
#endif
#endif
