/* Rows of the threads proposal (prefix FE), in the form of opcode.h. Codes are 0xFE00 + sub-opcode.
 * Source: WebAssembly threads proposal, binary format and "atomic memory instructions". */
#ifndef WR_OPCODE_ATOMIC_H
#define WR_OPCODE_ATOMIC_H

#ifdef WR_NO_THREADS
#define WR_ATOMIC_LOAD(X)
#define WR_ATOMIC_STORE(X)
#define WR_ATOMIC_RMW(X)
#define WR_ATOMIC_CMPXCHG(X)
#define WR_ATOMIC_WAIT(X)
#else

/* X(code, NAME, "text", type, memory C type, log2 of alignment) : [address] -> [t] */
#define WR_ATOMIC_LOAD(X) \
    X(0xFE10, I32_ATOMIC_LOAD, "i32.atomic.load", I32, uint32_t, 2) \
    X(0xFE11, I64_ATOMIC_LOAD, "i64.atomic.load", I64, uint64_t, 3) \
    X(0xFE12, I32_ATOMIC_LOAD8_U, "i32.atomic.load8_u", I32, uint8_t, 0) \
    X(0xFE13, I32_ATOMIC_LOAD16_U, "i32.atomic.load16_u", I32, uint16_t, 1) \
    X(0xFE14, I64_ATOMIC_LOAD8_U, "i64.atomic.load8_u", I64, uint8_t, 0) \
    X(0xFE15, I64_ATOMIC_LOAD16_U, "i64.atomic.load16_u", I64, uint16_t, 1) \
    X(0xFE16, I64_ATOMIC_LOAD32_U, "i64.atomic.load32_u", I64, uint32_t, 2)

/* The same columns : [address t] -> [] */
#define WR_ATOMIC_STORE(X) \
    X(0xFE17, I32_ATOMIC_STORE, "i32.atomic.store", I32, uint32_t, 2) \
    X(0xFE18, I64_ATOMIC_STORE, "i64.atomic.store", I64, uint64_t, 3) \
    X(0xFE19, I32_ATOMIC_STORE8, "i32.atomic.store8", I32, uint8_t, 0) \
    X(0xFE1A, I32_ATOMIC_STORE16, "i32.atomic.store16", I32, uint16_t, 1) \
    X(0xFE1B, I64_ATOMIC_STORE8, "i64.atomic.store8", I64, uint8_t, 0) \
    X(0xFE1C, I64_ATOMIC_STORE16, "i64.atomic.store16", I64, uint16_t, 1) \
    X(0xFE1D, I64_ATOMIC_STORE32, "i64.atomic.store32", I64, uint32_t, 2)

/* The same columns and the builtin : [address t] -> [t], the value before */
#define WR_ATOMIC_RMW(X) \
    X(0xFE1E, I32_ATOMIC_RMW_ADD, "i32.atomic.rmw.add", I32, uint32_t, 2, __atomic_fetch_add) \
    X(0xFE1F, I64_ATOMIC_RMW_ADD, "i64.atomic.rmw.add", I64, uint64_t, 3, __atomic_fetch_add) \
    X(0xFE20, I32_ATOMIC_RMW8_ADD_U, "i32.atomic.rmw8.add_u", I32, uint8_t, 0, __atomic_fetch_add) \
    X(0xFE21, I32_ATOMIC_RMW16_ADD_U, "i32.atomic.rmw16.add_u", I32, uint16_t, 1, __atomic_fetch_add) \
    X(0xFE22, I64_ATOMIC_RMW8_ADD_U, "i64.atomic.rmw8.add_u", I64, uint8_t, 0, __atomic_fetch_add) \
    X(0xFE23, I64_ATOMIC_RMW16_ADD_U, "i64.atomic.rmw16.add_u", I64, uint16_t, 1, __atomic_fetch_add) \
    X(0xFE24, I64_ATOMIC_RMW32_ADD_U, "i64.atomic.rmw32.add_u", I64, uint32_t, 2, __atomic_fetch_add) \
    X(0xFE25, I32_ATOMIC_RMW_SUB, "i32.atomic.rmw.sub", I32, uint32_t, 2, __atomic_fetch_sub) \
    X(0xFE26, I64_ATOMIC_RMW_SUB, "i64.atomic.rmw.sub", I64, uint64_t, 3, __atomic_fetch_sub) \
    X(0xFE27, I32_ATOMIC_RMW8_SUB_U, "i32.atomic.rmw8.sub_u", I32, uint8_t, 0, __atomic_fetch_sub) \
    X(0xFE28, I32_ATOMIC_RMW16_SUB_U, "i32.atomic.rmw16.sub_u", I32, uint16_t, 1, __atomic_fetch_sub) \
    X(0xFE29, I64_ATOMIC_RMW8_SUB_U, "i64.atomic.rmw8.sub_u", I64, uint8_t, 0, __atomic_fetch_sub) \
    X(0xFE2A, I64_ATOMIC_RMW16_SUB_U, "i64.atomic.rmw16.sub_u", I64, uint16_t, 1, __atomic_fetch_sub) \
    X(0xFE2B, I64_ATOMIC_RMW32_SUB_U, "i64.atomic.rmw32.sub_u", I64, uint32_t, 2, __atomic_fetch_sub) \
    X(0xFE2C, I32_ATOMIC_RMW_AND, "i32.atomic.rmw.and", I32, uint32_t, 2, __atomic_fetch_and) \
    X(0xFE2D, I64_ATOMIC_RMW_AND, "i64.atomic.rmw.and", I64, uint64_t, 3, __atomic_fetch_and) \
    X(0xFE2E, I32_ATOMIC_RMW8_AND_U, "i32.atomic.rmw8.and_u", I32, uint8_t, 0, __atomic_fetch_and) \
    X(0xFE2F, I32_ATOMIC_RMW16_AND_U, "i32.atomic.rmw16.and_u", I32, uint16_t, 1, __atomic_fetch_and) \
    X(0xFE30, I64_ATOMIC_RMW8_AND_U, "i64.atomic.rmw8.and_u", I64, uint8_t, 0, __atomic_fetch_and) \
    X(0xFE31, I64_ATOMIC_RMW16_AND_U, "i64.atomic.rmw16.and_u", I64, uint16_t, 1, __atomic_fetch_and) \
    X(0xFE32, I64_ATOMIC_RMW32_AND_U, "i64.atomic.rmw32.and_u", I64, uint32_t, 2, __atomic_fetch_and) \
    X(0xFE33, I32_ATOMIC_RMW_OR, "i32.atomic.rmw.or", I32, uint32_t, 2, __atomic_fetch_or) \
    X(0xFE34, I64_ATOMIC_RMW_OR, "i64.atomic.rmw.or", I64, uint64_t, 3, __atomic_fetch_or) \
    X(0xFE35, I32_ATOMIC_RMW8_OR_U, "i32.atomic.rmw8.or_u", I32, uint8_t, 0, __atomic_fetch_or) \
    X(0xFE36, I32_ATOMIC_RMW16_OR_U, "i32.atomic.rmw16.or_u", I32, uint16_t, 1, __atomic_fetch_or) \
    X(0xFE37, I64_ATOMIC_RMW8_OR_U, "i64.atomic.rmw8.or_u", I64, uint8_t, 0, __atomic_fetch_or) \
    X(0xFE38, I64_ATOMIC_RMW16_OR_U, "i64.atomic.rmw16.or_u", I64, uint16_t, 1, __atomic_fetch_or) \
    X(0xFE39, I64_ATOMIC_RMW32_OR_U, "i64.atomic.rmw32.or_u", I64, uint32_t, 2, __atomic_fetch_or) \
    X(0xFE3A, I32_ATOMIC_RMW_XOR, "i32.atomic.rmw.xor", I32, uint32_t, 2, __atomic_fetch_xor) \
    X(0xFE3B, I64_ATOMIC_RMW_XOR, "i64.atomic.rmw.xor", I64, uint64_t, 3, __atomic_fetch_xor) \
    X(0xFE3C, I32_ATOMIC_RMW8_XOR_U, "i32.atomic.rmw8.xor_u", I32, uint8_t, 0, __atomic_fetch_xor) \
    X(0xFE3D, I32_ATOMIC_RMW16_XOR_U, "i32.atomic.rmw16.xor_u", I32, uint16_t, 1, __atomic_fetch_xor) \
    X(0xFE3E, I64_ATOMIC_RMW8_XOR_U, "i64.atomic.rmw8.xor_u", I64, uint8_t, 0, __atomic_fetch_xor) \
    X(0xFE3F, I64_ATOMIC_RMW16_XOR_U, "i64.atomic.rmw16.xor_u", I64, uint16_t, 1, __atomic_fetch_xor) \
    X(0xFE40, I64_ATOMIC_RMW32_XOR_U, "i64.atomic.rmw32.xor_u", I64, uint32_t, 2, __atomic_fetch_xor) \
    X(0xFE41, I32_ATOMIC_RMW_XCHG, "i32.atomic.rmw.xchg", I32, uint32_t, 2, __atomic_exchange_n) \
    X(0xFE42, I64_ATOMIC_RMW_XCHG, "i64.atomic.rmw.xchg", I64, uint64_t, 3, __atomic_exchange_n) \
    X(0xFE43, I32_ATOMIC_RMW8_XCHG_U, "i32.atomic.rmw8.xchg_u", I32, uint8_t, 0, __atomic_exchange_n) \
    X(0xFE44, I32_ATOMIC_RMW16_XCHG_U, "i32.atomic.rmw16.xchg_u", I32, uint16_t, 1, __atomic_exchange_n) \
    X(0xFE45, I64_ATOMIC_RMW8_XCHG_U, "i64.atomic.rmw8.xchg_u", I64, uint8_t, 0, __atomic_exchange_n) \
    X(0xFE46, I64_ATOMIC_RMW16_XCHG_U, "i64.atomic.rmw16.xchg_u", I64, uint16_t, 1, __atomic_exchange_n) \
    X(0xFE47, I64_ATOMIC_RMW32_XCHG_U, "i64.atomic.rmw32.xchg_u", I64, uint32_t, 2, __atomic_exchange_n)

/* The same columns : [address t t] -> [t]: expected, replacement */
#define WR_ATOMIC_CMPXCHG(X) \
    X(0xFE48, I32_ATOMIC_RMW_CMPXCHG, "i32.atomic.rmw.cmpxchg", I32, uint32_t, 2) \
    X(0xFE49, I64_ATOMIC_RMW_CMPXCHG, "i64.atomic.rmw.cmpxchg", I64, uint64_t, 3) \
    X(0xFE4A, I32_ATOMIC_RMW8_CMPXCHG_U, "i32.atomic.rmw8.cmpxchg_u", I32, uint8_t, 0) \
    X(0xFE4B, I32_ATOMIC_RMW16_CMPXCHG_U, "i32.atomic.rmw16.cmpxchg_u", I32, uint16_t, 1) \
    X(0xFE4C, I64_ATOMIC_RMW8_CMPXCHG_U, "i64.atomic.rmw8.cmpxchg_u", I64, uint8_t, 0) \
    X(0xFE4D, I64_ATOMIC_RMW16_CMPXCHG_U, "i64.atomic.rmw16.cmpxchg_u", I64, uint16_t, 1) \
    X(0xFE4E, I64_ATOMIC_RMW32_CMPXCHG_U, "i64.atomic.rmw32.cmpxchg_u", I64, uint32_t, 2)

/* The same columns : notify [address i32] -> [i32]; wait [address t i64] -> [i32] */
#define WR_ATOMIC_WAIT(X) \
    X(0xFE00, MEMORY_ATOMIC_NOTIFY, "memory.atomic.notify", I32, uint32_t, 2) \
    X(0xFE01, MEMORY_ATOMIC_WAIT32, "memory.atomic.wait32", I32, uint32_t, 2) \
    X(0xFE02, MEMORY_ATOMIC_WAIT64, "memory.atomic.wait64", I64, uint64_t, 3)

#endif
#endif
