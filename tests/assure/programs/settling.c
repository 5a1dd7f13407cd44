/* Staged buffers over a whole run: whatever the pace of the reader, a row is found where it was written, and no row
   that is still needed is overwritten. Rows hold their own number. */
#include "assure.h"
#include "row_buffer.h"

#define HEIGHT 4
#define MOST_KEPT 2

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
        /* what a plan promises: at most one row more than there are slots is needed at once */
        ASSUME(row - needed <= b.kept_rows);
        int8_t *const place = row_buffer_place(&b, arena, row, needed, &settled);
        *place = (int8_t)row;
        for (int32_t r = needed; r <= row; ++r) {
            const int8_t *found;
            row_buffer_window_staged(&b, arena, settled, r, 1, 0, &found);
            ASSERT(*found == r);
        }
        needed = any_between(needed, row + 1);
        row_buffer_settle(&b, arena, row + 1, needed, &settled);
        ASSUME(needed + b.kept_rows > row); /* the next row needs a place: the one that waits has settled */
        ASSERT(settled == row + 1);
    }
    return 0;
}
