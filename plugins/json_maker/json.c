#include "json.h"
#include "pen_float.h"
#include "pen_utf8.h"

static bool is_plain(uint8_t byte) { return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\'; }

static void add_escaped(struct pen_text *text, uint8_t byte) {
    static const char hex[] = "0123456789abcdef";
    if (byte == '"' || byte == '\\') {
        pen_text_add_byte(text, '\\');
        pen_text_add_byte(text, (char)byte);
    } else if (byte >= 0x80) {
        PEN_TEXT_LITERAL(text, "\\ufffd");
    } else {
        PEN_TEXT_LITERAL(text, "\\u00");
        pen_text_add_byte(text, hex[byte >> 4]);
        pen_text_add_byte(text, hex[byte & 15]);
    }
}

/* Bytes from `at` on that need no escape. */
static uint32_t plain_run(const uint8_t *bytes, uint32_t at, uint32_t len) {
    uint32_t end = at;
    while (end < len) {
        uint32_t step = is_plain(bytes[end]) ? 1 : bytes[end] < 0x80 ? 0 : pen_utf8_length(bytes + end, len - end);
        if (step == 0) break;
        end += step;
    }
    return end - at;
}

void json_add_string(struct pen_text *text, const char *string, uint32_t len) {
    const uint8_t *bytes = (const uint8_t *)string;
    pen_text_add_byte(text, '"');
    for (uint32_t at = 0; at < len; at++) {
        uint32_t run = plain_run(bytes, at, len);
        pen_text_add_bytes(text, bytes + at, run);
        at += run;
        if (at < len) add_escaped(text, bytes[at]);
    }
    pen_text_add_byte(text, '"');
}

static void add_padded_string(struct pen_text *text, const char *string, uint32_t size) {
    uint32_t len = 0;
    while (len < size && string[len] != '\0') len++;
    json_add_string(text, string, len);
}

static void add_value(struct pen_text *text, const struct pen_record *record) {
    bool has_value = true;
    switch (record->type) {
    case PEN_BOOL: pen_text_add(text, record->value.u64 & 1 ? "true" : "false"); break;
    case PEN_I64: pen_text_add_i64(text, record->value.i64); break;
    case PEN_U64: pen_text_add_u64(text, record->value.u64); break;
    case PEN_F64: has_value = pen_text_add_f64(text, record->value.f64); break;
    case PEN_BYTES: json_add_string(text, (const char *)(record + 1), record->value.bytes.len); break;
    default: has_value = false;
    }
    if (!has_value) PEN_TEXT_LITERAL(text, "null");
}

static void add_quality(struct pen_text *text, uint8_t quality) {
    static const char *const names[] = {"good", "bad", "stale"};
    pen_text_add(text, names[quality <= PEN_STALE ? quality : PEN_BAD]);
}

/* "#12" for tag 12 when its name is not known. */
static void add_name(struct pen_text *text, uint32_t index, const struct json_maker_tag *tag) {
    PEN_TEXT_LITERAL(text, "{\"tag\":");
    if (tag == NULL) {
        PEN_TEXT_LITERAL(text, "\"#");
        pen_text_add_u64(text, index);
        pen_text_add_byte(text, '"');
        return;
    }
    add_padded_string(text, tag->name, sizeof tag->name);
    if (tag->unit[0] == '\0') return;
    PEN_TEXT_LITERAL(text, ",\"unit\":");
    add_padded_string(text, tag->unit, sizeof tag->unit);
}

void json_add_sample(struct pen_text *text, const struct pen_record *record, const struct json_maker_tag *tag) {
    add_name(text, record->tag, tag);
    if (record->kind == PEN_EVENT) PEN_TEXT_LITERAL(text, ",\"kind\":\"event\"");
    PEN_TEXT_LITERAL(text, ",\"v\":");
    add_value(text, record);
    PEN_TEXT_LITERAL(text, ",\"q\":\"");
    add_quality(text, record->quality);
    PEN_TEXT_LITERAL(text, "\",\"t\":");
    pen_text_add_i64(text, record->time_ns / 1000000);
    PEN_TEXT_LITERAL(text, ",\"n\":");
    pen_text_add_u64(text, record->seq);
    pen_text_add_byte(text, '}');
}
