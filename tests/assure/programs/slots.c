/* row_buffer_slot: no product overflows, and every slot lies in the buffer's bytes, for arenas of up to
   a megabyte, buffers of up to 15 rows and maps of up to 255. */
#include "assure.h"
#include "row_buffer.h"

#include <stdlib.h>

#define MOST_BYTES (1 << 20) /* of an arena */
#define MOST_ROWS 255
#define MOST_KEPT 15

int main(void)
{
    uint8_t *const arena = malloc(MOST_BYTES);
    row_buffer b = {0};
    ASSUME(arena != NULL);
    b.kept_rows = any_between(1, MOST_KEPT);
    b.row_bytes = any_between(1, MOST_BYTES);
    b.offset = any_between(0, MOST_BYTES);
    /* what the planner promises: the buffer is inside the arena */
    const int64_t all_bytes = (int64_t)b.kept_rows * b.row_bytes;
    ASSUME(b.offset + all_bytes <= MOST_BYTES);
    const int8_t *const slot = row_buffer_slot(&b, arena, any_between(0, MOST_ROWS));
    const int8_t *const first = (const int8_t *)arena + b.offset;
    ASSERT(slot >= first);
    ASSERT(slot - first <= all_bytes - b.row_bytes);
    free(arena);
    return 0;
}
