/* Runs one operator row by row as the operator contract says, and writes count, bytes and a guard check. */
#ifndef RUN_CASE_H
#define RUN_CASE_H

#include "port.h"

#include <string.h>

#define MAX_POINTERS 64
#define GUARD_BYTES 32u
#define ZERO_ROW (-1)

/* One input: its rows with margins, one after another, then one row of zero points. */
typedef struct {
    const int8_t *data;
    int32_t height;
    uint32_t row_bytes;
} case_input;

/* Copies each row to a block of its own and gives pointers to them; the last is the row of zero points. */
static inline const int8_t **case_rows(const case_input *input)
{
    const size_t count = (size_t)input->height + 1u;
    const int8_t **rows = port_alloc(count * sizeof *rows);
    for (size_t i = 0; i < count; ++i) {
        int8_t *row = port_alloc(input->row_bytes);
        memcpy(row, input->data + i * input->row_bytes, input->row_bytes);
        rows[i] = row;
    }
    return rows;
}

static inline uint8_t *guarded_block(uint32_t bytes)
{
    uint8_t *block = port_alloc(bytes + GUARD_BYTES);
    memset(block, 0x5a, bytes + GUARD_BYTES);
    return block;
}

static inline uint32_t guard_intact(const uint8_t *block, uint32_t bytes)
{
    for (uint32_t i = 0; i < GUARD_BYTES; ++i) {
        if (block[bytes + i] != 0x5a) {
            return 0;
        }
    }
    return 1;
}

static inline void write_result(const uint8_t *out, uint32_t bytes, uint32_t instructions, uint32_t intact)
{
    const uint32_t head[2] = {instructions, intact};
    port_write(head, sizeof head);
    port_write(out, bytes);
}

#endif
