/* Loading a module in pieces. A unit is what is decoded at once: a header, a section, or one function body. Units are
 * decoded where they lie; only what is left of an incomplete one is copied and waits for the next piece. */
#include <string.h>

#include "loader.h"

typedef enum step { STEP_START, STEP_HEADER, STEP_SECTION, STEP_CODE_COUNT, STEP_CODE_ENTRY } step;

struct wr_module_stream {
    wr_loader loader;
    wr_heap heap;     /* the engine's, with an account of what the module takes; not of what is held */
    wr_account account;
    wr_body *body;    /* while the code section is open */
    wr_vec held;      /* uint8_t: the beginning of an incomplete unit */
    size_t len;       /* of the module, 0: not known */
    size_t fed;
    step step;
    uint32_t section; /* offsets of the first byte of the section that is open */
    uint32_t end;     /* and of the one behind it */
    wr_status failed; /* the first failure; the loader's detail tells more */
    uint32_t place;   /* in the module, if it is at one: */
    bool is_placed;
    bool is_last;     /* nothing comes after what is here */
    uint8_t id;       /* of the section that is open */
};

/* ---- units ---- */

static wr_status check_start(wr_reader *reader, bool is_last, bool *waits) {
    static const uint8_t magic[] = {0, 'a', 's', 'm'}, version[] = {1, 0, 0, 0};
    const size_t left = wr_reader_left(reader);
    *waits = left < 8 && !is_last;
    if (*waits) return WR_OK;
    if (left < 4) return WR_UNEXPECTED_END;
    if (memcmp(reader->at, magic, 4) != 0) return WR_BAD_MAGIC;
    reader->at += 4;
    if (left < 8) return WR_UNEXPECTED_END;
    if (memcmp(reader->at, version, 4) != 0) return WR_BAD_VERSION;
    reader->at += 4;
    return WR_OK;
}

/* A number that may be cut off by the end of what is here. */
static wr_status read_whole(wr_reader *reader, bool is_whole, bool *waits, uint32_t *out) {
    const uint8_t *start = reader->at;
    const wr_status status = wr_read_u32(reader, out);
    *waits = status == WR_UNEXPECTED_END && !is_whole;
    if (!*waits) return status;
    reader->at = start;
    return WR_OK;
}

static wr_status open_section(wr_module_stream *stream, bool *waits) {
    wr_loader *loader = &stream->loader;
    wr_reader *reader = &loader->reader;
    const uint8_t *start = reader->at;
    uint32_t size;
    *waits = start == reader->end;
    if (*waits) return WR_OK;
    stream->id = *reader->at++;
    if (!wr_load_is_section(stream->id)) return wr_load_fail(loader, WR_BAD_SECTION_ID, "%u", stream->id);
    WR_TRY(read_whole(reader, stream->is_last, waits, &size));
    if (*waits) {
        reader->at = start;
        return WR_OK;
    }
    stream->section = wr_reader_offset(reader);
    const uint64_t here = stream->section + wr_reader_left(reader);
    const uint64_t most = stream->len != 0 ? stream->len : stream->is_last ? here : UINT32_MAX;
    if (size > most - stream->section) return WR_LENGTH_BOUNDS;
    WR_TRY(wr_load_section_begin(loader, stream->id));
    stream->end = stream->section + size;
    stream->step = stream->id == 10 ? STEP_CODE_COUNT : STEP_SECTION;
    return WR_OK;
}

static wr_status take_section(wr_module_stream *stream, bool *waits) {
    const uint32_t size = stream->end - stream->section;
    *waits = wr_reader_left(&stream->loader.reader) < size;
    if (*waits) return WR_OK;
    stream->step = STEP_HEADER;
    return wr_load_section(&stream->loader, stream->id, size);
}

/* What is here of the code section, as the reader's end; true: all of it. */
static bool narrow(wr_module_stream *stream, const uint8_t **end) {
    wr_reader *reader = &stream->loader.reader;
    const uint32_t left = stream->end - wr_reader_offset(reader);
    *end = reader->end;
    if (wr_reader_left(reader) < left) return false;
    reader->end = reader->at + left;
    return true;
}

static wr_status count_bodies(wr_module_stream *stream, bool *waits) {
    wr_reader *reader = &stream->loader.reader;
    const uint8_t *start = reader->at, *end;
    const bool is_whole = narrow(stream, &end);
    uint32_t count;
    WR_TRY(read_whole(reader, is_whole, waits, &count));
    if (*waits) return WR_OK;
    reader->at = start;
    WR_TRY(wr_load_code_count(&stream->loader, stream->end - wr_reader_offset(reader)));
    reader->end = end;
    wr_vec_free(stream->loader.heap, &stream->loader.scratch, sizeof(wr_const_op));
    stream->body = wr_body_new(&stream->loader);
    stream->step = STEP_CODE_ENTRY;
    return stream->body != NULL ? WR_OK : WR_NO_MEMORY;
}

static wr_status take_body(wr_module_stream *stream, bool *waits) {
    wr_loader *loader = &stream->loader;
    wr_reader *reader = &loader->reader;
    const uint8_t *start = reader->at, *end;
    uint32_t size;
    if (loader->bodies_seen == loader->body_count) {
        WR_TRY(wr_body_finish(stream->body));
        wr_body_free(stream->body);
        stream->body = NULL;
        stream->step = STEP_HEADER;
        if (wr_reader_offset(reader) != stream->end)
            return wr_load_fail(loader, WR_SECTION_SIZE, "section %u", stream->id);
        return WR_OK;
    }
    const bool is_whole = narrow(stream, &end);
    WR_TRY(read_whole(reader, is_whole, waits, &size));
    if (!*waits && size > stream->end - wr_reader_offset(reader)) return WR_UNEXPECTED_END;
    *waits = *waits || size > wr_reader_left(reader);
    if (*waits) reader->at = start;
    if (!*waits) WR_TRY(wr_load_code_entry(loader, size, stream->body));
    reader->end = end;
    return WR_OK;
}

static wr_status take_unit(wr_module_stream *stream, bool *waits) {
    *waits = false;
    switch (stream->step) {
    case STEP_START:
        stream->step = STEP_HEADER;
        WR_TRY(check_start(&stream->loader.reader, stream->is_last, waits));
        if (*waits) stream->step = STEP_START;
        return WR_OK;
    case STEP_HEADER: return open_section(stream, waits);
    case STEP_SECTION: return take_section(stream, waits);
    case STEP_CODE_COUNT: return count_bodies(stream, waits);
    default: return take_body(stream, waits);
    }
}

/* ---- pieces ---- */

/* Bytes that loading a module of so many may take. */
static size_t load_most(const wr_limits *limits, uint64_t len) {
    uint64_t most = len * limits->load_ratio_max;
    if (most < limits->load_bytes_min) most = limits->load_bytes_min;
    return most < SIZE_MAX ? (size_t)most : SIZE_MAX;
}

static wr_status refuse(wr_module_stream *stream, size_t wanted, size_t most) {
    const wr_limits *limits = &stream->loader.engine->config.limits;
    return wr_load_fail(&stream->loader, WR_LIMIT_LOAD_BYTES,
                        "%zu bytes, allowed are %zu (load_ratio_max %u, load_bytes_min %u)", wanted, most,
                        limits->load_ratio_max, limits->load_bytes_min);
}

static wr_status fail(wr_module_stream *stream, wr_status status, uint32_t offset) {
    const wr_account *account = &stream->account;
    if (status == WR_NO_MEMORY && account->wanted != 0) status = refuse(stream, account->wanted, account->most);
    stream->failed = status;
    stream->is_placed = true;
    stream->place = offset;
    return status;
}

/* Decodes what is complete among these bytes and holds the rest, which may lie among the held ones already. */
static wr_status take(wr_module_stream *stream, const uint8_t *bytes, size_t len) {
    wr_loader *loader = &stream->loader;
    wr_reader *reader = &loader->reader;
    wr_status status = WR_OK;
    const uint8_t *end = len != 0 ? bytes + len : bytes; /* of nothing it may be NULL */
    *reader = (wr_reader){bytes, bytes, end, (uint32_t)(stream->fed - len)};
    for (bool waits = false; status == WR_OK && !waits;) status = take_unit(stream, &waits);
    if (status != WR_OK)
        return fail(stream, status, loader->fail_offset != 0 ? loader->fail_offset : wr_reader_offset(reader));
    const size_t left = wr_reader_left(reader), more = left > stream->held.count ? left - stream->held.count : 0;
    if (wr_vec_reserve(&loader->engine->heap, &stream->held, more, 1) != WR_OK) return fail(stream, WR_NO_MEMORY, 0);
    if (left != 0 && reader->at != stream->held.items) memmove(stream->held.items, reader->at, left);
    stream->held.count = (uint32_t)left;
    return WR_OK;
}

static wr_status take_piece(wr_module_stream *stream, const uint8_t *bytes, size_t len) {
    const wr_engine *engine = stream->loader.engine;
    stream->fed += len;
    if (stream->fed > engine->config.limits.module_bytes_max) {
        return stream->failed = wr_load_fail(&stream->loader, WR_LIMIT_MODULE_BYTES, "%zu bytes", stream->fed);
    }
    if (stream->len != 0 && stream->fed > stream->len) {
        return stream->failed = wr_load_fail(&stream->loader, WR_BAD_ARGUMENT, "%zu bytes, %zu were announced",
                                             stream->fed, stream->len);
    }
    stream->is_last = stream->len != 0 && stream->fed == stream->len;
    if (stream->held.count == 0) return take(stream, bytes, len);
    if (wr_vec_reserve(&engine->heap, &stream->held, len, 1) != WR_OK) return fail(stream, WR_NO_MEMORY, 0);
    if (len != 0) memcpy((uint8_t *)stream->held.items + stream->held.count, bytes, len);
    stream->held.count += (uint32_t)len;
    return take(stream, stream->held.items, stream->held.count);
}

static wr_status take_end(wr_module_stream *stream) {
    const wr_module *module = stream->loader.module;
    const uint32_t end = (uint32_t)stream->fed;
    if (!stream->is_last) {
        stream->is_last = true;
        WR_TRY(take(stream, stream->held.items, stream->held.count));
    }
    if (stream->step != STEP_HEADER) return fail(stream, WR_LENGTH_BOUNDS, stream->section);
    if (stream->loader.bodies_seen != module->func_count - module->func_imports)
        return fail(stream, WR_FUNC_CODE_MISMATCH, end);
    if (stream->loader.has_data_count && module->data_count != stream->loader.data_declared) {
        return fail(stream, WR_DATA_COUNT_MISMATCH, end);
    }
    const wr_status status = wr_load_function_names(stream->loader.module);
    if (status != WR_OK) return fail(stream, status, end);
    /* Whoever did not know how long the module is learns only now whether it was too much for it. */
    const size_t peak = stream->account.peak, most = load_most(&stream->loader.engine->config.limits, stream->fed);
    return peak <= most ? WR_OK : fail(stream, refuse(stream, peak, most), end);
}

/* ---- the interface ---- */

static wr_status report(const wr_module_stream *stream, wr_error *error) {
    const char *detail = stream->loader.detail != NULL ? stream->loader.detail : "";
    const char *gap = detail[0] != '\0' ? " " : "";
    if (stream->failed == WR_OK || !stream->is_placed)
        return stream->failed == WR_OK ? WR_OK : wr_error_set(error, stream->failed, 0, "%s", detail);
    return wr_error_set(error, stream->failed, stream->place, "%s%sat offset 0x%x", detail, gap, stream->place);
}

wr_status wr_module_begin(wr_engine *engine, size_t len, wr_module_stream **out, wr_error *error) {
    if (len > engine->config.limits.module_bytes_max) {
        return wr_error_set(error, WR_LIMIT_MODULE_BYTES, 0, "%zu bytes", len);
    }
    wr_module_stream *stream = wr_mem_zero(&engine->heap, sizeof *stream);
    if (stream == NULL) return wr_error_set(error, WR_NO_MEMORY, 0, "%s", "");
    stream->heap = engine->heap;
    stream->heap.account = &stream->account;
    stream->account.most = load_most(&engine->config.limits, len != 0 ? len : engine->config.limits.module_bytes_max);
    stream->loader.engine = engine;
    stream->loader.heap = &stream->heap;
    stream->len = len;
    wr_module *module = wr_heap_charge(&stream->heap, sizeof *stream) ? wr_module_new(engine, &stream->heap) : NULL;
    if (module == NULL) {
        (void)fail(stream, WR_NO_MEMORY, 0);
        stream->is_placed = false;
        return wr_module_finish(stream, NULL, error);
    }
    stream->loader.module = module;
    stream->loader.customs = &module->customs;
    *out = stream;
    return WR_OK;
}

wr_status wr_module_feed(wr_module_stream *stream, const uint8_t *bytes, size_t len, wr_error *error) {
    if (stream->failed == WR_OK) (void)take_piece(stream, bytes, len);
    return report(stream, error);
}

wr_status wr_module_finish(wr_module_stream *stream, wr_module **out, wr_error *error) {
    wr_engine *engine = stream->loader.engine;
    if (stream->failed == WR_OK && out != NULL) (void)take_end(stream);
    const wr_status status = report(stream, error);
    if (status == WR_OK && out != NULL) {
        *out = stream->loader.module;
        (*out)->arena.heap = &engine->heap;
    } else {
        wr_module_release(stream->loader.module);
    }
    wr_body_free(stream->body);
    wr_vec_free(&engine->heap, &stream->held, 1);
    wr_vec_free(stream->loader.heap, &stream->loader.scratch, sizeof(wr_const_op));
    wr_load_forget(&stream->loader);
    wr_mem_free(&engine->heap, stream, sizeof *stream);
    return status;
}

wr_status wr_module_load(wr_engine *engine, const uint8_t *bytes, size_t len, wr_module **out, wr_error *error) {
    wr_module_stream *stream;
    WR_TRY(wr_module_begin(engine, len, &stream, error));
    (void)wr_module_feed(stream, bytes, len, NULL);
    return wr_module_finish(stream, out, error);
}
