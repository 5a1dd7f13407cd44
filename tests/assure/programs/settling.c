/* Staged buffers over a whole run: whatever the pace of the reader, a row is found where it was written, and no row
   that is still needed is overwritten. Rows hold their own number. */
#include "assure.h"
#include "row_buffer.h"

#define HEIGHT 3
#define MOST_KEPT 2

/* Rows needed..made - 1 are where they were written. */
static void check_rows(const row_buffer *b, uint8_t *arena, int32_t settled, int32_t needed, int32_t made)
{
    for (int32_t row = needed; row < made; ++row) {
        const int8_t *found;
        row_buffer_window_staged(b, arena, settled, row, 1, 0, &found);
        ASSERT(*found == row);
    }
}

int main(void)
{
    uint8_t arena[MOST_KEPT + 1];
    row_buffer b = {0};
    b.kept_rows = any_between(1, MOST_KEPT);
    b.row_bytes = 1;
    b.staged_offset = MOST_KEPT;
    b.height = HEIGHT;
    int32_t settled = 0, needed = 0;
    for (int32_t row = 0; row < HEIGHT; ++row) {
        int8_t *const place = row_buffer_place(&b, arena, row, needed, &settled);
        *place = (int8_t)row;
        check_rows(&b, arena, settled, needed, row + 1);
        needed = any_between(needed, row + 1);
        row_buffer_settle(&b, arena, row + 1, needed, &settled);
        check_rows(&b, arena, settled, needed, row + 1);
        /* what a plan promises: no further row before the one that waits has its place */
        ASSUME(needed + b.kept_rows > row);
        ASSERT(settled == row + 1);
    }
    return 0;
}
