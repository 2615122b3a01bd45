/* Engine: configuration and the table of interned function types. */
#ifndef WR_ENGINE_H
#define WR_ENGINE_H
#include <pthread.h>

#include "alloc.h"

/* Value types inside the engine: number and vector types are their byte code; references carry the heap type, so
 * that typed function references and GC types need no other representation. */
typedef uint32_t wr_vt;
enum {
    WR_VT_BOTTOM = 0, /* any type: operands of unreachable code */
    WR_VT_I32 = WR_TYPE_I32,
    WR_VT_I64 = WR_TYPE_I64,
    WR_VT_F32 = WR_TYPE_F32,
    WR_VT_F64 = WR_TYPE_F64,
    WR_VT_V128 = WR_TYPE_V128
};
#define WR_VT_REF 0x80000000u
#define WR_VT_NULLABLE 0x40000000u
#define WR_VT_HEAP 0x3FFFFFFFu
/* Heap types: an interned function type's number, or one of these (0x3FFFFF00 + byte code). */
#define WR_HEAP_ABSTRACT 0x3FFFFF00u
#define WR_HEAP_BOTTOM WR_HEAP_ABSTRACT /* references of unreachable code */
#define WR_HEAP_EXN 0x3FFFFF69u
#define WR_HEAP_EXTERN 0x3FFFFF6Fu
#define WR_HEAP_FUNC 0x3FFFFF70u
#define WR_HEAP_NOEXTERN 0x3FFFFF72u
#define WR_HEAP_NOFUNC 0x3FFFFF73u
#define WR_HEAP_NOEXN 0x3FFFFF74u
#define WR_VT_FUNCREF (WR_VT_REF | WR_VT_NULLABLE | WR_HEAP_FUNC)
#define WR_VT_EXTERNREF (WR_VT_REF | WR_VT_NULLABLE | WR_HEAP_EXTERN)
#define WR_VT_EXNREF (WR_VT_REF | WR_VT_NULLABLE | WR_HEAP_EXN)

static inline bool wr_vt_is_ref(wr_vt type) { return (type & WR_VT_REF) != 0; }
static inline bool wr_vt_has_default(wr_vt type) { return !wr_vt_is_ref(type) || (type & WR_VT_NULLABLE) != 0; }
static inline uint32_t wr_vt_slots(wr_vt type) { return type == WR_VT_V128 ? 2 : 1; }
bool wr_vt_is_subtype(wr_vt sub, wr_vt super);
static inline bool wr_vt_matches(wr_vt sub, wr_vt super) { return sub == super || wr_vt_is_subtype(sub, super); }
wr_vt wr_vt_from_byte(uint8_t byte); /* WR_VT_BOTTOM: no value type of the public API */
uint8_t wr_vt_to_byte(wr_vt type);

/* Interned function type: equal types of all modules of an engine are one object, so comparing is one pointer. */
typedef struct wr_type {
    struct wr_type *next; /* in its hash bucket */
    uint32_t hash;
    uint32_t id; /* as a heap type */
    uint32_t refs;
    uint16_t param_count;
    uint16_t result_count;
    uint16_t param_slots;
    uint16_t result_slots;
    wr_vt values[]; /* params then results; then the same as bytes, for the public API */
} wr_type;

enum { WR_TYPE_BUCKETS = 256, WR_SPACES_MAX = 8 };

/* Address space of a guarded memory that was freed, kept for the next one: making one costs several system calls. */
typedef struct wr_space {
    uint8_t *data;
    uint64_t committed; /* bytes from the start that can be accessed; zero */
} wr_space;

struct wr_engine {
    wr_heap heap;
    wr_engine_config config;
    pthread_mutex_t lock; /* guards what follows and module code variants */
    wr_type *buckets[WR_TYPE_BUCKETS];
    wr_space spaces[WR_SPACES_MAX];
    uint32_t space_count;
    wr_vec types; /* wr_type * by id; NULL: free */
    uint32_t free_id;   /* no free id below this */
    uint32_t live_types;
};

void wr_spaces_free(wr_engine *engine); /* memory.c */

/* values: params then results. The caller owns one reference to the result. heap gives what a new type takes: the
 * engine's, or one that counts. */
wr_status wr_type_intern(wr_engine *engine, const wr_heap *heap, const wr_vt *values, uint32_t params, uint32_t results,
                         const wr_type **out);
void wr_type_release(wr_engine *engine, const wr_type *type);
wr_func_type wr_type_public(const wr_type *type);

/* Formats "text: detail" into error, if there is one; returns status. */
wr_status wr_error_set(wr_error *error, wr_status status, uint32_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
