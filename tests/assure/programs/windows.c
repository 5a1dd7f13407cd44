/* row_buffer_window and _staged: each pointer is a row's slot, the waiting row, or the row outside; padding stays
   inside its slot. All small buffers, written and read through the pointers. */
#include "assure.h"
#include "row_buffer.h"

#define ARENA 48
#define MOST_ROWS 4
#define MOST_BYTES 6

static uint8_t arena[ARENA];
static int8_t outside[MOST_BYTES];

int main(void)
{
    row_buffer b = {0};
    const int8_t *rows[MOST_ROWS];
    b.kept_rows = any_between(1, MOST_ROWS);
    b.row_bytes = any_between(1, MOST_BYTES);
    b.offset = any_between(0, ARENA);
    b.staged_offset = any_between(0, ARENA);
    ASSUME(b.offset + b.kept_rows * b.row_bytes <= ARENA && b.staged_offset + b.row_bytes <= ARENA);
    b.left_bytes = any_between(0, b.row_bytes);
    b.right_bytes = any_between(0, b.row_bytes - b.left_bytes);
    b.height = any_between(1, 2 * MOST_ROWS);
    b.zero_point = any_between(-128, 127);
    b.outside = outside;
    const int32_t count = any_between(1, b.kept_rows), first = any_between(-MOST_ROWS, 2 * MOST_ROWS);
    const int32_t skip = any_between(0, b.row_bytes - 1), settled = any_between(0, 2 * MOST_ROWS);
    row_buffer_window_staged(&b, arena, settled, first, count, skip, rows);
    for (int32_t i = 0; i < count; ++i) {
        const int32_t row = first + i;
        const int8_t *const at = rows[i] - skip;
        if (row < 0 || row >= b.height) {
            ASSERT(at == outside);
        } else if (row == settled) {
            ASSERT(at == (const int8_t *)arena + b.staged_offset);
        } else {
            ASSERT(at == (const int8_t *)arena + b.offset + (row % b.kept_rows) * b.row_bytes);
        }
        volatile int8_t last = rows[i][b.row_bytes - 1 - skip]; /* read to the row's end */
        (void)last;
    }
    row_buffer_pad(&b, row_buffer_slot(&b, arena, any_between(0, 2 * MOST_ROWS)));
    return 0;
}
