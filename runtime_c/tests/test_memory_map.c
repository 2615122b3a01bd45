/* Memory of the host mapped into a linear memory: shared both ways, and read-only where it is so. */
#include <sys/mman.h>
#include <unistd.h>

#include "fixture.h"

enum { WASM_PAGE = 65536 };

static const build_func FUNCS[] = {
    {"i", "i", "get", NULL, BUILD_BODY(0, 0x20, 0, 0x28, 2, 0, 0x0B), NULL},
    {"ii", "", "put", NULL, BUILD_BODY(0, 0x20, 0, 0x20, 1, 0x36, 2, 0, 0x0B), NULL},
    {"iii", "", "fill", NULL, BUILD_BODY(0, 0x20, 0, 0x20, 1, 0x20, 2, 0xFC, 0x0B, 0, 0x0B), NULL},
    {"i", "i", "grow", NULL, BUILD_BODY(0, 0x20, 0, 0x40, 0, 0x0B), NULL},
};
static const build_module MODULE = {.funcs = FUNCS, .func_count = 4, .memory_min = 1, .memory_max = 8};

/* A control page that the plugin may write, then two pages of data, mapped twice, that it may not. */
typedef struct mapping {
    fixture fix;
    size_t page;
    int fd;
    uint32_t *host; /* the same bytes as the host sees them */
    uint32_t control;
    uint32_t data; /* address of the first data page */
} mapping;

static bool open_mapping(check_t *check, mapping *map, wr_bounds bounds) {
    const wr_engine_config config = {.bounds = bounds};
    const wr_instance_limits limits = {.map_bytes = 16 * WASM_PAGE};
    build_t bytes = {0};
    uint64_t address = 0;
    map->page = (size_t)sysconf(_SC_PAGESIZE);
    map->fd = memfd_create("map", MFD_CLOEXEC);
    build_whole(&bytes, &MODULE);
    if (!CHECK(map->fd >= 0 && ftruncate(map->fd, (off_t)(3 * map->page)) == 0) ||
        !CHECK_OK(fixture_open(&map->fix, &config)) || !CHECK_OK(fixture_load(&map->fix, &bytes)) ||
        !CHECK_OK(fixture_link(&map->fix, NULL, 0, &limits))) {
        return false;
    }
    map->host = mmap(NULL, 3 * map->page, PROT_READ | PROT_WRITE, MAP_SHARED, map->fd, 0);
    const wr_map_part parts[] = {
        {map->fd, 0, map->page, true},
        {map->fd, map->page, 2 * map->page, false},
        {map->fd, map->page, 2 * map->page, false},
    };
    if (!CHECK(map->host != MAP_FAILED) ||
        !CHECK_OK(wr_memory_map(wr_instance_memory(map->fix.instance, 0), parts, 3, &address))) {
        return false;
    }
    CHECK_EQ_U64(address % WASM_PAGE, 0);
    CHECK(address >= WASM_PAGE);
    map->control = (uint32_t)address;
    map->data = map->control + (uint32_t)map->page;
    return true;
}

static void close_mapping(mapping *map) {
    munmap(map->host, 3 * map->page);
    close(map->fd);
    fixture_close(&map->fix);
}

static wr_status get(mapping *map, uint32_t address, uint32_t *value) {
    wr_slot slot = {.u64 = address};
    wr_status status = fixture_call(&map->fix, "get", &slot);
    *value = slot.u32;
    return status;
}

static wr_status put(mapping *map, uint32_t address, uint32_t value) {
    wr_slot slots[2] = {{.u64 = address}, {.u64 = value}};
    return fixture_call(&map->fix, "put", slots);
}

static void check_shared(check_t *check, wr_bounds bounds) {
    mapping map;
    uint32_t value = 0;
    REQUIRE(open_mapping(check, &map, bounds));
    size_t words = map.page / 4;
    map.host[words] = 0xCAFE;
    map.host[3 * words - 1] = 0xBEEF;
    CHECK_OK(get(&map, map.data, &value));
    CHECK_EQ_U64(value, 0xCAFE);
    CHECK_OK(get(&map, map.data + (uint32_t)(2 * map.page), &value)); /* the second time they are mapped */
    CHECK_EQ_U64(value, 0xCAFE);
    CHECK_OK(get(&map, map.data + (uint32_t)(2 * map.page) - 4, &value));
    CHECK_EQ_U64(value, 0xBEEF);
    CHECK_OK(put(&map, map.control, 77));
    CHECK_EQ_U64(map.host[0], 77);
    uint32_t *seen = wr_memory_at(wr_instance_memory(map.fix.instance, 0), map.data, 4);
    REQUIRE(seen != NULL);
    CHECK_EQ_U64(*seen, 0xCAFE);
    close_mapping(&map);
}

static void check_protected(check_t *check, wr_bounds bounds) {
    mapping map;
    wr_slot fill[3] = {{.u64 = 0}, {.u64 = 1}, {.u64 = 16}};
    uint32_t value = 0;
    REQUIRE(open_mapping(check, &map, bounds));
    CHECK_STATUS(put(&map, map.data, 1), WR_TRAP_MEMORY_PROTECTED);
    CHECK_STATUS(wr_exec_trap(map.fix.exec)->status, WR_TRAP_MEMORY_PROTECTED);
    CHECK_STR(wr_exec_trap(map.fix.exec)->frames[0].name, "put");
    CHECK_EQ_U64(map.host[map.page / 4], 0);
    fill[0].u64 = map.data;
    CHECK_STATUS(fixture_call(&map.fix, "fill", fill), WR_TRAP_MEMORY_PROTECTED);
    CHECK_OK(put(&map, map.control, 5)); /* the instance and the exec live on */
    CHECK_OK(get(&map, map.control, &value));
    CHECK_EQ_U64(value, 5);
    close_mapping(&map);
}

static void check_ends(check_t *check, wr_bounds bounds) {
    mapping map;
    uint32_t value = 0;
    REQUIRE(open_mapping(check, &map, bounds));
    uint64_t size = wr_memory_size(wr_instance_memory(map.fix.instance, 0));
    CHECK_EQ_U64(size % WASM_PAGE, 0);
    CHECK(size >= map.control + 5 * map.page);
    CHECK_OK(get(&map, (uint32_t)size - 4, &value));
    CHECK_STATUS(get(&map, (uint32_t)size - 3, &value), WR_TRAP_MEMORY_BOUNDS);
    CHECK_STATUS(put(&map, (uint32_t)size, 1), WR_TRAP_MEMORY_BOUNDS);
    wr_slot slot = {.u64 = 1};
    CHECK_OK(fixture_call(&map.fix, "grow", &slot));
    CHECK_EQ_U64(slot.u32, size / WASM_PAGE); /* the plugin can still grow, behind the mapping */
    CHECK_OK(put(&map, (uint32_t)size, 9));
    CHECK_OK(get(&map, (uint32_t)size, &value));
    CHECK_EQ_U64(value, 9);
    close_mapping(&map);
}

static void shared_both_ways(check_t *check) {
    check_shared(check, WR_BOUNDS_AUTO);
    check_shared(check, WR_BOUNDS_CHECKED);
}

static void stores_to_read_only_parts_trap(check_t *check) {
    check_protected(check, WR_BOUNDS_AUTO);
    check_protected(check, WR_BOUNDS_CHECKED);
}

static void the_end_is_whole_pages(check_t *check) {
    check_ends(check, WR_BOUNDS_AUTO);
    check_ends(check, WR_BOUNDS_CHECKED);
}

static void wrong_mappings_are_refused(check_t *check) {
    const wr_instance_limits two_pages = {.map_bytes = 2 * WASM_PAGE};
    mapping map;
    uint64_t address = 0;
    REQUIRE(open_mapping(check, &map, WR_BOUNDS_AUTO));
    REQUIRE_OK(fixture_link(&map.fix, NULL, 0, &two_pages));
    wr_memory *memory = wr_instance_memory(map.fix.instance, 0);
    uint64_t size = wr_memory_size(memory);
    const wr_map_part crooked = {map.fd, 1, map.page, false};
    const wr_map_part short_part = {map.fd, 0, map.page - 1, false};
    const wr_map_part empty = {map.fd, 0, 0, false};
    const wr_map_part no_file = {-1, 0, map.page, false};
    const wr_map_part huge = {map.fd, 0, 3 * WASM_PAGE, false};
    CHECK_STATUS(wr_memory_map(memory, &crooked, 1, &address), WR_BAD_ARGUMENT);
    CHECK_STATUS(wr_memory_map(memory, &short_part, 1, &address), WR_BAD_ARGUMENT);
    CHECK_STATUS(wr_memory_map(memory, &empty, 1, &address), WR_BAD_ARGUMENT);
    CHECK_STATUS(wr_memory_map(memory, &no_file, 1, &address), WR_SYSTEM);
    CHECK_STATUS(wr_memory_map(memory, &huge, 1, &address), WR_FULL);
    CHECK_EQ_U64(wr_memory_size(memory), size);
    REQUIRE_OK(fixture_link(&map.fix, NULL, 0, NULL)); /* without map_bytes there is no room at all */
    const wr_map_part good = {map.fd, 0, map.page, false};
    memory = wr_instance_memory(map.fix.instance, 0);
    CHECK_STATUS(wr_memory_map(memory, &good, 1, &address), WR_FULL);
    close_mapping(&map);
}

static const check_test TESTS[] = {
    CHECK_TEST(shared_both_ways),
    CHECK_TEST(stores_to_read_only_parts_trap),
    CHECK_TEST(the_end_is_whole_pages),
    CHECK_TEST(wrong_mappings_are_refused),
};
CHECK_MAIN(TESTS)
