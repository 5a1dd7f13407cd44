/* Rolling buffers: the last few rows of a layer's output, row r in slot r % kept_rows.

   A staged buffer has one slot less than rows that are needed at once: a new row whose slot is still read waits in
   a row of its own, and is copied ("settles") when the slot's former row has been read for the last time. Rows
   below `settled` stand in their slots. */
#ifndef ROW_BUFFER_H
#define ROW_BUFFER_H

#include <stdint.h>
#include <string.h>

typedef struct {
    int32_t offset;          /* of the first slot in the arena, bytes */
    int32_t row_bytes;       /* of a slot: left margin, row, right margin */
    int32_t kept_rows;       /* slots */
    int32_t staged_offset;   /* of the row that waits; only of staged buffers */
    int32_t height;          /* rows of the whole value */
    int32_t left_bytes;      /* margin left of the row */
    int32_t right_bytes;     /* margin right of the row */
    int32_t zero_point;      /* what margins hold */
    const int8_t *outside;   /* what rows above and below the value hold; NULL when never read */
} row_buffer;

static inline int32_t at_most(int32_t value, int32_t limit)
{
    return value < limit ? value : limit;
}

/* First byte of a row's slot, its left margin. */
static inline int8_t *row_buffer_slot(const row_buffer *b, uint8_t *arena, int32_t row)
{
    return (int8_t *)arena + b->offset + (row % b->kept_rows) * b->row_bytes;
}

/* Pointers to `count` rows from row `first` on, each `skip` bytes into its slot. */
static inline void row_buffer_window(const row_buffer *b, uint8_t *arena, int32_t first, int32_t count,
                                     int32_t skip, const int8_t **rows)
{
    for (int32_t i = 0; i < count; ++i) {
        const int32_t row = first + i;
        const int inside = row >= 0 && row < b->height;
        rows[i] = (inside ? row_buffer_slot(b, arena, row) : b->outside) + skip;
    }
}

/* Where to write row `row` of a staged buffer of which rows below `needed` are read no more. */
static inline int8_t *row_buffer_place(const row_buffer *b, uint8_t *arena, int32_t row, int32_t needed,
                                       int32_t *settled)
{
    if (row >= b->kept_rows && row - b->kept_rows >= needed) {
        return (int8_t *)arena + b->staged_offset;
    }
    *settled = row + 1;
    return row_buffer_slot(b, arena, row);
}

/* After rows of a staged buffer were read: move the waiting row of the `made` ones to its slot, if that is free. */
static inline void row_buffer_settle(const row_buffer *b, uint8_t *arena, int32_t made, int32_t needed,
                                     int32_t *settled)
{
    if (*settled < made && made - 1 - b->kept_rows < needed) {
        memcpy(row_buffer_slot(b, arena, made - 1), arena + b->staged_offset, (size_t)b->row_bytes);
        *settled = made;
    }
}

/* As row_buffer_window, of a staged buffer. */
static inline void row_buffer_window_staged(const row_buffer *b, uint8_t *arena, int32_t settled, int32_t first,
                                            int32_t count, int32_t skip, const int8_t **rows)
{
    row_buffer_window(b, arena, first, count, skip, rows);
    if (settled >= first && settled < first + count && settled < b->height) {
        rows[settled - first] = (const int8_t *)arena + b->staged_offset + skip;
    }
}

/* Fill the margins of a slot that was just written. */
static inline void row_buffer_pad(const row_buffer *b, int8_t *slot)
{
    memset(slot, b->zero_point, (size_t)b->left_bytes);
    memset(slot + b->row_bytes - b->right_bytes, b->zero_point, (size_t)b->right_bytes);
}

#endif
