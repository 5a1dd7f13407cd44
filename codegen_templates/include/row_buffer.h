/* Rolling buffers: the last few rows of a layer's output, row r in slot r % kept_rows. */
#ifndef ROW_BUFFER_H
#define ROW_BUFFER_H

#include <stdint.h>
#include <string.h>

typedef struct {
    int32_t offset;          /* of the first slot in the arena, bytes */
    int32_t row_bytes;       /* of a slot: left margin, row, right margin */
    int32_t kept_rows;
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

/* Fill the margins of a slot that was just written. */
static inline void row_buffer_pad(const row_buffer *b, int8_t *slot)
{
    memset(slot, b->zero_point, (size_t)b->left_bytes);
    memset(slot + b->row_bytes - b->right_bytes, b->zero_point, (size_t)b->right_bytes);
}

#endif
