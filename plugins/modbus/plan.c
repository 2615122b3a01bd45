#include "plan.h"
#include "frame.h"

enum { UNITS_MAX = 256, ADDRESSES = 65536 };

/* Six-digit reference numbers: kind of table in the first digit, counted from 1. */
static const struct {
    uint32_t first;
    uint8_t table;
} references[] = {
    {100001, MODBUS_TAG_TABLE_DISCRETE},
    {300001, MODBUS_TAG_TABLE_INPUT},
    {400001, MODBUS_TAG_TABLE_HOLDING},
};

/* Registers of each type, in the order of enum modbus_tag_type; 0: as configured. */
static const uint8_t spans[] = {1, 1, 1, 2, 2, 4, 4, 2, 4, 1, 2, 0};

static bool is_bits(uint8_t table) { return table == MODBUS_TAG_TABLE_COIL || table == MODBUS_TAG_TABLE_DISCRETE; }

static const char *resolve_address(const struct modbus_tag *tag, uint8_t *table, uint16_t *address) {
    *table = tag->has_table ? tag->table : MODBUS_TAG_TABLE_HOLDING;
    *address = (uint16_t)tag->address;
    if (tag->address < ADDRESSES) return NULL;
    for (uint32_t i = 0; i < sizeof references / sizeof references[0]; i++) {
        if (tag->address < references[i].first || tag->address >= references[i].first + ADDRESSES) continue;
        *table = references[i].table;
        *address = (uint16_t)(tag->address - references[i].first);
        return tag->has_table && tag->table != *table ? "table: contradicts the six-digit address" : NULL;
    }
    return "address: allowed are 0 to 65535, 100001 to 165536, 300001 to 365536, 400001 to 465536";
}

static const char *resolve_type(const struct modbus_tag *tag, uint8_t table, uint8_t *type) {
    bool is_bit = is_bits(table) || tag->has_bit;
    uint8_t fallback = is_bit ? MODBUS_TAG_TYPE_BOOL : MODBUS_TAG_TYPE_U16;
    *type = tag->has_type ? tag->type : fallback;
    if (is_bits(table) && tag->has_bit) return "bit: only for registers";
    if (is_bit && *type != MODBUS_TAG_TYPE_BOOL) return "type: only bool for coils, discretes and single bits";
    bool is_number = *type != MODBUS_TAG_TYPE_BOOL && *type != MODBUS_TAG_TYPE_STRING;
    if (!is_number && (tag->has_nan_value || tag->has_min || tag->has_max)) {
        return "nan_value, min, max: only for number types";
    }
    return tag->has_min && tag->has_max && tag->min > tag->max ? "min: is above max" : NULL;
}

static const char *resolve(struct point *point, const struct modbus_tag *tag, const struct modbus_config *config) {
    uint8_t table;
    const char *problem = resolve_address(tag, &table, &point->address);
    if (problem == NULL) problem = resolve_type(tag, table, &point->type);
    if (problem != NULL) return problem;
    point->tag = tag;
    point->unit = tag->unit;
    point->function = (uint8_t)(table + 1); /* 1 coils, 2 discrete inputs, 3 holding, 4 input registers */
    point->span = point->type == MODBUS_TAG_TYPE_STRING ? tag->registers : spans[point->type];
    if (point->address + point->span > ADDRESSES) return "address: the value reaches beyond 65535";
    if (point->span > config->max_registers) return "type: has more registers than max_registers";
    if (tag->unit == 0 && config->framing != MODBUS_FRAMING_TCP)
        return "unit: 0 is broadcast on a serial line, nobody answers it";
    return NULL;
}

static uint32_t record_bytes(const struct point *point) {
    uint32_t text = point->type == MODBUS_TAG_TYPE_STRING ? point->span * 2u : 0;
    return (uint32_t)sizeof(struct pen_record) + ((text + 7u) & ~7u);
}

/* Shell sort (gaps by thirds): no recursion, no memory, a thousand keys in about a millisecond. */
static void sort_keys(uint64_t *keys, uint32_t count) {
    uint32_t gap = 1;
    while (gap < count / 3) gap = gap * 3 + 1;
    for (; gap > 0; gap /= 3) {
        for (uint32_t i = gap; i < count; i++) {
            uint64_t key = keys[i];
            uint32_t at = i;
            for (; at >= gap && keys[at - gap] > key; at -= gap) keys[at] = keys[at - gap];
            keys[at] = key;
        }
    }
}

static uint64_t sort_key(const struct point *point, uint32_t position) {
    return (uint64_t)point->unit << 56 | (uint64_t)point->function << 48 | (uint64_t)point->address << 32 | position;
}

/* Points in the order of unit, table, address. */
static const char *make_points(struct plan *plan, const struct pen_config *config, uint64_t *keys, uint32_t *tag) {
    struct point scratch;
    for (uint32_t i = 0; i < config->tag_count; i++) {
        const struct modbus_tag *entry = pen_config_tag_at(config, i);
        const char *problem = resolve(&scratch, entry, config->config);
        *tag = entry->tag;
        if (problem != NULL) return problem;
        keys[i] = sort_key(&scratch, i);
    }
    sort_keys(keys, config->tag_count);
    for (uint32_t i = 0; i < config->tag_count; i++) {
        resolve(&plan->points[i], pen_config_tag_at(config, (uint32_t)keys[i]), config->config);
    }
    plan->point_count = config->tag_count;
    return NULL;
}

static struct unit *unit_of(struct plan *plan, uint32_t first) {
    uint8_t id = plan->points[first].unit;
    if (plan->unit_count == 0 || plan->units[plan->unit_count - 1].id != id) {
        struct unit *unit = &plan->units[plan->unit_count++];
        unit->id = id;
        unit->first = first;
    }
    return &plan->units[plan->unit_count - 1];
}

static struct request *add_request(struct plan *plan, uint32_t first) {
    const struct point *point = &plan->points[first];
    struct request *request = &plan->requests[plan->request_count++];
    request->unit = (uint16_t)(unit_of(plan, first) - plan->units);
    request->function = point->function;
    request->address = point->address;
    request->first = first;
    return request;
}

/* Whether the request can grow to the end of the point within the limits. */
static bool fits(const struct plan *plan, const struct request *request, const struct point *point,
                 const struct modbus_config *config, uint32_t room_max) {
    uint32_t limit = point->function <= 2 ? config->max_bits : config->max_registers;
    uint32_t end = (uint32_t)request->address + request->count;
    uint32_t new_end = (uint32_t)point->address + point->span;
    return plan->units[request->unit].id == point->unit && request->function == point->function &&
           point->address <= end + config->gap && new_end - request->address <= limit &&
           request->room + record_bytes(point) <= room_max;
}

static void make_requests(struct plan *plan, const struct modbus_config *config, uint32_t room_max) {
    struct request *request = NULL;
    for (uint32_t i = 0; i < plan->point_count; i++) {
        const struct point *point = &plan->points[i];
        if (request == NULL || !fits(plan, request, point, config, room_max)) request = add_request(plan, i);
        uint32_t span = (uint32_t)point->address + point->span - request->address;
        if (span > request->count) request->count = (uint16_t)span;
        request->points++;
        request->room += record_bytes(point);
        plan->units[request->unit].points++;
    }
}

static void place_texts(struct plan *plan, char *texts) {
    for (uint32_t i = 0; i < plan->point_count; i++) {
        struct point *point = &plan->points[i];
        if (point->type != MODBUS_TAG_TYPE_STRING) continue;
        point->text = texts;
        texts += point->span * 2;
    }
}

static uint32_t text_bytes(const struct pen_config *config) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < config->tag_count; i++) {
        const struct modbus_tag *tag = pen_config_tag_at(config, i);
        if (tag->has_type && tag->type == MODBUS_TAG_TYPE_STRING) sum += tag->registers * 2u;
    }
    return sum;
}

const char *plan_make(struct plan *plan, const struct pen_config *config, uint32_t room_max, uint32_t *tag) {
    uint32_t count = config->tag_count;
    uint32_t units = count < UNITS_MAX ? count : UNITS_MAX;
    uint32_t kept_bytes = (uint32_t)(sizeof *plan->kept + count * sizeof(struct numbers));
    uint32_t fixed = count * (uint32_t)(sizeof(uint64_t) + sizeof *plan->points + sizeof *plan->requests) +
                     units * (uint32_t)sizeof *plan->units + kept_bytes;
    *tag = PEN_NO_TAG;
    plan->kept = pen_memory_take(fixed + text_bytes(config));
    if (plan->kept == NULL) return "not enough memory for the tags: raise limits.memory_bytes";
    uint64_t *keys = (uint64_t *)(void *)(plan->kept->numbers + count);
    plan->points = (struct point *)(keys + count);
    plan->units = (struct unit *)(plan->points + count);
    plan->requests = (struct request *)(plan->units + units);
    const char *problem = make_points(plan, config, keys, tag);
    if (problem != NULL) return problem;
    make_requests(plan, config->config, room_max);
    place_texts(plan, (char *)(plan->requests + count));
    for (uint32_t i = 0; i < count; i++) plan->points[i].numbers = &plan->kept->numbers[i];
    hal_keep(plan->kept, (int32_t)kept_bytes);
    return NULL;
}

uint32_t plan_find_tag(const struct plan *plan, uint32_t tag) {
    uint32_t at = 0;
    while (at < plan->point_count && plan->points[at].tag->tag != tag) at++;
    return at;
}
